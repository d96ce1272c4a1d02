"""RAW files of cameras: nothing that Pillow reads of one is taken for the picture."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import vqcodec
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from support import picture
from vqcodec.pictures.reading import to_planes
from vqcodec.pictures.suffixes import RAW_SUFFIXES

THUMBNAIL = Image.fromarray(picture(160, 120))
LIMITS = vqcodec.Limits()


def tiff(**tags: int) -> bytes:
    numbers = {"subfile": 254, "sub_ifds": 330, "dng": 50706}
    info = ImageFileDirectory_v2()
    info[271] = "Maker"
    for name, value in tags.items():
        info[numbers[name]] = value
    file = io.BytesIO()
    THUMBNAIL.save(file, "TIFF", tiffinfo=info)
    return file.getvalue()


@pytest.mark.parametrize("tags", [{"subfile": 1, "sub_ifds": 8}, {"dng": 1}], ids=["NEF, ARW", "DNG"])
def test_a_thumbnail_is_not_the_photograph(tags: dict[str, int]) -> None:
    with pytest.raises(vqcodec.ImageError, match=r"RAW .* thumbnail \(160x120\); develop it .* rawpy"):
        to_planes(io.BytesIO(tiff(**tags)), LIMITS)


@pytest.mark.parametrize("suffix", sorted(RAW_SUFFIXES))
def test_whatever_has_the_suffix_of_raw_is_named_so(suffix: str, tmp_path: Path) -> None:
    for contents in (tiff(), b"something of the maker's own"):
        path = tmp_path / f"a{suffix.upper()}"
        path.write_bytes(contents)
        with pytest.raises(vqcodec.ImageError, match=r"RAW photograph.*rawpy"):
            to_planes(path, LIMITS)


@pytest.mark.parametrize("tags", [{}, {"subfile": 0, "sub_ifds": 8}, {"subfile": 1}, {"subfile": 2}])
def test_other_tiffs_are_read(tags: dict[str, int]) -> None:
    """A page; a picture with smaller versions below; a smaller version alone."""
    np.testing.assert_array_equal(to_planes(io.BytesIO(tiff(**tags)), LIMITS).colour, np.asarray(THUMBNAIL))


def test_a_picture_that_only_has_such_a_suffix_is_read(tmp_path: Path) -> None:
    THUMBNAIL.save(tmp_path / "a.nef", "PNG")
    assert to_planes(tmp_path / "a.nef", LIMITS).colour.shape == (120, 160, 3)
