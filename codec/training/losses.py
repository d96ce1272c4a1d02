"""Rate in bits, and the loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LAMBDA = 2 * math.log(2) / 12  # bits -> squared error in units of step^2: the slope of D(R) for uniform cells (0.1155)
WIDE_LOG2_SCALE, WIDE_WEIGHT = (
    3.5,
    2.0**-12,
)  # a wide component: outliers cost bits, not gradients (escapes, in the file)


def _laplace_cell(distance: Tensor, scale: Tensor) -> Tensor:
    """log of the Laplace mass of the unit cell centred at `distance` >= 0, for a scale b >= 2^-6."""
    inverse = 1 / scale
    inside = torch.log1p(-torch.exp(-0.5 * inverse) * torch.cosh(torch.clamp(distance, max=0.5) * inverse))
    beyond = torch.clamp(distance - 0.5, min=0)
    outside = -math.log(2) - beyond * inverse + torch.log(-torch.expm1(-inverse))
    return torch.where(distance < 0.5, inside, outside)


def laplace_bits(residual: Tensor, log2_scale: Tensor) -> Tensor:
    """Bits of the unit cell around `residual` under a zero-mean Laplace of the given scale, plus a faint wide tail.

    residual and log2_scale: same shape, in units of the step (scale is Laplace's b). Returns the same shape, >= 0.
    """
    distance = residual.abs()
    narrow = _laplace_cell(distance, torch.exp2(log2_scale))
    wide = _laplace_cell(distance, torch.full_like(distance, 2.0**WIDE_LOG2_SCALE)) + math.log(WIDE_WEIGHT)
    return torch.logaddexp(narrow, wide) / -math.log(2)


def step_weight(log2_step: Tensor) -> Tensor:
    """Weight of a crop in the loss: BD-rate counts relative bits, so coarse steps, which cost few, count more."""
    return torch.exp2(0.6 * (log2_step + 2.3))
