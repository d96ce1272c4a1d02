"""New pictures from a model: samples of its prior, and walks between two pictures. Each is the bytes of a valid .vqc file."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
import vqbitstream
from torch import Tensor
from vqbitstream import Contents, Header, Limits, Section
from vqbitstream.entropy import FrequencyTables, SectionWriter
from vqbitstream.header import PATCH_PX, STEP_LOG2_FRACTION, STEP_LOG2_OFFSET, TILE

from .blocks import Latent
from .bottleneck import CELL, GaussianBottleneck
from .codec import SINGLE_SECTION_PIXELS, Codec
from .image import Pixels
from .latent_coder import latent_shape
from .prior import EXP2, scale_by_power
from .quantizer import ESCAPE, ONE, default_rate_weight
from .registry import ModelError
from .tile_coder import tile_rows

Ints = npt.NDArray[np.int64]
TEMPERATURES = (0.1, 4.0)
PEAK_LOG2 = 20  # the largest frequency of a table under a temperature


def tempered(counts: Ints, temperature: float) -> Ints:
    """Frequencies to the power 1 / temperature, in integers alone. int64 [tables, symbols], positive -> the same, from 0 up"""
    if temperature == 1:
        return counts
    whole = np.searchsorted(1 << np.arange(40), counts, side="right") - 1  # floor(log2)
    fraction = np.searchsorted(EXP2, (counts << 20) >> whole, side="right") - 1  # in 1/4096
    log2 = ((whole * len(EXP2) + fraction) * round(256 / temperature)) >> 8
    log2 = np.maximum(log2 - log2.max(axis=1, keepdims=True), -30 * len(EXP2))
    return scale_by_power(np.full_like(log2, 1 << PEAK_LOG2), log2, 0)


class PriorSampler:
    """A source of symbols for the decoder: drawn from the tables it asks for, and written down as it reads them.

    Integers alone (Philox, cumulative counts), so a seed gives the same symbols on every machine. Escapes are never drawn.
    """

    def __init__(self, tables: FrequencyTables, random: np.random.Philox, temperature: float) -> None:
        counts = tables.counts.copy()
        counts[:, ESCAPE] = 1  # or, were it the likeliest, a low temperature would leave nothing else
        counts = tempered(counts, temperature)
        counts[:, ESCAPE] = 0
        self._totals = counts.sum(axis=1)
        self._symbols = counts.shape[1]
        # one rising sequence: table t begins at t * 2^30
        self._cumulative = (np.cumsum(counts, axis=1) + (np.arange(len(counts))[:, None] << 30)).reshape(-1)
        self._random, self._tables = random, tables
        self.writer = SectionWriter(tables)

    def read(self, tables: Ints) -> Ints:
        """Draw one symbol of each table. [n] -> int64 [n]"""
        uniform = (self._random.random_raw(len(tables)) >> np.uint64(32)).astype(np.int64)
        place = (uniform * self._totals[tables]) >> 32
        found = np.searchsorted(self._cumulative, (tables << 30) + place, side="right")
        symbols = np.asarray(found - tables * self._symbols, dtype=np.int64)
        self.writer.write(tables, symbols)
        return symbols

    def close(self) -> None:
        """A section is never over: it ends where the decoder stops reading."""


def _header(codec: Codec, width: int, height: int, quality: float) -> Header:
    single = height * width < SINGLE_SECTION_PIXELS and max(height, width) <= TILE * PATCH_PX
    return Header(
        width, height, False, False, single, round(quality * 100), codec.step_code(quality), codec.model_id,
        len(codec.config.groups),
    )  # fmt: skip


def _pack(header: Header, tiles: list[list[Section]]) -> bytes:
    in_order = [tile[layer] for layer in range(len(tiles[0])) for tile in tiles]
    return bytes(vqbitstream.pack(Contents(header, in_order, None, {})))


@torch.inference_mode()
def sample(
    codec: Codec, width: int, height: int, *, seed: int = 0, temperature: float = 1.0, quality: float = 50
) -> bytes:
    """Draw a picture from the prior, layer by layer: a .vqc file that no encoder has made.

    temperature: 0.1..4; below 1 the likely indices become likelier. The file is the same for a seed on every machine. Raises
    ValueError for an argument out of range, LimitError for the size.
    """
    if not TEMPERATURES[0] <= temperature <= TEMPERATURES[1]:
        raise ValueError(f"temperature must lie in {TEMPERATURES[0]}..{TEMPERATURES[1]}, not {temperature}")
    Limits().check_size(width, height)
    header = _header(codec, width, height, quality)
    random = np.random.Philox(seed)
    tiles = []
    for tile in header.tiles:
        count = 1 if header.single_section else header.layers
        sources = [PriorSampler(codec.tables, random, temperature) for _ in range(count)]
        spread = sources * header.layers if header.single_section else sources
        codec.latent_coder.decode(tile.shape, header.step_code, spread)
        tiles.append([Section(s.writer.finish(), s.writer.index_crc) for s in sources])
    return _pack(header, tiles)


@torch.inference_mode()
def encode_latent(codec: Codec, latent: Latent, width: int, height: int, quality: float) -> bytes:
    """Latent int32 [h, w, C] in 1/256 of the quality's step -> a .vqc file, by the encoder's rate-aware choice."""
    header = _header(codec, width, height, quality)
    log2_step = _log2_step(header)
    weight = float(default_rate_weight(np.float64(log2_step)))
    tiles = []
    for tile in header.tiles:
        side = codec.transforms.side(latent, tile, log2_step)
        sections, _, _ = codec.tile_coder.encode(
            tile_rows(latent, tile), side, tile.shape, header.step_code, weight, header.single_section
        )
        tiles.append(sections)
    return _pack(header, tiles)


@torch.inference_mode()
def interpolate(codec: Codec, first: Pixels, second: Pixels, steps: int, *, quality: float = 50) -> list[bytes]:
    """Walk from one picture to another in equal steps, each quantised and coded: `steps` .vqc files, both ends included.

    first, second: uint8 [H, W, 3], of the same shape. Through the Gaussian bottleneck where the model has one; else the walk is
    along a line in the latent, which is linear in the pixels, so a cross-fade. Raises ValueError.
    """
    if first.shape != second.shape or first.ndim != 3:
        raise ValueError(f"pictures of {first.shape} and {second.shape}: both must be [H, W, 3], and of one size")
    if steps < 2:
        raise ValueError(f"a walk has at least 2 steps, not {steps}")
    height, width = first.shape[:2]
    log2_step = _log2_step(_header(codec, width, height, quality))
    ends = [codec.transforms.analyse(pixels, log2_step).astype(np.float64) for pixels in (first, second)]
    if codec.bottleneck is not None:
        codes = [gaussian_code(codec.bottleneck, end * (2**log2_step / ONE)) for end in ends]
    files = []
    for share in np.linspace(0, 1, steps):
        if codec.bottleneck is None:
            latent = (1 - share) * ends[0] + share * ends[1]
        else:
            code = (1 - share) * codes[0] + share * codes[1]
            latent = gaussian_latent(codec.bottleneck, code, ends[0].shape[:2]) * (ONE / 2**log2_step)
        files.append(encode_latent(codec, np.rint(latent).astype(np.int32), width, height, quality))
    return files


@torch.inference_mode()
def sample_gaussian(
    codec: Codec, width: int, height: int, *, seed: int = 0, temperature: float = 1.0, quality: float = 50
) -> bytes:
    """Draw a code from the bottleneck's Normal prior, decode it to a latent, and code that: a .vqc file.

    temperature scales the standard deviation. Floating point: other machines may differ by a level. Raises ModelError for a model
    without a bottleneck.
    """
    bottleneck = require_bottleneck(codec)
    Limits().check_size(width, height)
    rows, columns = latent_shape(width, height)
    dims = bottleneck.decode_hidden.in_channels
    noise = np.random.default_rng(seed).standard_normal((1, dims, -(-rows // CELL), -(-columns // CELL)))
    code = temperature * torch.from_numpy(noise.astype(np.float32)).to(codec.device)
    log2_step = _log2_step(_header(codec, width, height, quality))
    latent = gaussian_latent(bottleneck, code, (rows, columns)) * (ONE / 2**log2_step)
    return encode_latent(codec, np.rint(latent).astype(np.int32), width, height, quality)


def require_bottleneck(codec: Codec) -> GaussianBottleneck:
    """Raises ModelError for a model without one."""
    if codec.bottleneck is None:
        raise ModelError(
            f"model {codec.name} has no Gaussian bottleneck; train one: vqcodec train --bottleneck gaussian"
        )
    return codec.bottleneck


def gaussian_code(bottleneck: GaussianBottleneck, latent: npt.NDArray[np.floating]) -> Tensor:
    """Latent [h, w, C] in pixel units -> the posterior's mean [1, dims, ceil(h/4), ceil(w/4)]."""
    x = torch.from_numpy(latent.astype(np.float32)).to(bottleneck.sigma.device).permute(2, 0, 1)[None]
    return bottleneck.encode(F.pad(x, (0, -x.shape[3] % CELL, 0, -x.shape[2] % CELL), mode="replicate"))[0]


def gaussian_latent(bottleneck: GaussianBottleneck, code: Tensor, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """The inverse of `gaussian_code`, for h and w of `shape`."""
    latent = bottleneck.decode(code)[0, :, : shape[0], : shape[1]]
    return np.asarray(latent.permute(1, 2, 0).cpu().numpy(), dtype=np.float64)


def _log2_step(header: Header) -> float:
    return header.step_code / STEP_LOG2_FRACTION - STEP_LOG2_OFFSET
