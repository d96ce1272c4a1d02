"""PngSuite (Willem van Schaik's odd and broken PNG files), where it is: every file is encoded as documented, or refused in one line."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import vqcodec
from PIL import Image
from support import ROOT
from vqcodec.codec import Codec
from vqcodec.pictures.planes import ImageError
from vqcodec.pictures.reading import to_planes

SUITE = ROOT.parent / "shared" / "images" / "pngsuite"
FILES = sorted(SUITE.glob("*.png"))
pytestmark = pytest.mark.skipif(not FILES, reason="PngSuite is not here")


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_encoded_or_refused(path: Path, codec: Codec) -> None:
    """Files whose names begin with x are broken; of the others the name tells colour type and depth."""
    if path.name.startswith("x") and path.stem != "xcsn0g01":  # Pillow does not mind its checksum; zlib's holds
        with pytest.raises(ImageError) as refusal:
            codec.encode(path)
        assert str(refusal.value).startswith(f"{path}: ")
        assert "\n" not in str(refusal.value)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = codec.encode(path, quality=95)
    decoded = codec.decode(data)
    with Image.open(path) as image:
        image.load()
        assert decoded.size == image.size
        transparent = image.has_transparency_data
        grey = image.mode in ("1", "L", "LA", "I", "I;16")
        assert decoded.mode == ("L" if grey else "RGB") + "A" * transparent
        if image.mode in ("I", "I;16"):
            expected = np.rint(np.asarray(image, dtype=np.float64) / 257)
        else:
            expected = np.asarray(image.convert("L" if grey else "RGB"), dtype=np.float64)
        planes = to_planes(path, vqcodec.Limits())
        assert np.abs(planes.colour - expected).max() <= 1
        if transparent and image.mode not in ("I", "I;16"):
            alpha = np.asarray(image.convert("RGBA"))[..., 3]
            if path.stem == "tbbn0g04":  # Pillow compares the hidden 4-bit level with pixels that it has made 8-bit
                alpha = np.where(np.asarray(image) == 17 * image.info["transparency"], 0, 255)
            np.testing.assert_array_equal(np.asarray(decoded)[..., -1], alpha)


def test_the_suite_is_whole() -> None:
    assert len(FILES) == 176
