"""Models of one's own, samples, walks, the Gaussian bottleneck, and the pictures they are shown on."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import vqcodec
from click.testing import CliRunner, Result
from PIL import Image
from support import FIXTURES, TINY, picture
from vqcodec.cli.main import main
from vqcodec.codec import Codec
from vqcodec.generate import interpolation, sampling
from vqcodec.models import store
from vqcodec.models.config import ModelConfig
from vqcodec.models.weights_file import ModelError, read_weights, write_weights
from vqcodec.training import checkpoints
from vqcodec.training import vae as gaussian
from vqcodec.training.data import load_pictures, random_crops, usual_crop
from vqcodec.training.quality_scale import SCORED, STEPS, _even, _eye, _layers, _Measured
from vqcodec.training.tables import export
from vqcodec.vqvae.integers import restore
from vqcodec.vqvae.network import Network
from vqcodec.vqvae.vae import LatentVAE, kl_to_normal, reparameterise

from benchmarks.pictures.fonts import FAMILIES, Family, font_files
from benchmarks.pictures.glyphs import glyph, glyphs
from benchmarks.pictures.pages import pages, words


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(autouse=True)
def models_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nobody's real models are touched."""
    folder = tmp_path / "models"
    monkeypatch.setenv("VQCODEC_MODELS", str(folder))
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(3):
        Image.fromarray(picture(150, 140, seed)).save(folder / f"{seed}.png")
    return folder


# weights -> network -> weights


def test_restored_weights_export_bit_by_bit(photos: Path) -> None:
    tensors, config = read_weights(TINY)
    again = export(restore(tensors, ModelConfig.from_dict(config)), load_pictures([photos]), crops=2)
    counted = {"quantizer.counts", "encoder.step_codes", "encoder.layers"}
    assert again.keys() == tensors.keys()
    linear = {"analysis.linear.weight", "synthesis.lapped.weight", "synthesis.fine.weight"}  # learned in another domain
    for name in tensors.keys() - counted:
        if name in linear:
            np.testing.assert_allclose(again[name], tensors[name], atol=2e-3, err_msg=name)
        else:
            np.testing.assert_array_equal(again[name], tensors[name], err_msg=name)


def test_a_restored_model_codes_as_well_as_the_original(photos: Path, tmp_path: Path) -> None:
    """Only the tables are counted anew; here on other pictures than those that the tiny model was trained on."""
    tensors, config = read_weights(TINY)
    again = export(restore(tensors, ModelConfig.from_dict(config)), load_pictures([photos]), crops=20)
    again |= {name: tensors[name] for name in ("encoder.step_codes", "encoder.layers")}
    write_weights(tmp_path / "again.safetensors", again, config)
    pixels = picture(200, 180, 9)
    figures = []
    for codec in (Codec(TINY), Codec(tmp_path / "again.safetensors")):
        data = codec.encode_pixels(pixels, quality=70, effort=1)
        error = np.square(codec.decode_pixels(data).astype(float) - pixels).mean()
        figures.append((len(data), -10 * np.log10(error)))
    (size, db), (size_again, db_again) = figures
    assert size_again == pytest.approx(size, rel=0.06)
    assert db_again == pytest.approx(db, abs=0.15)


def test_qualities_of_tune_psnr_are_even_in_db() -> None:
    psnr = 30 - 5 * STEPS - 0.3 * STEPS**2
    found = np.interp(_even(psnr)[::-1], STEPS[::-1], psnr[::-1])[::-1]
    np.testing.assert_allclose(np.diff(found), np.diff(found).mean(), rtol=0.05)


