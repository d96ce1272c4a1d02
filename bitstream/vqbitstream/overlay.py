"""The frame of a tile's exact pixels: a lossless WebP picture, known by its head (FORMAT.md, "Exact pixels").

It is checked here, before `vqcodec.pictures.overlay` gives it to a library.
"""

from __future__ import annotations

import struct

from vqbitstream.errors import CorruptError

_HEAD = struct.Struct("<4sI4s4sIBI")  # RIFF, bytes after it, WEBP, VP8L, bytes of the chunk, signature, sizes and flags
_SIGNATURE = 0x2F


def covers_tile(data: bytes) -> bool:
    """Whether all pixels of a tile are exact, by the head of its overlay."""
    return len(data) >= _HEAD.size and not _HEAD.unpack_from(data)[6] >> 28 & 1


def check_overlay(data: bytes, height: int, width: int) -> None:
    """Raises CorruptError unless this is a WebP file of a single lossless chunk and this size."""
    if len(data) < _HEAD.size:
        raise CorruptError("the exact pixels are cut")
    riff, length, webp, chunk, chunk_bytes, signature, bits = _HEAD.unpack_from(data)
    if (riff, webp, chunk, signature) != (b"RIFF", b"WEBP", b"VP8L", _SIGNATURE) or bits >> 29:
        raise CorruptError("the exact pixels are not lossless WebP")
    if length + 8 != len(data) or chunk_bytes + chunk_bytes % 2 + 12 != length:
        raise CorruptError("the exact pixels do not end where they should")
    if (bits & 0x3FFF, bits >> 14 & 0x3FFF) != (width - 1, height - 1):
        raise CorruptError("the exact pixels are not of the tile's size")
