"""The walk over one tile's latent (FORMAT.md, "Order of symbols"): channel groups, coarse to fine, each in several passes.

    group 0, five passes           groups 1, 2, ..: two passes
    0 4 2 4 0 4 2 4                o x o x    Each digit is the pass of a position. A position of a later pass sees the four nearest
    4 3 4 3 4 3 4 3                x o x o    ones of the passes before: diagonally two away (pass 1), straight two away (2),
    2 4 1 4 2 4 1 4                o x o x    diagonally one away (3), straight one away (4). In the other groups the second
    4 3 4 3 4 3 4 3                x o x o    pass `x` sees the first, `o`, around it; both see all coarser groups.

Encoder and decoder take the same walk, asking the prior before every pass; one writes symbols, the other reads them. A group is a
layer of the file. Groups that a file does not have are zero, and nothing is computed for them.
Two-pass checkerboard: He et al., "Checkerboard context model for efficient learned image compression", 2021; channel groups:
Minnen & Singh, "Channel-wise autoregressive entropy models for learned image compression", 2020.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from vqbitstream.choice import Chooser
from vqbitstream.prior import Ints, Prediction, Prior, PriorState
from vqbitstream.vectors import SectionSource, Sink

Shape = tuple[int, int]
Code = Callable[
    [Ints, Prediction], Ints
]  # positions [n] and what the prior says of them -> decoded values [n, channels]

STRAIGHT = ((-1, 0), (0, -1), (0, 1), (1, 0))  # (rows, columns) to the four neighbours
DIAGONAL = ((-1, -1), (-1, 1), (1, -1), (1, 1))
REACHES = ((2, DIAGONAL), (2, STRAIGHT), (1, DIAGONAL), (1, STRAIGHT))  # of passes 1 to 4 of group 0


@lru_cache(maxsize=16)
def checkerboard(shape: Shape) -> tuple[Ints, Ints]:
    """Flat positions of the two passes of a group after the first."""
    parity = np.add.outer(np.arange(shape[0]), np.arange(shape[1])).reshape(-1) % 2
    return np.flatnonzero(parity == 0), np.flatnonzero(parity == 1)


@lru_cache(maxsize=16)
def hierarchy(shape: Shape) -> tuple[tuple[Ints, ...], tuple[Ints, ...]]:
    """The five passes of group 0.

    Returns:
        Flat positions of each pass, and for passes 1 to 4 the neighbours of each position, [n, 4]: indices into all positions of
        the passes before, in the order of coding, or their number for a neighbour outside the tile.
    """
    row, column = (axis.reshape(-1) for axis in np.indices(shape))
    number = np.select(
        [(row % 4 == 0) & (column % 4 == 0), (row % 4 == 2) & (column % 4 == 2), (row % 2 == 0) & (column % 2 == 0),
         (row % 2 == 1) & (column % 2 == 1)], [0, 1, 2, 3], 4,
    )  # fmt: skip
    passes = tuple(np.flatnonzero(number == n) for n in range(5))
    order = np.zeros((shape[0] + 4, shape[1] + 4), dtype=np.int64)  # of coding, with a margin
    inside = order[2:-2, 2:-2]
    neighbours, known = [], 0
    for positions, rest, reach in zip(passes, passes[1:], REACHES, strict=False):
        inside[row[positions], column[positions]] = np.arange(known, known + len(positions)) + 1
        known += len(positions)
        distance, directions = reach
        found = [order[row[rest] + 2 + distance * y, column[rest] + 2 + distance * x] - 1 for y, x in directions]
        neighbours.append(np.stack([np.where(at < 0, known, at) for at in found], axis=1))
    return passes, tuple(neighbours)


def _pairs(values: Ints) -> Ints:
    return values.reshape(-1, 2)


@dataclass(frozen=True)
class LatentCoder:
    """The latent of one tile <-> symbols. Latents are int32 in 2^-14 of the unit of pixels, [h*w, C], one row per position.

    Attributes:
        prior: The model's prior.
        chooser: The model's codebooks, and the encoder's choice among them.
    """

    prior: Prior
    chooser: Chooser

    def encode(
        self, latent: Ints, shape: Shape, step_code: int, tune: int, rate_weight: float, sinks: Sequence[Sink]
    ) -> Ints:
        """Write the symbols of as many groups as there are sinks.

        Args:
            latent: Integers [h*w, C of those groups].
            shape: h and w.
            step_code: See `Header`.
            tune: See `Header`.
            rate_weight: See `Chooser.encode`.
            sinks: One per group.

        Returns:
            The latent as the decoder will see it, int32 like `latent`.
        """
        state = self.prior.begin(step_code, tune, shape)
        decoded = np.zeros(latent.shape, dtype=np.int32)
        for group, sink in enumerate(sinks):
            block = self.prior.block(group)

            def code(rows: Ints, said: Prediction, group: int = group, block: slice = block, sink: Sink = sink) -> Ints:
                residual = self.prior.in_steps(group, latent[rows, block], said.gain, state) - said.mean
                coded = self.chooser.encode(_pairs(said.log2_scale), _pairs(residual), rate_weight, sink)
                return said.mean + coded.reshape(residual.shape)

            self._group(group, state, code, decoded[:, block], last=group == len(sinks) - 1)
        return decoded

    def decode(self, shape: Shape, step_code: int, tune: int, sources: Sequence[SectionSource]) -> Ints:
        """Read the symbols of as many groups as there are sources.

        Each source is closed after its last group, so that damage is found before the next source is decoded.

        Args:
            shape: h and w.
            step_code: See `Header`.
            tune: See `Header`.
            sources: One per group.

        Returns:
            The latent of those groups, int32 [h*w, C].

        Raises:
            CorruptError: A source is damaged.
        """
        state = self.prior.begin(step_code, tune, shape)
        decoded = np.zeros((len(state.trunk), self.prior.channels(len(sources))), dtype=np.int32)
        for group, source in enumerate(sources):

            def code(rows: Ints, said: Prediction, source: SectionSource = source) -> Ints:
                coded = self.chooser.vectors.decode(_pairs(said.log2_scale), source)
                return said.mean + coded.reshape(said.mean.shape)

            last = group == len(sources) - 1
            self._group(group, state, code, decoded[:, self.prior.block(group)], last=last)
            if last or sources[group + 1] is not source:
                source.close()
        return decoded

    def _group(self, group: int, state: PriorState, code: Code, decoded: Ints, *, last: bool) -> None:
        """All passes of a group through `code` into `decoded` [h*w, channels]; then the trunk is updated, but for the last group."""
        prior = self.prior
        context = prior.zeros(state, decoded.shape[1])

        def do(rows: Ints, trunk: Ints) -> None:
            said = prior.predict(group, trunk, state)
            latent = prior.latent(group, code(rows, said), said.gain, state)
            decoded[rows], context[rows] = latent, prior.context(group, latent)

        if group == 0:
            passes, neighbours = hierarchy(state.shape)
            do(passes[0], state.trunk[passes[0]])
            for step, rows in enumerate(passes[1:]):
                if len(rows):
                    known = np.concatenate(passes[: step + 1])
                    state.trunk[rows] = prior.near(step, context[known], state.trunk[known], neighbours[step], state)
                    do(rows, state.trunk[rows])
        else:
            first, second = checkerboard(state.shape)
            do(first, state.trunk[first])
            if len(second):
                do(second, prior.refine("refine_half", group, context, state, second))
        if not last:
            state.trunk = prior.refine("refine_full", group, context, state)
