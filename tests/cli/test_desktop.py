"""The desktop's files: installed, recognised, and the thumbnailer's line makes a thumbnail."""

from __future__ import annotations

import configparser
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import vqcodec
from click.testing import CliRunner
from PIL import Image
from support import picture
from vqcodec.cli.main import main

linux = pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="freedesktop.org")


@pytest.fixture
def share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    assert CliRunner().invoke(main, ["desktop"]).exit_code == 0
    return tmp_path / "share"


@linux
def test_the_thumbnailers_line_makes_a_thumbnail(share: Path, tmp_path: Path) -> None:
    entry = configparser.RawConfigParser()
    entry.optionxform = str  # type: ignore[assignment,method-assign]
    entry.read(share / "thumbnailers" / "vqcodec.thumbnailer")
    line = entry["Thumbnailer Entry"]
    assert Path(line["TryExec"]).exists()
    source, out = tmp_path / "it's a picture.vqc", tmp_path / "thumb nail"  # a name without a suffix
    source.write_bytes(vqcodec.encode(picture(300, 200), effort=1))
    places = {"%i": str(source), "%o": str(out), "%s": "128"}
    subprocess.run([places.get(word, word) for word in shlex.split(line["Exec"])], check=True)
    assert Image.open(out).format == "PNG"
    assert Image.open(out).size == (128, 85)


@linux
@pytest.mark.skipif(not shutil.which("update-mime-database"), reason="needs shared-mime-info")
def test_the_type_is_known(share: Path) -> None:
    assert "image/x-vqc:*.vqc" in (share / "mime" / "globs").read_text()
    magic = (share / "mime" / "magic").read_bytes()
    assert b"image/x-vqc" in magic
    assert b"\x89VQC\r\n\x1a\n" in magic


@linux
def test_remove_leaves_nothing_of_ours(share: Path) -> None:
    assert CliRunner().invoke(main, ["desktop", "--remove"]).exit_code == 0
    left = [p for p in share.rglob("*") if p.is_file() and "vqc" in p.read_bytes().decode("latin-1")]
    assert left == []
