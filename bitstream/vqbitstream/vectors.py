"""Residual vector quantiser: pairs of neighbouring channels against a few shared codebooks (FORMAT.md, "Symbols").

Everything here is exact integers. Residuals and codewords are in 1/256 of the local step, log2-scales in 1/32 octave. How an encoder
chooses among the codewords is in `vqbitstream.choice`.

A pair's predicted scales choose its *level* and its frequency *table*:

* Level 0, both scales up to 2^(1/4) steps: one vector from the codebook of its table.
* Levels 1 to 3: a coarse vector first (8, 64 or 512 times the integer grid), then finer ones down to the grid itself, so that
  no pair overloads its codebook. A finer vector is coded relative to the coarser ones: its axes point along their signs, and which
  of their coordinates are zero selects its table. No stage loses what the Laplace shape of the residual implies for the next.
* The escape symbol, for the rare pair that its codebook cannot reach, restarts the pair at level 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from vqbitstream.arithmetic import OCTAVE
from vqbitstream.errors import CorruptError
from vqbitstream.prior import LOG2_SCALE_MAX, LOG2_SCALE_MIN

Ints = npt.NDArray[np.integer[Any]]

FRACTION_LOG2 = 8
ONE = 1 << FRACTION_LOG2  # one step
RADIUS = 8  # of the codebooks, in steps
GRID = 2 * RADIUS + 1
CODEWORDS = GRID * GRID
ZERO = CODEWORDS // 2  # index of the zero vector
ESCAPE = CODEWORDS
SYMBOLS = CODEWORDS + 1

LEVEL_LOG2, LEVELS = 3, 4
LEVEL_TOP = (OCTAVE // 4, 3 * OCTAVE + OCTAVE // 4, 6 * OCTAVE + OCTAVE // 4)  # largest log2-scale of levels 0, 1, 2
REACH = (RADIUS, 64 + 3, 512 + 31, 4096 + 255)  # largest |residual| in steps that a level can code
ESCAPE_LOG2_SCALE = 8 * OCTAVE

RATIO_BINS = 5
TOP_BINS, LOW_BINS = 26, 9  # quarter and half octaves
SINGLE_TABLES = COARSE_TABLES = TOP_BINS * RATIO_BINS
LOW_TABLES = LOW_BINS * RATIO_BINS
FIRST_COARSE = SINGLE_TABLES
FIRST_LOW = FIRST_COARSE + COARSE_TABLES
LOW_STATES = 4  # whether the coarser stages left the first, the second coordinate at zero
TABLES = FIRST_LOW + LOW_STATES * LOW_TABLES

BOOK_TOPS = (-2 * OCTAVE, -OCTAVE, -OCTAVE // 2)  # mean log2-scales at which level 0 goes on to the next codebook
BOOKS = len(BOOK_TOPS) + 1


class Source(Protocol):
    """Where symbols come from: a section that is decoded, or a sampler."""

    def read(self, tables: Ints) -> Ints:
        """The next batch, one symbol from each table. [n] to [n]."""


class SectionSource(Source, Protocol):
    """A source that knows its end."""

    def close(self) -> None:
        """Raises CorruptError unless the section held exactly the symbols that were read."""


class Sink(Protocol):
    """Where symbols go to: a section that is encoded, or a counter."""

    def write(self, tables: Ints, symbols: Ints) -> None:
        """Append a batch: tables [n] and symbols [n]."""


def mean_and_ratio(log2_scale: Any) -> tuple[Any, Any, Any]:
    """What a pair's table depends on. Integers [n, 2], NumPy or torch, to mean, ratio bin and maximum, each [n]."""
    first, second = log2_scale[:, 0], log2_scale[:, 1]
    difference = first - second
    ratio = (difference > -48) * 1 + (difference > -16) * 1 + (difference > 16) * 1 + (difference > 48) * 1
    return (first + second) >> 1, ratio, (first + second + abs(difference)) >> 1


def single_table(mean: Any, ratio: Any) -> Any:
    """Table of a level-0 vector, 0..129. A coarse vector of level L uses the same rule, on scales 3L octaves lower."""
    return ((mean - LOG2_SCALE_MIN) >> 3).clip(0, TOP_BINS - 1) * RATIO_BINS + ratio


