"""Grey of more than 8 bits to 8: by the range that the file states, or one that is assumed and told."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
from PIL import Image

_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT, _SAMPLE_MIN, _SAMPLE_MAX = 258, 262, 339, 340, 341  # TIFF tags
_UNSIGNED = 1
_WHITE_IS_ZERO = 0
_ASSUMED_BITS = (8, 10, 12)  # of 16-bit files whose values use no more
_RANGES = (1.0, 255.0, 1023.0, 4095.0, 32767.0, 65535.0)
_OUTLIERS = 0.001  # share of a float picture's pixels that may lie above its range
SIXTEEN_BITS = 65535.0
_STACK_LEVEL = 7
NEARLY_BLACK = 16  # high bytes below it are those of at most 12 bits


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
    if tags and _first(tags.get(_BITS_PER_SAMPLE)) == 32 and _first(tags.get(_SAMPLE_FORMAT, _UNSIGNED)) == _UNSIGNED:
        values = values.view(np.uint32)  # Pillow takes them as signed
    if image.mode.startswith("I;"):
        bottom, top = 0.0, _stated(tags)
        top = of_fewer_bits(int(values.max()), top, name)
    elif image.mode == "I" and image.format in ("PNG", "PPM"):
        bottom, top = 0.0, of_fewer_bits(int(values.max()), SIXTEEN_BITS, name)  # Pillow scales theirs to 16 bits
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


def _first(value: object) -> object:
    """Of a tag, whose value may be one of several."""
    return value[0] if isinstance(value, tuple) and value else value


def _stated(tags: dict[int, object]) -> float:
    """The largest value of a file of 16 bits, of which a TIFF may use fewer."""
    bits = tags.get(_BITS_PER_SAMPLE, 16)
    return float(2 ** max(bits if isinstance(bits, tuple) else (bits,)) - 1)


def of_fewer_bits(largest: int, top: float, name: str) -> float:
    """The top of the range of samples of 16 bits whose largest value this is: `top`, or that of 8, 10 or 12 bits, with a warning."""
    for bits in _ASSUMED_BITS:
        if 0 < largest < 2**bits < top:
            warnings.warn(
                f"{name}: 16 bits, but no value above {largest}: taken as {bits} bits", stacklevel=_STACK_LEVEL
            )
            return 2.0**bits - 1
    return top


def _assumed(values: npt.NDArray[np.generic], tags: dict[int, object], mode: str, name: str) -> tuple[float, float]:
    """The range of floats or of 32-bit integers: what a TIFF states, or the least usual one that all but outliers lie in."""
    stated = [_first(tags.get(tag)) for tag in (_SAMPLE_MIN, _SAMPLE_MAX)]
    low, high = (float(value) if isinstance(value, int | float) else None for value in stated)
    if high is not None and np.isfinite(high) and high > (low or 0.0):
        return low or 0.0, high
    finite = values[np.isfinite(values)]
    usual = float(np.quantile(finite, 1 - _OUTLIERS, method="lower")) if finite.size else 0.0
    top = next((t for t in _RANGES if usual <= t), usual)
    if mode == "I":
        top = max(top, 255.0)
    elif 1 < usual < top / NEARLY_BLACK:
        top = usual
    outside = {"above": int((finite > top).sum()), "below": int((finite < 0).sum())}
    told = ", ".join(f"{count} {where}" for where, count in outside.items() if count)
    clipped = f" (pixels clipped: {told})" if told else ""
    warnings.warn(f"{name}: mode {mode}, taken as 0..{top:g}{clipped} and rounded to 8 bits", stacklevel=_STACK_LEVEL)
    return 0.0, top
