"""The header of a .vqc file (FORMAT.md, "Header"), and the tiles that its size implies."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from itertools import pairwise

from .errors import CorruptError, TruncatedError, UnsupportedError, VQCError
from .limits import Limits

MAGIC = b"\x89VQC\r\n\x1a\n"
FORMAT_VERSION = 0
FLAG_GREY, FLAG_SINGLE_SECTION, FLAG_ALPHA = 1, 2, 4
STEP_LOG2_FRACTION, STEP_LOG2_OFFSET = 4096, 8  # log2(step) = code / 4096 - 8
STEP_CODE_MIN, STEP_CODE_MAX = 2 * STEP_LOG2_FRACTION, 10 * STEP_LOG2_FRACTION  # 2^-6 .. 2^2
PATCH_PX = 16  # side of the pixels of one latent position
SIDE_FACTOR = 4  # side of the latent positions of one side-grid position; tiles are made of whole ones
TILE = 64  # largest side of a tile, in latent positions
_FIXED = struct.Struct("<BIIHH8sB")  # flags, width, height, quality, step code, model id, layers


@dataclass(frozen=True)
class Tile:
    """A rectangle of latent positions: rows top..bottom, columns left..right, ends excluded."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        return self.bottom - self.top, self.right - self.left


def tile_count(side_px: int) -> int:
    """Number of tiles along a side."""
    return -(-side_px // (PATCH_PX * TILE))


def tile_edges(side_px: int) -> list[int]:
    """Where tiles begin and end along a side, in latent positions: as few as 64 allows, about equal, whole side-grid cells."""
    positions = -(-side_px // PATCH_PX)
    tiles = tile_count(side_px)
    cells = -(-positions // SIDE_FACTOR)
    return [min(positions, SIDE_FACTOR * (cells * i // tiles)) for i in range(tiles + 1)]


@dataclass(frozen=True)
class Header:
    """What the decoder allocates from.

    width, height: pixels, 1 or more. grey: one colour channel. alpha: an alpha plane follows. single_section: all layers share
    one section. quality_centi: the encoder's quality in hundredths (100..10000), 0 if it had none; nothing is decoded from it.
    step_code: log2 of the step, see STEP_LOG2_FRACTION. model_id: 8 bytes. layers: number of layers, 1..255.
    """

    width: int
    height: int
    grey: bool
    alpha: bool
    single_section: bool
    quality_centi: int
    step_code: int
    model_id: bytes
    layers: int

    @property
    def mode(self) -> str:
        """Of the decoded picture: L, LA, RGB or RGBA."""
        return ("L" if self.grey else "RGB") + "A" * self.alpha

    @property
    def step(self) -> float:
        return float(2 ** (self.step_code / STEP_LOG2_FRACTION - STEP_LOG2_OFFSET))

    @property
    def tiles(self) -> list[Tile]:
        """Row by row."""
        rows, columns = tile_edges(self.height), tile_edges(self.width)
        return [Tile(top, bottom, left, right) for top, bottom in pairwise(rows) for left, right in pairwise(columns)]

    @property
    def first_layer_sections(self) -> int:
        """Number of sections of the first layer: one a tile. The alpha section follows them."""
        return tile_count(self.height) * tile_count(self.width)

    @property
    def sections(self) -> int:
        """Number of layer sections."""
        return self.first_layer_sections * (1 if self.single_section else self.layers)

    def pack(self) -> bytes:
        flags = FLAG_GREY * self.grey | FLAG_SINGLE_SECTION * self.single_section | FLAG_ALPHA * self.alpha
        body = MAGIC + bytes([FORMAT_VERSION]) + _FIXED.pack(
            flags, self.width, self.height, self.quality_centi, self.step_code, self.model_id, self.layers
        )  # fmt: skip
        return body + struct.pack("<I", zlib.crc32(body))


HEADER_BYTES = len(MAGIC) + 1 + _FIXED.size + 4


def unpack_header(data: bytes, limits: Limits) -> Header:
    """Read and check the header at the start of `data`. Raises a VQCError."""
    limits.check_file(len(data))
    if not MAGIC.startswith(data[: len(MAGIC)]) or not data:
        raise VQCError("not a .vqc file")
    if len(data) <= len(MAGIC):
        raise TruncatedError("the file ends inside its header")
    if data[len(MAGIC)] != FORMAT_VERSION:
        raise UnsupportedError(f"format version {data[len(MAGIC)]}; this vqcodec reads version {FORMAT_VERSION}")
    if len(data) < HEADER_BYTES:
        raise TruncatedError("the file ends inside its header")
    body = data[: HEADER_BYTES - 4]
    (expected,) = struct.unpack_from("<I", data, HEADER_BYTES - 4)
    if zlib.crc32(body) != expected:
        raise CorruptError(f"header checksum is {zlib.crc32(body):08x}, the file says {expected:08x}")
    flags, width, height, quality, step_code, model_id, layers = _FIXED.unpack_from(body, len(MAGIC) + 1)
    if flags & ~(FLAG_GREY | FLAG_SINGLE_SECTION | FLAG_ALPHA):
        raise UnsupportedError(f"reserved header flags are set ({flags:#04x})")
    if not width or not height or not layers:
        raise CorruptError(f"header holds an empty picture ({width}x{height}, {layers} layers)")
    if quality and not 100 <= quality <= 10000:
        raise CorruptError(f"quality {quality} is neither 0 nor in 100..10000")
    if not STEP_CODE_MIN <= step_code <= STEP_CODE_MAX:
        raise CorruptError(f"step code {step_code} is outside {STEP_CODE_MIN}..{STEP_CODE_MAX}")
    if flags & FLAG_SINGLE_SECTION and tile_count(width) * tile_count(height) > 1:
        raise CorruptError("layers share a section in a picture of many tiles")
    limits.check_size(width, height)
    limits.check_layers(layers)
    grey, single, alpha = (bool(flags & f) for f in (FLAG_GREY, FLAG_SINGLE_SECTION, FLAG_ALPHA))
    return Header(width, height, grey, alpha, single, quality, step_code, model_id, layers)