def single_table_book() -> npt.NDArray[np.int64]:
    """Codebook of every level-0 table. int64 [130]"""
    mean = (np.arange(SINGLE_TABLES) // RATIO_BINS) * 8 + LOG2_SCALE_MIN + 4
    return np.searchsorted(np.asarray(BOOK_TOPS), mean, side="right").astype(np.int64)


def coarse_digit(steps: Any, level: int) -> Any:
    """The part of `steps` (whole steps) that the stage at this level codes, in units of 8^level; halves round away from zero."""
    half = (1 << (LEVEL_LOG2 * level)) >> 1
    return np.sign(steps) * ((np.abs(steps) + half) >> (LEVEL_LOG2 * level))


def grid_codebook() -> npt.NDArray[np.int16]:
    """The integer grid [-8, 8]^2 in 1/256 step, row by row: index = 17 (a + 8) + (b + 8). int16 [289, 2]"""
    axis = np.arange(-RADIUS, RADIUS + 1)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    return (grid * ONE).astype(np.int16)


@cache
def _top_tables() -> npt.NDArray[np.uint16]:
    """Table of the top vector for every pair of log2-scales. uint16 [481 * 481]"""
    scales = np.arange(LOG2_SCALE_MIN, LOG2_SCALE_MAX + 1)
    grid = np.stack(np.meshgrid(scales, scales, indexing="ij"), axis=-1).reshape(-1, 2)
    mean, ratio, top = mean_and_ratio(grid)
    level = level_of(top)
    return np.asarray(single_table(mean - 3 * OCTAVE * level, ratio) + FIRST_COARSE * (level > 0), dtype=np.uint16)


def level_of(top: Ints) -> Ints:
    """Level of a pair from the larger of its log2-scales."""
    return np.asarray((top > LEVEL_TOP[0]) * 1 + (top > LEVEL_TOP[1]) + (top > LEVEL_TOP[2]))


@dataclass(frozen=True)
class Pairs:
    """The pairs of one pass, and what their predicted scales imply.

    Attributes:
        tables: Table of each pair's top vector, [n].
        coarse: Which pairs are above level 0, [m].
        mean: Mean log2-scale of the coarse pairs, [m].
        ratio: Ratio bin of the coarse pairs, [m].
        level: Level of the coarse pairs, 1..3, [m].
    """

    tables: Ints
    coarse: Ints
    mean: Ints
    ratio: Ints
    level: Ints

    @classmethod
    def of(cls, log2_scale: Ints) -> Pairs:
        """From log2-scales, integers [n, 2]."""
        scales = log2_scale.astype(np.int32)
        width = LOG2_SCALE_MAX - LOG2_SCALE_MIN + 1
        tables = _top_tables().take(scales[:, 0] * width + scales[:, 1] - LOG2_SCALE_MIN * (width + 1)).astype(np.int64)
        coarse = np.flatnonzero(tables >= FIRST_COARSE)
        mean, ratio, top = mean_and_ratio(scales[coarse])
        return cls(tables, coarse, mean, ratio, level_of(top))

    def low_tables(self, rows: Ints, level: int, above: Ints) -> Ints:
        """Tables of a finer stage.

        Args:
            rows: Which of the coarse pairs, [k].
            level: Level of the stage.
            above: What the coarser stages decoded for these pairs, [k, 2] in any unit.
        """
        bins = ((self.mean[rows] - 3 * OCTAVE * level + 24) >> 4).clip(0, LOW_BINS - 1)
        state = 2 * (above[:, 0] != 0) + (above[:, 1] != 0)
        return np.asarray(FIRST_LOW + LOW_TABLES * state + bins * RATIO_BINS + self.ratio[rows])


class Vectors:
    """The codebooks of a model: symbols <-> residuals.

    Args:
        codebooks: int16 [4, 289, 2] in 1/256 step, for level 0.

    Raises:
        ValueError: Another shape, or a codeword 144 that is not the zero vector.
    """

    def __init__(self, codebooks: npt.NDArray[np.int16]) -> None:
        if codebooks.shape != (BOOKS, CODEWORDS, 2):
            raise ValueError(f"codebooks {codebooks.shape} have the wrong shape")
        if (codebooks[:, ZERO] != 0).any():
            raise ValueError("codeword 144 of every codebook must be the zero vector")
        self.codebooks = codebooks.astype(np.int32)
        self.grid = grid_codebook().astype(np.int32)
        self.book_of_table = np.append(single_table_book(), np.full(COARSE_TABLES, BOOKS))
        # every book and the grid, one after the other, an escape at the end of each; a pair is read as one 64-bit word
        books = np.zeros((BOOKS + 1, SYMBOLS, 2), dtype=np.int32)
        books[:BOOKS, :CODEWORDS], books[BOOKS, :CODEWORDS] = self.codebooks, self.grid
        self._words = books.reshape(-1, 2).view(np.int64)[:, 0]
        self._starts = self.book_of_table * SYMBOLS

    def decode(self, log2_scale: Ints, source: Source) -> Ints:
        """Read the symbols of one pass.

        Args:
            log2_scale: The prior's log2-scales, integers [n, 2] in 1/32 octave.
            source: Where the symbols come from.

        Returns:
            The decoded residual, int32 [n, 2] in 1/256 step.

        Raises:
            CorruptError: An escape symbol where no encoder writes one.
        """
        pairs = Pairs.of(log2_scale)
        symbols = source.read(pairs.tables)
        escaped = np.flatnonzero(symbols == ESCAPE)
        sound = np.arange(len(pairs.coarse))
        if len(escaped):
            hit = np.isin(pairs.coarse, escaped)
            if (pairs.level[hit] == LEVELS - 1).any():
                raise CorruptError("escape symbol in the coarsest level")
            sound = np.flatnonzero(~hit)
        decoded = self._top_vectors(pairs, symbols)
        for level in range(LEVELS - 2, -1, -1):
            rows = sound[pairs.level[sound] > level]
            if len(rows):
                at = pairs.coarse[rows]
                above = decoded[at]
                low = source.read(pairs.low_tables(rows, level, above))
                if (low == ESCAPE).any():
                    raise CorruptError("escape symbol in a fine stage")
                decoded[at] = above + (seen_from(above, self.grid[low]) << (LEVEL_LOG2 * level))
        if len(escaped):
            decoded[escaped] = self.decode(np.full((len(escaped), 2), ESCAPE_LOG2_SCALE), source)
        return decoded

    def write(self, pairs: Pairs, symbols: Ints, steps: Ints, sink: Sink) -> Ints:
        """Write the symbols of one pass, except for those that follow an escape.

        Args:
            pairs: The pass.
            symbols: Of the top vectors, [n].
            steps: Whole steps of the coarse pairs, [m, 2].
            sink: Where the symbols go to.

        Returns:
            The decoded residual, int32 [n, 2], zero for pairs that are escaped.
        """
        sink.write(pairs.tables, symbols)
        decoded = self._top_vectors(pairs, symbols)
        sound = np.flatnonzero(symbols[pairs.coarse] != ESCAPE)
        for level in range(LEVELS - 2, -1, -1):
            rows = sound[pairs.level[sound] > level]
            if len(rows):
                at = pairs.coarse[rows]
                above = decoded[at]
                digit = coarse_digit(steps[rows] - (above >> FRACTION_LOG2), level)
                sink.write(pairs.low_tables(rows, level, above), grid_index(seen_from(above, digit)))
                decoded[at] = above + (digit << (FRACTION_LOG2 + LEVEL_LOG2 * level))
        return decoded

    def _top_vectors(self, pairs: Pairs, symbols: Ints) -> Ints:
        decoded = self._words.take(self._starts.take(pairs.tables) + symbols).view(np.int32).reshape(-1, 2)
        if len(pairs.coarse):
            decoded[pairs.coarse] <<= (LEVEL_LOG2 * pairs.level)[:, None].astype(np.int32)
        return decoded


def seen_from(above: Ints, vectors: Ints) -> Ints:
    """Vectors with each axis turned towards what the coarser stages decoded; its own inverse. Both [n, 2]."""
    return np.where(above < 0, -vectors, vectors)


def grid_index(vectors: Ints) -> Ints:
    """Index of integer vectors in the grid codebook. [n, 2] to [n]."""
    return np.asarray(GRID * (vectors[:, 0] + RADIUS) + vectors[:, 1] + RADIUS)
