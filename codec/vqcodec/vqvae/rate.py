"""Rate in bits, differentiable."""

from __future__ import annotations

import math

import torch
from torch import Tensor

WIDE_LOG2_SCALE, WIDE_WEIGHT = (
    3.5,
    2.0**-12,
)  # a faint wide tail: outliers cost bits, not gradients (escapes, in the file)


def _laplace_cell(distance: Tensor, scale: Tensor) -> Tensor:
    """log of the Laplace mass of the unit cell centred at `distance` >= 0, for a scale b >= 2^-6."""
    inverse = 1 / scale
    inside = torch.log1p(-torch.exp(-0.5 * inverse) * torch.cosh(torch.clamp(distance, max=0.5) * inverse))
    beyond = torch.clamp(distance - 0.5, min=0)
    outside = -math.log(2) - beyond * inverse + torch.log(-torch.expm1(-inverse))
    return torch.where(distance < 0.5, inside, outside)


def laplace_bits(residual: Tensor, log2_scale: Tensor) -> Tensor:
    """Bits of the unit cell around a residual, under a zero-mean Laplace distribution and a faint wide tail.

    Args:
        residual: In steps.
        log2_scale: log2 of Laplace's b in steps, of the same shape.

    Returns:
        Bits >= 0, of the same shape.
    """
    distance = residual.abs()
    narrow = _laplace_cell(distance, torch.exp2(log2_scale))
    wide = _laplace_cell(distance, torch.full_like(distance, 2.0**WIDE_LOG2_SCALE)) + math.log(WIDE_WEIGHT)
    return torch.logaddexp(narrow, wide) / -math.log(2)
