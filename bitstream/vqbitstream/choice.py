"""How the encoder chooses codewords: the nearest, or a cheaper one nearby. Any choice decodes.

Entropy-constrained vector quantisation (Chou, Lookabaugh & Gray, "Entropy-constrained vector quantization", 1989): the codeword
with the lowest squared error + lambda * bits, where the bits are those of the table that will code it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from vqbitstream.vectors import (
    ESCAPE,
    ESCAPE_LOG2_SCALE,
    FRACTION_LOG2,
    LEVEL_LOG2,
    LEVELS,
    ONE,
    RADIUS,
    REACH,
    SYMBOLS,
    TABLES,
    ZERO,
    Ints,
    Pairs,
    Sink,
    Vectors,
    coarse_digit,
    grid_index,
    seen_from,
)  # fmt: skip

LAMBDA = 0.11552453  # 2 ln 2 / 12: bits -> squared steps, the slope of D(R) for uniform cells
SEARCH_RATE_WEIGHT = 0.9  # share of lambda after a search
DEAD_ZONE = 0.3  # steps: a smaller residual's nearest codeword is zero


def default_rate_weight(log2_step: Any) -> Any:
    """Share of lambda that the choice uses when there is no search: 0.9 at step 0.7, and 0.16 less per octave below, in 0.3..1.1.

    It was measured on the development pictures.

    Args:
        log2_step: A float, or NumPy or torch floats.
    """
    share = 0.9 + 0.16 * (log2_step + 0.5)
    return min(max(share, 0.3), 1.1) if isinstance(share, float) else share.clip(0.3, 1.1)


def candidate_lists(codebooks: npt.NDArray[np.floating[Any]], count: int = 6) -> npt.NDArray[np.int64]:
    """The nearest codewords of every half-step cell of [-9, 9)^2, followed by the zero vector.

    Args:
        codebooks: [books, 289, 2] in steps.
        count: Number of nearest codewords.

    Returns:
        int64 [books, 36 * 36, count + 1]; residual (a, b) is in cell 36 (floor(2a) + 18) + floor(2b) + 18.
    """
    axis = (np.arange(36) - 18 + 0.5) / 2
    cells = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    out = []
    for book in codebooks:
        distance = np.square(cells[:, None] - book[None]).sum(-1)
        nearest = np.argpartition(distance, count, axis=1)[:, :count]
        out.append(np.concatenate([nearest, np.full((len(cells), 1), ZERO)], axis=1))
    return np.stack(out).astype(np.int64)


class Chooser:
    """Chooses codewords by error and bits.

    Args:
        vectors: The model's codebooks.
        bits: Code length of each symbol in each table, float32 [440, 290].

    Raises:
        ValueError: `bits` has another shape.
    """

    def __init__(self, vectors: Vectors, bits: npt.NDArray[np.float32]) -> None:
        if bits.shape != (TABLES, SYMBOLS):
            raise ValueError(f"tables {bits.shape} have the wrong shape")
        self.vectors, self.bits = vectors, bits
        self._candidates: Ints | None = None

    def encode(self, log2_scale: Ints, residual: Ints, rate_weight: float, sink: Sink) -> Ints:
        """Choose and write the symbols of one pass; `Vectors.decode` reads them.

        Args:
            log2_scale: The prior's log2-scales, integers [n, 2] in 1/32 octave.
            residual: Latent minus predicted mean, integers [n, 2] in 1/256 step.
            rate_weight: Share of lambda: 0 takes the nearest codeword, 1 minimises the full Lagrangian.
            sink: Where the symbols go to.

        Returns:
            The decoded residual, int32 [n, 2] in 1/256 step.
        """
        pairs = Pairs.of(log2_scale)
        symbols = np.full(len(pairs.tables), ZERO)
        steps = np.zeros((len(pairs.coarse), 2), dtype=np.int32)
        near = np.abs(residual).max(axis=1, initial=0) > DEAD_ZONE * ONE
        near[pairs.coarse] = False
        rows = np.flatnonzero(near)
        symbols[rows] = self._choose(pairs.tables[rows], residual[rows], rate_weight)
        for level in range(1, LEVELS):
            rows = np.flatnonzero(pairs.level == level)
            at = pairs.coarse[rows]
            steps[rows] = self._choose_steps(pairs, rows, level, residual[at], rate_weight)
            symbols[at] = grid_index(coarse_digit(steps[rows], level))
            symbols[at[(np.abs(steps[rows]) > REACH[level]).any(axis=1)]] = ESCAPE
        decoded = self.vectors.write(pairs, symbols, steps, sink)
        escaped = np.flatnonzero(symbols == ESCAPE)
        if len(escaped):
            wide = np.full((len(escaped), 2), ESCAPE_LOG2_SCALE)
            decoded[escaped] = self.encode(wide, residual[escaped], rate_weight, sink)
        return decoded

    def _choose_steps(self, pairs: Pairs, rows: Ints, level: int, residual: Ints, rate_weight: float) -> Ints:
        """Grid points of the coarse pairs of one level: the nearest, or a cheaper one nearer to zero. [n, 2] to whole steps [n, 2]."""
        reach = REACH[level] + (level < LEVELS - 1)  # one more says that an escape is needed
        nearest = np.clip((residual + ONE // 2) >> FRACTION_LOG2, -reach, reach)
        if rate_weight <= 0 or not len(rows):
            return nearest
        inward = nearest - np.sign(nearest)
        tops = pairs.tables[pairs.coarse[rows]]
        candidates = np.stack([np.where(inner, inward, nearest) for inner in ((0, 0), (0, 1), (1, 0), (1, 1))])
        costs = []
        for steps in candidates:
            digit = np.clip(coarse_digit(steps, level), -RADIUS, RADIUS)
            bits, above = self.bits[tops, grid_index(digit)], digit << (LEVEL_LOG2 * level)
            for low in range(level - 1, -1, -1):
                digit = coarse_digit(steps - above, low)
                bits = bits + self.bits[pairs.low_tables(rows, low, above), grid_index(seen_from(above, digit))]
                above = above + (digit << (LEVEL_LOG2 * low))
            costs.append(np.square(residual / ONE - steps).sum(axis=1) + rate_weight * LAMBDA * bits)
        best = np.argmin(costs, axis=0)
        beyond = (np.abs(nearest) > REACH[level]).any(axis=1)
        return np.where(beyond[:, None], nearest, candidates[best, np.arange(len(rows))])

    def _choose(self, table: Ints, residual: Ints, rate_weight: float) -> Ints:
        """Symbols of level-0 pairs outside the dead zone, from the codewords near each residual. [n] and [n, 2] to [n]."""
        if not len(table):
            return np.empty(0, dtype=np.int64)
        if self._candidates is None:
            self._candidates = candidate_lists(self.vectors.codebooks / ONE)
        book = self.vectors.book_of_table[table]
        scaled = residual / ONE
        cell = np.clip(np.floor(2 * scaled), -18, 17).astype(np.int64) + 18
        candidates = self._candidates[book, 36 * cell[:, 0] + cell[:, 1]]  # (n, 7)
        codewords = self.vectors.codebooks[book[:, None], candidates] / ONE
        cost = np.square(scaled[:, None] - codewords).sum(-1)
        weight = rate_weight * LAMBDA
        if weight > 0:
            cost += weight * self.bits[table[:, None], candidates]
        best = cost.argmin(axis=1)
        each = np.arange(len(table))
        escape_cost = 1 / 6 + max(weight, 0.1 * LAMBDA) * (self.bits[table, ESCAPE] + 16)
        return np.where(cost[each, best] > escape_cost, ESCAPE, candidates[each, best])
