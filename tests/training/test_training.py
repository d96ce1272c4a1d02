"""The trainer: learns, resumes, exports something that encodes, and refuses bad data in one line."""

from __future__ import annotations

import signal
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from support import TINY, maker, picture
from vqcodec.cli.main import main
from vqcodec.codec import Codec
from vqcodec.models.weights_file import write_weights
from vqcodec.training import checkpoints
from vqcodec.training.data import DataError, load_pictures, random_crops, varied
from vqcodec.training.loop import EYE_SHARE, Phase, Trainer, TrainingError, make_plan
from vqcodec.training.quality_scale import QualityScale
from vqcodec.training.tables import export
from vqcodec.vqvae.rate import laplace_bits


def pictures() -> list[torch.Tensor]:
    return [torch.from_numpy(picture(200, 180, s)).permute(2, 0, 1).contiguous() for s in range(3)]


def trainer(path: Path, plan: list[Phase]) -> Trainer:
    return Trainer(pictures(), maker.TINY, plan, path, batch=2, crop_px=64)


def test_laplace_bits_are_a_distribution() -> None:
    grid = torch.arange(-400, 401).double()
    for log2_scale in (-6.0, -2.0, 0.0, 3.0):
        total = torch.exp2(-laplace_bits(grid, torch.full_like(grid, log2_scale))).sum()
        assert abs(total - 1) < 1e-3


def mean_loss(run: Trainer, phase: str) -> float:
    """The loss over the same few batches whenever it is asked for."""
    run.rng = np.random.default_rng(7)
    torch.manual_seed(7)
    with torch.no_grad():
        return float(np.mean([run.loss(phase)[0].item() for _ in range(16)]))


def test_every_phase_lowers_its_loss_and_the_model_encodes(tmp_path: Path) -> None:
    run = trainer(tmp_path / "run.safetensors", [])
    run.start()
    for name in ("noise", "vector"):
        phase = Phase(name, 1.0)
        before = mean_loss(run, name)
        for step in range(150):
            phase.seconds_done = 0.4 * step
            run.train_step(phase)
        assert mean_loss(run, name) < before
    path = tmp_path / "model.safetensors"
    write_weights(path, export(run.average, pictures(), crops=2), maker.TINY.to_dict())
    codec = Codec(path)
    pixels = picture(150, 140)
    decoded = codec.decode_pixels(codec.encode_pixels(pixels, quality=100))
    assert np.square(decoded.astype(float) - pixels).mean() < 400


def test_codebooks_move_only_in_the_vector_phase(tmp_path: Path) -> None:
    run = trainer(tmp_path / "run.safetensors", [])
    run.start()
    start = run.network.quantise.codebooks.detach().clone()
    for step in range(3):
        run.train_step(Phase("noise", 1.0, float(step)))
    torch.testing.assert_close(run.network.quantise.codebooks.detach(), start)
    for step in range(20):
        run.train_step(Phase("vector", 1.0, float(step)))
    assert (run.network.quantise.codebooks.detach() - start).abs().max() > 1e-4


def test_analysis_and_gains_rest_while_vectors_are_learned(tmp_path: Path) -> None:
    run = trainer(tmp_path / "run.safetensors", [])
    run.start()
    for phase, moves in (("noise", True), ("vector", False)):
        before = {name: value.detach().clone() for name, value in run.network.named_parameters()}
        for step in range(6):
            run.train_step(Phase(phase, 1.0, float(step)))
        after = dict(run.network.named_parameters())
        for name in ("analysis.linear.weight", "prior.channel_gain", "prior.heads.1.gain.weight"):
            assert (after[name] != before[name]).any().item() == moves, name
        for name in ("synthesis.enter.weight", "prior.heads.1.out.weight"):
            assert (after[name] != before[name]).any(), name


