"""What a picture would become, from a part of it."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vqbitstream.limits import Limits

from vqcodec.pictures.planes import ImageError, Planes
from vqcodec.pictures.reading import to_planes

if TYPE_CHECKING:
    from vqcodec.codec import Codec

SIDE_PX = 512  # of the part


@dataclass(frozen=True)
class Sample:
    """A picture that was tried.

    Attributes:
        input_bytes: Its size.
        output_bytes: At each quality.
        seconds: To encode it, at each quality.
    """

    input_bytes: int
    output_bytes: tuple[float, ...]
    seconds: tuple[float, ...]

    @classmethod
    def of(cls, codec: Codec, source: str, qualities: Sequence[float], effort: int) -> Sample:
        """Encode a part of a picture at each quality, and scale up by its pixels. Raises a VQCError."""
        if Path(source).exists() and not Path(source).is_file():
            raise ImageError(f"{source}: is not an ordinary file")  # a pipe might never end
        begun = time.monotonic()
        planes = to_planes(source, Limits())
        reading = time.monotonic() - begun
        height, width = planes.colour.shape[:2]
        part = _part(planes, source)
        scale = height * width / (part.colour.shape[0] * part.colour.shape[1])
        metadata = sum(map(len, planes.metadata.values()))
        sizes, seconds = [], []
        for quality in qualities:
            begun = time.monotonic()
            data = codec.encode(part, quality=quality, effort=effort)
            seconds.append(reading + scale * (time.monotonic() - begun))
            sizes.append(scale * len(data) + metadata)
        return cls(Path(source).stat().st_size, tuple(sizes), tuple(seconds))


def _part(planes: Planes, seed: str) -> Planes:
    """A part at a random place, which is always the same for the same seed; without metadata."""
    chance = random.Random(os.fsencode(seed))
    height, width = planes.colour.shape[:2]
    top, left = (chance.randint(0, max(side - SIDE_PX, 0)) for side in (height, width))
    inside = slice(top, top + SIDE_PX), slice(left, left + SIDE_PX)
    return Planes(planes.colour[inside], None if planes.alpha is None else planes.alpha[inside])
