"""Everything but the encoder's search, training and GPUs works where PyTorch is not installed. Run by `run.sh`, not with the others."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import sysconfig
import warnings
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import vqcodec
from PIL import Image

FIXTURES = Path(__file__).parents[1] / "fixtures"
TINY = FIXTURES / "tiny.safetensors"
MAX_SITE_PACKAGES_MB = 155
WIDTH, HEIGHT = 330, 220  # more than 65535 pixels: every layer has a section of its own


def picture(seed: int = 0, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Smooth colours with an edge. uint8 [height, width, 3]"""
    y, x = np.mgrid[0:height, 0:width]
    planes = [120 + 60 * np.sin(x / (17 + c + seed)) + 40 * np.cos(y / (23 - c)) + 30 * (x > y) for c in range(3)]
    return np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)


def command(*arguments: str | Path, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    """The installed command, as a process of its own."""
    program = Path(sys.executable).parent / "vqcodec"
    return subprocess.run([program, *map(str, arguments)], capture_output=True, input=stdin, check=False, timeout=120)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(picture()).save(path)
    return path


@pytest.fixture(scope="module")
def data() -> bytes:
    return vqcodec.encode(picture(), effort=1, quality=70)


def test_torch_is_not_here() -> None:
    assert find_spec("torch") is None
    with pytest.raises(ModuleNotFoundError):
        import torch  # noqa: F401


def test_an_install_is_small(capfd: pytest.CaptureFixture[str]) -> None:
    folders = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    size_mb = sum(f.stat().st_size for folder in folders for f in Path(folder).rglob("*") if f.is_file()) / 1e6
    with capfd.disabled():
        print(f"without PyTorch: {size_mb:.0f} MB of site-packages, pip and pytest among them")
    assert size_mb < MAX_SITE_PACKAGES_MB


def test_the_command_encodes_and_says_once_what_is_missing_and_what_it_costs(photo: Path, tmp_path: Path) -> None:
    done = command("encode", photo)
    assert done.returncode == 0
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("vqcodec: warning: encoding with effort 1, which makes files about 5 % larger")
    assert "pip install 'vqcodec[torch]'" in line
    assert photo.with_suffix(".vqc").read_bytes() == vqcodec.encode(picture(), effort=1)

    done = command("encode", "-e", "1", photo, tmp_path / "again.vqc")
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "again.vqc").read_bytes() == photo.with_suffix(".vqc").read_bytes()


def test_an_effort_that_is_asked_for_is_one_line_and_exit_1(photo: Path) -> None:
    for arguments in (("encode", photo), ("compare", photo)):
        done = command(*arguments, "-e", "5")
        assert done.returncode == 1
        assert done.stderr.decode() == (
            "vqcodec: effort 5 needs PyTorch: pip install 'vqcodec[torch]', or use effort 1\n"
        )
        assert not photo.with_suffix(".vqc").exists()


@pytest.mark.parametrize("arguments", [
    ["train", "photo.png", "--minutes", "1"], ["interpolate", "photo.png", "photo.png", "-o", "walk.png"],
    ["sample", "--gaussian", "-o", "sample.png"],
])  # fmt: skip
def test_commands_that_need_torch_are_one_line_and_exit_1(arguments: list[str], photo: Path) -> None:
    done = command(*(photo.parent / a if "." in a else a for a in arguments))
    assert done.returncode == 1
    (line,) = done.stderr.decode().splitlines()
    assert line.endswith("this needs PyTorch: pip install 'vqcodec[torch]'")


def test_the_library_warns_by_default_and_refuses_what_needs_torch() -> None:
    with pytest.warns(UserWarning, match="higher efforts need PyTorch"):
        data = vqcodec.encode(picture())
    assert data == vqcodec.encode(picture(), effort=1)
    for effort in (2, 5, 9):
        with pytest.raises(ValueError, match=f"effort {effort} needs PyTorch"):
            vqcodec.encode(picture(), effort=effort)
    with pytest.raises(ValueError, match="needs PyTorch"):
        vqcodec.load_model(device="cuda")


def test_targets_are_reached_at_effort_1() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = vqcodec.encode(picture(), effort=1, target_bytes=2500)
    assert 2450 <= len(data) <= 2500


