"""Imports point one way, and what is cheap stays cheap."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from support import FIXTURES, ROOT, picture

PACKAGES = (ROOT / "bitstream" / "vqbitstream", ROOT / "codec" / "vqcodec")
TORCH = {
    "vqvae",
    "training",
    "runtimes/torch_runtime.py",
    "runtimes/torch_state.py",
    "runtimes/tensors.py",
    "coding/descent.py",
    "coding/search.py",
    "generate/interpolation.py",
}


def imported(path: Path) -> set[str]:
    """Names of the modules that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module or ""} | {f"{node.module}.{a.name}" for a in node.names}
    return names


def test_imports_point_one_way() -> None:
    """The layers of the house, as pyproject.toml draws them."""
    done = subprocess.run(
        ["lint-imports", "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False, env=bin_first()
    )
    assert done.returncode == 0, done.stdout


def bin_first() -> dict[str, str]:
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def test_the_bitstream_needs_numpy_and_constriction_alone() -> None:
    allowed = {"numpy", "constriction", "vqbitstream", *sys.stdlib_module_names}
    for path in PACKAGES[0].rglob("*.py"):
        assert {n.split(".")[0] for n in imported(path)} <= allowed, path


def test_only_what_learns_or_searches_imports_torch() -> None:
    for path in PACKAGES[1].rglob("*.py"):
        name = path.relative_to(PACKAGES[1]).as_posix()
        if not TORCH & {name, name.split("/")[0]}:
            assert "torch" not in {n.split(".")[0] for n in imported(path)}, path


def test_only_the_command_imports_training() -> None:
    for path in PACKAGES[1].rglob("*.py"):
        if path.parent.name != "training" and path != PACKAGES[1] / "cli" / "train.py":
            assert not any(n.startswith("vqcodec.training") for n in imported(path)), path


@pytest.mark.parametrize(
    "arguments", [["-c", "import vqcodec"], ["-m", "vqcodec.cli", "--help"], ["-m", "vqcodec.cli", "info", str(FIXTURES / "rgb.vqc")]]
)  # fmt: skip
def test_no_torch_where_it_is_not_needed(arguments: list[str]) -> None:
    run = [sys.executable, "-X", "importtime", *arguments]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert "| torch" not in done.stderr.replace("  ", "")
    assert " torch\n" not in done.stderr


WATCH = """
import sys

def watch(event, arguments):
    if event == "import" and arguments[0] == "torch":
        raise AssertionError("torch is imported")

sys.addaudithook(watch)
"""
LIBRARY = """
import io, sys
import numpy as np, vqcodec
from PIL import Image

y, x = np.mgrid[:300, :300]
picture = np.stack([x * y >> 9, 255 - (x >> 1), y >> 1], 2).astype(np.uint8)
data = vqcodec.encode(picture, effort=1, target_bytes=3000)
vqcodec.info(data)
codec = vqcodec.load_model()
codec.verify(data)
for options in ({}, {"layers": 2}, {"region": (8, 8, 40, 40)}):
    vqcodec.decode(data, **options)
vqcodec.decode(data[:-1], allow_partial=True)
codec.decode_batch(codec.encode_batch([picture, picture], effort=1))
vqcodec.register_pillow_plugin()
out = io.BytesIO()
Image.fromarray(picture).save(out, "VQC", effort=1)
with Image.open(out) as image:
    image.draft("RGB", (30, 30))
    image.load()
"""


def run_watched(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Python, with a hook in it and in its workers that makes an import of torch an error."""
    (cwd / "site").mkdir(exist_ok=True)
    (cwd / "site" / "sitecustomize.py").write_text(WATCH)
    paths = os.pathsep.join([str(cwd / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False
    )


def test_reading_sampling_and_encoding_fast_never_import_torch_though_it_is_there(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.fromarray(picture(300, 250)).save(tmp_path / name)
    for line in (
        "encode -e 1 a.png", "encode -e 1 a.png b.png -o out -j 2", "info a.vqc", "models", "decode a.vqc c.png",
        "decode --layers 2 a.vqc d.png", "decode --crop 10,10,60,50 a.vqc e.png", "decode --allow-partial a.vqc f.png",
        "decode -r out -o back -j 2", "sample --size 64x64 -o g.png", "train --help",
    ):  # fmt: skip
        done = run_watched("-m", "vqcodec.cli", *line.split(), cwd=tmp_path)
        assert done.returncode == 0, f"{line}: {done.stderr}"
    assert {p.name for p in (tmp_path / "back").iterdir()} == {"a.png", "b.png"}
    done = run_watched("-c", LIBRARY, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for search in (["-m", "vqcodec.cli", "encode", "-e", "2", "a.png", "-f"], ["-c", "import torch"]):
        done = run_watched(*search, cwd=tmp_path)
        assert done.returncode == 1
        assert "torch is imported" in done.stderr


def test_the_trainer_needs_no_entropy_coder() -> None:
    """It must run on a bare torch machine: constriction is made unimportable, and a model is exported."""
    program = (
        "import sys; sys.modules['constriction'] = None\n"
        "import vqcodec.training.run, vqcodec.training.tables, vqcodec.cli\n"
        "assert 'vqbitstream.entropy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
