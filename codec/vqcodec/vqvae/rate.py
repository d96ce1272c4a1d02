"""Rate in bits, differentiable."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# a faint wide tail: outliers cost bits, not gradients (escapes, in the file)
WIDE_SCALE, WIDE_WEIGHT = 2.0**3.5, 2.0**-12
_WIDE_INSIDE = math.log(WIDE_WEIGHT) + math.log1p(-math.exp(-0.5 / WIDE_SCALE))
_WIDE_OUTSIDE = math.log(WIDE_WEIGHT) - math.log(2) + math.log(-math.expm1(-1 / WIDE_SCALE))


def _laplace_cell(distance: Tensor, scale: Tensor) -> Tensor:
    """log of the Laplace mass of the unit cell centred at `distance` >= 0, for a scale b >= 2^-6."""
    inverse = 1 / scale
    inside = torch.log1p(-torch.exp(-0.5 * inverse) * torch.cosh(distance.clamp(max=0.5) * inverse))
    beyond = (distance - 0.5).clamp(min=0)
    outside = -math.log(2) - beyond * inverse + torch.log(-torch.expm1(-inverse))
    return torch.where(distance < 0.5, inside, outside)


def _wide_cell(distance: Tensor) -> Tensor:
    """log of the tail's mass; flat around zero, where it does not matter beside the narrow one's."""
    return torch.where(distance < 0.5, _WIDE_INSIDE, _WIDE_OUTSIDE - (distance - 0.5) / WIDE_SCALE)


def laplace_bits(residual: Tensor, log2_scale: Tensor) -> Tensor:
    """Bits of the unit cell around a residual, under a zero-mean Laplace distribution and a faint wide tail.

    Args:
        residual: In steps.
        log2_scale: log2 of Laplace's b in steps, of the same shape, at least -6.

    Returns:
        Bits >= 0, of the same shape.
    """
    distance = residual.abs()
    return torch.logaddexp(_laplace_cell(distance, torch.exp2(log2_scale)), _wide_cell(distance)) / -math.log(2)
