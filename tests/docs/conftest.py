"""The model of random numbers that FORMAT.md's decoder and the code are compared on, and its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.document import model
from support.loud import loud_files, write_loud
from vqcodec.codec import Codec


@pytest.fixture(scope="session")
def loud_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("loud") / "loud.safetensors"


@pytest.fixture(scope="session")
def loud(loud_path: Path) -> Codec:
    """As the code sees it."""
    return write_loud(loud_path)


@pytest.fixture(scope="session")
def said(loud: Codec, loud_path: Path) -> Any:
    """As the document's decoder sees it."""
    return model(str(loud_path), floats=True)


@pytest.fixture(scope="session")
def files(loud: Codec) -> dict[str, bytes]:
    return loud_files(loud)
