"""Mutated files, each made anew from its number: whole-file damage, wrong structure with right checksums, hostile symbols."""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import vqbitstream
from vqbitstream import Contents, Header, Limits, Section
from vqbitstream.entropy import SectionWriter
from vqbitstream.geometry import PATCH_PX, Rect
from vqbitstream.header import HEADER_BYTES
from vqcodec.codec import Codec
from vqcodec.pictures.overlay import pack_overlay
from vqcodec.pictures.planes import Planes

from .webp import spoil, spoiled

Ints = npt.NDArray[np.int64]
Generator = np.random.Generator
HEADER = struct.Struct("<8sBBIIHHB8sB")
FIELDS = ("magic", "version", "flags", "width", "height", "quality", "step_code", "tune", "model_id", "layers")
EDGES = (0, 1, 2, 3, 15, 16, 17, 63, 64, 65, 100, 127, 128, 255, 256, 1023, 1024, 1025, 8191, 8192, 10000, 10001, 11313,
         40960, 40961, 65535, 65536, 1 << 24, 1 << 30, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)  # fmt: skip


@dataclass
class Piece:
    """A section as it stands in a file. length and crc: None where they are right."""

    tag: bytes
    payload: bytes
    index_crc: int | None = None
    length: int | None = None
    crc: int | None = None

    def pack(self) -> bytes:
        crc = zlib.crc32(self.payload, zlib.crc32(self.tag)) if self.crc is None else self.crc
        length = len(self.payload) if self.length is None else self.length
        index = b"" if self.index_crc is None else struct.pack("<I", self.index_crc)
        return self.tag + struct.pack("<II", length, crc) + index + self.payload


@dataclass
class File:
    """A file in pieces, not necessarily one that makes sense. tail: bytes after the last section."""

    header: dict[str, int | bytes]
    pieces: list[Piece] = field(default_factory=list)
    tail: bytes = b""

    @classmethod
    def parse(cls, data: bytes) -> File:
        """A sound file, taken apart."""
        file = cls(dict(zip(FIELDS, HEADER.unpack_from(data), strict=True)))
        position = HEADER_BYTES
        while position < len(data):
            tag = data[position : position + 1]
            length, _ = struct.unpack_from("<II", data, position + 1)
            index_crc = struct.unpack_from("<I", data, position + 9)[0] if tag == b"L" else None
            begin = position + (13 if tag == b"L" else 9)
            position = begin + length
            file.pieces.append(Piece(tag, data[begin:position], index_crc))
        return file

    def pack(self) -> bytes:
        """The bytes; every checksum right that no piece says otherwise of."""
        body = HEADER.pack(*(self.header[f] for f in FIELDS))
        return body + struct.pack("<I", zlib.crc32(body)) + b"".join(p.pack() for p in self.pieces) + self.tail


