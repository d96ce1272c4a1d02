"""Grey of more than 8 bits to 8: by the range that the file states, or one that is assumed and told."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
from PIL import Image

_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_MIN, _SAMPLE_MAX = 258, 262, 340, 341  # TIFF tags
_WHITE_IS_ZERO = 0
_ASSUMED_BITS = (8, 10, 12)  # of 16-bit files whose values use no more
_RANGES = (1.0, 255.0, 65535.0)
_OUTLIERS = 0.001  # share of a float picture's pixels that may lie above its range
_STACK_LEVEL = 7


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
        top = _of_fewer_bits(values, top, name)
    elif image.mode == "I" and image.format in ("PNG", "PPM"):
        bottom, top = 0.0, _of_fewer_bits(values, 65535.0, name)  # Pillow scales theirs to 16 bits
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


def _of_fewer_bits(values: npt.NDArray[np.generic], top: float, name: str) -> float:
    largest = int(values.max())
    for bits in _ASSUMED_BITS:
        if 0 < largest < 2**bits - 1 < top:
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
    if mode == "I" and top == 1.0:
        top = 255.0
    above = int((finite > top).sum())
    clipped = f" ({above} pixels above become white)" if above else ""
    warnings.warn(f"{name}: mode {mode}, taken as 0..{top:g}{clipped} and rounded to 8 bits", stacklevel=_STACK_LEVEL)
    return 0.0, top
