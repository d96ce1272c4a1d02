"""The command line, as a user meets it."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image
from support import FIXTURES, TINY
from vqcodec.cli import main


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


@pytest.mark.parametrize("kind", ["text", "missing", "folder", "empty", "cut", "alpha", "same"])
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
    elif kind == "alpha":
        Image.new("RGBA", (20, 20)).save(bad)
    elif kind == "same":
        bad, out = photo, photo
    before = sorted(tmp_path.iterdir())
    done = run("encode", bad, out, "-m", TINY, "-f")
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("vqcodec: ")
    assert sorted(tmp_path.iterdir()) == before


DAMAGE = {
    "png": "not a .vqc file",
    "cut": "ends inside section",
    "flipped": "checksum",
    "appended": "follow the last section",
    "unknown model": "not installed",
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
    file = tmp_path / "bad.vqc"
    file.write_bytes(data)
    before = sorted(tmp_path.iterdir())
    model = [] if kind == "unknown model" else ["-m", TINY]
    done = run("decode", file, tmp_path / "out.png", *model)
    assert done.exit_code == 1
    assert DAMAGE[kind] in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("target", ["fifo", "no/out.png", "out.psd"])
def test_outputs_that_cannot_be(target: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    done = run("decode", FIXTURES / "rgb.vqc", tmp_path / target, "-f", "-m", TINY)
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "fifo").is_fifo()


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.png").touch()
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    assert run("decode", FIXTURES / "rgb.vqc", tmp_path / "link.png", "-f", "-m", TINY).exit_code == 0
    assert (tmp_path / "link.png").is_symlink()
    assert Image.open(tmp_path / "real.png").size == (150, 90)


@pytest.mark.parametrize(
    "arguments", [["encode"], ["encode", "a.png", "-q", "0"], ["nonsense"], ["encode", "a", "b", "c"]]
)
def test_wrong_use_is_exit_2(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2
