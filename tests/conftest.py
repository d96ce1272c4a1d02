"""Fixtures."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
from PIL import Image
from support import TINY, picture
from vqcodec.codec import Codec

# Whoever runs us in the background has these ignored; the programs that we start and signal must not inherit that
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
torch.set_num_threads(1)  # tiny pictures: a second thread only waits
collect_ignore = ["without_torch"]  # it needs an environment of its own: `.ci/run` makes it


@pytest.fixture(scope="session")
def codec() -> Codec:
    return Codec(TINY)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(picture(90, 70)).save(path)
    return path
