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
from vqcodec.training.data import DataError, load_pictures, random_crops
from vqcodec.training.dct_adam import SPECTRUM, from_spectrum, spectral_step, to_spectrum
from vqcodec.training.loop import Phase, Trainer, make_plan
from vqcodec.training.tables import export
from vqcodec.vqvae.network import rounding
from vqcodec.vqvae.quantizer import SoftQuantizer
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
        return float(np.mean([run.loss(phase)[0].item() for _ in range(8)]))


def test_every_phase_lowers_its_loss_and_the_model_encodes(tmp_path: Path) -> None:
    run = trainer(tmp_path / "run.safetensors", [])
    run.start()
    for name in ("prior", "joint", "vector"):
        phase = Phase(name, 1.0)
        before = mean_loss(run, name)
        for step in range(50):
            phase.seconds_done = step
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
        run.train_step(Phase("joint", 1.0, float(step)))
    torch.testing.assert_close(run.network.quantise.codebooks.detach(), start)
    for step in range(20):
        run.train_step(Phase("vector", 1.0, float(step)))
    assert (run.network.quantise.codebooks.detach() - start).abs().max() > 1e-4


def test_moved_codewords_are_priced_by_cells_that_share_out_all_probability() -> None:
    """Pricing a codeword by the cell around itself lets training cheat: the cells would overlap."""
    quantizer = SoftQuantizer()
    with torch.no_grad():
        quantizer.codebooks.mul_(0.8)
    quantizer.refresh()
    residual = torch.rand(1, 4, 6, 6) * 4 - 2
    coded, cells = quantizer(residual, torch.full_like(residual, -0.5), torch.tensor([-2.0]))
    torch.testing.assert_close(cells, cells.round())
    torch.testing.assert_close(coded, 0.8 * cells)
    assert (cells != 0).any()


def test_coarse_levels_choose_by_rate_in_training_as_in_the_encoder() -> None:
    quantizer = SoftQuantizer()
    residual = torch.full((1, 2, 1, 1), 10.52)
    coded, cells = quantizer(residual, torch.full_like(residual, 1.0), torch.tensor([0.5]))
    assert coded.flatten().tolist() == cells.flatten().tolist() == [10.0, 10.0]
    coded, _ = quantizer(residual + 0.2, torch.full_like(residual, 1.0), torch.tensor([0.5]))
    assert coded.flatten().tolist() == [11.0, 11.0]


def test_what_is_coded_as_zero_passes_no_gradient_to_the_latent() -> None:
    """In the dead zone nothing that is decoded depends on the latent; the mean takes the gradient instead."""
    from vqcodec.vqvae.network import rounding, straight_through

    latent = torch.tensor([[[[0.2]], [[1.2]]]], requires_grad=True)
    mean = torch.zeros_like(latent, requires_grad=True)
    code = straight_through(rounding, noise=False)
    coded, _ = code(latent - mean, torch.zeros_like(latent), torch.tensor([-2.0]))
    (mean + coded).sum().backward()
    assert latent.grad is not None
    assert mean.grad is not None
    assert latent.grad.flatten().tolist() == [0.0, 1.0]
    assert mean.grad.flatten().tolist() == [1.0, 0.0]


def test_a_run_resumes_where_it_stopped(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    first = trainer(path, [Phase("joint", 10.0)])
    first.start()
    for _ in range(4):
        first.train_step(first.plan[0])
    first.plan[0].seconds_done = 33.0
    first.save()
    second = trainer(path, [])
    assert second.resume(*checkpoints.load(path), keep_plan=True) == []
    assert second.plan == [Phase("joint", 10.0, 33.0)]
    assert second.step == 4
    for name, value in first.network.state_dict().items():
        torch.testing.assert_close(second.network.state_dict()[name], value)
    for (_, a), (_, b) in zip(first.network.named_parameters(), second.network.named_parameters(), strict=True):
        if a in first.optimizer.state:
            torch.testing.assert_close(second.optimizer.state[b]["exp_avg"], first.optimizer.state[a]["exp_avg"])


def test_ctrl_c_amid_an_update_waits_for_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the checkpoint would hold kernels in the frequency domain."""
    run = trainer(tmp_path / "run.safetensors", [Phase("joint", 10.0)])
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


def test_estimated_rate_is_the_same_whatever_the_memory_layout(tmp_path: Path) -> None:
    run = trainer(tmp_path / "run.safetensors", [])
    run.start()
    x = random_crops(pictures(), 2, 64, np.random.default_rng(0))
    with torch.no_grad():
        _, a = run.network(x, torch.tensor([-2.0, -3.0]), rounding, noise=False)
        _, b = run.network(
            x.contiguous(memory_format=torch.channels_last), torch.tensor([-2.0, -3.0]), rounding, noise=False
        )
    torch.testing.assert_close(a.bits, b.bits, rtol=0.01, atol=1)


def test_plans() -> None:
    assert [p.name for p in make_plan(10, None)] == ["prior", "joint", "vector"]
    assert sum(p.minutes for p in make_plan(10, ["joint", "vector"])) == pytest.approx(10)


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
    assert Codec(out / "model.safetensors").config.channels == 320
    assert (out / "log.jsonl").read_text().count("\n") >= 3


def test_the_spectrum_is_orthonormal_and_plain_gradient_descent_does_not_notice_it() -> None:
    torch.manual_seed(0)
    kernel = torch.nn.Parameter(torch.randn(5, 768, 2, 2))
    spectrum = to_spectrum(kernel.detach(), 1)
    torch.testing.assert_close(SPECTRUM @ SPECTRUM.T, torch.eye(768), atol=1e-5, rtol=0)
    torch.testing.assert_close(from_spectrum(spectrum, 1), kernel.detach(), atol=0.05, rtol=0)  # bf16
    torch.testing.assert_close(spectrum.norm(), kernel.detach().norm(), rtol=1e-3, atol=0)
    turned = to_spectrum(kernel.detach().transpose(0, 1), 0)
    torch.testing.assert_close(turned, spectrum.transpose(0, 1), atol=0.05, rtol=0)
    flat = to_spectrum(torch.ones(768, 3), 0)
    torch.testing.assert_close(flat[0], torch.full((3,), 768**0.5), rtol=0.01, atol=0)
    assert flat[1:].abs().max() < 0.05
    gradient = torch.randn_like(kernel)
    expected = kernel.detach() - 0.1 * gradient
    kernel.grad = gradient
    spectral_step(torch.optim.SGD([kernel], lr=0.1), [(kernel, 1)])
    torch.testing.assert_close(kernel.detach(), expected, atol=5e-3, rtol=0)
