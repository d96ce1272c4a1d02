"""The structural term: the weighted sum of SSIMULACRA2 before its last curve, differentiable.

A multi-scale SSIM in a perceptual colour space, with two more maps for edges that got lost and edges that appeared (Sneyers,
"SSIMULACRA 2", 2022, https://github.com/cloudinary/ssimulacra2). The decoded half of the work is separate from the original's.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqcodec.vqvae.bands import Separable, blur_matrix, halved

SCALES = 6
SIDE_MIN = 8  # pixels of the shorter side of the coarsest scale
C2 = 0.0009
ABSORBANCE_BIAS = 0.0037930732552754493
TOTAL = 0.9562382616834844
SIGMA, RADIUS = 1.5, 5


class Reference(NamedTuple):
    """What is known of an original at one scale, [B, 3, h, w] each: XYB, its local mean, and the terms of its local variance and
    edges that the maps divide by."""

    xyb: Tensor
    mean: Tensor
    spread: Tensor
    edges: Tensor


class Structural(nn.Module):
    """The term for pictures of one size. Larger is worse; `score` makes SSIMULACRA2's own number of it.

    Args:
        height: Pixels.
        width: Pixels.
        weights: [108], as the metric's authors list them.
        absorbance: [3, 3], linear RGB to LMS.
    """

    weights: Tensor
    absorbance: Tensor

    def __init__(self, height: int, width: int, weights: Tensor, absorbance: Tensor) -> None:
        super().__init__()
        # (colour, scale, mean or 4-norm, map) -> (scale, mean or 4-norm, map, colour)
        order = weights.reshape(3, SCALES, 2, 3).permute(1, 2, 3, 0).contiguous()
        self.register_buffer("weights", order, persistent=False)
        self.register_buffer("absorbance", absorbance, persistent=False)
        self.blurs = nn.ModuleList()
        for _ in range(SCALES):
            if min(height, width) < SIDE_MIN:
                break
            self.blurs.append(Separable(*(blur_matrix(n, SIGMA, RADIUS) for n in (height, width))))
            height, width = halved(height), halved(width)

    def references(self, light: Tensor) -> list[Reference]:
        """The original's half. light: linear RGB [B, 3, H, W] in [0, 1]."""
        out = []
        for scale, blur in enumerate(self.blurs):
            light = _half(light) if scale else light
            x = self._xyb(light)
            mean, square = blur(torch.cat([x, x * x])).chunk(2)
            out.append(Reference(x, mean, square - mean**2 + C2, 1 + (x - mean).abs()))
        return out

    def forward(self, references: list[Reference], light: Tensor) -> Tensor:
        """The decoded half: linear RGB [B, 3, H, W] in [0, 1] -> [B]"""
        total = light.new_zeros(len(light))
        for scale, (blur, original) in enumerate(zip(self.blurs, references, strict=True)):
            light = _half(light) if scale else light
            y = self._xyb(light)
            mean, square, product = blur(torch.cat([y, y * y, original.xyb * y])).chunk(3)
            numerator = (1 - (original.mean - mean) ** 2) * (2 * (product - original.mean * mean) + C2)
            likeness = numerator / (original.spread + (square - mean**2))
            edge = (1 + (y - mean).abs()) / original.edges - 1
            maps = torch.stack([(1 - likeness).clamp(min=0), edge.clamp(min=0), (-edge).clamp(min=0)], 1)
            power = maps.square().square().mean((3, 4)).clamp(min=1e-20)
            total = total + (maps.mean((3, 4)) * self.weights[scale, 0]).sum((1, 2))
            total = total + (power.sqrt().sqrt() * self.weights[scale, 1]).sum((1, 2))
        return TOTAL * total

    def _xyb(self, light: Tensor) -> Tensor:
        """Linear RGB to XYB, made positive. [B, 3, h, w] -> same"""
        lms = (self.absorbance @ light.flatten(2)).view_as(light) + ABSORBANCE_BIAS
        long, middle, short = (lms.clamp(min=1e-6) ** (1 / 3) - ABSORBANCE_BIAS ** (1 / 3)).unbind(1)
        y = 0.5 * (long + middle)
        return torch.stack([7 * (long - middle) + 0.42, y + 0.01, short - y + 0.55], 1)


def _half(light: Tensor) -> Tensor:
    return F.avg_pool2d(light, 2, ceil_mode=True, count_include_pad=False)


def score(term: Tensor) -> Tensor:
    """The structural term as SSIMULACRA2's number, at most 100."""
    curved = 2.326765642916932 * term - 0.020884521182843837 * term**2 + 6.248496625763138e-05 * term**3
    return 100 - 10 * curved.clamp(min=1e-9) ** 0.6276336467831387
