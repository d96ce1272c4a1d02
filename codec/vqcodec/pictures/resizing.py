"""Pictures scaled down before they are encoded."""

from __future__ import annotations

import numpy as np
from PIL import Image

from vqcodec.arguments import checked_whole
from vqcodec.pictures.planes import Planes


def shrunk(planes: Planes, max_size: int | None) -> Planes:
    """A picture whose longer side is at most `max_size` pixels; the picture itself if it is no larger, or max_size is None.

    Colours are averaged by their alpha, so that hidden ones do not show at edges.
    """
    height, width = planes.colour.shape[:2]
    if max_size is not None:
        checked_whole("max_size", max_size, 1)
    if max_size is None or max(height, width) <= max_size:
        return planes
    share = max_size / max(height, width)
    size = max(round(width * share), 1), max(round(height * share), 1)
    image = Image.fromarray(planes.colour)
    if planes.alpha is None:
        return Planes(np.asarray(image.resize(size, Image.Resampling.LANCZOS)), None, planes.metadata)
    grey = image.mode == "L"
    image.putalpha(Image.fromarray(planes.alpha))
    weighted, plain = ("La", "LA") if grey else ("RGBa", "RGBA")
    array = np.asarray(image.convert(weighted).resize(size, Image.Resampling.LANCZOS).convert(plain))
    colour = array[..., 0] if grey else array[..., :3]
    return Planes(np.ascontiguousarray(colour), np.ascontiguousarray(array[..., -1]), planes.metadata)
