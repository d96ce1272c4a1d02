"""The header of a .vqc file (FORMAT.md, "Header")."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from vqbitstream.errors import CorruptError, TruncatedError, UnsupportedError, VQCError
from vqbitstream.geometry import PATCH_PX, TILE, Rect, tile_count, tiles_of
from vqbitstream.limits import Limits

MAGIC = b"\x89VQC\r\n\x1a\n"
FORMAT_VERSION = 0
FLAG_GREY, FLAG_SINGLE_SECTION, FLAG_ALPHA, FLAG_EXACT = 1, 2, 4, 8
STEP_LOG2_FRACTION, STEP_LOG2_OFFSET = 4096, 8  # log2(step) = code / 4096 - 8
STEP_CODE_MIN, STEP_CODE_MAX = STEP_LOG2_FRACTION, 10 * STEP_LOG2_FRACTION  # 2^-7 .. 2^2
TUNES = ("psnr", "eye")  # what the encoder and the model aimed at: little squared error, or a good look
SINGLE_SECTION_PIXELS = 1 << 16  # pictures of fewer pixels, and of one tile, have all their layers in one section
_FIXED = struct.Struct("<BIIHHB8sB")  # flags, width, height, quality, step code, tune, model id, layers


@dataclass(frozen=True)
class Header:
    """What the decoder needs before it allocates anything.

    Attributes:
        width: Pixels, 1 or more.
        height: Pixels, 1 or more.
        grey: The picture has one colour channel instead of three.
        alpha: The file has an alpha section.
        single_section: All layers share one section.
        quality_centi: The encoder's quality in hundredths, 100..10000, or 0 if it had none. Decoding does not use it.
        step_code: 4096 * (log2(step) + 8), 4096..40960.
        tune: Index into `TUNES`. The model's networks see it.
        model_id: 8 bytes.
        layers: Number of layers, 1..255; 0 if all pixels are exact, and no model is needed.
        exact: The file has sections of exact pixels.
    """

    width: int
    height: int
    grey: bool
    alpha: bool
    single_section: bool
    quality_centi: int
    step_code: int
    tune: int
    model_id: bytes
    layers: int
    exact: bool = False

    @property
    def mode(self) -> str:
        """Mode of the decoded picture: "L", "LA", "RGB" or "RGBA"."""
        return ("L" if self.grey else "RGB") + "A" * self.alpha

    @classmethod
    def for_picture(
        cls, width: int, height: int, *, grey: bool = False, alpha: bool = False, quality: float = 0, step_code: int, tune: int,
        model_id: bytes, layers: int,
    ) -> Header:  # fmt: skip
        """The header that an encoder writes: a small picture gets a single section for all layers.

        Args:
            width: Pixels.
            height: Pixels.
            grey: One colour channel.
            alpha: The file will have an alpha section.
            quality: 1..100, or 0 if there was none.
            step_code: See `Header`.
            tune: See `Header`.
            model_id: 8 bytes.
            layers: Number of layers.
        """
        single = width * height < SINGLE_SECTION_PIXELS and max(width, height) <= TILE * PATCH_PX
        return cls(width, height, grey, alpha, single, round(quality * 100), step_code, tune, model_id, layers)

    @property
    def log2_step(self) -> float:
        """Base-2 logarithm of the step, whose unit is 255 pixel levels."""
        return log2_step(self.step_code)

    @property
    def step(self) -> float:
        """The quantiser's step in units of 255 pixel levels."""
        return float(2**self.log2_step)

    @property
    def tiles(self) -> list[Rect]:
        """The tiles in latent positions, row by row."""
        return tiles_of(self.width, self.height)

    @property
    def first_layer_sections(self) -> int:
        """Number of sections of the first layer, one per tile. The alpha section follows them."""
        return self.tile_count if self.layers else 0

    @property
    def tile_count(self) -> int:
        """Number of tiles."""
        return tile_count(self.height) * tile_count(self.width)

    @property
    def sections(self) -> int:
        """Number of layer sections."""
        return self.first_layer_sections * (1 if self.single_section else self.layers)

    def pack(self) -> bytes:
        """The 36 bytes at the start of a file."""
        flags = FLAG_GREY * self.grey | FLAG_SINGLE_SECTION * self.single_section | FLAG_ALPHA * self.alpha
        flags |= FLAG_EXACT * self.exact
        body = MAGIC + bytes([FORMAT_VERSION]) + _FIXED.pack(
            flags, self.width, self.height, self.quality_centi, self.step_code, self.tune, self.model_id,
            self.layers,
        )  # fmt: skip
        return body + struct.pack("<I", zlib.crc32(body))


def log2_step(step_code: int) -> float:
    """log2 of the step that a step code stands for."""
    return step_code / STEP_LOG2_FRACTION - STEP_LOG2_OFFSET


def nearest_step_code(log2_step: float) -> int:
    """The valid step code nearest to this step."""
    code = round((log2_step + STEP_LOG2_OFFSET) * STEP_LOG2_FRACTION)
    return min(max(code, STEP_CODE_MIN), STEP_CODE_MAX)


HEADER_BYTES = len(MAGIC) + 1 + _FIXED.size + 4


def unpack_header(data: bytes, limits: Limits) -> Header:
    """Read and check the header at the start of `data`.

    Raises:
        VQCError: The data does not start with a header that this version reads, or the header exceeds the limits.
    """
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
    flags, width, height, quality, step_code, tune, model_id, layers = _FIXED.unpack_from(body, len(MAGIC) + 1)
    if flags & ~(FLAG_GREY | FLAG_SINGLE_SECTION | FLAG_ALPHA | FLAG_EXACT):
        raise UnsupportedError(f"reserved header flags are set ({flags:#04x})")
    if not width or not height or not (layers or flags & FLAG_EXACT):
        raise CorruptError(f"header holds an empty picture ({width}x{height}, {layers} layers)")
    if quality and not 100 <= quality <= 10000:
        raise CorruptError(f"quality {quality} is neither 0 nor in 100..10000")
    if not STEP_CODE_MIN <= step_code <= STEP_CODE_MAX:
        raise CorruptError(f"step code {step_code} is outside {STEP_CODE_MIN}..{STEP_CODE_MAX}")
    if tune >= len(TUNES):
        raise UnsupportedError(f"tune {tune}; this vqcodec reads 0..{len(TUNES) - 1}")
    if flags & FLAG_SINGLE_SECTION and tile_count(width) * tile_count(height) > 1:
        raise CorruptError("layers share a section in a picture of many tiles")
    if flags & FLAG_SINGLE_SECTION and not layers:
        raise CorruptError("a section for layers in a file that has none")
    limits.check_size(width, height)
    limits.check_layers(layers)
    grey, single, alpha, exact = (bool(flags & f) for f in (FLAG_GREY, FLAG_SINGLE_SECTION, FLAG_ALPHA, FLAG_EXACT))
    return Header(width, height, grey, alpha, single, quality, step_code, tune, model_id, layers, exact)