@pytest.mark.parametrize(("lowest", "highest"), [(-10.0, 92.5), (-10.0, 70.0), (55.0, 95.0)])
def test_qualities_of_tune_eye_are_scores_from_30_to_90(lowest: float, highest: float) -> None:
    scores = np.linspace(lowest, highest, len(STEPS)) - 4 * np.sin(np.linspace(0, np.pi, len(STEPS)))
    steps = _eye(_Measured([], scores.tolist(), [], []))
    assert (np.diff(steps) <= 0).all()
    assert (steps[0], steps[-1]) == (STEPS[0], STEPS[-1])
    reached = np.interp(steps[::-1], STEPS[::-1], scores[::-1])[::-1]
    low, high = max(SCORED[0], lowest), min(SCORED[1], highest - 1)
    inside = [q for q in range(1, 101) if np.ceil(low) <= q <= np.floor(high)]
    assert len(inside) > 30
    for quality in inside:
        assert abs(reached[quality - 1] - quality) < 0.2


def test_the_last_layer_comes_where_it_pays() -> None:
    network = Network(ModelConfig.from_dict(read_weights(TINY)[1]))
    steps = np.linspace(STEPS[0], STEPS[-1], 100)
    whole = np.full(len(STEPS), 1000.0)
    short = np.where(STEPS < -3, 1010.0, 1001.0)
    layers = _layers(network, _Measured([], [], whole.tolist(), short.tolist()), steps)
    assert set(layers[steps > -3]) == {2}
    assert set(layers[steps < -3.6]) == {3}


def test_weights_of_another_architecture_are_one_line() -> None:
    tensors, config = read_weights(TINY)
    with pytest.raises(ModelError, match="do not fit this architecture"):
        restore(tensors, ModelConfig.from_dict(config | {"state": 32}))
    with pytest.raises(ModelError, match="do not fit this architecture"):
        restore({k: v for k, v in tensors.items() if k != "prior.start.bias"}, ModelConfig.from_dict(config))


# models of one's own


def test_fine_tuning_registers_a_model_that_its_files_find(photos: Path, tmp_path: Path, models_folder: Path) -> None:
    out = tmp_path / "run"
    options = ["--from", TINY, "--name", "mine", "--minutes", "0.02", "--out", out, "--threads", "1", "--batch", "2"]
    done = run("train", photos, *options)
    assert done.exit_code == 0, done.output
    (own,) = store.user_models()
    assert own.name == "mine"
    assert own.path.parent == models_folder
    assert all(name in (out / "log.jsonl").read_text() for name in ("noise", "vector"))
    assert run("encode", photos / "0.png", "-m", "mine").exit_code == 0
    file = photos / "0.vqc"
    assert vqcodec.info(file).model == "mine"
    assert vqcodec.decode(file).size == (150, 140)
    assert own.model_id in run("models").stdout
    done = run("train", photos, *options)
    assert done.exit_code == 1
    assert "there is a model named 'mine' already" in done.stderr
    # gone, a file of it says which model it needs, and how to add it
    kept = tmp_path / "kept.safetensors"
    shutil.copy(own.path, kept)
    assert run("models", "remove", "mine").exit_code == 0
    done = run("decode", file, "-f")
    assert done.exit_code == 1
    assert own.model_id in done.stderr
    assert "vqcodec models add FILE" in done.stderr
    assert run("models", "add", kept).exit_code == 0
    assert store.find_id(bytes.fromhex(own.model_id)).name == "kept"
    assert vqcodec.decode(file).size == (150, 140)


def test_bad_models_and_names_are_one_line(tmp_path: Path, models_folder: Path) -> None:
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"nonsense" * 9)
    shipped = store.manifest()[0].name
    for arguments in (
        ("add", bad),
        ("add", tmp_path / "missing.safetensors"),
        ("add", TINY, "--name", shipped),
        ("add", TINY, "--name", "../up"),
        ("remove", "nobody"),
    ):
        done = run("models", *arguments)
        assert done.exit_code == 1
        assert done.stderr.count("\n") == 1
    assert not models_folder.exists()


