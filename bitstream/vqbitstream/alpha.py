"""The alpha plane, lossless: differences along rows and columns, then zlib (FORMAT.md, "Alpha")."""

from __future__ import annotations

import zlib

import numpy as np
import numpy.typing as npt

from vqbitstream.errors import CorruptError

Plane = npt.NDArray[np.uint8]
_TRIAL_PIXELS = 1 << 20  # planes up to this size try every filter in full, larger ones on so many of their pixels


def _filtered(plane: Plane, kind: int) -> Plane:
    """Differences modulo 256: along rows where bit 0 of `kind` is set, along columns where bit 1 is."""
    if kind & 1:
        plane = np.diff(plane, axis=1, prepend=np.uint8(0))
    if kind & 2:
        plane = np.diff(plane, axis=0, prepend=np.uint8(0))
    return plane


def pack_plane(plane: Plane) -> bytes:
    """Compress an alpha plane without loss.

    Args:
        plane: uint8 [H, W].

    Returns:
        One byte that names the filter, then a zlib stream.
    """
    trial = plane[: max(1, _TRIAL_PIXELS // plane.shape[1])]
    best = min(range(4), key=lambda kind: len(zlib.compress(_filtered(trial, kind).tobytes(), 6)))
    return bytes([best]) + zlib.compress(_filtered(plane, best).tobytes(), 9)


def unpack_plane(data: bytes, height: int, width: int) -> Plane:
    """The inverse of `pack_plane`. Never inflates more than height * width bytes.

    Returns:
        uint8 [height, width].

    Raises:
        CorruptError: The data is not such a plane.
    """
    if not data or data[0] > 3:
        raise CorruptError("the alpha section names no known filter")
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(data[1:], height * width + 1)
    except zlib.error:
        raise CorruptError("the alpha section does not inflate") from None
    if len(raw) != height * width or not inflater.eof or inflater.unused_data:
        raise CorruptError("the alpha section does not hold the picture's pixels")
    plane = np.frombuffer(raw, dtype=np.uint8).reshape(height, width)
    if data[0] & 2:
        plane = np.cumsum(plane, axis=0, dtype=np.uint8)
    if data[0] & 1:
        plane = np.cumsum(plane, axis=1, dtype=np.uint8)
    return plane
