"""The walk over one tile's latent (FORMAT.md, "Order of symbols"): the side grid, then channel groups, each in two passes.

    side grid -> group 0: o x o x   then group 1, 2, ..  each the same way; a group is a layer of the file.
                          x o x o   First pass `o` (row + column even), from what coarser groups say; second pass `x`,
                          o x o x   which sees the first pass's values around it as well.

Encoder and decoder take the same walk, asking the prior before every pass; one writes symbols, the other reads them.
Two-pass checkerboard: He et al., "Checkerboard context model for efficient learned image compression", 2021; channel groups:
Minnen & Singh, "Channel-wise autoregressive entropy models for learned image compression", 2020.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vqbitstream.choice import Chooser
from vqbitstream.geometry import SIDE_FACTOR
from vqbitstream.prior import Ints, Prior, PriorState
from vqbitstream.vectors import SectionSource, Sink, Source

Code = Callable[[Ints, Ints, Ints], Ints]  # positions [n], means and log2-scales [n, channels] -> decoded latent


def passes(height: int, width: int) -> tuple[Ints, Ints]:
    """Flat positions of the first and of the second checkerboard pass."""
    parity = np.add.outer(np.arange(height), np.arange(width)).reshape(-1) % 2
    return np.flatnonzero(parity == 0), np.flatnonzero(parity == 1)


def _pairs(values: Ints) -> Ints:
    return values.reshape(-1, 2)


@dataclass(frozen=True)
class LatentCoder:
    """The latent of one tile <-> symbols. Latents are integers in 1/256 step, [h*w, C], one row per position.

    Attributes:
        prior: The model's prior.
        chooser: The model's codebooks, and the encoder's choice among them.
    """

    prior: Prior
    chooser: Chooser

    def encode(
        self, latent: Ints, side: Ints, shape: tuple[int, int], step_code: int, rate_weight: float, sinks: Sequence[Sink]
    ) -> Ints:  # fmt: skip
        """Write the symbols of a tile.

        Args:
            latent: Integers [h*w, C] in 1/256 step.
            side: Integers [ceil(h/4), ceil(w/4), side channels] in 1/256 of the side grid's step, 1.
            shape: h and w.
            step_code: See `Header`.
            rate_weight: See `Chooser.encode`.
            sinks: One per group. The side grid goes into the first.

        Returns:
            The latent as the decoder will see it, int32 [h*w, C].
        """
        height, width = shape
        scales = np.broadcast_to(self.prior.side_scales(step_code), side.shape)
        side = self.chooser.encode(_pairs(scales), _pairs(side), rate_weight, sinks[0]).reshape(side.shape)
        state = self.prior.begin(side, step_code, height, width)
        decoded = np.zeros(latent.shape, dtype=np.int32)
        begin = 0
        for group, channels in enumerate(self.prior.groups):
            block = slice(begin, begin + channels)

            def code(rows: Ints, mean: Ints, log2_scale: Ints, block: slice = block, sink: Sink = sinks[group]) -> Ints:
                residual = latent[rows, block] - mean
                coded = self.chooser.encode(_pairs(log2_scale), _pairs(residual), rate_weight, sink)
                return mean + coded.reshape(mean.shape)

            decoded[:, block] = self._group(group, state, code)
            begin += channels
        return decoded

    def decode(
        self, shape: tuple[int, int], step_code: int, sources: Sequence[SectionSource], *, close: bool = True
    ) -> Ints:
        """Read the symbols of as many groups as there are sources.

        Args:
            shape: h and w.
            step_code: See `Header`.
            sources: One per group. Groups without a source are filled with their predicted means.
            close: Close each source after its last group, so that damage is found before the next source is decoded.

        Returns:
            The latent, int32 [h*w, C] in 1/256 step.

        Raises:
            CorruptError: A source is damaged.
        """
        height, width = shape
        vectors = self.chooser.vectors
        side_shape = (-(-height // SIDE_FACTOR), -(-width // SIDE_FACTOR), self.prior.side_channels)
        scales = np.broadcast_to(self.prior.side_scales(step_code), side_shape)
        side = vectors.decode(_pairs(scales), sources[0]).reshape(side_shape)
        state = self.prior.begin(side, step_code, height, width)
        decoded = []
        for group in range(len(self.prior.groups)):
            source = sources[group] if group < len(sources) else None

            def code(rows: Ints, mean: Ints, log2_scale: Ints, source: Source | None = source) -> Ints:
                if source is None:
                    return mean
                return mean + vectors.decode(_pairs(log2_scale), source).reshape(mean.shape)

            decoded.append(self._group(group, state, code))
            if close and source is not None and (group + 1 >= len(sources) or sources[group + 1] is not source):
                sources[group].close()
        return np.concatenate(decoded, axis=1)

    def _group(self, group: int, state: PriorState, code: Code) -> Ints:
        """Both passes of a group through `code`, then the update of the trunk. Returns the decoded latent int32 [h*w, channels]."""
        prior, step_code = self.prior, state.step_code
        first, second = passes(*state.shape)
        channels = prior.groups[group]
        decoded = np.empty((len(first) + len(second), channels), dtype=np.int32)
        context = prior.zeros(state, channels)
        decoded[first] = early = code(first, *prior.predict(group, state.trunk[first], state))
        context[first] = prior.context(group, early, step_code)
        if len(second):
            trunk = prior.refine("refine_half", group, context, state, second)
            decoded[second] = late = code(second, *prior.predict(group, trunk, state))
            context[second] = prior.context(group, late, step_code)
        if group < len(prior.groups) - 1:
            state.trunk = prior.refine("refine_full", group, context, state)
        return decoded
