"""Fixtures."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from support import TINY, picture
from vqcodec.codec import Codec

torch.set_num_threads(1)  # tiny pictures: a second thread only waits


@pytest.fixture(scope="session")
def codec() -> Codec:
    return Codec(TINY)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(picture(90, 70)).save(path)
    return path
