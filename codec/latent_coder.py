"""The walk over a picture's latent: side grid, then channel groups, each in two checkerboard passes.

Encoder and decoder take the same walk, asking the prior before every pass; one writes symbols, the other reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from vqbitstream.header import SIDE_FACTOR

from .prior import Prior, PriorState
from .quantizer import Quantizer, SectionSource, Sink, Source

Ints = npt.NDArray[np.int64]
Code = Callable[[Ints, Ints, Ints], Ints]  # positions [n], means and log2-scales [n, channels] -> decoded latent


def latent_shape(width_px: int, height_px: int) -> tuple[int, int]:
    """Rows and columns of the latent."""
    return -(-height_px // 16), -(-width_px // 16)


def passes(height: int, width: int) -> tuple[Ints, Ints]:
    """Rows (flat positions) of the first and of the second checkerboard pass."""
    parity = np.add.outer(np.arange(height), np.arange(width)).reshape(-1) % 2
    return np.flatnonzero(parity == 0), np.flatnonzero(parity == 1)


def _pairs(values: Ints) -> Ints:
    return values.reshape(-1, 2)


@dataclass(frozen=True)
class LatentCoder:
    """Latent <-> symbols under a prior and a quantiser. Latents are in 1/256 step, rows by position: int64 [h*w, C]."""

    prior: Prior
    quantizer: Quantizer

    def encode(
        self,
        latent: Ints,
        side: Ints,
        shape: tuple[int, int],
        step_code: int,
        rate_weight: float,
        sinks: Sequence[Sink],
    ) -> Ints:
        """Write the symbols; one sink per group, the side grid goes into the first. Returns the decoded latent.

        side: int64 [ceil(h/4), ceil(w/4), side channels], in 1/256. rate_weight: see Quantizer.encode.
        """
        height, width = shape
        scales = np.broadcast_to(self.prior.side_scales(step_code), side.shape)
        side = self.quantizer.encode(_pairs(scales), _pairs(side), rate_weight, sinks[0]).reshape(side.shape)
        state = self.prior.begin(side, step_code, height, width)
        decoded = np.zeros_like(latent)
        begin = 0
        for group, channels in enumerate(self.prior.groups):
            block = slice(begin, begin + channels)

            def code(rows: Ints, mean: Ints, log2_scale: Ints, block: slice = block, sink: Sink = sinks[group]) -> Ints:
                residual = latent[rows, block] - mean
                coded = self.quantizer.encode(_pairs(log2_scale), _pairs(residual), rate_weight, sink)
                return mean + coded.reshape(mean.shape)

            decoded[:, block] = self._group(group, state, shape, code)
            begin += channels
        return decoded

    def decode(
        self, shape: tuple[int, int], step_code: int, sources: Sequence[SectionSource], *, close: bool = True
    ) -> Ints:
        """Read the symbols of as many groups as there are sources. Returns the latent [h*w, C].

        Groups without a source are filled with their predicted means. A source is closed after its last group, so that a bad
        file is found out before the next one is decoded. Raises CorruptError.
        """
        height, width = shape
        side_shape = (-(-height // SIDE_FACTOR), -(-width // SIDE_FACTOR), self.prior.side_channels)
        scales = np.broadcast_to(self.prior.side_scales(step_code), side_shape)
        side = self.quantizer.decode(_pairs(scales), sources[0]).reshape(side_shape)
        state = self.prior.begin(side, step_code, height, width)
        decoded = []
        for group in range(len(self.prior.groups)):
            source = sources[group] if group < len(sources) else None

            def code(rows: Ints, mean: Ints, log2_scale: Ints, source: Source | None = source) -> Ints:
                if source is None:
                    return mean
                return mean + self.quantizer.decode(_pairs(log2_scale), source).reshape(mean.shape)

            decoded.append(self._group(group, state, shape, code))
            if close and source is not None and (group + 1 >= len(sources) or sources[group + 1] is not source):
                sources[group].close()
        return np.concatenate(decoded, axis=1)

    def _group(self, group: int, state: PriorState, shape: tuple[int, int], code: Code) -> Ints:
        """Both passes of one group through `code`, and the trunk's update. -> decoded latent of the group [h*w, channels]"""
        prior, step_code = self.prior, state.step_code
        first, second = passes(*shape)
        decoded = np.zeros((shape[0] * shape[1], prior.groups[group]), dtype=np.int64)
        decoded[first] = code(first, *prior.predict(group, prior.trunk_at(state, first), state))
        context = np.zeros_like(decoded)
        context[first] = prior.context(group, decoded[first], step_code)
        if len(second):
            trunk = prior.refine("refine_half", group, context, state, second)
            decoded[second] = code(second, *prior.predict(group, trunk, state))
            context[second] = prior.context(group, decoded[second], step_code)
        if group < len(prior.groups) - 1:
            state.trunk = prior.refine("refine_full", group, context, state)
        return decoded