@pytest.mark.parametrize(
    ("tensor", "change", "reason"),
    [
        (None, {"body_blocks": 10**6}, "body_blocks is outside 1..16"),  # would take all memory
        (None, {"body": 10**6}, "body is outside 1..1024"),
        (None, {"analysis_blocks": 10**6}, "analysis_blocks is outside 1..16"),
        (None, {"groups": [2] * 300}, "groups is "),
        (None, {"state": -5}, "state is outside"),
        (None, {"hidden": "x"}, "hidden is x"),
        ("synthesis.lapped.weight", lambda a: a * np.float16("nan"), "not finite"),
        ("analysis.linear.bias", lambda a: a.astype(bool), "is bool"),
        ("quantizer.counts", lambda a: a.astype("f4"), "is float32"),
        ("prior.start.weight", lambda a: a + np.float32(0.5), "is float32"),
        ("encoder.step_codes", lambda a: a.astype("i8") + 10**6, "is int64"),
    ],
)
def test_hostile_weights_are_one_line(tensor: str | None, change: Any, reason: str, tmp_path: Path) -> None:
    tensors, config = read_weights(TINY)
    tensors, config = (tensors | {tensor: change(tensors[tensor])}, config) if tensor else (tensors, config | change)
    write_weights(tmp_path / "bad.safetensors", tensors, config)
    for command in (("models", "add"), ("train", tmp_path, "--minutes", "1", "--out", tmp_path / "run", "--from")):
        done = run(*command, tmp_path / "bad.safetensors")
        assert done.exit_code == 1
        assert done.stderr.count("\n") == 1
        assert reason in done.stderr