def test_decoding_cropping_previews_and_verification(data: bytes, tmp_path: Path) -> None:
    whole = np.asarray(vqcodec.decode(data), dtype=int)
    assert np.abs(whole - picture()).mean() < 4
    part = np.asarray(vqcodec.decode(data, region=(100, 50, 64, 40)), dtype=int)
    assert np.abs(part - whole[50:90, 100:164]).max() <= 1
    errors = [np.square(np.asarray(vqcodec.decode(data, layers=n), dtype=float) - picture()).mean() for n in (1, 5)]
    assert errors[0] > errors[1]
    vqcodec.load_model().verify(data)

    (tmp_path / "x.vqc").write_bytes(data)
    assert command("decode", tmp_path / "x.vqc").returncode == 0
    assert np.array_equal(Image.open(tmp_path / "x.png"), vqcodec.decode(data))
    crop = command("decode", tmp_path / "x.vqc", "-", "--crop", "100,50,64,40", "--layers", "2")
    assert Image.open(io.BytesIO(crop.stdout)).size == (64, 40)


def test_golden_files_decode(tmp_path: Path) -> None:
    facts = json.loads((FIXTURES / "golden.json").read_text())
    for name in facts:
        done = command("decode", "-m", TINY, FIXTURES / f"{name}.vqc", tmp_path / f"{name}.png")
        assert (done.returncode, done.stderr) == (0, b"")


def test_a_cut_file_shows_what_is_sound(data: bytes, tmp_path: Path) -> None:
    cut = data[:-20]
    with pytest.raises(vqcodec.TruncatedError):
        vqcodec.decode(cut)
    with pytest.warns(UserWarning, match="incomplete picture"):
        assert vqcodec.decode(cut, allow_partial=True).size == (WIDTH, HEIGHT)
    (tmp_path / "cut.vqc").write_bytes(cut)
    done = command("decode", "--allow-partial", tmp_path / "cut.vqc")
    assert done.returncode == 0
    assert b"warning: " in done.stderr


def test_info_and_models(data: bytes) -> None:
    facts = json.loads(command("info", "-", "--json", stdin=data).stdout)
    assert (facts["width"], facts["height"], facts["quality"]) == (WIDTH, HEIGHT, 70)
    (entry, *_) = json.loads(command("models", "--json").stdout)
    assert entry["model_id"] == facts["model_id"]


def test_samples(tmp_path: Path) -> None:
    for name in ("a.vqc", "b.vqc", "c.png"):
        done = command("sample", "--size", "64x48", "--seed", "7", "-o", tmp_path / name)
        assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "a.vqc").read_bytes() == (tmp_path / "b.vqc").read_bytes()
    assert np.array_equal(Image.open(tmp_path / "c.png"), vqcodec.decode(tmp_path / "a.vqc"))


def test_a_comparison(photo: Path) -> None:
    done = command("compare", photo, "-o", photo.with_suffix(".html"))
    assert done.returncode == 0
    assert done.stderr.count(b"\n") == 1
    assert b"vqcodec, quality 75, effort 1: " in done.stdout
    assert photo.with_suffix(".html").stat().st_size > 10_000


@pytest.mark.parametrize("workers", [1, 2])
def test_a_batch_says_once_that_torch_is_missing(workers: int, tmp_path: Path) -> None:
    for seed in range(4):
        Image.fromarray(picture(seed, 90, 60)).save(tmp_path / f"{seed}.png")
    done = command("encode", "-r", tmp_path, "-o", tmp_path / "out", "-j", str(workers))
    assert done.returncode == 0
    assert done.stderr.decode().count("higher efforts need PyTorch") == 1
    assert "4 of 4 inputs encoded in " in done.stderr.decode()
    for seed in range(4):
        expected = vqcodec.encode(picture(seed, 90, 60), effort=1)
        assert (tmp_path / "out" / f"{seed}.vqc").read_bytes() == expected
    done = command("decode", "-r", tmp_path / "out", "-o", tmp_path / "back", "-j", str(workers))
    assert done.returncode == 0
    assert len(list((tmp_path / "back").glob("*.png"))) == 4


def test_the_pillow_plugin_opens_saves_and_drafts(data: bytes, tmp_path: Path) -> None:
    vqcodec.register_pillow_plugin()
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.size) == ("VQC", (WIDTH, HEIGHT))
        assert np.array_equal(image, vqcodec.decode(data))
    with Image.open(io.BytesIO(data)) as image:
        image.draft("RGB", (WIDTH // 3, HEIGHT // 3))
        image.load()
        assert image.size == (WIDTH // 2, HEIGHT // 2)
    with pytest.warns(UserWarning, match="higher efforts need PyTorch"):
        Image.fromarray(picture()).save(tmp_path / "x.vqc", quality=70)
    assert (tmp_path / "x.vqc").read_bytes() == data
    with pytest.raises(ValueError, match="effort 5 needs PyTorch"):
        Image.fromarray(picture()).save(tmp_path / "y.vqc", effort=5)
    assert not (tmp_path / "y.vqc").exists()
