"""The documentation site builds without warnings, asks nothing of the network, and leaves nothing of the program out."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
import vqcodec
from support import ROOT
from support.chromium import Page, find
from vqcodec.cli.main import main


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def test_every_document_is_a_page(site: Path) -> None:
    for document in [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        ROOT / "benchmarks/README.md",
        *ROOT.glob("weights/*.md"),
    ]:
        name = document.relative_to(ROOT).with_suffix("")
        folder = name.parent if name.name == "README" else name
        assert (site / folder / "index.html").exists(), document


def test_every_command_and_option_is_there(site: Path) -> None:
    page = (site / "docs/cli/index.html").read_text()
    assert isinstance(main, click.Group)
    for name, command in main.commands.items():
        assert f'id="vqcodec-{name}"' in page
        for option in (p for p in command.params if isinstance(p, click.Option)):
            assert option.opts[-1] in page


def test_every_public_name_is_there(site: Path) -> None:
    page = (site / "docs/python/index.html").read_text()
    for name in vqcodec.__all__:
        assert name == "__version__" or f'id="vqcodec.{name}"' in page, name
    for name in ("encode", "decode", "encode_batch", "decode_batch"):
        assert f'id="vqcodec.codec.Codec.{name}"' in page, name


def test_pages_load_nothing_but_files_of_the_site(site: Path) -> None:
    for page in site.rglob("index.html"):
        text = page.read_text()
        loaded = re.findall(r"<(?:script|img|iframe|source)\b[^>]*?\bsrc=\"?([^\"\s>]+)", text)
        loaded += re.findall(r"<link\b[^>]*?\brel=\"?stylesheet\"?[^>]*?\bhref=\"?([^\"\s>]+)", text)
        loaded += re.findall(r"<link\b[^>]*?\bhref=\"?([^\"\s>]+)\"?[^>]*?\brel=\"?stylesheet", text)
        assert any(target.endswith(".css") for target in loaded), page
        for target in loaded:
            assert (page.parent / target.partition("?")[0]).exists(), f"{page}: {target}"


@pytest.mark.skipif(find() is None, reason="no Chromium")
def test_a_browser_shows_it_without_the_network(site: Path, tmp_path: Path) -> None:
    program = find()
    assert program is not None
    page = Page(program, tmp_path)
    try:
        page.open(site / "index.html", 1200, 900)
        assert page.run("document.querySelector('h1').textContent").startswith("vqcodec")
        assert page.run("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
        assert page.run("document.querySelector('h1').getBoundingClientRect().top") < 300  # the theme is there
        assert all(r.startswith(("file:", "data:", "blob:")) for r in page.requests), page.requests
    finally:
        page.close()
