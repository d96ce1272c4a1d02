"""The command line, as a user meets it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from support import FIXTURES, TINY, picture
from vqcodec import atomic as files
from vqcodec.cli.main import main


def run(*arguments: str | Path, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments], input=stdin)


def encoded(photo: Path) -> Path:
    assert run("encode", photo, "-m", TINY).exit_code == 0
    return photo.with_suffix(".vqc")


def test_round_trip_with_swapped_suffix(photo: Path) -> None:
    original = photo.read_bytes()
    file = encoded(photo)
    photo.unlink()
    assert run("decode", file, "-m", TINY).exit_code == 0
    assert Image.open(photo).size == Image.open(io.BytesIO(original)).size


def test_pipes(photo: Path) -> None:
    done = run("encode", "-", "-", "-m", TINY, stdin=photo.read_bytes())
    assert done.exit_code == 0
    back = run("decode", "-", "-m", TINY, stdin=done.stdout_bytes)
    assert Image.open(io.BytesIO(back.stdout_bytes)).size == (90, 70)


def test_output_format_follows_its_suffix(photo: Path) -> None:
    file = encoded(photo)
    out = photo.with_name("out.webp")
    assert run("decode", file, out, "-m", TINY).exit_code == 0
    assert Image.open(out).format == "WEBP"


def test_info(photo: Path) -> None:
    file = encoded(photo)
    assert "90x70 RGB" in run("info", file).stdout
    facts = json.loads(run("info", "--json", file).stdout)
    assert facts["width"] == 90
    assert facts["file_bytes"] == file.stat().st_size


def test_nothing_is_overwritten_without_force(photo: Path) -> None:
    file = encoded(photo)
    before = file.read_bytes()
    done = run("encode", photo, "-m", TINY, "-q", "90")
    assert done.exit_code == 1
    assert "exists already" in done.stderr
    assert file.read_bytes() == before
    assert run("encode", photo, "-m", TINY, "-q", "90", "-f").exit_code == 0
    assert file.read_bytes() != before


@pytest.mark.parametrize("kind", ["text", "missing", "folder", "empty", "cut", "same", "unreadable"])
def test_wrong_input_is_one_line_and_leaves_nothing(kind: str, photo: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    out = tmp_path / "out.vqc"
    if kind == "text":
        bad.write_text("not a picture")
    elif kind == "folder":
        bad.mkdir()
    elif kind == "empty":
        bad.touch()
    elif kind == "cut":
        bad.write_bytes(photo.read_bytes()[:300])
    elif kind == "same":
        bad = photo.rename(photo.with_suffix(".vqc"))
        out = bad
    elif kind == "unreadable":
        bad = Path("/proc/self/mem")
    before = sorted(tmp_path.iterdir())
    done = run("encode", bad, out, "-m", TINY, "-f")
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("vqcodec: ")
    assert sorted(tmp_path.iterdir()) == before


DAMAGE = {
    "png": "not a .vqc file",
    "cut": "ends inside the alpha section",
    "flipped": "checksum",
    "appended": "follow the last section",
    "unknown model": "not installed",
    "newer version": "format version 9",
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_bad_files_are_one_line_and_leave_nothing(kind: str, photo: Path, tmp_path: Path) -> None:
    data = bytearray((FIXTURES / "rgb.vqc").read_bytes())
    if kind == "png":
        data = bytearray(photo.read_bytes())
    elif kind == "cut":
        data = data[:-3]
    elif kind == "flipped":
        data[60] ^= 4
    elif kind == "appended":
        data += b"\0"
    elif kind == "newer version":
        data[8] = 9
    file = tmp_path / "bad.vqc"
    file.write_bytes(data)
    before = sorted(tmp_path.iterdir())
    model = [] if kind == "unknown model" else ["-m", TINY]
    done = run("decode", file, tmp_path / "out.png", *model)
    assert done.exit_code == 1
    assert DAMAGE[kind] in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("target", ["fifo.png", "no/out.png", "out.psd"])
def test_outputs_that_cannot_be(target: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.png")
    done = run("decode", FIXTURES / "rgb.vqc", tmp_path / target, "-f", "-m", TINY)
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "fifo.png").is_fifo()


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.png").touch()
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    assert run("decode", FIXTURES / "rgb.vqc", tmp_path / "link.png", "-f", "-m", TINY).exit_code == 0
    assert (tmp_path / "link.png").is_symlink()
    assert Image.open(tmp_path / "real.png").size == (150, 90)


@pytest.mark.parametrize(
    "arguments",
    [
        ["encode"],
        ["encode", "a.png", "-q", "0"],
        ["nonsense"],
        ["encode", "a.png", "b.png"],
        ["decode", "a.vqc", "b.vqc"],
        ["encode", "a.png", "b.png", "-o", "x.vqc"],
        ["encode", "a.png", "-o", "x.png"],
        ["decode", "a.vqc", "b.vqc", "-o", "x.png"],
        ["encode", "a.png", "b.png", "-o", "-"],
        ["encode", "a.png", "-", "b.png"],
        ["encode", "a.png", "--delete-source", "--no-verify"],
        ["encode", "-", "x.vqc", "--delete-source"],
        ["encode", "a.png", "-v", "--quiet"],
        ["encode", "a.png", "-f", "-u"],
        ["encode", "a.png", "--target-ssimulacra2", "101"],
        ["encode", "a.png", "--preset", "nonsense"],
        ["decode", "a.vqc", "--to", "psd"],
        ["encode", "a.png", "--target-size", "10k", "--target-psnr", "30"],
        ["encode", "a.png", "--target-size", "ten"],
        ["encode", "-", "-o", "out"],
        ["decode", "a.vqc", "--crop", "1,2,3"],
        ["decode", "a.vqc", "--crop", "0,0,-5,5"],
        ["decode", "a.vqc", "--scale", "1/3"],
        ["decode", "a.vqc", "--max-size", "0"],
        ["decode", "a.vqc", "--scale", "1/2", "--max-size", "9"],
        ["encode", "a.tga", "b.tga", "-f"],
        ["encode", "a.png", "b", "-f"],
        ["encode", "a.png", "-q", "nan"],
        ["encode", "a.png", "--target-psnr", "inf"],
        ["encode", "a.png", "--target-size", "10mk"],
    ],
)
def test_wrong_use_is_exit_2(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


def test_a_batch_goes_on_after_a_bad_input(photo: Path, tmp_path: Path) -> None:
    bad, other = tmp_path / "bad.png", tmp_path / "other.webp"
    bad.write_text("no picture")
    Image.open(photo).save(other)
    out = tmp_path / "new" / "out"
    done = run("encode", bad, photo, other, "-o", out, "-m", TINY, "-v")
    assert done.exit_code == 1
    assert sorted(p.name for p in out.iterdir()) == ["other.vqc", "photo.vqc"]
    assert "bad.png: not a picture" in done.stderr
    assert "1 of 3 inputs failed" in done.stderr
    assert done.stderr.count(" -> ") == 2
    back = run("decode", out / "photo.vqc", out / "other.vqc", "-o", tmp_path / "back", "-m", TINY)
    assert back.exit_code == 0
    assert sorted(p.name for p in (tmp_path / "back").iterdir()) == ["other.png", "photo.png"]


def test_two_inputs_never_share_an_output(photo: Path, tmp_path: Path) -> None:
    Image.open(photo).save(tmp_path / "photo.webp")
    done = run("encode", photo, tmp_path / "photo.webp", "-o", tmp_path / "out", "-m", TINY, "-f")
    assert done.exit_code == 1
    assert done.stderr.count("another input has the same output") == 2
    assert not (tmp_path / "out").exists()


def test_a_file_that_appears_meanwhile_is_not_overwritten(photo: Path, tmp_path: Path) -> None:
    target = tmp_path / "late.vqc"

    def fill(file: IO[bytes]) -> None:
        file.write(b"ours")
        target.write_bytes(b"precious")

    with pytest.raises(ValueError, match="exists already"):
        files.write(str(target), fill, force=False)
    assert target.read_bytes() == b"precious"
    files.write(str(target), fill, force=True)
    assert target.read_bytes() == b"ours"
    assert sorted(tmp_path.iterdir()) == [target, photo]


def test_a_batch_goes_on_where_it_stopped(photo: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.png"
    Image.open(photo).save(other)
    out = tmp_path / "out"
    assert run("encode", photo, "-o", out, "-m", TINY).exit_code == 0
    before = (out / "photo.vqc").read_bytes()
    done = run("encode", photo, other, "-o", out, "-m", TINY, "-q", "90")
    assert done.exit_code == 0
    assert "1 of 2 inputs skipped" in done.stderr
    assert (out / "photo.vqc").read_bytes() == before
    (out / "other.vqc").write_bytes(b"")  # not a file of ours, but not ours to overwrite either
    done = run("encode", photo, other, "-o", out, "-m", TINY)
    assert done.exit_code == 1
    assert "other.vqc: exists already" in done.stderr


def test_targets(photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.vqc"
    assert run("encode", photo, out, "--target-size", "0.15k", "-m", TINY).exit_code == 0
    assert out.stat().st_size <= 150
    done = run("encode", photo, out, "--target-size", "20", "-m", TINY, "-f")
    assert done.exit_code == 1
    assert "the nearest possible is" in done.stderr
    done = run("encode", photo, out, "--target-size", "1M", "-m", TINY, "-f")
    assert done.exit_code == 0
    assert "the nearest to 1000000 bytes" in done.stderr


def test_previews(photo: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.vqc"
    assert run("encode", photo, file, "-m", TINY, "--effort", "1").exit_code == 0
    width, height = Image.open(photo).size
    assert run("decode", file, tmp_path / "a.png", "--scale", "1/4", "-m", TINY).exit_code == 0
    assert Image.open(tmp_path / "a.png").size == (-(-width // 4), -(-height // 4))
    assert run("decode", file, tmp_path / "b.png", "--max-size", "20", "-m", TINY).exit_code == 0
    assert max(Image.open(tmp_path / "b.png").size) == 20


def test_crop_and_layers(photo: Path, tmp_path: Path) -> None:
    file = encoded(photo)
    assert run("decode", file, tmp_path / "a.png", "--crop", "10,20,30,40", "-m", TINY).exit_code == 0
    assert Image.open(tmp_path / "a.png").size == (30, 40)
    done = run("decode", file, tmp_path / "b.png", "--crop", "80,0,30,40", "-m", TINY)
    assert done.exit_code == 1
    assert "not inside 90x70" in done.stderr
    assert run("decode", file, tmp_path / "c.png", "--layers", "9", "-m", TINY).exit_code == 1


def test_cut_files(photo: Path, tmp_path: Path) -> None:
    Image.fromarray(picture(300, 260)).save(photo)
    file = encoded(photo)
    file.write_bytes(file.read_bytes()[:-1])
    assert run("decode", file, tmp_path / "a.png", "-m", TINY).exit_code == 1
    done = run("decode", file, tmp_path / "a.png", "--allow-partial", "-m", TINY)
    assert done.exit_code == 0
    assert "incomplete picture: the file ends inside layer section 3 of 3" in done.stderr
    assert Image.open(tmp_path / "a.png").size == (300, 260)


def test_alpha_and_metadata_survive_and_strip_drops_the_latter(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    Image.fromarray(np.dstack([picture(50, 40), picture(50, 40)[..., :1]])).save(tmp_path / "a.png", exif=exif)
    file = encoded(tmp_path / "a.png")
    facts = json.loads(run("info", "--json", file).stdout)
    assert facts["mode"] == "RGBA"
    assert facts["alpha_bytes"] > 0
    assert set(facts["metadata"]) == {"exif"}
    assert run("decode", file, tmp_path / "b.png", "-m", TINY).exit_code == 0
    back = Image.open(tmp_path / "b.png")
    assert back.getexif()[0x010F] == "Maker"
    np.testing.assert_array_equal(np.asarray(back)[..., 3], np.asarray(Image.open(tmp_path / "a.png"))[..., 3])
    assert run("encode", tmp_path / "a.png", "-f", "--strip", "-m", TINY).exit_code == 0
    assert not json.loads(run("info", "--json", file).stdout)["metadata"]
    assert "alpha" in run("info", file).stdout
    done = run("decode", file, tmp_path / "b.jpg", "-m", TINY)
    assert done.exit_code == 1
    assert not (tmp_path / "b.jpg").exists()


def test_max_pixels_in_both_directions(photo: Path, tmp_path: Path) -> None:
    assert run("encode", photo, "--max-pixels", "6299", "-m", TINY).exit_code == 1
    file = encoded(photo)
    done = run("decode", file, tmp_path / "a.png", "--max-pixels", "6299", "-m", TINY)
    assert done.exit_code == 1
    assert "6300 pixels, over the limit of 6299" in done.stderr


def test_models_and_completion() -> None:
    listed = json.loads(run("models", "--json").stdout)
    assert listed[0].keys() >= {"name", "model_id", "license", "sha256", "bytes"}
    assert listed[0]["name"] in run("models").stdout
    for shell in ("bash", "zsh", "fish"):
        assert "_VQCODEC_COMPLETE" in run("completion", shell).stdout


def test_threads(photo: Path) -> None:
    before = torch.get_num_threads()
    try:
        assert run("encode", photo, "--threads", "1", "-m", TINY).exit_code == 0
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_an_output_never_destroys_an_input_of_the_batch(photo: Path, tmp_path: Path) -> None:
    other = tmp_path / "photo.vqc"
    Image.open(photo).save(other, format="PNG")
    before = other.read_bytes()
    done = run("encode", photo, other, "-o", tmp_path, "-f", "-m", TINY)
    assert done.exit_code == 1
    assert "another input has the same output" in done.stderr
    assert other.read_bytes() == before


def test_every_message_names_its_input(tmp_path: Path) -> None:
    data = (FIXTURES / "rgb.vqc").read_bytes()
    for name, part in (("one.vqc", data[:-3]), ("two.vqc", b"nothing"), ("three.vqc", data[:-3])):
        (tmp_path / name).write_bytes(part)
    files = [tmp_path / f"{n}.vqc" for n in ("one", "two", "three")]
    done = run("decode", *files, "-o", tmp_path / "new", "-m", TINY)
    lines = done.stderr.splitlines()
    assert [f.name in line for f, line in zip(files, lines, strict=False)] == [True] * 3
    assert not (tmp_path / "new").exists()


def test_permissions_stay_and_long_names_work(photo: Path, tmp_path: Path) -> None:
    long = photo.rename(tmp_path / ("x" * 245 + ".png"))
    file = encoded(long)
    file.chmod(0o600)
    assert run("encode", long, "-f", "-m", TINY).exit_code == 0
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_loop_of_links_is_one_line(photo: Path, tmp_path: Path) -> None:
    (tmp_path / "l.vqc").symlink_to(tmp_path / "l.vqc")
    done = run("encode", photo, tmp_path / "l.vqc", "-f", "-m", TINY)
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&-"])
def test_closed_streams(closed: str, photo: Path, tmp_path: Path) -> None:
    command = f"'{sys.executable}' -m vqcodec.cli encode {'-' if closed == '<&-' else photo} out.vqc -m {TINY} {closed}"
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (tmp_path / "out.vqc").exists() == (closed != "<&-")
    assert done.returncode == (1 if closed == "<&-" else 0)
    assert "Traceback" not in done.stderr
