"""Pictures with a side shorter than a block. The model sees mostly their edges, so a finer step can make them worse."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from vqbitstream.geometry import PATCH_PX

from vqcodec.coding.exact import GUARDED_QUALITY
from vqcodec.pictures.planes import Pixels

File = TypeVar("File")
LADDER = range(10, int(GUARDED_QUALITY), 10)


def is_tiny(pixels: Pixels, quality: float) -> bool:
    """Whether a picture, [H, W] or [H, W, 3], is one of these, and its quality leaves it to the model."""
    return min(pixels.shape[:2]) < PATCH_PX and quality < GUARDED_QUALITY


def best_up_to(
    quality: float, encode: Callable[[float], File], decode: Callable[[File], Pixels], original: Pixels
) -> File:
    """The best file of this quality and of the tens below it, so that asking for more never gives less.

    Args:
        quality: 1 to below `GUARDED_QUALITY`.
        encode: A quality to a file.
        decode: A file to its pixels.
        original: The picture.

    Returns:
        The file of the least squared error; of equal ones that of the lowest quality.
    """

    def error(file: File) -> float:
        apart = decode(file).astype(int) - original
        return float((apart * apart).sum())

    files = [encode(q) for q in (*(step for step in LADDER if step < quality), quality)]
    return min(files, key=error)
