"""The alpha plane, lossless: differences along rows and columns, then zlib (FORMAT.md, "Alpha")."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from vqbitstream.errors import CorruptError
from vqbitstream.geometry import PATCH_PX

Plane = npt.NDArray[np.uint8]
_TRIAL_PIXELS = 1 << 20  # planes up to this size try every filter in full, larger ones on so many of their pixels

_BAND_PIXELS = 1 << 20
_FED_BYTES = 1 << 16  # to zlib at a time: it copies what it leaves


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
    plane = np.empty((height, width), dtype=np.uint8)
    for top, band in plane_bands(data, height, width):
        plane[top : top + len(band)] = band
    return plane


def plane_bands(data: bytes, height: int, width: int) -> Iterator[tuple[int, Plane]]:
    """What `unpack_plane` returns, band after band from the top, in memory that does not grow with the height.

    Args:
        data: As from `pack_plane`.
        height: Of the plane.
        width: Of the plane.

    Yields:
        The first row of each band, a multiple of 16, and its pixels, uint8 [rows, width].

    Raises:
        CorruptError: The data is not such a plane. That more follows than the plane is found after the last band.
    """
    if not data or data[0] > 3:
        raise CorruptError("the alpha section names no known filter")
    rows = max(1, _BAND_PIXELS // (width * PATCH_PX)) * PATCH_PX
    stream, above = _Inflater(data, 1), np.zeros(width, dtype=np.uint8)
    for top in range(0, height, rows):
        count = min(rows, height - top)
        band = np.frombuffer(stream.read(count * width), dtype=np.uint8).reshape(count, width)
        if data[0] & 2:
            band = np.cumsum(band, axis=0, dtype=np.uint8)
            band += above
            above = band[-1].copy()
        if data[0] & 1:
            band = np.cumsum(band, axis=1, dtype=np.uint8)
        yield top, band
    stream.close()


class _Inflater:
    """Undoes zlib as far as it is read. data: the stream begins at `begin` and ends where the data end."""

    def __init__(self, data: bytes, begin: int) -> None:
        self._data, self._at = memoryview(data), begin
        self._zlib = zlib.decompressobj()

    def _some(self, most: int) -> bytes:
        """Up to so many bytes; none only if there are no more."""
        while True:
            fed = self._zlib.unconsumed_tail
            if not fed:
                fed = bytes(self._data[self._at : self._at + _FED_BYTES])
                self._at += len(fed)
            try:
                out = self._zlib.decompress(fed, most)
            except zlib.error:
                raise CorruptError("the alpha section does not inflate") from None
            if out or self._zlib.eof or not fed:
                return out

    def read(self, count: int) -> bytes:
        """So many bytes. Raises CorruptError if the stream is damaged or has fewer."""
        parts = []
        while count:
            parts.append(self._some(count))
            count -= len(parts[-1])
            if not parts[-1]:
                raise CorruptError("the alpha section does not hold the picture's pixels")
        return b"".join(parts)

    def close(self) -> None:
        """Raises CorruptError unless everything was read."""
        if self._some(1) or not self._zlib.eof or self._zlib.unused_data or self._at < len(self._data):
            raise CorruptError("the alpha section does not hold the picture's pixels")
