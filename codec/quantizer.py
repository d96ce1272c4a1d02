"""Residual vector quantiser: pairs of neighbouring channels against a few shared codebooks, and the tables they use.

Everything here is exact integers. Residuals and codewords are in 1/256 of the step, log2-scales in 1/32 octave.

A pair's predicted scales choose its *level* and its frequency *table*:

* level 0, both scales up to 2^(1/4) steps: one vector from the codebook of its table.
* level 1 to 3: a coarse vector first (8, 64 or 512 times the integer grid), then finer ones down to the grid itself, so that
  no pair overloads its codebook. A finer vector is coded as seen from the coarser ones: its signs are theirs, and which of
  them is zero is part of its class. So no stage loses what the Laplace shape of the residual says of the next.
* the escape symbol, for the rare pair that its codebook cannot reach, restarts the pair at level 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from vqbitstream.errors import CorruptError

Ints = npt.NDArray[np.int64]

FRACTION_LOG2 = 8
ONE = 1 << FRACTION_LOG2  # one step
RADIUS = 8  # of the codebooks, in steps
GRID = 2 * RADIUS + 1
CODEWORDS = GRID * GRID
ZERO = CODEWORDS // 2  # index of the zero vector
ESCAPE = CODEWORDS
SYMBOLS = CODEWORDS + 1

OCTAVE = 32  # unit of log2-scales
LOG2_SCALE_MIN, LOG2_SCALE_MAX = -6 * OCTAVE, 9 * OCTAVE
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

LAMBDA = 0.11552453  # 2 ln 2 / 12: bits -> squared steps, the slope of D(R) for uniform cells
BOOK_TOPS = (-2 * OCTAVE, -OCTAVE, -OCTAVE // 2)  # mean log2-scales at which level 0 goes on to the next codebook
BOOKS = len(BOOK_TOPS) + 1


class Source(Protocol):
    def read(self, tables: Ints) -> Ints: ...


class SectionSource(Source, Protocol):
    def close(self) -> None: ...


class Sink(Protocol):
    def write(self, tables: Ints, symbols: Ints) -> None: ...


SEARCH_RATE_WEIGHT = (
    0.62  # share of lambda where the encoder searches: about the inverse of the picture's curvature by the latent
)


def default_rate_weight(log2_step: Any) -> Any:
    """Share of lambda that the choice counts bits with, in training and by default: 0.9 at step 0.7, 0.16 less per octave below.

    log2_step: NumPy or torch floats; measured on the dev pictures.
    """
    return (0.9 + 0.16 * (log2_step + 0.5)).clip(0.3, 1.1)


def mean_and_ratio(log2_scale: Any) -> tuple[Any, Any, Any]:
    """Class inputs of pairs. log2_scale: integers [n, 2], NumPy or torch -> mean, ratio bin, maximum, each [n]."""
    first, second = log2_scale[:, 0], log2_scale[:, 1]
    difference = first - second
    ratio = (difference > -48) * 1 + (difference > -16) * 1 + (difference > 16) * 1 + (difference > 48) * 1
    return (first + second) >> 1, ratio, (first + second + abs(difference)) >> 1


def single_table(mean: Any, ratio: Any) -> Any:
    """Table of a level-0 vector, 0..129. A coarse vector of level L uses the same rule on scales 3L octaves lower."""
    return ((mean - LOG2_SCALE_MIN) >> 3).clip(0, TOP_BINS - 1) * RATIO_BINS + ratio


def single_table_book() -> npt.NDArray[np.int64]:
    """Codebook of every level-0 table. int64 [130]"""
    mean = (np.arange(SINGLE_TABLES) // RATIO_BINS) * 8 + LOG2_SCALE_MIN + 4
    return np.searchsorted(np.asarray(BOOK_TOPS), mean, side="right").astype(np.int64)


def coarse_digit(steps: Any, level: int) -> Any:
    """Coordinates of the stage at this level, in units of 8^level, for a rest in whole steps; halves round away from zero."""
    half = (1 << (LEVEL_LOG2 * level)) >> 1
    return np.sign(steps) * ((np.abs(steps) + half) >> (LEVEL_LOG2 * level))


def grid_codebook() -> npt.NDArray[np.int16]:
    """The integer grid [-8, 8]^2 in 1/256 step, row by row: index = 17 (a + 8) + (b + 8). int16 [289, 2]"""
    axis = np.arange(-RADIUS, RADIUS + 1)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    return (grid * ONE).astype(np.int16)


def candidate_lists(codebooks: npt.NDArray[np.floating[Any]], count: int = 6) -> npt.NDArray[np.int64]:
    """For every half-step cell of [-9, 9)^2 the nearest codewords, then the zero vector.

    codebooks [books, 289, 2] in steps -> int64 [books, 36 * 36, count + 1]; the cell of r is 36 (floor(2a) + 18) + floor(2b) + 18.
    """
    axis = (np.arange(36) - 18 + 0.5) / 2
    cells = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    out = []
    for book in codebooks:
        distance = np.square(cells[:, None] - book[None]).sum(-1)
        nearest = np.argpartition(distance, count, axis=1)[:, :count]
        out.append(np.concatenate([nearest, np.full((len(cells), 1), ZERO)], axis=1))
    return np.stack(out).astype(np.int64)


@dataclass(frozen=True)
class _Pairs:
    """Pairs of one pass, with what their predicted scales say."""

    mean: Ints
    ratio: Ints
    level: Ints

    @classmethod
    def of(cls, log2_scale: Ints) -> _Pairs:
        mean, ratio, top = mean_and_ratio(log2_scale)
        level = (top > LEVEL_TOP[0]).astype(np.int64) + (top > LEVEL_TOP[1]) + (top > LEVEL_TOP[2])
        return cls(mean, ratio, level)

    def top_tables(self) -> Ints:
        tables = single_table(self.mean - 3 * OCTAVE * self.level, self.ratio)
        return np.asarray(tables + FIRST_COARSE * (self.level > 0), dtype=np.int64)

    def low_tables(self, rows: Any, level: int, above: Ints) -> Ints:
        """Tables of the stage at `level`. above: what the coarser stages decoded for the rows, [n, 2] in any unit."""
        bins = ((self.mean[rows] - 3 * OCTAVE * level + 24) >> 4).clip(0, LOW_BINS - 1)
        state = 2 * (above[:, 0] != 0) + (above[:, 1] != 0)
        return FIRST_LOW + LOW_TABLES * state + bins * RATIO_BINS + self.ratio[rows]


class Quantizer:
    """Codebooks and code lengths; turns residuals into symbols and back.

    codebooks: int16 [4, 289, 2] in 1/256 step, for level 0. bits: float32 [440, 290], code length of each symbol in each table.
    """

    def __init__(self, codebooks: npt.NDArray[np.int16], bits: npt.NDArray[np.float32]) -> None:
        if codebooks.shape != (BOOKS, CODEWORDS, 2) or bits.shape != (TABLES, SYMBOLS):
            raise ValueError(f"codebooks {codebooks.shape} or tables {bits.shape} have the wrong shape")
        if (codebooks[:, ZERO] != 0).any():
            raise ValueError("codeword 144 of every codebook must be the zero vector")
        self.codebooks = codebooks.astype(np.int64)
        self.bits = bits
        self._grid = grid_codebook().astype(np.int64)
        self._book = single_table_book()
        self._candidates: npt.NDArray[np.int64] | None = None

    def decode(self, log2_scale: Ints, source: Source) -> Ints:
        """Read the symbols of one pass. log2_scale [n, 2] -> decoded residual [n, 2]. Raises CorruptError."""
        pairs = _Pairs.of(log2_scale)
        tables = pairs.top_tables()
        symbols = source.read(tables)
        escaped = symbols == ESCAPE
        if (escaped & (pairs.level == LEVELS - 1)).any():
            raise CorruptError("escape symbol in the coarsest level")
        decoded = self._top_vectors(pairs, tables, np.where(escaped, ZERO, symbols))
        for level in range(LEVELS - 2, -1, -1):
            rows = np.flatnonzero((pairs.level > level) & ~escaped)
            if len(rows):
                above = decoded[rows]
                low = source.read(pairs.low_tables(rows, level, above))
                if (low == ESCAPE).any():
                    raise CorruptError("escape symbol in a fine stage")
                decoded[rows] += _seen_from(above, self._grid[low]) << (LEVEL_LOG2 * level)
        rows = np.flatnonzero(escaped)
        if len(rows):
            decoded[rows] = self.decode(np.full((len(rows), 2), ESCAPE_LOG2_SCALE), source)
        return decoded

    def encode(self, log2_scale: Ints, residual: Ints, rate_weight: float, sink: Sink) -> Ints:
        """Choose and write the symbols of one pass; the inverse of `decode`.

        log2_scale, residual: [n, 2]. rate_weight scales lambda: 0 picks the nearest codeword, 1 the full Lagrangian's.
        Returns the decoded residual [n, 2].
        """
        pairs = _Pairs.of(log2_scale)
        tables = pairs.top_tables()
        symbols = np.full(len(tables), ZERO)
        single = np.flatnonzero(pairs.level == 0)
        symbols[single] = self._choose(tables[single], residual[single], rate_weight)
        steps = np.zeros_like(residual)
        for level in range(1, LEVELS):
            rows = np.flatnonzero(pairs.level == level)
            steps[rows] = self._choose_steps(pairs, rows, level, residual[rows], rate_weight)
            symbols[rows] = _grid_index(coarse_digit(steps[rows], level))
            symbols[rows[(np.abs(steps[rows]) > REACH[level]).any(axis=1)]] = ESCAPE
        escaped = symbols == ESCAPE
        sink.write(tables, symbols)
        decoded = self._top_vectors(pairs, tables, np.where(escaped, ZERO, symbols))
        for level in range(LEVELS - 2, -1, -1):
            rows = np.flatnonzero((pairs.level > level) & ~escaped)
            if len(rows):
                above = decoded[rows]
                digit = coarse_digit(steps[rows] - (above >> FRACTION_LOG2), level)
                sink.write(pairs.low_tables(rows, level, above), _grid_index(_seen_from(above, digit)))
                decoded[rows] += digit << (FRACTION_LOG2 + LEVEL_LOG2 * level)
        rows = np.flatnonzero(escaped)
        if len(rows):
            wide = np.full((len(rows), 2), ESCAPE_LOG2_SCALE)
            decoded[rows] = self.encode(wide, residual[rows], rate_weight, sink)
        return decoded

    def _top_vectors(self, pairs: _Pairs, tables: Ints, symbols: Ints) -> Ints:
        learned = self.codebooks[self._book[np.minimum(tables, SINGLE_TABLES - 1)], symbols]
        coarse = self._grid[symbols] << (LEVEL_LOG2 * pairs.level)[:, None]
        return np.where((pairs.level > 0)[:, None], coarse, learned)

    def _choose_steps(self, pairs: _Pairs, rows: Ints, level: int, residual: Ints, rate_weight: float) -> Ints:
        """Grid point for pairs of level 1, 2 or 3: the nearest, or by its bits one nearer to zero. [n, 2] -> whole steps [n, 2]"""
        reach = REACH[level] + (level < LEVELS - 1)  # one more says that an escape is needed
        nearest = np.clip((residual + ONE // 2) >> FRACTION_LOG2, -reach, reach)
        if rate_weight <= 0 or not len(rows):
            return nearest
        inward = nearest - np.sign(nearest)
        tops = pairs.top_tables()[rows]
        candidates = np.stack([np.where(inner, inward, nearest) for inner in ((0, 0), (0, 1), (1, 0), (1, 1))])
        costs = []
        for steps in candidates:
            digit = np.clip(coarse_digit(steps, level), -RADIUS, RADIUS)
            bits, above = self.bits[tops, _grid_index(digit)], digit << (LEVEL_LOG2 * level)
            for low in range(level - 1, -1, -1):
                digit = coarse_digit(steps - above, low)
                bits = bits + self.bits[pairs.low_tables(rows, low, above), _grid_index(_seen_from(above, digit))]
                above = above + (digit << (LEVEL_LOG2 * low))
            costs.append(np.square(residual / ONE - steps).sum(axis=1) + rate_weight * LAMBDA * bits)
        best = np.argmin(costs, axis=0)
        return np.where(
            (np.abs(nearest) > REACH[level]).any(axis=1)[:, None], nearest, candidates[best, np.arange(len(rows))]
        )

    def _choose(self, tables: Ints, residual: Ints, rate_weight: float) -> Ints:
        """Rate-aware choice (ECVQ: Chou, Lookabaugh & Gray 1989) among the codewords near each residual."""
        symbols = np.full(len(tables), ZERO)
        rows = np.flatnonzero(np.abs(residual).max(axis=1, initial=0) > 0.3 * ONE)  # the others' nearest is zero
        if not len(rows):
            return symbols
        if self._candidates is None:
            self._candidates = candidate_lists(self.codebooks / ONE)
        table, book = tables[rows], self._book[tables[rows]]
        scaled = residual[rows] / ONE
        cell = np.clip(np.floor(2 * scaled), -18, 17).astype(np.int64) + 18
        candidates = self._candidates[book, 36 * cell[:, 0] + cell[:, 1]]  # (n, 7)
        vectors = self.codebooks[book[:, None], candidates] / ONE
        cost = np.square(scaled[:, None] - vectors).sum(-1)
        weight = rate_weight * LAMBDA
        if weight > 0:
            cost += weight * self.bits[table[:, None], candidates]
        best = cost.argmin(axis=1)
        each = np.arange(len(rows))
        chosen = candidates[each, best]
        escape_cost = 1 / 6 + max(weight, 0.1 * LAMBDA) * (self.bits[table, ESCAPE] + 16)
        symbols[rows] = np.where(cost[each, best] > escape_cost, ESCAPE, chosen)
        return symbols


def _seen_from(above: Ints, vectors: Ints) -> Ints:
    """Vectors with their axes turned to where the coarser stages point; its own inverse. [n, 2] twice -> [n, 2]"""
    return np.where(above < 0, -vectors, vectors)


def _grid_index(vectors: Ints) -> Ints:
    """Index of integer vectors in the grid codebook. [n, 2] -> [n]"""
    return np.asarray(GRID * (vectors[:, 0] + RADIUS) + vectors[:, 1] + RADIUS, dtype=np.int64)