def test_the_first_crops_are_of_tune_eye_and_the_rest_of_tune_psnr(tmp_path: Path) -> None:
    run = Trainer(pictures(), maker.TINY, [], tmp_path / "run.safetensors", batch=8, crop_px=64)
    assert run.tune.tolist() == [1.0] * round(8 * EYE_SHARE) + [0.0] * (8 - round(8 * EYE_SHARE))


def test_many_steps_without_a_finite_gradient_end_the_training(tmp_path: Path) -> None:
    run = trainer(tmp_path / "run.safetensors", [])
    run.start()
    run.train_step(Phase("noise", 1.0))
    kept = {name: value.clone() for name, value in run.network.state_dict().items()}
    weight = run.network.synthesis.out.weight
    weight.register_hook(lambda gradient: gradient * torch.nan)
    for _ in range(10):
        run.train_step(Phase("noise", 1.0))
    assert (run.step, run.skipped) == (11, 10)
    for name, value in run.network.named_parameters():
        torch.testing.assert_close(value.detach(), kept[name], msg=name)
    with pytest.raises(TrainingError, match="11 of 12 steps had no finite gradient"):
        run.train_step(Phase("noise", 1.0))


def test_the_average_keeps_no_graph(tmp_path: Path) -> None:
    run = trainer(tmp_path / "run.safetensors", [])
    run.start()
    for step in range(3):
        run.train_step(Phase("noise", 1.0, float(step)))
    assert all(value.grad_fn is None for value in run.average.state_dict(keep_vars=True).values())


def test_varied_crops_are_whole_levels_and_most_stay_as_they_are() -> None:
    x = random_crops(pictures(), 40, 64, np.random.default_rng(0)).permute(0, 2, 3, 1)
    x = torch.round((x + 0.5) * 255) / 255 - 0.5
    out = varied(x, np.random.default_rng(1))
    levels = (out + 0.5) * 255
    torch.testing.assert_close(levels, levels.round(), atol=1e-3, rtol=0)
    assert levels.min() >= -1e-3
    assert levels.max() <= 255.001
    same = ((out - x).abs().amax((1, 2, 3)) < 1e-3).float().mean()
    assert 0.4 < same < 0.9


def test_a_scale_says_which_files_have_the_last_layer() -> None:
    codes = np.tile(np.linspace(36000, 8192, 100).round().astype(np.uint16), (2, 1))
    layers = np.full((2, 100), 5, dtype=np.uint8)
    layers[1, 60:] = 6
    scale = QualityScale(codes, layers)
    for tune in (0, 1):
        for index in (0, 30, 59, 60, 61, 99):
            assert scale.layers_at(int(codes[tune, index]), tune) == layers[tune, index]
    assert scale.layers_at(40960, 1) == 5
    assert scale.layers_at(4096, 1) == 6


