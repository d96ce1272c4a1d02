"""Header and sections <-> bytes (FORMAT.md, "Sections")."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import CorruptError, TruncatedError, VQCError
from .header import HEADER_BYTES, Header, unpack_header
from .limits import Limits

_SECTION = struct.Struct("<III")  # payload bytes, CRC32 of the payload, CRC32 of the decoded indices
SECTION_OVERHEAD_BYTES = _SECTION.size


@dataclass(frozen=True)
class Section:
    """The entropy-coded indices of one layer (or of all, where the header says so)."""

    payload: bytes
    index_crc: int


def pack(header: Header, sections: Sequence[Section]) -> bytes:
    """The whole file."""
    if len(sections) != header.sections:
        raise ValueError(f"{len(sections)} sections for a header of {header.sections}")
    parts = [header.pack()]
    for section in sections:
        parts += [_SECTION.pack(len(section.payload), zlib.crc32(section.payload), section.index_crc), section.payload]
    return b"".join(parts)


def unpack(data: bytes, limits: Limits) -> tuple[Header, list[Section]]:
    """Header and sections of a file, checksums verified, the file covered exactly. Raises a VQCError."""
    header = unpack_header(data, limits)
    sections, position = [], HEADER_BYTES
    for number in range(header.sections):
        if len(data) - position < _SECTION.size:
            raise TruncatedError(f"the file ends before section {number + 1} of {header.sections}")
        length, expected, index_crc = _SECTION.unpack_from(data, position)
        position += _SECTION.size
        if length > len(data) - position:
            raise TruncatedError(f"the file ends inside section {number + 1} of {header.sections}")
        payload = data[position : position + length]
        if zlib.crc32(payload) != expected:
            raise CorruptError(f"section {number + 1} of {header.sections} is damaged (checksum mismatch)")
        sections.append(Section(payload, index_crc))
        position += length
    if position != len(data):
        raise CorruptError(f"{len(data) - position} bytes follow the last section")
    return header, sections


def read_bytes(data: bytes | str | Path, limits: Limits) -> bytes:
    """The bytes of a file given as such or as a path. Raises a VQCError."""
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    path = Path(data)
    try:
        limits.check_file(path.stat().st_size)
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise VQCError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
