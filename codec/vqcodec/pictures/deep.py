"""More than 8 bits to 8: by the range that the file states, or one that is assumed and told."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_MIN, _SAMPLE_MAX = 258, 262, 340, 341  # TIFF tags
_WHITE_IS_ZERO = 0
_ASSUMED_BITS = (8, 10, 12)  # of 16-bit files whose values use no more
_RANGES = (1.0, 255.0, 1023.0, 4095.0, 65535.0)
_OUTLIERS = 0.001  # share of a float picture's pixels that may lie above its range
_SIXTEEN_BITS = 65535.0
_STACK_LEVEL = 7
_NEARLY_BLACK = 16  # high bytes below it are those of at most 12 bits
# Pillow reads the high byte of each sample of 16 bits. Read so, the same file gives the low ones (LA: both, as four colours)
_OTHER_BYTE = {";16B": ";16L", ";16L": ";16B", ";16N": ";16B" if sys.byteorder == "little" else ";16L"}
_COLOURS = {"RGB": 3, "RGBX": 3, "RGBA": 3, "LA": 1}


def from_deep(image: Image.Image, name: str) -> Image.Image:
    """A picture of mode I, F or I;16 to L or LA, rounded.

    A TIFF says its bits, and whether zero is white. A 16-bit file whose values use 8, 10 or 12 bits is taken as of so many; floats
    and 32-bit integers do not state their range. A warning says what was assumed.

    Args:
        image: Loaded.
        name: For messages.
    """
    values = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    if image.mode.startswith("I;"):
        bottom, top = 0.0, _stated(tags)
        top = _of_fewer_bits(int(values.max()), top, name)
    elif image.mode == "I" and image.format in ("PNG", "PPM"):
        bottom, top = 0.0, _of_fewer_bits(int(values.max()), _SIXTEEN_BITS, name)  # Pillow scales theirs to 16 bits
    else:
        bottom, top = _assumed(values, tags, image.mode, name)
    inside = np.clip(np.nan_to_num(np.asarray(values, dtype=np.float32)), bottom, top) - np.float32(bottom)
    levels = np.rint(inside * np.float32(255 / (top - bottom))).astype(np.uint8)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        levels = 255 - levels
    grey = Image.fromarray(levels)
    if isinstance(transparent := image.info.get("transparency"), int):
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


def _stated(tags: dict[int, object]) -> float:
    """The largest value of a file of 16 bits, of which a TIFF may use fewer."""
    bits = tags.get(_BITS_PER_SAMPLE, 16)
    return float(2 ** max(bits if isinstance(bits, tuple) else (bits,)) - 1)


def _of_fewer_bits(largest: int, top: float, name: str) -> float:
    for bits in _ASSUMED_BITS:
        if 0 < largest < 2**bits < top:
            warnings.warn(
                f"{name}: 16 bits, but no value above {largest}: taken as {bits} bits", stacklevel=_STACK_LEVEL
            )
            return 2.0**bits - 1
    return top


def _assumed(values: npt.NDArray[np.generic], tags: dict[int, object], mode: str, name: str) -> tuple[float, float]:
    """The range of floats or of 32-bit integers: what a TIFF states, or the least usual one that all but outliers lie in."""
    stated = [tags.get(tag) for tag in (_SAMPLE_MIN, _SAMPLE_MAX)]
    low, high = (
        float(v[0] if isinstance(v, tuple) else v) if isinstance(v, int | float | tuple) else None for v in stated
    )
    if high is not None and np.isfinite(high) and high > (low or 0.0):
        return low or 0.0, high
    finite = values[np.isfinite(values)]
    usual = float(np.quantile(finite, 1 - _OUTLIERS, method="lower")) if finite.size else 0.0
    top = next((t for t in _RANGES if usual <= t), usual)
    if mode == "I":
        top = max(top, 255.0)
    elif 1 < usual < top / _NEARLY_BLACK:
        top = usual
    outside = {"above": int((finite > top).sum()), "below": int((finite < 0).sum())}
    told = ", ".join(f"{count} {where}" for where, count in outside.items() if count)
    clipped = f" (pixels clipped: {told})" if told else ""
    warnings.warn(f"{name}: mode {mode}, taken as 0..{top:g}{clipped} and rounded to 8 bits", stacklevel=_STACK_LEVEL)
    return 0.0, top


def colours_of_sixteen_bits(image: Image.Image) -> str:
    """How Pillow unpacks a file of several samples of 16 bits that is not loaded yet, such as "RGB;16B"; empty for any other."""
    tiles = getattr(image, "tile", ())
    args = tiles[0].args if tiles else ""
    packed = args[0] if isinstance(args, tuple) and args else args
    known = isinstance(packed, str) and packed[-4:] in _OTHER_BYTE and packed[:-4] in _COLOURS
    return str(packed) if known else ""


def brightened(image: Image.Image, reopen: Callable[[], Image.Image], packed: str, name: str) -> Image.Image:
    """A picture of several samples of 16 bits that use no more than 12, which would be nearly black; any other as it is.

    Args:
        image: Loaded; its pixels are replaced.
        reopen: Opens the same file.
        packed: See `colours_of_sixteen_bits`.
        name: For messages.
    """
    colours = _COLOURS[packed[:-4]]
    high = np.asarray(image)
    if not high[..., :colours].max() < _NEARLY_BLACK or "transparency" in image.info:
        return image
    other = "RGBA" if colours == 1 else packed[:-4] + _OTHER_BYTE[packed[-4:]]
    with reopen() as again:
        assert isinstance(again, ImageFile.ImageFile)
        again.tile = [
            tile._replace(args=(other, *tile.args[1:]) if isinstance(tile.args, tuple) else other)
            for tile in again.tile
        ]
        low = np.asarray(again)
    if colours == 1:  # high and low byte of grey, then of alpha; Pillow repeats grey
        low = low[..., [1, 1, 1, 3]]
    values = high.astype(np.uint16) * np.uint16(256) + low
    top = _of_fewer_bits(int(values[..., :3].max()), _SIXTEEN_BITS, name)
    tops = [top] * 3 + [_SIXTEEN_BITS if values[..., 3:].max(initial=0) > top else top]
    scales = np.array([255 / t for t in tops], dtype=np.float32)[: values.shape[2]]
    image.paste(Image.fromarray(np.rint(values * scales).astype(np.uint8)))
    return image