def test_a_config_that_is_none_is_one_line(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    for number, config in enumerate(("null", "[1]", "{", "[" * 100_000)):
        bad = tmp_path / f"{number}.safetensors"
        save_file(read_weights(TINY)[0], bad, metadata={"vqcodec_config": config})
        with pytest.raises(ModelError, match="weights file"):
            read_weights(bad)


def test_others_may_read_weights_and_checkpoints(tmp_path: Path) -> None:
    """safetensors itself writes files for their owner alone."""
    Image.new("RGB", (8, 8)).save(tmp_path / "usual.png")
    checkpoints.save(tmp_path / "checkpoint", {}, {})
    write_weights(tmp_path / "weights", *read_weights(TINY))
    assert len({p.stat().st_mode for p in tmp_path.iterdir()}) == 1


@pytest.mark.parametrize(
    "options",
    [
        ["--from", "nobody"],
        ["--from", FIXTURES / "rgb.vqc"],
        ["--from", "default", "--resume", "checkpoint.safetensors"],
        ["--name", "a/b"],
        ["--name", "a" * 300],
        ["--from", TINY, "--validate", "nowhere"],
        ["--bottleneck", "gaussian", "--phase", "noise"],
        ["--bottleneck", "gaussian", "--batch", "4"],
        ["--bottleneck", "gaussian", "--validate", "nowhere"],
    ],
)
def test_training_that_cannot_start_is_one_line(options: list[str], photos: Path, tmp_path: Path) -> None:
    done = run("train", photos, "--minutes", "1", "--out", tmp_path / "run", *options)
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_a_folder_that_takes_no_models_is_known_before_training(
    photos: Path, tmp_path: Path, models_folder: Path
) -> None:
    models_folder.write_text("a file")
    done = run("train", photos, "--from", TINY, "--minutes", "1", "--name", "mine", "--out", tmp_path / "run")
    assert done.exit_code == 1
    assert done.stderr == f"vqcodec: {models_folder}: no folder for models (File exists)\n"


def test_a_name_taken_meanwhile_does_not_lose_the_weights(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = store.load

    def slow_load(name: str | Path) -> Any:
        if not store.user_models():
            store.add(TINY, "mine")
        return load(name)

    monkeypatch.setattr(store, "load", slow_load)
    options = ["--from", TINY, "--bottleneck", "gaussian", "--minutes", "0", "--name", "mine"]
    done = run("train", photos, *options, "--out", tmp_path / "run")
    assert done.exit_code == 1
    assert f"vqcodec models add {tmp_path / 'run' / 'model.safetensors'}" in done.stderr


def test_a_bottleneck_is_trained_in_one_process(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = run("train", photos, "--minutes", "1", "--bottleneck", "gaussian", "--out", tmp_path / "run")
    assert done.exit_code == 1
    assert "in one process" in done.stderr


def test_one_kind_of_picture_is_neither_scaled_nor_mirrored() -> None:
    ramp = torch.arange(64, dtype=torch.uint8).repeat(3, 64, 1)
    crops = random_crops([ramp], 8, 64, np.random.default_rng(0), augment=False)
    torch.testing.assert_close(crops, (ramp.float() / 255 - 0.5).expand(8, -1, -1, -1))
    assert usual_crop([ramp] * 3) == 64
    assert usual_crop([torch.zeros(3, 400, 300)]) == 192


# samples


def test_a_sample_is_a_file_and_the_same_everywhere(codec: Codec) -> None:
    data = sampling.sample(codec, 150, 70, seed=7)
    assert codec.decode(data).size == (150, 70)
    assert data == sampling.sample(codec, 150, 70, seed=7)
    assert data != sampling.sample(codec, 150, 70, seed=8)
    digests = {
        t: hashlib.sha256(sampling.sample(codec, 90, 70, seed=1, temperature=t)).hexdigest()[:16] for t in (1, 0.6)
    }
    assert digests == PINNED  # integers alone: any other digest is another picture on another machine


PINNED = {1: "8be4886ff0e4de3e", 0.6: "779428f9353a70ac"}


def test_samples_follow_the_tables() -> None:
    """Drawn frequencies against those of the tables, and the temperature's power of them."""
    from vqbitstream.entropy import FrequencyTables

    counts = np.ones((2, 290), dtype=np.int64)
    counts[0, :4], counts[1, 5:7] = (4000, 2000, 1000, 500), (700, 300)
    for temperature in (1.0, 0.5, 2.0):
        sampler = sampling.PriorSampler(FrequencyTables(counts), np.random.Philox(3), temperature)
        tables = np.tile([0, 1], 100_000)
        drawn = sampler.read(tables)
        for table in (0, 1):
            expected = counts[table, :-1] ** (1 / temperature)  # the last symbol, the escape, is never drawn
            found = np.bincount(drawn[tables == table], minlength=290)
            assert found[-1] == 0
            np.testing.assert_allclose(found[:-1] / 100_000, expected / expected.sum(), atol=0.006)


def test_escapes_are_never_drawn_even_where_they_are_likeliest() -> None:
    from vqbitstream.entropy import FrequencyTables

    counts = np.ones((1, 290), dtype=np.int64)
    counts[0, -1] = 1 << 24
    for temperature in (1.0, 0.1):
        sampler = sampling.PriorSampler(FrequencyTables(counts), np.random.Philox(3), temperature)
        assert sampler.read(np.zeros(1000, dtype=np.int64)).max() < 289


def test_large_samples_have_tiles_and_layers(codec: Codec) -> None:
    data = sampling.sample(codec, 1100, 40, seed=2, temperature=0.5)
    assert vqcodec.info(data).tiles == (2, 1)
    assert codec.decode(data, layers=1).size == (1100, 40)


def test_sample_command(tmp_path: Path) -> None:
    assert run("sample", "-m", TINY, "--size", "96x64", "-o", tmp_path / "a.png").exit_code == 0
    assert Image.open(tmp_path / "a.png").size == (96, 64)
    assert run("sample", "-m", TINY, "--size", "96x64", "-o", tmp_path / "a.vqc").exit_code == 0
    np.testing.assert_array_equal(
        np.asarray(Codec(TINY).decode(tmp_path / "a.vqc")), np.asarray(Image.open(tmp_path / "a.png"))
    )
    done = run("sample", "-m", TINY, "-o", tmp_path / "a.png")
    assert done.exit_code == 1
    assert "exists already" in done.stderr
    assert run("sample", "-m", TINY, "--size", "10", "-o", tmp_path / "b.png").exit_code == 2
    done = run("sample", "-m", TINY, "--gaussian", "-o", tmp_path / "b.png")
    assert done.exit_code == 1
    assert "has no Gaussian bottleneck" in done.stderr


# walks


def test_a_walk_leads_from_one_picture_to_the_other(codec: Codec) -> None:
    ends = [picture(100, 80, seed) for seed in (1, 2)]
    files = interpolation.interpolate(codec, *ends, 5, quality=90)
    shown = [np.asarray(codec.decode(data)).astype(float) for data in files]
    for number, end in ((0, ends[0]), (-1, ends[1])):
        direct = codec.decode_pixels(codec.encode_pixels(end, quality=90, effort=1)).astype(float)
        assert np.abs(shown[number] - direct).mean() < 1
    to_first = [np.square(frame - ends[0]).mean() for frame in shown]
    assert (np.diff(to_first) > 0).all()
    with pytest.raises(ValueError, match="one size"):
        interpolation.interpolate(codec, ends[0], ends[1][:50], 3)


def test_interpolate_command(photos: Path, tmp_path: Path) -> None:
    Image.fromarray(picture(90, 60)).save(tmp_path / "b.png")
    ends = (photos / "0.png", tmp_path / "b.png")
    done = run("interpolate", *ends, "-m", TINY, "--steps", "3", "-o", tmp_path / "w.gif", "--files", tmp_path / "f")
    assert done.exit_code == 0, done.output
    assert Image.open(tmp_path / "w.gif").n_frames == 3  # type: ignore[attr-defined]
    assert [Codec(TINY).decode(p).size for p in sorted((tmp_path / "f").glob("*.vqc"))] == [(150, 140)] * 3
    assert run("interpolate", *ends, "-m", TINY, "--steps", "3", "-o", tmp_path / "w.png").exit_code == 0
    assert Image.open(tmp_path / "w.png").size == (450, 140)
    for bad in (("w.jpg", ends[0]), ("x.gif", tmp_path / "missing.png")):
        done = run("interpolate", bad[1], ends[1], "-m", TINY, "-o", tmp_path / bad[0])
        assert done.exit_code == 1
        assert done.stderr.count("\n") == 1


def test_a_walk_never_overwrites_its_ends_nor_exceeds_the_limits(photos: Path, tmp_path: Path) -> None:
    ends = (photos / "0.png", photos / "1.png")
    before = [end.read_bytes() for end in ends]
    for end in ends:
        done = run("interpolate", *ends, "-m", TINY, "--steps", "2", "-f", "-o", end)
        assert done.exit_code == 1
        assert done.stderr == f"vqcodec: {end}: output and input are the same file\n"
    assert [end.read_bytes() for end in ends] == before
    Image.new("RGB", (400, 4)).save(tmp_path / "wide.png")
    done = run("interpolate", *[tmp_path / "wide.png"] * 2, "-m", TINY, "--steps", "240", "-o", tmp_path / "w.png")
    assert done.exit_code == 1
    assert "a side is longer than the limit" in done.stderr
    taken = tmp_path / "taken.gif"
    taken.touch()
    assert run("interpolate", *ends, "-m", TINY, "-o", taken).stderr.startswith(f"vqcodec: {taken}: exists already")


@pytest.mark.parametrize("options", [["--quality", "nan"], ["--temperature", "nan"]])
def test_nan_is_no_number(options: list[str], tmp_path: Path) -> None:
    assert run("sample", "-m", TINY, *options, "-o", tmp_path / "s.png").exit_code == 2


# the Gaussian bottleneck


def test_kl_is_that_of_torch_distributions() -> None:
    torch.manual_seed(0)
    mean, log_variance = torch.randn(3, 5), torch.randn(3, 5)
    posterior = torch.distributions.Normal(mean, torch.exp(0.5 * log_variance))
    expected = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0))
    torch.testing.assert_close(kl_to_normal(mean, log_variance), expected)


def test_reparameterised_draws_have_the_moments_and_pass_gradients() -> None:
    torch.manual_seed(0)
    mean, log_variance = torch.full((40_000,), 1.5, requires_grad=True), torch.full((40_000,), -1.0, requires_grad=True)
    draws = reparameterise(mean, log_variance)
    assert draws.mean().item() == pytest.approx(1.5, abs=0.02)
    assert draws.var().item() == pytest.approx(np.exp(-1.0), abs=0.02)
    draws.sum().backward()
    assert mean.grad is not None
    torch.testing.assert_close(mean.grad, torch.ones(40_000))
    assert log_variance.grad is not None
    assert (log_variance.grad != 0).any()


def test_the_elbo_rises_and_counts_per_cell() -> None:
    torch.manual_seed(0)
    bottleneck = LatentVAE(6, dims=4, width=8, hidden=16)
    latent = torch.randn(8, 8, 4, 6)
    optimizer = torch.optim.Adam(bottleneck.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        loss = sum(gaussian.negative_elbo(bottleneck, latent))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        optimizer.step()
        losses.append(float(loss.detach()))  # type: ignore[union-attr]
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    torch.manual_seed(1)
    together = gaussian.negative_elbo(bottleneck, latent)[1]
    apart = torch.stack([gaussian.negative_elbo(bottleneck, part)[1] for part in latent.split(4, 1)]).mean()
    torch.testing.assert_close(together, apart)


def test_a_bottleneck_leaves_the_model_and_its_files_as_they_are(photos: Path, tmp_path: Path) -> None:
    options = ["--bottleneck", "gaussian", "--from", TINY, "--minutes", "0.02", "--name", "tiny-vae"]
    done = run("train", photos, *options, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    codec = Codec("tiny-vae")
    assert codec.model_id == Codec(TINY).model_id
    assert codec.decode(FIXTURES / "rgb.vqc").size == (150, 90)
    ends = [picture(100, 80, seed) for seed in (1, 2)]
    files = interpolation.interpolate(codec, *ends, 3)
    assert [codec.decode(f).size for f in files] == [(100, 80)] * 3
    assert run("sample", "-m", "tiny-vae", "--gaussian", "--size", "70x30", "-o", tmp_path / "s.png").exit_code == 0
    assert Image.open(tmp_path / "s.png").size == (70, 30)


def test_an_unsound_bottleneck_is_one_line(tmp_path: Path) -> None:
    tensors, config = read_weights(TINY)
    state = LatentVAE(16, dims=2, width=4, hidden=4).state_dict()
    broken = {f"bottleneck.{k}": v.numpy() for k, v in state.items() if k != "squeeze.bias"}
    write_weights(tmp_path / "broken.safetensors", tensors | broken, config)
    with pytest.raises(ModelError, match="not a sound weights file"):
        interpolation.require_vae(Codec(tmp_path / "broken.safetensors"))
    narrow = {f"bottleneck.{k}": v.numpy() for k, v in LatentVAE(6, dims=2, width=4).state_dict().items()}
    write_weights(tmp_path / "narrow.safetensors", tensors | narrow, config)
    with pytest.raises(ModelError, match=r"bottleneck.decode_out.bias is float32 \[6\]"):
        Codec(tmp_path / "narrow.safetensors")


# pictures


def test_typefaces_are_held_out_by_family() -> None:
    assert not {p.parent for p in font_files(True)} & {p.parent for p in font_files(False)}
    assert {f.name for f in FAMILIES if f.held_out} == {"Hanken Grotesk", "Caladea"}
    assert not set(words(True)[:500]) >= set(words(False)[:500])
    with pytest.raises(FileNotFoundError, match=r"Nowhere.*pip install"):
        font_files(False, [Family("Nowhere", "no_such_package", "*.ttf", "OFL-1.1")])


def test_pictures_are_the_same_for_a_seed() -> None:
    fonts = font_files(False)
    for draw in (lambda: pages(fonts, words(False), 2, 5), lambda: glyphs(fonts, 4, 5)):
        first, second = ([(n, i.tobytes()) for n, i in draw()] for _ in range(2))
        assert first == second
    for _, page in pages(fonts, words(False), 2, 5):
        assert np.asarray(page).std() > 20
    letter = np.asarray(glyph(fonts[0], "H", 44))
    assert letter.shape == (64, 64, 3)
    assert letter[20:40].min() < 40
    assert (letter[:4] == 255).all()
