"""A picture as ours and as others code it in the same number of bytes, to look at."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from PIL import Image
from vqcodec.codec import Codec
from vqcodec.coding.rate_control import TargetError
from vqcodec.compare import compare
from vqcodec.compare.divider import Shown
from vqcodec.pictures.psnr import psnr

from .codecs import ImageCodec

CROP_PX = 512


def largest_within(codec: ImageCodec, image: Image.Image, limit_bytes: int) -> bytes:
    """The file of the highest whole quality that is not above `limit_bytes`; the smallest file where all are."""
    return compare.largest_within(lambda quality: codec.encode(image, quality), limit_bytes)[1]


def ours_within(codec: Codec, image: Image.Image, limit_bytes: int) -> bytes:
    """Our file of at most so many bytes; our smallest where that is larger."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "the nearest found": the page tells the bytes that it is
        try:
            return codec.encode(image, target_bytes=limit_bytes)
        except TargetError:
            return codec.encode(image, quality=1)


def shown(codec: Codec, others: Sequence[ImageCodec], image: Image.Image, bpp: float) -> list[Shown]:
    """The original, ours at about `bpp` bits per pixel, and each of the others in at most the bytes that ours took.

    The middle of each, at most 512x512; notes tell the bytes and the PSNR of the whole picture.
    """
    pixels = np.asarray(image)
    data = ours_within(codec, image, max(int(bpp * image.width * image.height / 8), 1))
    coded = [("vqcodec", data, codec.decode(data))]
    for other in others:
        file = largest_within(other, image, len(data))
        coded.append((other.name, file, other.decode(file)))
    box = middle(image)
    pictures = [Shown("original", f"{image.width}×{image.height}", image.crop(box))]
    for name, file, decoded in coded:
        note = f"{len(file):,} bytes, {psnr(pixels, np.asarray(decoded)):.1f} dB"
        if len(file) > len(data):
            note += f" (its smallest, {100 * (len(file) / len(data) - 1):.0f} % larger)"
        pictures.append(Shown(name, note, decoded.crop(box)))
    return pictures


def middle(image: Image.Image) -> tuple[int, int, int, int]:
    width, height = min(image.width, CROP_PX), min(image.height, CROP_PX)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return left, top, left + width, top + height
