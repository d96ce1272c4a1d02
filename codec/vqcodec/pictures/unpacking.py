"""How Pillow unpacks samples of more than 8 bits from PNG and TIFF, and what it gets wrong or leaves out."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
from PIL import Image, ImageFile

from vqcodec.pictures.deep import NEARLY_BLACK, SIXTEEN_BITS, of_fewer_bits
from vqcodec.pictures.planes import ImageError

_BITS_PER_SAMPLE, _PLANAR = 258, 284  # TIFF tags
_SEPARATE = 2
_NATIVE = {
    "F;32BF": "F;32NF",
    "I;32BS": "I;32NS",
    "I;16BS": "I;16NS",
}  # as libtiff returns them, whatever the file's order
# Pillow reads the high byte of each sample of 16 bits. Read so, the same file gives the low ones (LA: both, as four colours)
_OTHER_BYTE = {";16B": ";16L", ";16L": ";16B", ";16N": ";16B" if sys.byteorder == "little" else ";16L"}
_COLOURS = {"RGB": 3, "RGBX": 3, "RGBA": 3, "LA": 1}
_STACK_LEVEL = 6


def unpacking_of(image: Image.Image) -> str:
    """Pillow's name of how it unpacks a file that is not loaded yet, such as "RGB;16B"; empty if there is none."""
    tiles = getattr(image, "tile", ())
    args = tiles[0].args if tiles else ""
    packed = args[0] if isinstance(args, tuple) and args else args
    return packed if isinstance(packed, str) else ""


def mend(image: Image.Image, name: str) -> None:
    """Let Pillow unpack a TIFF that is not loaded yet as it is: it swaps the bytes of compressed big-endian floats and signed numbers,
    and takes separate planes of 16 bits for planes of 8.

    Raises:
        ImageError: There is no way.
    """
    if not isinstance(image, ImageFile.ImageFile) or image.format != "TIFF":
        return
    packed, tags = unpacking_of(image), getattr(image, "tag_v2", {})
    if image.tile and image.tile[0].codec_name == "libtiff":
        _unpack_as(image, _NATIVE.get(packed, packed))
    elif tags.get(_PLANAR) == _SEPARATE and len(packed) == 1 and max(tags.get(_BITS_PER_SAMPLE, (8,))) == 16:
        if image.mode != "RGB":
            raise ImageError(f"{name}: separate planes of 16 bits, which Pillow reads in RGB alone")
        order = "B" if getattr(tags, "prefix", b"").startswith(b"M") else "L"
        image.tile = [
            tile._replace(args=(f"{tile.args[0]};16{order}", *tile.args[1:])) for tile in image.tile if tile.args
        ]


def _unpack_as(image: ImageFile.ImageFile, packed: str) -> None:
    image.tile = [
        tile._replace(args=(packed, *tile.args[1:]) if isinstance(tile.args, tuple) else packed) for tile in image.tile
    ]


def brightened(
    image: Image.Image, reopen: Callable[[], AbstractContextManager[Image.Image]] | None, packed: str, name: str
) -> Image.Image:
    """A picture of several samples of 16 bits that use no more than 12, which would be nearly black; any other as it is.

    Args:
        image: Loaded; its pixels are replaced.
        reopen: Opens the same file; None if that cannot be.
        packed: See `unpacking_of`.
        name: For messages.
    """
    if image.format == "PPM" and image.mode == "RGB":
        return _brightened_ppm(image, reopen, name)
    if ";16" not in packed or image.mode not in ("RGB", "RGBA"):
        return image
    high = np.asarray(image)
    if packed.startswith("RGBa"):  # its colours are divided by alpha
        if high[..., 3].max() < NEARLY_BLACK:
            warnings.warn(f"{name}: nearly clear: its 16 bits use 12 or fewer", stacklevel=_STACK_LEVEL)
        return image
    colours = _COLOURS.get(packed[:-4], 0)
    shown = high[..., : colours or 3]
    if shown.max() >= NEARLY_BLACK:
        return image
    separate = getattr(image, "tag_v2", {}).get(_PLANAR) == _SEPARATE
    if reopen is None or separate or not colours or packed[-4:] not in _OTHER_BYTE or "transparency" in image.info:
        if shown.any():
            warnings.warn(f"{name}: nearly black: its 16 bits use 12 or fewer", stacklevel=_STACK_LEVEL)
        return image
    with reopen() as again:
        assert isinstance(again, ImageFile.ImageFile)
        _unpack_as(again, "RGBA" if colours == 1 else packed[:-4] + _OTHER_BYTE[packed[-4:]])
        low = np.asarray(again)
    if colours == 1:  # high and low byte of grey, then of alpha; Pillow repeats grey
        low = low[..., [1, 1, 1, 3]]
    values = high.astype(np.uint16) * np.uint16(256) + low
    top = of_fewer_bits(int(values[..., :3].max()), SIXTEEN_BITS, name)
    tops = [top] * 3 + [SIXTEEN_BITS if values[..., 3:].max(initial=0) > top else top]
    scales = np.array([255 / t for t in tops], dtype=np.float32)[: values.shape[2]]
    image.paste(Image.fromarray(np.rint(values * scales).astype(np.uint8)))
    return image


def _brightened_ppm(
    image: Image.Image, reopen: Callable[[], AbstractContextManager[Image.Image]] | None, name: str
) -> Image.Image:
    """Likewise of a PPM, whose samples Pillow scales by the maximum that the file states."""
    if reopen is None or np.asarray(image).max() >= NEARLY_BLACK:
        return image
    twelve = 4095
    with reopen() as again:
        assert isinstance(again, ImageFile.ImageFile)
        tile = again.tile[0]
        if tile.codec_name != "ppm" or not isinstance(tile.args, tuple) or tile.args[-1] != SIXTEEN_BITS:
            return image
        again.tile = [tile._replace(args=(*tile.args[:-1], twelve))]
        bright = np.asarray(again)
    top = of_fewer_bits(int(bright.max() / 255 * twelve), SIXTEEN_BITS, name)
    if top < SIXTEEN_BITS:
        image.paste(Image.fromarray(np.rint(np.minimum(bright * (twelve / top), 255)).astype(np.uint8)))
    return image
