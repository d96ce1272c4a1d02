"""Two ranks on the CPU, one of which dies on the way, learn what one process with twice the batch learns."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from support import TINY, picture
from vqcodec.registry import load
from vqcodec.training import checkpoints
from vqcodec.training.data import load_pictures
from vqcodec.training.loop import Trainer
from vqcodec.training.network import Network
from vqcodec.training.restore import restore

WORKER = Path(__file__).parent / "ddp_worker.py"


def start() -> Network:
    """The tiny model, its synthesis spoilt: so that there is something to learn."""
    network = restore(*load(TINY))
    with torch.no_grad():
        network.synthesis.linear.weight.mul_(0.7)
    return network


def loss(network: Network, pictures: list[torch.Tensor], phase: str) -> float:
    trainer = Trainer(pictures, network.config, [], Path("unused"), batch=8, crop_px=64, varied=False)
    trainer.start_from(network)
    with torch.no_grad():
        return float(np.mean([trainer.loss(phase)[0].item() for _ in range(6)]))


def test_two_ranks_equal_twice_the_batch_though_one_is_killed(tmp_path: Path) -> None:
    from vqcodec.registry import write_weights

    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed in range(3):
        Image.fromarray(picture(150, 140, seed)).save(folder / f"{seed}.png")
    tensors, config = load(TINY)
    tensors["synthesis.linear.weight"] = (tensors["synthesis.linear.weight"] * 0.7).astype("f2")
    weights = tmp_path / "start.safetensors"
    write_weights(weights, tensors, config)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "1"]
    runs = {"two": [*torchrun, WORKER, folder, tmp_path / "two", weights, "2", "40"],
            "one": [WORKER, folder, tmp_path / "one", weights, "4"]}  # fmt: skip
    pictures = load_pictures([folder])
    before, after, steps = loss(start(), pictures, "vector"), {}, {}
    for name, arguments in runs.items():
        done = subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        if name == "two":
            assert "restarted; going on from" in done.stdout
        stored, metadata = checkpoints.load(tmp_path / name / "checkpoint.safetensors")
        network = restore(tensors, config)
        assert checkpoints.carry_over(network, stored, "model.") == []
        after[name], steps[name] = loss(network, pictures, "vector"), metadata["step"]
        assert (tmp_path / name / "model.safetensors").exists()
        log = [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        assert log[-1]["phase"] == "vector"
    assert steps["one"] == steps["two"] >= 70
    assert after["one"] < 0.9 * before
    gained = before - after["one"]
    assert abs(after["two"] - after["one"]) < 0.25 * gained
