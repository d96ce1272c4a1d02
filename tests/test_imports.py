"""Imports point one way, and what is cheap stays cheap."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from support import FIXTURES

ROOT = Path(__file__).parent.parent


def imported(path: Path) -> set[str]:
    """Top-level names and vqcodec submodules that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = ("." * node.level) + (node.module or "")
            names |= {module} | {f"{module.rstrip('.')}.{a.name}" for a in node.names}
    return names


def test_the_bitstream_knows_neither_torch_nor_pillow() -> None:
    for path in (ROOT / "bitstream").glob("*.py"):
        assert not {n.split(".")[0] for n in imported(path)} & {"torch", "PIL", "vqcodec"}, path


def test_model_quantizer_and_prior_know_no_bytes() -> None:
    for name in ("model", "quantizer", "prior", "latent_coder"):
        found = imported(ROOT / "codec" / f"{name}.py")
        assert not any(n.startswith(("vqbitstream.container", "vqbitstream.entropy", "PIL")) for n in found), name
        assert "vqbitstream" not in found, name


def test_only_the_command_and_the_encoders_search_import_training() -> None:
    """The search needs gradients, so it borrows the trainable twin of the model."""
    for path in [*(ROOT / "codec").glob("*.py"), *(ROOT / "bitstream").glob("*.py")]:
        found = imported(path)
        assert not any("benchmarks" in n for n in found), path
        if path.name not in ("cli.py", "search.py"):
            assert not any("training" in n for n in found), path


def test_folder_names_are_never_imported() -> None:
    for folder in ("codec", "bitstream", "benchmarks", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            assert not {n.split(".")[0] for n in imported(path)} & {"codec", "bitstream"}, path


@pytest.mark.parametrize(
    "arguments", [["-c", "import vqcodec"], ["-m", "vqcodec.cli", "--help"], ["-m", "vqcodec.cli", "info", str(FIXTURES / "rgb.vqc")]]
)  # fmt: skip
def test_no_torch_where_it_is_not_needed(arguments: list[str]) -> None:
    run = [sys.executable, "-X", "importtime", *arguments]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert "| torch" not in done.stderr.replace("  ", "")
    assert " torch\n" not in done.stderr


def test_the_trainer_needs_no_entropy_coder() -> None:
    """It must run on a bare torch machine: constriction is made unimportable, and a model is exported."""
    program = (
        "import sys; sys.modules['constriction'] = None\n"
        "import vqcodec.training.run, vqcodec.training.export, vqcodec.cli\n"
        "assert 'vqbitstream.entropy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
