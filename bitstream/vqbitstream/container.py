"""Header, metadata, alpha, exact pixels and layers <-> bytes (FORMAT.md, "Sections")."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import SEEK_END, BytesIO
from pathlib import Path
from typing import IO

from vqbitstream.errors import CorruptError, TruncatedError, VQCError
from vqbitstream.header import HEADER_BYTES, MAGIC, Header, unpack_header
from vqbitstream.limits import Limits

File = bytes | str | Path | IO[bytes]  # whole, a path, or open
METADATA = {"icc": b"I", "exif": b"E", "xmp": b"X"}  # name -> tag, in the order of the file
ALPHA, LAYER, EXACT = b"A", b"L", b"P"
_SECTION = struct.Struct("<cII")  # tag, payload bytes, CRC32 of tag and payload
_INDEX_CRC = struct.Struct("<I")  # CRC32 of the decoded indices, in layer sections only
LAYER_OVERHEAD_BYTES = _SECTION.size + _INDEX_CRC.size


@dataclass(frozen=True)
class Section:
    """The entropy-coded indices of one layer of one tile, or of all layers if the header has `single_section`.

    Attributes:
        payload: ANS words, little-endian uint32.
        index_crc: CRC32 of the decoded indices.
    """

    payload: bytes
    index_crc: int


@dataclass(frozen=True)
class Contents:
    """A file, taken apart.

    Attributes:
        header: The header.
        sections: All tiles of the first layer, then all tiles of the second, and so on. None where a partial read found a
            section missing or damaged.
        alpha: The coded plane (see `vqbitstream.alpha`) if the header says that there is one.
        metadata: Uncompressed contents of "icc", "exif" and "xmp", those that are present.
        metadata_bytes: Bytes that each of them takes in a file that was read.
        problems: What a partial read left out, one line each.
        exact: The exact pixels of every tile (see `vqcodec.pictures.overlay`; empty where it has none) if the header says that there
            are some. None where a partial read found a section missing or damaged.
    """

    header: Header
    sections: Sequence[Section | None]
    alpha: bytes | None = None
    metadata: Mapping[str, bytes] = field(default_factory=dict)
    metadata_bytes: Mapping[str, int] = field(default_factory=dict, compare=False)
    problems: tuple[str, ...] = ()
    exact: Sequence[bytes | None] = ()


def _checksum(tag: bytes, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(tag))


def pack(contents: Contents) -> bytes:
    """The bytes of a file.

    Raises:
        ValueError: The sections or the alpha plane are not those that the header promises.
    """
    header = contents.header
    if len(contents.sections) != header.sections or (contents.alpha is not None) != header.alpha:
        raise ValueError("sections or alpha are not those that the header promises")
    if len(contents.exact) != header.tile_count * header.exact:
        raise ValueError("exact pixels are not those that the header promises")
    if None in contents.sections or None in contents.exact:
        raise ValueError("a section is missing")

    def section(tag: bytes, payload: bytes, *index_crc: int) -> bytes:
        crcs = b"".join(_INDEX_CRC.pack(crc) for crc in index_crc)
        return _SECTION.pack(tag, len(payload), _checksum(tag, payload)) + crcs + payload

    layers = [section(LAYER, layer.payload, layer.index_crc) for layer in contents.sections if layer]
    parts = [header.pack()]
    parts += [section(t, zlib.compress(contents.metadata[n], 9)) for n, t in METADATA.items() if n in contents.metadata]
    parts += layers[: header.first_layer_sections]
    parts += [section(ALPHA, plane) for plane in [contents.alpha] if plane is not None]
    parts += [section(EXACT, pixels) for pixels in contents.exact if pixels is not None]
    parts += layers[header.first_layer_sections :]
    return b"".join(parts)


class _Cursor:
    """Reads the sections of an open file one after the other, from the end of its header to `end`."""

    def __init__(self, file: IO[bytes], end: int) -> None:
        self.file, self.end = file, end
        self._next = file.read(_SECTION.size)

    @property
    def tag(self) -> bytes:
        """Tag of the next section; empty at the end of the file."""
        return self._next[:1]

    @property
    def left(self) -> int:
        """Number of bytes that have not been read."""
        return self.end - self.file.tell() + len(self._next)

    def section(self, what: str) -> tuple[bytes, int, bool]:
        """Payload, index checksum (layers only) and whether the payload is intact. Raises TruncatedError."""
        index_crc = self.file.read(_INDEX_CRC.size) if self.tag == LAYER else bytes(_INDEX_CRC.size)
        if len(self._next) < _SECTION.size or len(index_crc) < _INDEX_CRC.size:
            raise TruncatedError(f"the file ends before {what}")
        tag, length, expected = _SECTION.unpack(self._next)
        if self.file.tell() + length > self.end:
            raise TruncatedError(f"the file ends inside {what}")
        payload = self.file.read(length)
        self._next = self.file.read(_SECTION.size)
        return payload, _INDEX_CRC.unpack(index_crc)[0], _checksum(tag, payload) == expected

    def expect(self, tag: bytes, what: str, problems: list[str] | None) -> tuple[bytes, int] | None:
        """Payload and index checksum of the next section, which must have this tag.

        A damaged section raises CorruptError; if `problems` is given, a line is added there and None is returned instead. Another tag
        always raises CorruptError.
        """
        if self.tag not in (tag, b""):
            raise CorruptError(f"tag {self.tag!r} where {what} should be")
        payload, index_crc, sound = self.section(what)
        if sound:
            return payload, index_crc
        if problems is None:
            raise CorruptError(f"{what} is damaged (checksum mismatch)")
        problems.append(f"{what} is damaged")
        return None

    def metadata(self, limits: Limits, problems: list[str] | None) -> tuple[dict[str, bytes], dict[str, int]]:
        """Contents of the metadata sections, and their bytes in the file. `problems` is as in `expect`. Raises a VQCError."""
        found: dict[str, bytes] = {}
        sizes: dict[str, int] = {}
        for name, tag in METADATA.items():
            if self.tag == tag and (section := self.expect(tag, f"the {name.upper()} section", problems)):
                try:
                    found[name] = inflate(section[0], limits, name)
                    sizes[name] = len(section[0])
                except VQCError as error:
                    if problems is None:
                        raise
                    problems.append(str(error))
        return found, sizes


def unpack(data: bytes, limits: Limits, *, partial: bool = False) -> Contents:
    """Take a file apart and verify its checksums. The sections must cover the file exactly.

    Args:
        data: The bytes of a file.
        limits: What to accept.
        partial: If the header is intact, leave out what is missing or damaged and list it in `problems`.

    Raises:
        VQCError: Anything is wrong with the file; with `partial`, only if the header is.
    """
    header = unpack_header(data, limits)
    file = BytesIO(data)
    file.seek(HEADER_BYTES)
    cursor = _Cursor(file, len(data))
    problems: list[str] = []
    tolerated = problems if partial else None
    metadata: dict[str, bytes] = {}
    metadata_bytes: dict[str, int] = {}
    alpha: bytes | None = None
    sections: list[Section | None] = []
    total = header.sections
    exact: list[bytes | None] = []

    def layer_sections(first: int, last: int) -> None:
        for number in range(first, last + 1):
            found = cursor.expect(LAYER, f"layer section {number} of {total}", tolerated)
            sections.append(Section(*found) if found else None)

    try:
        metadata, metadata_bytes = cursor.metadata(limits, tolerated)
        layer_sections(1, header.first_layer_sections)
        if header.alpha:
            alpha, _ = cursor.expect(ALPHA, "the alpha section", tolerated) or (None, 0)
        for number in range(1, header.tile_count * header.exact + 1):
            payload, _ = cursor.expect(EXACT, f"the exact pixels of tile {number}", tolerated) or (None, 0)
            exact.append(payload)
        layer_sections(header.first_layer_sections + 1, total)
        if cursor.left:
            raise CorruptError(f"{cursor.left} bytes follow the last section")
    except CorruptError as error:
        if not partial:
            raise
        problems.append(str(error))
    sections += [None] * (total - len(sections))
    exact += [None] * (header.tile_count * header.exact - len(exact))
    return Contents(header, sections, alpha, metadata, metadata_bytes, tuple(problems), tuple(exact))


def read_head(file: IO[bytes], limits: Limits, *, partial: bool = False) -> tuple[Header, dict[str, bytes]]:
    """Read the header and the metadata of an open file from its current position. The layers are not read.

    Args:
        file: A seekable binary file.
        limits: What to accept.
        partial: Leave out metadata that is damaged or missing.

    Returns:
        The header, and the contents of "icc", "exif" and "xmp", those that are present.

    Raises:
        VQCError: Anything is wrong with what was read.
    """
    begin = file.tell()
    file.seek(0, SEEK_END)
    end = file.tell()
    limits.check_file(end - begin)
    file.seek(begin)
    header = unpack_header(file.read(HEADER_BYTES), limits)
    try:
        return header, _Cursor(file, end).metadata(limits, [] if partial else None)[0]
    except VQCError:
        if not partial:
            raise
        return header, {}


def inflate(payload: bytes, limits: Limits, name: str) -> bytes:
    """Undo zlib, up to the limit for metadata. Raises CorruptError or LimitError."""
    inflater = zlib.decompressobj()
    try:
        out = inflater.decompress(payload, limits.max_metadata_bytes + 1)
    except zlib.error:
        raise CorruptError(f"the {name.upper()} section does not inflate") from None
    limits.check_metadata(name.upper(), len(out))
    if not inflater.eof or inflater.unused_data:
        raise CorruptError(f"the {name.upper()} section does not end where it should")
    return out


def _read_open(file: IO[bytes], limits: Limits) -> bytes:
    if not hasattr(file, "read"):
        raise VQCError(f"neither bytes, a path, nor an open file: {type(file).__name__}")
    name = getattr(file, "name", "the file")
    try:
        return _read_all(file, limits)
    except (OSError, ValueError) as error:  # ValueError: it is closed
        raise VQCError(f"{name}: {getattr(error, 'strerror', None) or error}") from None


def _read_all(file: IO[bytes], limits: Limits) -> bytes:
    """All of an open file, which may be a device or a pipe without end: no more than the limit, and of another format no more than
    the first bytes. Raises a VQCError."""
    begin = file.read(len(MAGIC))
    if not isinstance(begin, bytes):
        raise VQCError(f"{getattr(file, 'name', 'the file')}: is open as text; open it with mode 'rb'")
    if not MAGIC.startswith(begin[: len(MAGIC)]):
        raise VQCError("not a .vqc file")
    data = begin + file.read(limits.max_file_bytes + 1 - len(begin))
    limits.check_file(len(data))
    return data


def read_bytes(source: File, limits: Limits) -> bytes:
    """The bytes of a file that is given as bytes, as a path, or open. Raises a VQCError if it cannot be read."""
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if not isinstance(source, str | Path):
        return _read_open(source, limits)
    path = Path(source)
    try:
        limits.check_file(path.stat().st_size)
        with path.open("rb") as file:
            return _read_all(file, limits)
    except (OSError, ValueError) as error:
        raise VQCError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
