"""Exact pixels of a tile <-> a lossless WebP picture that is laid over what the model paints (FORMAT.md, "Exact pixels").

WebP's lossless mode is small for drawings, text and few colours, its decoder is in Pillow and in every browser, and its alpha channel
says which pixels are exact.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image
from vqbitstream.errors import CorruptError
from vqbitstream.overlay import check_overlay

from vqcodec.pictures.planes import Pixels

Mask = npt.NDArray[np.bool_]


def pack_overlay(pixels: Pixels, exact: Mask | None = None, *, quick: bool = False) -> bytes:
    """Code exact pixels.

    Args:
        pixels: uint8 [h, w, 3], or [h, w] for a grey picture.
        exact: Which pixels are kept, [h, w]; all by default.
        quick: Take a third of the time, for a few more bytes.

    Returns:
        A WebP file; empty if no pixel is exact.
    """
    if exact is not None and not exact.any():
        return b""
    colours = np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels
    if exact is not None and not exact.all():
        colours = np.dstack([colours, np.where(exact, 255, 0).astype(np.uint8)])
    file = BytesIO()
    Image.fromarray(colours).save(file, "WEBP", lossless=True, method=4 if quick else 6, quality=75)
    return file.getvalue()


def unpack_overlay(data: bytes, height: int, width: int) -> tuple[Pixels, Mask]:
    """The inverse of `pack_overlay`. The size is checked before anything is allocated.

    Args:
        data: A WebP file, not empty.
        height: Of the tile, in pixels.
        width: Of the tile, in pixels.

    Returns:
        uint8 [height, width, 3], and which of these pixels are exact, [height, width].

    Raises:
        CorruptError: The data is not one lossless WebP picture of this size.
    """
    check_overlay(data, height, width)
    try:
        with Image.open(BytesIO(data), formats=["WEBP"]) as image:
            rgba = np.asarray(image.convert("RGBA"))
    except Exception as error:  # whatever the library makes of damaged data
        raise CorruptError("the exact pixels do not decode") from error
    if rgba.shape[:2] != (height, width):
        raise CorruptError("the exact pixels are not of the tile's size")
    opaque = rgba[..., 3] == 255
    if (rgba[..., 3][~opaque] != 0).any():
        raise CorruptError("the exact pixels are neither opaque nor clear")
    return rgba[..., :3], opaque
