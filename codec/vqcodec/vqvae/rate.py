"""Rate in bits, differentiable."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

# a faint wide tail: outliers cost bits, not gradients (escapes, in the file)
WIDE_SCALE, WIDE_WEIGHT = 2.0**3.5, 2.0**-12
WIDE_PEAK = WIDE_WEIGHT * -math.expm1(-0.5 / WIDE_SCALE)  # of the cell around zero
WIDE_LOG = math.log(WIDE_WEIGHT / 2 * -math.expm1(-1 / WIDE_SCALE))  # where the cell begins at zero


class _LaplaceBits(torch.autograd.Function):
    """With d = |residual| and inverse scale i, a cell beyond d = 1/2 has the mass (e^(-(d - 1/2) i) - e^(-(d + 1/2) i)) / 2, and the
    others 1 - (e^((d - 1/2) i) + e^(-(d + 1/2) i)) / 2. Both have the same derivatives."""

    @staticmethod
    def forward(ctx: Any, residual: Tensor, log2_scale: Tensor) -> Tensor:
        inverse = torch.exp2(-log2_scale)
        distance = residual.abs()
        inner, outer = distance - 0.5, distance + 0.5
        inside = inner < 0
        near = (inner.abs() * inverse).neg_().exp_()
        far = (outer * inverse).neg_().exp_()
        narrow = torch.where(inside, 1 - 0.5 * (near + far), 0.5 * (near - far))
        wide_log = inner.mul(-1 / WIDE_SCALE).add_(WIDE_LOG)
        wide = wide_log.exp().masked_fill_(inside, WIDE_PEAK)
        mass = narrow.add_(wide)
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[1]:
            unit = (1 / math.log(2) / mass.clamp(min=1e-37)).mul_(0.5)
            along = (near - far).mul_(inverse).add_(wide.masked_fill_(inside, 0), alpha=2 / WIDE_SCALE).mul_(unit)
            # by log2 of the scale: minus ln 2 times the inverse, times the derivative by it
            across = outer.mul_(far).sub_(inner.mul_(near)).mul_(inverse).mul_(unit).mul_(math.log(2))
            ctx.save_for_backward(along.mul_(residual.sign()), across)
        return torch.maximum(mass.log_(), wide_log).mul_(
            -1 / math.log(2)
        )  # far out the mass is below the smallest float

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        along, across = ctx.saved_tensors
        return gradients[0] * along, gradients[0] * across


def laplace_bits(residual: Tensor, log2_scale: Tensor) -> Tensor:
    """Bits of the unit cell around a residual, under a zero-mean Laplace distribution and a faint wide tail.

    Args:
        residual: In steps.
        log2_scale: log2 of Laplace's b in steps, of the same shape, in -6..9.

    Returns:
        Bits >= 0, of the same shape.
    """
    return _LaplaceBits.apply(residual, log2_scale)
