"""What the difference between two pictures is worth, in bits: squared error, a structural term and a visible one.

A model trained on one metric wins that one and loses the others, so the tune "eye" weighs all three (DESIGN.md). The constants of
the two terms lie in `distortion.safetensors`; `benchmarks` compares them with the packages that they come from.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from importlib.resources import files
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from vqbitstream.choice import LAMBDA
from vqbitstream.prior import KNOT_MIN, KNOTS

from vqcodec.vqvae import structural, visible
from vqcodec.vqvae.compiled import at, kernels_for
from vqcodec.vqvae.structural import Structural
from vqcodec.vqvae.visible import Visible

STRUCTURAL_SHARE, VISIBLE_SHARE = 0.3, 0.4  # for tune "eye"; squared error has the rest
# log2 of the bits per pixel that a unit is worth, at log2(step) -6, -5, .. 1
STRUCTURAL_WORTH = (2.4, 0.9, -0.87, -2.82, -4.91, -7.31, -9.75, -12.2)
VISIBLE_WORTH = (4.9, 3.2, 1.45, -0.26, -1.78, -3.1, -4.4, -5.7)


@lru_cache(maxsize=1)
def _constants() -> dict[str, Tensor]:
    from safetensors.torch import load

    return load(files("vqcodec.vqvae").joinpath("distortion.safetensors").read_bytes())


def structural_constants() -> tuple[Tensor, Tensor]:
    """The weights and the absorbance of `Structural`."""
    return _constants()["ssim_weights"], _constants()["ssim_matrix"]


class References(NamedTuple):
    """What is known of B originals.

    Attributes:
        pixels: [B, H, W, 3] in [-0.5, 0.5].
        structural: See `Structural.references`.
        visible: See `Visible.references`.
    """

    pixels: Tensor
    structural: list[structural.Reference]
    visible: list[visible.Reference]


class Terms(NamedTuple):
    """Differences between B originals and decoded pictures, [B] each.

    Attributes:
        squared: Mean over pixels and colours in the unit of pixels (255 levels).
        structural: See `Structural`; zero where it was left out.
        visible: See `Visible`; zero where it was left out.
    """

    squared: Tensor
    structural: Tensor
    visible: Tensor


class Distortion(nn.Module):
    """Compares pictures of one size, from 1x1 on. No shape depends on data, and nothing waits for a device.

    A term that needs more pixels than there are is left out; squared error takes its share.

    Args:
        height: Pixels.
        width: Pixels.
        eye: Compute the structural and the visible term; without them there is squared error alone.
    """

    worths: Tensor

    def __init__(self, height: int, width: int, *, eye: bool = True) -> None:
        super().__init__()
        constants = _constants()
        self.pixels = height * width
        self.structural = Structural(height, width, *structural_constants())
        own = {k.removeprefix("visible."): v for k, v in constants.items() if k.startswith("visible.")}
        self.visible = Visible(height, width, own)
        self.shares = (
            STRUCTURAL_SHARE if eye and len(self.structural.blurs) else 0.0,
            VISIBLE_SHARE if eye and self.visible.levels else 0.0,
        )
        worths = torch.tensor([STRUCTURAL_WORTH, VISIBLE_WORTH], dtype=torch.float32)
        self.register_buffer("worths", worths, persistent=False)

    @torch.no_grad()
    def references(self, x: Tensor) -> References:
        """The originals' half of the work. x: [B, H, W, 3] in [-0.5, 0.5]."""
        light = linear_light(x) if any(self.shares) else x
        return References(
            x,
            self.structural.references(light) if self.shares[0] else [],
            self.visible.references(light) if self.shares[1] else [],
        )

    def terms(self, references: References, decoded: Tensor) -> Terms:
        """All terms. decoded: [B, H, W, 3], about [-0.5, 0.5]; the structural and the visible term see it clipped."""
        with torch.autocast(decoded.device.type, enabled=False):
            decoded = decoded.to(references.pixels.dtype)
            squared = (decoded - references.pixels).square().mean((1, 2, 3))
            light = linear_light(decoded) if any(self.shares) else decoded
            none = torch.zeros_like(squared)
            return Terms(
                squared,
                _AtOnce.apply(light, partial(self.structural, references.structural)) if self.shares[0] else none,
                _AtOnce.apply(light, partial(self.visible, references.visible)) if self.shares[1] else none,
            )

    def bits(self, terms: Terms, log2_step: Tensor, tune: Tensor) -> Tensor:
        """What the terms are worth at a step.

        Args:
            terms: See `terms`.
            log2_step: [B].
            tune: [B], 0 (squared error alone) or 1; see `Header`.

        Returns:
            Bits of each picture, [B].
        """
        structural_share, visible_share = self.shares
        structural_worth, visible_worth = self._worth(log2_step)
        squared = 3 * terms.squared / (LAMBDA * torch.exp2(2 * log2_step))
        seen = structural_share * terms.structural * structural_worth + visible_share * terms.visible * visible_worth
        return self.pixels * ((1 - (structural_share + visible_share) * tune) * squared + tune * seen)

    def forward(self, references: References, decoded: Tensor, log2_step: Tensor, tune: Tensor) -> Tensor:
        """Bits that the difference of each picture is worth, [B]; see `terms` and `bits`."""
        return self.bits(self.terms(references, decoded), log2_step, tune)

    def _worth(self, log2_step: Tensor) -> tuple[Tensor, Tensor]:
        """Bits per pixel that a unit of the structural and of the visible term is worth, between the entries of the tables."""
        place = (log2_step - KNOT_MIN).clamp(0, KNOTS - 1.001)
        index = place.long()
        share = place - index
        first, second = (self.worths.index_select(1, index + i) for i in (0, 1))
        worth = torch.exp2(first * (1 - share) + second * share)
        return worth[0], worth[1]


class _AtOnce(torch.autograd.Function):
    """A term of each picture, and its slope at the same time: nothing else is kept for the backward pass, so that the two terms
    never need memory together.

    x: [B, ...]; term: x to [B], each from its own picture. -> [B]
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, term: Callable[[Tensor], Tensor]) -> Tensor:
        if not ctx.needs_input_grad[0]:
            return term(x)
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            found = term(x)
            ctx.save_for_backward(*torch.autograd.grad(found.sum(), x))
        return found.detach()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return gradients[0].view(-1, *[1] * (slope.ndim - 1)) * slope, None


class _Linear(torch.autograd.Function):
    """sRGB in [-0.5, 0.5] to linear RGB in [0, 1], clipped."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        if kernels := kernels_for(x):
            light, slope = torch.empty_like(x), torch.empty_like(x)
            kernels.distortion_light(x.numel(), *at(x, light, slope))
            ctx.save_for_backward(slope)
            return light
        x = x + 0.5
        inside = (x >= 0) & (x <= 1)
        x.clamp_(0, 1)
        dark = x <= 0.04045
        shifted = x.add(0.055).mul_(1 / 1.055)
        light = torch.where(dark, x * (1 / 12.92), shifted**2.4)
        if ctx.needs_input_grad[0]:
            slope = (2.4 / 1.055) * light / shifted
            ctx.save_for_backward(slope.masked_fill_(dark, 1 / 12.92).mul_(inside))
        return light

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * ctx.saved_tensors[0]


def linear_light(x: Tensor) -> Tensor:
    """sRGB to linear RGB, in planes. [B, H, W, 3] in [-0.5, 0.5] -> [B, 3, H, W] in [0, 1]"""
    return _Linear.apply(x.permute(0, 3, 1, 2).contiguous())
