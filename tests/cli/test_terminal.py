"""Texts from outside: a terminal obeys none of them, and a report in JSON holds all of them."""

from __future__ import annotations

import ast
import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import vqcodec.cli
from PIL import Image
from safetensors.numpy import save_file
from support import TINY, picture
from vqbitstream.errors import VQCError, visible
from vqcodec import ImageError

pytestmark = pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are Unicode there")
NAMES = {  # in the file system, on the terminal
    b"\x1b]0;title\x07red.png": r"\x1b]0;title\x07red.png",
    b"new\nline  two.png": r"new\nline  two.png",
    b"c1 \xc2\x9b31m.png": r"c1 \x9b31m.png",
    "right to \u202e left.png".encode(): r"right to \u202e left.png",
    b"latin \xe9.png": r"latin \xe9.png",
    "grüße 👩‍👧.png".encode(): "grüße 👩‍👧.png",
}
HOSTILE = re.compile(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xa8-\xae]")


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A command that may print anything but what a terminal would obey, and only UTF-8."""
    command = [sys.executable, "-m", "vqcodec.cli", *(a if isinstance(a, bytes) else str(a) for a in arguments)]
    done = subprocess.run(command, capture_output=True, env=os.environ | environment, check=False)
    for stream in (done.stdout, done.stderr):
        assert not HOSTILE.search(stream), stream
        stream.decode()
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of awful names, and one that is none."""
    top = tmp_path_factory.mktemp("names")
    for name in NAMES:
        with open(os.fsencode(top) + b"/" + name, "wb") as file:  # noqa: PTH123
            Image.fromarray(picture(20, 16)).save(file, "PNG")
    (top / "no\x1bpicture.png").write_text("none")
    return top


def test_what_is_visible() -> None:
    assert visible("a\tb\r\n\x00\x7f\x85\u2028\u2066\udcff\ud800") == r"a\tb\r\n\x00\x7f\x85\u2028\u2066\xff\ud800"
    assert visible("a b  c \\ é 漢 🙂") == "a b  c \\ é 漢 🙂"
    assert visible(visible("\x1b")) == visible("\x1b")
    assert str(VQCError("a\nb\x1b")) == r"a\nb\x1b"


def test_names_of_files(folder: Path, tmp_path: Path) -> None:
    done = run("encode", "-r", folder, "-o", tmp_path / "out", "--json", "-m", TINY, "-e", "1")
    assert done.returncode == 1
    assert rb"/no\x1bpicture.png: not a picture that Pillow can read" in done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    json.dumps(rows, ensure_ascii=False).encode()  # no half of a surrogate pair: strict readers refuse it
    made = {row["input"]: row for row in rows if row.get("status") == "done"}
    assert len(made) == len(NAMES)
    for name in NAMES:
        row = made[f"{folder}/" + name.decode(errors="replace")]
        exact = base64.b64decode(row["input_base64"]) if "input_base64" in row else row["input"].encode()
        assert exact == os.fsencode(folder) + b"/" + name
        assert ("input_base64" in row) == ("output_base64" in row) == (b"\xe9" in name)
    told = run("decode", "-r", tmp_path / "out", "-m", TINY, "-v").stderr.decode()
    for name in NAMES.values():
        assert f"{tmp_path}/out/{name.removesuffix('.png')}.vqc -> {tmp_path}/out/{name}: " in told
    for path in (tmp_path / "out").glob("*.vqc"):
        shown = visible(str(path))
        assert run("info", path).stdout.decode().startswith(f"{shown}: 20x16 RGB")
        assert run("info", path, PYTHONIOENCODING="ascii").returncode == 0
    for command in (["estimate", folder, "-e", "1", "-m", TINY, "--samples", "99"], ["verify", "-r", folder]):
        assert run(*command).returncode == 0


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (["decode", b"gone \x1b\xff.vqc"], 1, r"gone \x1b\xff.vqc: No such file"),
        (["encode", b"a\x1b.png", b"b\x1b\n.pdf"], 2, r"b\x1b\n.pdf is no input"),
        (["encode", b"a.png", b"-\x1b"], 2, r"\x1b"),
        (["encode", b"a.png", "-q", b"\x1b"], 2, r"\x1b"),
        ([b"\x1b[2J"], 2, r"\x1b[2J"),
        (["models", "remove", b"\x1b\xff"], 1, r"\x1b"),
        (["models", "add", b"\x1b.safetensors"], 1, r"\x1b.safetensors: no such weights file"),
        (["view", b"\x1b.vqc"], 1, r"\x1b.vqc: no such file or folder"),
        (["compare", b"\x1b.png", "-o", b"\x1b.pdf"], 2, r"\x1b.pdf is neither .html nor .png"),
        (["sample", "-o", b"\x1b.bmp"], 1, r"\x1b.bmp: must end in"),
    ],
)
def test_arguments(command: list[Any], code: int, said: str) -> None:
    done = run(*command)
    assert done.returncode == code
    assert said in done.stderr.decode()


def test_what_weights_files_say(folder: Path, tmp_path: Path) -> None:
    name, config = "prior.\x1b[2J", {"groups": "\x1b[31m"}
    for number, metadata in enumerate((None, {"vqcodec_config": json.dumps(config)}, {"vqcodec_config": "\x1b"})):
        path = tmp_path / f"{number}\x1b.safetensors"
        save_file({name: np.zeros(1, np.float32)}, path, metadata)
        assert run("models", "add", path).returncode == 1
    (tmp_path / "mine\x1b-0123456789abcdef.safetensors").write_bytes(b"")
    done = run("models", VQCODEC_MODELS=str(tmp_path))
    assert rb"mine\x1b: 0123456789abcdef, yours" in done.stdout
    assert run("models", "--json", VQCODEC_MODELS=str(tmp_path)).returncode == 0


def test_exceptions_and_warnings_of_the_library(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"no\\x1bpicture.png: not a picture"):
        vqcodec.encode(folder / "no\x1bpicture.png")
    moving = tmp_path / "moving \x1b\udcff.webp"
    frames = [Image.fromarray(picture(20, 16, seed)) for seed in (1, 2)]
    with moving.open("wb") as file:
        frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:])
    with pytest.warns(UserWarning, match=r"moving \\x1b\\xff.webp has 2 frames"):
        vqcodec.encode(moving, effort=1)


def test_nothing_is_printed_past_the_functions_that_look_at_it() -> None:
    """`click.echo` prints what it is given: only our own texts may reach it (completion scripts, the manual)."""
    calls = []
    for path in Path(vqcodec.cli.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("click.echo", "print", "echo", "click.secho"):
                calls.append((path.name, ast.unparse(node)))
    assert {call for name, call in calls if name != "console.py"} == {
        "click.echo(kind(main, {}, 'vqcodec', '_VQCODEC_COMPLETE').source())",
        "click.echo(page(main, 'vqcodec'), nl=False)",
    }