def seeds(codec: Codec) -> list[bytes]:
    """Sound files of every kind: one section and one a layer, grey, alpha, metadata, several tiles, exact pixels, all or some."""
    rng = np.random.default_rng(0)

    def pixels(width: int, height: int) -> npt.NDArray[np.uint8]:
        y, x = np.mgrid[0:height, 0:width]
        waves = np.stack([np.sin(x / (4 + c)) + np.cos(y / (7 - c)) for c in range(3)], axis=-1)
        return np.clip(128 + 50 * waves + rng.normal(0, 12, (height, width, 3)), 0, 255).astype(np.uint8)

    metadata = {"icc": b"a profile" * 20, "exif": b"II*\0\x08\0\0\0\0\0", "xmp": b"<x:xmpmeta/>"}
    alpha = np.add.outer(np.arange(40), np.arange(50)).astype(np.uint8)
    files = [
        codec.encode_pixels(pixels(24, 17), quality=30, effort=1),
        codec.encode_pixels(pixels(70, 40), quality=95, effort=1),
        codec.encode_pixels(pixels(33, 20)[..., 0], quality=60, effort=1),
        codec.encode_planes(Planes(pixels(50, 40), alpha, metadata), quality=50, effort=1)[0],
        codec.encode_pixels(pixels(1030, 20), quality=40, effort=1),
        codec.encode_planes(Planes(pixels(1030, 20), np.zeros((20, 1030), np.uint8)), quality=40, effort=1)[0],
    ]
    with patch("vqbitstream.header.SINGLE_SECTION_PIXELS", 0):
        layered = codec.encode_planes(Planes(pixels(50, 40), alpha, metadata), quality=70, effort=1)[0]
    lossless = [
        codec.encode_planes(
            Planes(pixels(width, height) // 64 * 64, plane, metadata), quality=50, effort=1, exact="all"
        )[0]
        for width, height, plane in ((50, 40, alpha), (1030, 20, None))
    ]
    grey = codec.encode_planes(Planes(pixels(33, 20)[..., 0]), quality=50, effort=1, exact="all")[0]
    partly = [with_exact(data, pixels(1030, 40) // 64 * 64, rng) for data in (files[1], files[2], files[4], layered)]
    return [*files, layered, layered, *lossless, grey, *partly]


def with_exact(data: bytes, pixels: npt.NDArray[np.uint8], rng: Generator) -> bytes:
    """A file, and over it exact pixels: all of some tiles, a part of others, none of the rest."""
    contents = vqbitstream.unpack(data, Limits())
    overlays = []
    for tile in contents.header.tiles:
        place = tile.scale(PATCH_PX).intersect(Rect(0, contents.header.height, 0, contents.header.width))
        share = rng.choice([0, 0.1, 0.5, 1], p=[0.1, 0.4, 0.3, 0.2])
        overlays.append(pack_overlay(np.resize(pixels, (*place.shape, 3)), rng.random(place.shape) < share, quick=True))
    return vqbitstream.pack(replace(contents, header=replace(contents.header, exact=True), exact=overlays))


def boundless_header() -> bytes:
    """Sound in itself, and 2^31 pixels a side."""
    return Header(1 << 31, 1 << 31, False, False, False, 5000, 20480, 1, bytes(8), 5).pack()


def _number(rng: Generator, top: int) -> int:
    """A value for a field of the file: an edge case, or any."""
    if rng.random() < 0.7:
        return min(int(rng.choice(EDGES)), top)
    return int(rng.integers(0, top, endpoint=True))


def _bytes(data: bytes, rng: Generator, _: list[bytes]) -> bytes:
    """Damage that knows nothing of the structure."""
    kind = rng.integers(0, 4)
    if kind == 0:
        return data[: int(rng.integers(0, len(data)))]
    if kind == 1:
        return data + rng.bytes(int(rng.integers(1, 40)))
    return spoil(data, rng)


def _header(data: bytes, rng: Generator, _: list[bytes]) -> bytes:
    file = File.parse(data)
    for _i in range(int(rng.integers(1, 4))):
        name = FIELDS[int(rng.integers(2, len(FIELDS)))]
        value = file.header[name]
        if isinstance(value, bytes):
            file.header[name] = spoil(value, rng)[:8].ljust(8, b"\0")
        elif name == "flags":
            file.header[name] = value ^ (1 << int(rng.integers(0, 8 if rng.random() < 0.2 else 4)))
        else:
            top = {"layers": 255, "tune": 255, "quality": 65535, "step_code": 65535}.get(name, (1 << 32) - 1)
            file.header[name] = (
                _number(rng, top) if rng.random() < 0.7 else max(0, min(value + int(rng.integers(-40, 41)), top))
            )
    return file.pack()


def _sections(data: bytes, rng: Generator, seeds: list[bytes]) -> bytes:
    """Sections dropped, doubled, exchanged, renamed, of wrong length, or from another file."""
    file = File.parse(data)
    for _ in range(int(rng.integers(1, 4))):
        if not file.pieces:
            break
        place = int(rng.integers(len(file.pieces)))
        piece = file.pieces[place]
        kind = rng.integers(0, 8)
        if kind == 0:
            del file.pieces[place]
        elif kind == 1:
            file.pieces.insert(int(rng.integers(len(file.pieces) + 1)), piece)
        elif kind == 2:
            other = int(rng.integers(len(file.pieces)))
            file.pieces[place], file.pieces[other] = file.pieces[other], piece
        elif kind == 3:
            file.pieces[place] = replace(piece, tag=bytes([int(rng.choice([*b"IEXALP", rng.integers(256)]))]))
        elif kind == 4:
            file.pieces[place] = replace(piece, length=_number(rng, (1 << 32) - 1))
        elif kind == 5:
            stranger = File.parse(seeds[int(rng.integers(len(seeds)))]).pieces
            file.pieces[place] = stranger[int(rng.integers(len(stranger)))]
        elif kind == 6:
            file.pieces[place] = replace(piece, index_crc=None if rng.random() < 0.3 else _number(rng, (1 << 32) - 1))
        else:
            file.pieces[place] = replace(piece, crc=_number(rng, (1 << 32) - 1))
    return file.pack()


@cache
def bomb() -> bytes:
    """300 MB of zeros in a zlib stream of 0.3 MB: more than a decoder may ever hold."""
    deflater = zlib.compressobj(9, wbits=-15)
    block = deflater.compress(bytes(1 << 20)) + deflater.flush(zlib.Z_FULL_FLUSH)  # does not look back beyond itself
    adler = (300 << 20) % 65521 << 16 | 1
    return b"\x78\xda" + 300 * block + b"\3\0" + adler.to_bytes(4, "big")


def _payloads(data: bytes, rng: Generator, _: list[bytes]) -> bytes:
    """Payloads changed, and their checksums with them; what is inflated changed inside."""
    file = File.parse(data)
    for place in rng.permutation(len(file.pieces))[: int(rng.integers(1, 4))]:
        piece = file.pieces[place]
        payload = piece.payload
        if piece.tag in b"IEXA" and rng.random() < 0.6:
            first, packed = (payload[:1], payload[1:]) if piece.tag == b"A" else (b"", payload)
            inside = bomb() if rng.random() < 0.02 else zlib.compress(spoil(zlib.decompress(packed), rng), 1)
            payload = (bytes([int(rng.integers(5))]) if first else b"") + inside
        elif piece.tag == b"P" and rng.random() < 0.9:
            payload = spoiled(payload, rng)
        elif piece.tag == b"L" and rng.random() < 0.5:  # whole words
            words = list(struct.unpack(f"<{len(payload) // 4}I", payload))
            at = int(rng.integers(0, len(words) + 1))
            words[at : at + int(rng.integers(0, 3))] = [
                _number(rng, (1 << 32) - 1) for _ in range(int(rng.integers(0, 3)))
            ]
            payload = struct.pack(f"<{len(words)}I", *words)
        else:
            payload = spoil(payload, rng)
        file.pieces[place] = replace(piece, payload=payload)
    return file.pack()


def _exact(data: bytes, rng: Generator, seeds: list[bytes]) -> bytes:
    """Exact pixels changed, in every tile or in some; the other payloads where there are none."""
    file = File.parse(data)
    places = [n for n, piece in enumerate(file.pieces) if piece.tag == b"P"]
    if not places:
        return _payloads(data, rng, seeds)
    for place in places if rng.random() < 0.5 else [places[int(rng.integers(len(places)))]]:
        file.pieces[place] = replace(file.pieces[place], payload=spoiled(file.pieces[place].payload, rng))
    return file.pack()


MUTATIONS: tuple[Callable[[bytes, Generator, list[bytes]], bytes], ...] = (
    _bytes, _header, _sections, _payloads, _exact,
)  # fmt: skip


class _Symbols:
    """Stands in for a section's reader: makes symbols up as they are asked for, and codes them soundly."""

    def __init__(self, codec: Codec, rng: Generator) -> None:
        self.writer, self.codec, self.rng = SectionWriter(codec.tables), codec, rng
        self.taste = rng.integers(0, 5)
        self.escapes = float(rng.choice([0, 0, 0, 0.001, 0.3, 1]))

    def read(self, tables: Ints) -> Ints:
        counts, rng = self.codec.tables.counts, self.rng
        top = counts.shape[1] - 1  # the escape
        if self.taste == 0:
            symbols = rng.integers(0, top, len(tables))
        elif self.taste == 1:
            symbols = np.full(len(tables), int(rng.choice([0, 16, 144, 272, 288])))
        elif self.taste == 2:
            symbols = rng.choice([0, 16, 272, 288], len(tables))
        elif self.taste == 3:
            symbols = counts[tables].argmin(axis=1) % top if len(tables) else np.zeros(0, np.int64)
        else:  # as the prior expects
            symbols = np.array([rng.choice(top + 1, p=row / row.sum()) for row in counts[tables]], dtype=np.int64)
        symbols = np.where(rng.random(len(tables)) < self.escapes, top, symbols).astype(np.int64)
        self.writer.write(tables, symbols)
        return symbols

    def close(self) -> None:
        pass


def hostile(codec: Codec, rng: Generator) -> bytes:
    """A file of which every checksum and every length is right, whose indices no encoder would choose."""
    width, height = (int(rng.choice([1, 5, 16, 17, 40, 65, 90])) for _ in range(2))
    single = bool(rng.random() < 0.5)
    header = Header(width, height, bool(rng.random() < 0.3), False, single, 5000, int(rng.integers(4096, 40961)),
                    int(rng.integers(2)), codec.model_id, int(rng.integers(1, len(codec.config.groups) + 1)))  # fmt: skip
    sections = []
    for tile in header.tiles:
        sources = [_Symbols(codec, rng) for _ in range(1 if single else header.layers)]
        with contextlib.suppress(
            vqbitstream.CorruptError
        ):  # an escape where there can be none: what came before is a file
            codec.tile_coder.latent_coder.decode(
                tile.shape, header.step_code, header.tune, sources * (header.layers if single else 1)
            )  # type: ignore[arg-type]
        sections += [Section(s.writer.finish(), s.writer.index_crc) for s in sources]
    data = vqbitstream.pack(Contents(header, sections))
    if rng.random() < 0.2:
        return with_exact(data, rng.integers(0, 256, (height, width, 3), dtype=np.uint8), rng)
    return data


def case(number: int, codec: Codec, files: list[bytes], seed: int = 0) -> bytes:
    """The mutated file of a number: always the same."""
    rng = np.random.default_rng((seed, number))
    if rng.random() < 0.1:
        data = hostile(codec, rng)
        return data if rng.random() < 0.7 else MUTATIONS[int(rng.integers(len(MUTATIONS)))](data, rng, files)
    data = files[int(rng.integers(len(files)))]
    for _ in range(1 + int(rng.random() < 0.2)):
        try:
            data = MUTATIONS[int(rng.integers(len(MUTATIONS)))](data, rng, files)
        except (
            struct.error,
            zlib.error,
            IndexError,
            ValueError,
        ):  # the first mutation left nothing that can be taken apart
            return data
    return data
