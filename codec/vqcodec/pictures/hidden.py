"""Colours under full transparency. Nobody sees them, so they become whatever costs least and does not bleed into what is seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from vqcodec.pictures.planes import Planes

_BAND = 256  # rows that are worked on together; even. It bounds the memory


def filled(planes: Planes) -> Planes:
    """A picture whose colours where alpha is 0 continue smoothly those that are seen; where alpha is not 0, nothing changes.

    They are means over the smallest blocks of 2, 4, 8, .. pixels in which something is seen, interpolated ("pull and push"). Where
    nothing is seen at all, it is black.
    """
    if planes.alpha is None or planes.alpha.all():
        return planes
    height, width = planes.alpha.shape
    colour = planes.colour.reshape(height, width, -1)
    bands = [slice(top, top + _BAND) for top in range(0, height, _BAND)]
    sums, counts = [], []
    for band in bands:
        seen = _even((planes.alpha[band] > 0).astype(np.uint16))
        sums.append(_halved(_even(colour[band].astype(np.uint16)) * seen[..., None]))
        counts.append(_halved(seen))
    means = _continued(np.concatenate(sums).astype(np.float32), np.concatenate(counts).astype(np.float32))
    out = _doubled(np.rint(means).astype(np.uint8))[:height, :width]
    for band in bands:
        np.copyto(out[band], colour[band], where=planes.alpha[band, :, None] > 0)
    return Planes(np.ascontiguousarray(out).reshape(planes.colour.shape), planes.alpha, planes.metadata)


def _continued(sums: npt.NDArray[np.float32], counts: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Means where anything is counted, and elsewhere those of coarser and coarser blocks, interpolated.

    Args:
        sums: Of the colours that are counted, [H, W, C].
        counts: How many, [H, W].

    Returns:
        [H, W, C].
    """
    means = np.divide(sums, np.maximum(counts, 1)[..., None], dtype=np.float32)
    if counts.all() or counts.shape == (1, 1):
        return means
    coarse = _doubled(_continued(_halved(_even(sums)), _halved(_even(counts))))
    out: npt.NDArray[np.float32] = np.where(counts[..., None] > 0, means, coarse[: len(counts), : counts.shape[1]])
    return out


def _even(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """With zeros added so that both sides are even. [H, W, ...]"""
    return np.pad(values, [(0, side % 2) for side in values.shape[:2]] + [(0, 0)] * (values.ndim - 2))


def _halved(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Sums over 2x2. [H, W, ...] -> [H/2, W/2, ...]"""
    out: npt.NDArray[Any] = values[::2, ::2] + values[1::2, ::2] + values[::2, 1::2] + values[1::2, 1::2]
    return out


def _doubled(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Interpolated to twice the size, uint8 or float32. [H, W, C] -> [2 H, 2 W, C]"""
    size = 2 * values.shape[1], 2 * values.shape[0]
    planes = [Image.fromarray(np.ascontiguousarray(plane)) for plane in np.moveaxis(values, 2, 0)]
    return np.stack([np.asarray(plane.resize(size, Image.Resampling.BILINEAR)) for plane in planes], axis=2)
