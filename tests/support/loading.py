"""A data set for torch's DataLoader, whose workers import it: pictures that each worker encodes and decodes."""

from __future__ import annotations

import hashlib

import numpy as np
from vqcodec.codec import Codec

from support import TINY, picture

EFFORTS = (1, 2)


def facts(codec: Codec, number: int) -> list[str]:
    """SHA-256 of a picture's files at two efforts and exactly, and of what the first decodes to."""
    pixels = picture(70 + number, 50, number)
    files = [codec.encode(pixels, effort=effort) for effort in EFFORTS] + [codec.encode(pixels, lossless=True)]
    shown = [np.asarray(codec.decode(files[0])), np.asarray(codec.decode(files[0], scale=1 / 4))]
    return [hashlib.sha256(made).hexdigest() for made in [*files, *(array.tobytes() for array in shown)]]


class Facts:
    """`facts` of numbered pictures, by a codec that travels to the worker or is inherited."""

    def __init__(self, count: int) -> None:
        self.count, self.codec = count, Codec(TINY)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> list[str]:
        return facts(self.codec, number)
