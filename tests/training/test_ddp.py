"""Two ranks on the CPU, one of which dies on the way, learn what one process with twice the batch learns."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support import TINY, ddp_worker, picture
from vqcodec.models.config import ModelConfig
from vqcodec.models.weights_file import read_weights, write_weights
from vqcodec.training import checkpoints, loop
from vqcodec.training.data import load_pictures
from vqcodec.vqvae.integers import restore
from vqcodec.vqvae.network import Network

DIES_AT = 40


def loss(network: Network, pictures: list[torch.Tensor]) -> float:
    """Over the same crops and steps whenever it is asked for."""
    trainer = loop.Trainer(pictures, network.config, [], Path("unused"), batch=8, crop_px=64, augment=False)
    trainer.start_from(network)
    with torch.no_grad():
        return float(np.mean([trainer.loss("vector")[0].item() for _ in range(6)]))


def test_two_ranks_equal_twice_the_batch_though_one_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, weights = tmp_path / "pictures", tmp_path / "start.safetensors"
    folder.mkdir()
    for seed in range(3):
        Image.fromarray(picture(150, 140, seed)).save(folder / f"{seed}.png")
    pictures = load_pictures([folder])
    tensors, config = read_weights(TINY)
    tensors["synthesis.lapped.weight"] *= np.float16(0.7)  # so that there is something to learn
    write_weights(weights, tensors, config)

    # torchrun keeps its store over a restart, where the dead ranks' addresses would be found (pytorch/pytorch#135712)
    environment = os.environ | {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "OMP_NUM_THREADS": "1"}
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "1"]
    worker = [ddp_worker.__file__, folder, tmp_path / "two", weights, "3", DIES_AT]
    command = [sys.executable, *torchrun, *map(str, worker)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "restarted; going on from" in done.stdout

    for module, name in ((loop, "time"), (loop, "SAVE_SECONDS"), (loop.Trainer, "train_step")):
        monkeypatch.setattr(module, name, getattr(module, name))  # what the worker replaces comes back
    ddp_worker.train(folder, tmp_path / "one", weights, 6, None)

    before, after, steps = loss(restore(tensors, ModelConfig.from_dict(config)), pictures), {}, {}
    for run in ("one", "two"):
        stored, metadata = checkpoints.load(tmp_path / run / "checkpoint.safetensors")
        network = restore(tensors, ModelConfig.from_dict(config))
        assert checkpoints.carry_over(network, stored, "model.") == []
        after[run], steps[run] = loss(network, pictures), metadata["step"]
    assert steps["one"] == steps["two"] > DIES_AT
    gained = before - after["one"]
    assert gained > 0.1 * before
    assert abs(after["two"] - after["one"]) < 0.25 * gained, (before, after)
