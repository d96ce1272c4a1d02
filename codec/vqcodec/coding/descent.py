"""The descent of the encoder's search: moves of latents against the slope of the cost.

Each round encodes the latent as the encoder will. Then back-propagation through decoder and prior gives the slope of the cost by each
decoded value: the distortion of the picture, and bits of everything coded *later*. The latent moves against that slope, and towards
what was decoded. Its own bits are left to the rate-aware choice. This is proximal gradient descent (iterative thresholding) with the
vector quantiser as the proximal step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from vqbitstream.choice import SEARCH_RATE_WEIGHT

from vqcodec.vqvae.compiled import kernels_for
from vqcodec.vqvae.fused import FusedCoder
from vqcodec.vqvae.network import Coder, Network
from vqcodec.vqvae.prior import Prediction
from vqcodec.vqvae.rate import laplace_bits

PROXIMAL_SHARE = 0.4  # of the way to what was decoded, each round
SLOPE_SHARE = 0.5  # of a channel's usual rounding error, against the slope where that is as steep as usual there
STEEPEST = 3.0  # times as steep as usual: steeper slopes count as this, or few positions would hold back the others
LAST = 0.3  # of these shares in the last round
AROUND, AROUND_SHARE = (
    2,
    0.8,
)  # what is usual is measured up to so many positions away; the rest of it over all positions
QUIET = 0.3  # the last share of the rounds, without noise


@dataclass(frozen=True)
class _Probe:
    """A coder (see `vqcodec.vqvae.network.Coder`) that chooses as the encoder will. The slope of the cost by the latent is the one by
    the decoded latent, without its own bits.

    When a predicted mean moves, coded values stay, at other bits; values coded as zero move with the mean.
    """

    network: Network
    rate_weight: float

    def __call__(self, residual: Tensor, said: Prediction, log2_step: Tensor) -> tuple[Tensor, Tensor]:
        coded, cell = self.network.quantise(residual, said.log2_scale, log2_step, self.rate_weight)
        if not residual.requires_grad:
            return coded, laplace_bits(cell, said.log2_scale).sum((1, 2))
        latent = (residual + said.centre) * (said.step / said.step.detach())  # in local steps that stay
        moved = latent - latent.detach()
        kept = (residual - residual.detach() - moved) * (cell != 0)  # zero, with the slope of minus the mean
        return coded.detach() + kept + moved, laplace_bits(cell + kept, said.log2_scale).sum((1, 2))


class Probed(NamedTuple):
    """What a latent costs.

    Attributes:
        cost: Bits, of the file and of the distortion, [B].
        decoded: What it decodes to, [B, h, w, C].
        steps: The local step of each value, [B, h, w, C].
        slope: Of the cost by what is decoded, or None.
    """

    cost: Tensor
    decoded: Tensor
    steps: Tensor
    slope: Tensor | None


@dataclass(frozen=True)
class Descent:
    """Moves latents [B, h, w, C] of B pictures, in the unit of pixels, downhill.

    Attributes:
        network: The trainable twin of the model.
        log2_step: [B].
        features: [B, 16].
        distortion: Decoded latents to the distortion of each picture in bits, [B].
        groups: How many groups the files have.
        rate_weight: See `Chooser.encode`.
        bfloat16: Compute in bfloat16 where that is safe.
    """

    network: Network
    log2_step: Tensor
    features: Tensor
    distortion: Callable[[Tensor], Tensor]
    groups: int
    rate_weight: float = SEARCH_RATE_WEIGHT
    bfloat16: bool = True

    def run(
        self,
        start: Tensor,
        rounds: int,
        *,
        noise: float = 0.0,
        compare: bool = True,
        progress: Callable[[], None] = lambda: None,
    ) -> Tensor:
        """Search for a number of rounds.

        Args:
            start: Where to begin.
            rounds: Number of moves.
            noise: Standard deviation, in steps, of the noise added to the latent in the first round; it falls to zero later.
            compare: Return the latent of the lowest cost for each picture, instead of the last. The last is compared only if an
                earlier round failed to lower the cost: where each did, as in photographs, the last never mattered.
            progress: Called after each round, and after the last comparison.
        """
        here = best = start
        falling = True  # every round so far was better than all before it
        lowest = torch.full_like(self.log2_step, torch.inf)
        generator = torch.Generator("cpu").manual_seed(0)
        groups = len(self.network.config.groups)
        usual = rounding = start.new_ones(())
        for number in range(rounds + 1):
            left = 1 - number / max(rounds, 1)
            spread = noise * max(0.0, (left - QUIET) / (1 - QUIET))
            tried = here
            if spread:
                drawn = torch.randn(here.shape, generator=generator, dtype=torch.float32, device="cpu").to(here)
                tried = here + spread * drawn * self._steps(here.new_zeros(1, 1, 1, groups))[..., : here.shape[3]]
            if number == rounds and (not compare or (falling and rounds > 1)):
                progress()
                return tried
            cost, decoded, local, slope = self.probe(tried, slope=number < rounds)
            falling = falling and bool((cost < lowest).all())
            better = (cost < lowest)[:, None, None, None]
            lowest = torch.minimum(lowest, cost)
            best = torch.where(better, tried, best)
            if slope is not None:
                pace = LAST + (1 - LAST) * left
                # both in local steps; the terms of the distortion differ in curvature, and from channel to channel, so that the
                # length of the move is given instead
                missed, slope = (decoded - here) / local, slope * local
                if number == 0:  # measured once: towards a minimum slopes, and so moves, get shorter
                    usual, rounding = _usual(slope) + 1e-20, _usual(missed)
                uphill = (slope / usual).clamp(-STEEPEST, STEEPEST) * rounding
                here = here + pace * local * (PROXIMAL_SHARE * missed - SLOPE_SHARE * uphill)
            progress()
        return best

    def probe(self, latent: Tensor, *, slope: bool = True) -> Probed:
        """What coding a latent costs, what it decodes to, and the slope of the cost by that."""
        latent = latent.detach().requires_grad_(slope)
        with torch.set_grad_enabled(slope), self._autocast():
            coded = self.network.code(latent, self.log2_step, self.features, self.coder, self.groups)
            decoded = coded.decoded[..., : latent.shape[3]]
            cost = self.distortion(decoded) + coded.bits
            total = cost.sum()  # in here: the caller may have switched gradients off
        found = torch.autograd.grad(total, latent)[0] if slope else None
        return Probed(
            cost.detach(), decoded.detach(), self._steps(coded.place_gains.detach())[..., : latent.shape[3]], found
        )

    @cached_property
    def coder(self) -> Coder:
        """Codes each pass of the prior."""
        if kernels := kernels_for(self.log2_step):
            return FusedCoder(kernels, self.network.quantise, self.rate_weight)
        return _Probe(self.network, self.rate_weight)

    def _steps(self, place_gains: Tensor) -> Tensor:
        """The local step of each value. [B, h, w, groups] -> [B, h, w, C]"""
        gains = torch.exp2(place_gains).split(1, 3)
        whole = torch.exp2(self.network.prior.log2_steps(self.log2_step, self.features))[:, None, None]
        return torch.cat([s * g for s, g in zip(whole.split(self.network.config.groups, 3), gains, strict=True)], 3)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.log2_step.device.type, torch.bfloat16, enabled=self.bfloat16)


def _usual(x: Tensor) -> Tensor:
    """Root mean square of each channel, most of it over the positions around. [B, h, w, C] -> same"""
    square = x.square().permute(0, 3, 1, 2)
    near = F.avg_pool2d(square, 2 * AROUND + 1, 1, AROUND, count_include_pad=False)
    return (AROUND_SHARE * near + (1 - AROUND_SHARE) * square.mean((2, 3), keepdim=True)).sqrt().permute(0, 2, 3, 1)
