"""Header, metadata, alpha and layers <-> bytes (FORMAT.md, "Sections")."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import SEEK_END
from pathlib import Path
from typing import IO

from .errors import CorruptError, TruncatedError, VQCError
from .header import HEADER_BYTES, Header, unpack_header
from .limits import Limits

METADATA = {"icc": b"I", "exif": b"E", "xmp": b"X"}  # name -> tag, in the order of the file
ALPHA, LAYER = b"A", b"L"
_SECTION = struct.Struct("<cII")  # tag, payload bytes, CRC32 of tag and payload
_INDEX_CRC = struct.Struct("<I")  # CRC32 of the decoded indices, in layer sections only
LAYER_OVERHEAD_BYTES = _SECTION.size + _INDEX_CRC.size


@dataclass(frozen=True)
class Section:
    """The entropy-coded indices of one layer of one tile (or of all layers, where the header says so)."""

    payload: bytes
    index_crc: int


@dataclass(frozen=True)
class Contents:
    """A whole file.

    sections: all tiles of the first layer, then all of the second, and so on; None where a partial read found it cut or damaged.
    alpha: the coded plane (`vqbitstream.alpha`), where the header promises one. metadata: icc, exif, xmp, those there are.
    metadata_bytes: their payloads' bytes in a file that was read. problems: what a partial read left out, one line each.
    """

    header: Header
    sections: Sequence[Section | None]
    alpha: bytes | None = None
    metadata: Mapping[str, bytes] = field(default_factory=dict)
    metadata_bytes: Mapping[str, int] = field(default_factory=dict, compare=False)
    problems: tuple[str, ...] = ()


def _checksum(tag: bytes, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(tag))


def pack(contents: Contents) -> bytes:
    """The bytes of a file."""
    header = contents.header
    if len(contents.sections) != header.sections or (contents.alpha is not None) != header.alpha:
        raise ValueError("sections or alpha are not those that the header promises")

    def section(tag: bytes, payload: bytes, *index_crc: int) -> list[bytes]:
        crcs = [_INDEX_CRC.pack(crc) for crc in index_crc]
        return [_SECTION.pack(tag, len(payload), _checksum(tag, payload)), *crcs, payload]

    parts = [header.pack()]
    for name, tag in METADATA.items():
        if name in contents.metadata:
            parts += section(tag, zlib.compress(contents.metadata[name], 9))
    for number, layer in enumerate(contents.sections, 1):
        if layer is None:
            raise ValueError("a section is missing")
        parts += section(LAYER, layer.payload, layer.index_crc)
        if number == header.first_layer_sections and contents.alpha is not None:
            parts += section(ALPHA, contents.alpha)
    return b"".join(parts)


class _Cursor:
    """Reads sections one after the other."""

    def __init__(self, data: bytes) -> None:
        self.data, self.position = data, HEADER_BYTES

    @property
    def tag(self) -> bytes:
        return self.data[self.position : self.position + 1]

    def next(self, what: str) -> tuple[bytes, int, bool]:
        """Payload, index checksum (layers) and whether the payload is sound. Raises TruncatedError."""
        fixed = _SECTION.size + (_INDEX_CRC.size if self.tag == LAYER else 0)
        begin = self.position + fixed
        if begin > len(self.data):
            raise TruncatedError(f"the file ends before {what}")
        tag, length, expected = _SECTION.unpack_from(self.data, self.position)
        if begin + length > len(self.data):
            raise TruncatedError(f"the file ends inside {what}")
        (index_crc,) = _INDEX_CRC.unpack_from(self.data, begin - 4) if self.tag == LAYER else (0,)
        self.position = begin + length
        payload = self.data[begin : self.position]
        return payload, index_crc, _checksum(tag, payload) == expected


def unpack(data: bytes, limits: Limits, *, partial: bool = False) -> Contents:
    """The contents of a file, checksums verified, the file covered exactly. Raises a VQCError.

    partial: leave out what is cut or damaged, as long as the header is sound, and say so in `problems`.
    """
    header = unpack_header(data, limits)
    cursor = _Cursor(data)
    problems: list[str] = []

    def read(what: str) -> tuple[bytes, int] | None:
        payload, index_crc, sound = cursor.next(what)
        if not sound:
            if not partial:
                raise CorruptError(f"{what} is damaged (checksum mismatch)")
            problems.append(f"{what} is damaged")
            return None
        return payload, index_crc

    def expect(tag: bytes, what: str) -> tuple[bytes, int] | None:
        if cursor.tag not in (tag, b""):
            raise CorruptError(f"tag {cursor.tag!r} where {what} should be")
        return read(what)

    metadata: dict[str, bytes] = {}
    metadata_bytes: dict[str, int] = {}
    alpha: bytes | None = None
    sections: list[Section | None] = []
    total = header.sections
    try:
        for name, tag in METADATA.items():
            if cursor.tag == tag and (found := read(f"the {name.upper()} section")):
                try:
                    metadata[name] = inflate(found[0], limits, name)
                    metadata_bytes[name] = len(found[0])
                except VQCError as error:
                    if not partial:
                        raise
                    problems.append(str(error))
        for number in range(1, total + 1):
            found = expect(LAYER, f"layer section {number} of {total}")
            sections.append(Section(*found) if found else None)
            if number == header.first_layer_sections and header.alpha:
                alpha, _ = expect(ALPHA, "the alpha section") or (None, 0)
        if cursor.position != len(data):
            raise CorruptError(f"{len(data) - cursor.position} bytes follow the last section")
    except CorruptError as error:
        if not partial:
            raise
        problems.append(str(error))
    sections += [None] * (total - len(sections))
    return Contents(header, sections, alpha, metadata, metadata_bytes, tuple(problems))


def read_head(file: IO[bytes], limits: Limits, *, partial: bool = False) -> tuple[Header, dict[str, bytes]]:
    """Header and metadata (icc, exif, xmp) of an open file, from where it stands; the layers are not read. Raises a VQCError.

    partial: stop at metadata that is cut or damaged, and return what came before.
    """
    begin = file.tell()
    file.seek(0, SEEK_END)
    end = file.tell()
    limits.check_file(end - begin)
    file.seek(begin)
    header = unpack_header(file.read(HEADER_BYTES), limits)
    metadata: dict[str, bytes] = {}
    try:
        fixed = file.read(_SECTION.size)
        for name, tag in METADATA.items():
            if fixed[:1] == tag:
                metadata[name] = _read_metadata(file, fixed, end, limits, name)
                fixed = file.read(_SECTION.size)
    except VQCError:
        if not partial:
            raise
    return header, metadata


def _read_metadata(file: IO[bytes], fixed: bytes, end: int, limits: Limits, name: str) -> bytes:
    """The metadata of a section whose fixed part was read. end: of the file."""
    what = f"the {name.upper()} section"
    if len(fixed) < _SECTION.size:
        raise TruncatedError(f"the file ends before {what}")
    tag, length, expected = _SECTION.unpack(fixed)
    if file.tell() + length > end:
        raise TruncatedError(f"the file ends inside {what}")
    payload = file.read(length)
    if _checksum(tag, payload) != expected:
        raise CorruptError(f"{what} is damaged (checksum mismatch)")
    return inflate(payload, limits, name)


def inflate(payload: bytes, limits: Limits, name: str) -> bytes:
    """Undo zlib, at most to the metadata limit. Raises CorruptError, LimitError."""
    inflater = zlib.decompressobj()
    try:
        out = inflater.decompress(payload, limits.max_metadata_bytes + 1)
    except zlib.error:
        raise CorruptError(f"the {name.upper()} section does not inflate") from None
    limits.check_metadata(name.upper(), len(out))
    if not inflater.eof or inflater.unused_data:
        raise CorruptError(f"the {name.upper()} section does not end where it should")
    return out


def read_bytes(source: bytes | str | Path, limits: Limits) -> bytes:
    """The bytes of a file given as such or as a path. Raises a VQCError."""
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if not isinstance(source, str | Path):
        raise VQCError(f"neither bytes nor a path: {type(source).__name__}")
    path = Path(source)
    try:
        limits.check_file(path.stat().st_size)
        with path.open("rb") as file:
            data = file.read(limits.max_file_bytes + 1)  # a device or a pipe says nothing of its size
        limits.check_file(len(data))
        return data
    except (OSError, ValueError) as error:
        raise VQCError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
