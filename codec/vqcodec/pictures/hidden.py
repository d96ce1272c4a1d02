"""Colours under full transparency. Nobody sees them, so they become whatever costs least and does not bleed into what is seen."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from vqcodec.pictures.planes import Planes


def filled(planes: Planes) -> Planes:
    """A picture whose colours where alpha is 0 are means of the nearest seen ones; where alpha is not 0, nothing changes.

    Means over blocks of 2, 4, 8, .. pixels, the smallest in which something is seen. Where nothing is seen at all, it is black.
    """
    if planes.alpha is None or planes.alpha.all():
        return planes
    seen = planes.alpha > 0
    colour = planes.colour.reshape(*seen.shape, -1)
    counted = np.where(seen[..., None], colour, 0).astype(np.float32)
    out = np.where(seen[..., None], colour, _around(counted, seen.astype(np.float32)))
    return Planes(np.rint(out).astype(np.uint8).reshape(planes.colour.shape), planes.alpha, planes.metadata)


def _around(sums: npt.NDArray[np.float32], counts: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Means of the smallest blocks around each place in which anything is counted.

    Args:
        sums: Of the colours that are counted, [H, W, C].
        counts: How many, [H, W].

    Returns:
        [H, W, C].
    """
    means = (sums / np.maximum(counts, 1)[..., None]).astype(np.float32)
    if counts.all() or counts.shape == (1, 1):
        return means
    height, width = counts.shape
    odd = [(0, height % 2), (0, width % 2)]
    coarse = _around(_halved(np.pad(sums, [*odd, (0, 0)])), _halved(np.pad(counts, odd)))
    spread = coarse.repeat(2, 0).repeat(2, 1)[:height, :width]
    return np.where(counts[..., None] > 0, means, spread)


def _halved(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Sums over 2x2. [H, W, ...] -> [H/2, W/2, ...]"""
    return values[::2, ::2] + values[1::2, ::2] + values[::2, 1::2] + values[1::2, 1::2]
