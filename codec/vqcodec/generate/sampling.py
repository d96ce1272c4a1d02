"""Samples of a model's prior: valid .vqc files that no encoder made. Integers only, without torch."""

from __future__ import annotations

import numpy as np
import vqbitstream
from vqbitstream import Contents, Limits, Section
from vqbitstream.arithmetic import EXP2, EXP2_LOG2, Ints, power, scaled
from vqbitstream.entropy import FrequencyTables, SectionWriter
from vqbitstream.vectors import ESCAPE

from vqcodec.codec import Codec
from vqcodec.coding.defaults import DEFAULT_QUALITY

TEMPERATURES = (0.1, 4.0)
PEAK_LOG2 = 20  # the largest frequency of a table under a temperature


def tempered(counts: Ints, temperature: float) -> Ints:
    """Frequencies to the power 1 / temperature, in integers. int64 [tables, symbols], positive, to the same shape, >= 0."""
    if temperature == 1:
        return counts
    whole = np.searchsorted(1 << np.arange(40), counts, side="right") - 1  # floor(log2)
    fraction = np.searchsorted(EXP2, (counts << EXP2_LOG2) >> whole, side="right") - 1  # in 1/4096
    log2 = ((whole * len(EXP2) + fraction) * round(256 / temperature)) >> 8
    log2 = np.maximum(log2 - log2.max(axis=1, keepdims=True), -30 * len(EXP2))
    return np.asarray(scaled(np.array(1 << PEAK_LOG2), power(log2)), dtype=np.int64)


class PriorSampler:
    """Draws symbols from the tables that the decoder asks for, and writes them down.

    It uses integers only (Philox, cumulative counts), so that a seed gives the same symbols on every machine. Escapes are never drawn.

    Args:
        tables: The model's tables.
        random: Where the randomness comes from.
        temperature: Below 1, likely symbols become likelier.
    """

    def __init__(self, tables: FrequencyTables, random: np.random.Philox, temperature: float) -> None:
        counts = tables.counts.copy()
        counts[:, ESCAPE] = 1  # or, were it the likeliest, a low temperature would leave nothing else
        scaled = tempered(counts, temperature)
        scaled[:, ESCAPE] = 0
        self._totals = scaled.sum(axis=1)
        self._symbols = scaled.shape[1]
        # one rising sequence: table t begins at t * 2^30
        self._cumulative = (np.cumsum(scaled, axis=1) + (np.arange(len(scaled))[:, None] << 30)).reshape(-1)
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
        """Does nothing: a sampled section ends where the decoder stops reading."""


def sample(
    codec: Codec, width: int, height: int, *, seed: int = 0, temperature: float = 1.0, quality: float = DEFAULT_QUALITY
) -> bytes:  # fmt: skip
    """Draw a picture from the prior, layer by layer. A seed gives the same file on every machine.

    Args:
        codec: The model.
        width: Pixels.
        height: Pixels.
        seed: Of the draw.
        temperature: 0.1..4; below 1, likely indices become likelier.
        quality: 1..100; sets the step.

    Returns:
        The bytes of a .vqc file.

    Raises:
        ValueError: An argument is out of range.
        LimitError: The picture would be too large.
    """
    if not TEMPERATURES[0] <= temperature <= TEMPERATURES[1]:
        raise ValueError(f"temperature must lie in {TEMPERATURES[0]}..{TEMPERATURES[1]}, not {temperature}")
    Limits().check_size(width, height)
    header = codec.encoder.header(width, height, quality)
    random = np.random.Philox(seed)
    tiles = []
    for tile in header.tiles:
        count = 1 if header.single_section else header.layers
        sources = [PriorSampler(codec.tables, random, temperature) for _ in range(count)]
        spread = sources * header.layers if header.single_section else sources
        codec.tile_coder.latent_coder.decode(tile.shape, header.step_code, header.tune, spread)
        tiles.append([Section(s.writer.finish(), s.writer.index_crc) for s in sources])
    in_order = [tile[layer] for layer in range(len(tiles[0])) for tile in tiles]
    return vqbitstream.pack(Contents(header, in_order))
