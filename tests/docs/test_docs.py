"""Every command in the documents runs, on small pictures and with the training cut short."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from PIL import Image
from support import ROOT, picture

DOCUMENTS = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]
# What is not run as it stands: installation (CI does it, before this), long training, other people's pictures
CHANGES = [
    (re.compile(r"python3 -m venv .*? && (?=\.venv/bin/python)"), ""),
    (re.compile(r"^\. \.venv/bin/activate.*$", re.M), "true"),
    (re.compile(r"\.venv/bin/"), ""),
    (re.compile(r"examples/"), f"{ROOT}/examples/"),
    (re.compile(r"^sh check\.sh$", re.M), "true"),
    (re.compile(r"--minutes 60"), "--minutes 0.02 --batch 1 --crop 64 --threads 1"),
    (re.compile(r"--images KODAK|--kodak"), f"--images {ROOT}/none --quick"),
    (re.compile(r"benchmarks\.throughput$", re.M), "benchmarks.throughput --help"),
    (re.compile(r"benchmarks\.comparison"), "benchmarks.comparison --qualities 60 --beside JPEG"),
    (re.compile(r"(benchmarks\.gallery|benchmarks\.speed\.tasks|benchmarks\.speed\.memory) .*"), r"\1 --help"),
    (re.compile(r"^python -m benchmarks", re.M), "cd work && python -m benchmarks"),
    (re.compile(r"--only (overhead|cold|memory|targets).*"), "--help"),
    (re.compile(r"^python -m tests.fuzz .*$", re.M), f"cd {ROOT} && python -m tests.fuzz --files 300"),
    (re.compile(r"^python -m tests.fuzz.webp .*$", re.M), f"cd {ROOT} && python -m tests.fuzz.webp --files 300"),
    (
        re.compile(r"^python -m tests.fuzz.claims$", re.M),
        f"cd {ROOT} && python -m tests.fuzz.claims --side 300 --ways info decode",
    ),
    (re.compile(r"^python (\S*examples/(?:ray_data|webdataset_shards)\.py) [^&\n]*", re.M), r"python \1 --help"),
    (re.compile(r"^python docs/"), f"python {ROOT}/docs/"),
]


def blocks(kind: str) -> Iterator[tuple[str, str]]:
    for document in DOCUMENTS:
        for number, text in enumerate(re.findall(rf"^```{kind}\n(.*?)^```$", document.read_text(), re.M | re.S)):
            yield f"{document.name}-{number}", text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a reader of the documents works: a photograph, a folder of them, the repository's benchmarks."""
    place = tmp_path_factory.mktemp("docs")
    (place / "photos").mkdir()
    for seed in range(3):
        Image.fromarray(picture(400, 320, seed)).save(place / "photos" / f"{seed}.jpg")
    Image.fromarray(picture(400, 320)).save(place / "photo.png")
    (place / "kodak").mkdir()
    Image.fromarray(picture(200, 160)).save(place / "kodak" / "a.png")
    return place


def environment() -> dict[str, str]:
    return os.environ | {
        "VQCODEC_MODELS": "models",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
    }


@pytest.mark.parametrize(("name", "text"), list(blocks("sh")), ids=[n for n, _ in blocks("sh")])
def test_shell(name: str, text: str, folder: Path) -> None:
    for pattern, replacement in CHANGES:
        text = pattern.sub(replacement, text)
    text = text.replace("cd work && ", "").replace(f"{ROOT}/none", str(folder / "kodak"))
    done = subprocess.run(
        ["sh", "-euc", text], cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("name", "text"), list(blocks("python")), ids=[n for n, _ in blocks("python")])
def test_python(name: str, text: str, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_links_lead_somewhere() -> None:
    for document in [
        *DOCUMENTS,
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "weights").glob("*.md"),
        ROOT / "benchmarks" / "README.md",
    ]:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            if not target.startswith("http"):
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (citation["version"], citation["license"]) == (project["version"], project["license"])
    assert {"cff-version", "message", "title", "authors"} <= set(citation)


def test_the_diagram_is_what_its_program_draws(tmp_path: Path) -> None:
    program = (
        f"import sys, pathlib; sys.path.insert(0, {str(ROOT / 'docs')!r}); import draw_pipeline as d; "
        "d.OUT = pathlib.Path('p.svg'); d.main()"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True)
    assert (tmp_path / "p.svg").read_text().count("<path") == (ROOT / "docs/images/pipeline.svg").read_text().count(
        "<path"
    )