def test_a_run_resumes_where_it_stopped(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    first = trainer(path, [Phase("noise", 10.0)])
    first.start()
    for _ in range(4):
        first.train_step(first.plan[0])
    first.plan[0].seconds_done = 33.0
    first.save()
    second = trainer(path, [])
    assert second.resume(*checkpoints.load(path), keep_plan=True) == []
    assert second.plan == [Phase("noise", 10.0, 33.0)]
    assert second.step == 4
    for name, value in first.network.state_dict().items():
        torch.testing.assert_close(second.network.state_dict()[name], value)
    for (_, a), (_, b) in zip(first.network.named_parameters(), second.network.named_parameters(), strict=True):
        if a in first.optimizer.state:
            torch.testing.assert_close(second.optimizer.state[b]["exp_avg"], first.optimizer.state[a]["exp_avg"])


def test_ctrl_c_amid_an_update_waits_for_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the checkpoint would hold half an update."""
    run = trainer(tmp_path / "run.safetensors", [Phase("noise", 10.0)])
    run.start()
    before = run.network.analysis.linear.weight.detach().clone()
    adam_step = run.optimizer.step

    def interrupted() -> None:
        signal.raise_signal(signal.SIGINT)
        adam_step()

    monkeypatch.setattr(run.optimizer, "step", interrupted)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            run.run()
    finally:
        signal.signal(signal.SIGINT, handler)
    stored, metadata = checkpoints.load(run.checkpoint)
    assert metadata["step"] == 1
    assert (stored["model.analysis.linear.weight"] - before).abs().max() < 0.01


def test_plans() -> None:
    assert [p.name for p in make_plan(10, None)] == ["noise", "vector"]
    assert [p.minutes for p in make_plan(10, ["vector"])] == [10]


def test_folders_and_tar_shards(tmp_path: Path) -> None:
    Image.fromarray(picture(120, 110)).save(tmp_path / "a.png")
    (tmp_path / "broken.png").write_bytes(b"nonsense")
    Image.new("RGB", (5, 5)).save(tmp_path / "small.png")
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        tar.add(tmp_path / "a.png", arcname="inside.png")
    said: list[str] = []
    found = load_pictures([tmp_path], say=said.append)
    assert [tuple(p.shape) for p in found] == [(3, 110, 120)] * 2
    assert said == ["skipped 2 pictures that are unreadable, too large, or under 64 pixels a side"]


def test_pictures_are_what_the_encoder_sees(tmp_path: Path) -> None:
    """Sixteen bits are rounded, not cut off at white; sideways pictures are turned."""
    ramp = np.tile(np.arange(100, dtype=np.uint16) * 600, (80, 1))
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(120, 90)).save(tmp_path / "turned.png", exif=exif)
    deep, turned = load_pictures([tmp_path])
    assert np.abs(deep[0].numpy() - ramp / 257.0).max() <= 0.5
    assert tuple(turned.shape) == (3, 120, 90)


@pytest.mark.parametrize("kind", ["empty", "missing", "small", "not a tar"])
def test_bad_data_is_one_line(kind: str, tmp_path: Path) -> None:
    source = tmp_path / "data"
    if kind == "not a tar":
        source = tmp_path / "data.tar"
        source.write_bytes(b"nonsense")
    elif kind != "missing":
        source.mkdir()
    if kind == "small":
        Image.new("RGB", (20, 20)).save(source / "a.png")
    with pytest.raises(DataError):
        load_pictures([source])
    done = CliRunner().invoke(main, ["train", str(source), "--minutes", "1", "--out", str(tmp_path / "run")])
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1


def test_checkpoints_that_are_none(tmp_path: Path) -> None:
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"nonsense" * 9)
    for path in (bad, tmp_path / "missing.safetensors", TINY):
        with pytest.raises(checkpoints.CheckpointError):
            checkpoints.load(path)


def test_train_command_makes_a_model(tmp_path: Path) -> None:
    for seed in range(2):
        Image.fromarray(picture(200, 180, seed)).save(tmp_path / f"{seed}.png")
    out = tmp_path / "run"
    arguments = [
        "train",
        str(tmp_path),
        "--minutes",
        "0.02",
        "--out",
        str(out),
        "--batch",
        "1",
        "--crop",
        "64",
        "--threads",
        "1",
    ]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert Codec(out / "model.safetensors").config.channels == 768
    assert (out / "log.jsonl").read_text().count("\n") >= 2


def test_a_model_starts_from_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vqcodec.training.run.MAX_CROPS", 1)
    run = trainer(tmp_path / "checkpoint.safetensors", [])
    run.start()
    for step in range(2):
        run.train_step(Phase("noise", 1.0, float(step)))
    run.save()
    Image.fromarray(picture(270, 260)).save(tmp_path / "a.png")
    out = tmp_path / "run"
    options = ["--from", str(run.checkpoint), "--minutes", "0", "--out", str(out), "--threads", "1"]
    done = CliRunner().invoke(main, ["train", str(tmp_path / "a.png"), *options])
    assert done.exit_code == 0, done.output
    average = run.average.synthesis.enter.weight.numpy().astype(np.float16)
    np.testing.assert_array_equal(Codec(out / "model.safetensors").weights.tensors["synthesis.enter.weight"], average)
