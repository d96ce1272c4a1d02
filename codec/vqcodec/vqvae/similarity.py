"""The similarity term: 1 - MS-SSIM, differentiable (Wang, Simoncelli, Bovik, "Multiscale structural similarity", 2003).

On red, green and blue as they are stored. The finest scale is left out: its weight is .04 of 1, its work three quarters of the whole.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqcodec.vqvae.bands import Separable, blur_matrix, halved

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, finest first
SIDE_MIN = 11  # pixels of the shorter side of the coarsest scale: the window
C1, C2 = 0.01**2, 0.03**2
SIGMA, RADIUS = 1.5, 5
LIKENESS_MIN = 0.02  # below it there is no slope


class Reference(NamedTuple):
    """What is known of an original at one scale, [B, 3, h, w] each: its pixels, local mean and local variance."""

    pixels: Tensor
    mean: Tensor
    variance: Tensor


class Similarity(nn.Module):
    """The term for pictures of one size. Larger is worse.

    Args:
        height: Pixels.
        width: Pixels.
    """

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.blurs = nn.ModuleList()
        for _ in WEIGHTS[1:]:
            height, width = halved(height), halved(width)
            if min(height, width) < SIDE_MIN:
                break
            self.blurs.append(Separable(*(blur_matrix(n, SIGMA, RADIUS) for n in (height, width))))

    def references(self, pixels: Tensor) -> list[Reference]:
        """The original's half. pixels: sRGB [B, 3, H, W] in [0, 1]."""
        out = []
        for blur in self.blurs:
            pixels = _half(pixels)
            mean, square = blur(torch.cat([pixels, pixels * pixels])).chunk(2)
            out.append(Reference(pixels, mean, square - mean * mean))
        return out

    def forward(self, references: list[Reference], pixels: Tensor) -> Tensor:
        """The decoded half: sRGB [B, 3, H, W] in [0, 1] -> [B]"""
        total = pixels.new_zeros(pixels.shape[:2])
        for scale, (blur, original) in enumerate(zip(self.blurs, references, strict=True), 1):
            pixels = _half(pixels)
            mean, square, product = blur(torch.cat([pixels, pixels * pixels, original.pixels * pixels])).chunk(3)
            covariance = torch.addcmul(product, original.mean, mean, value=-1)
            variances = torch.addcmul(square + original.variance, mean, mean, value=-1)
            likeness = (2 * covariance + C2) / (variances + C2)
            if scale == len(WEIGHTS) - 1:
                likeness = likeness * (2 * original.mean * mean + C1) / (original.mean**2 + mean**2 + C1)
            total = total + WEIGHTS[scale] * torch.log(likeness.mean((2, 3)).clamp(min=LIKENESS_MIN))
        return 1 - torch.exp(total).mean(1)


def _half(pixels: Tensor) -> Tensor:
    return F.avg_pool2d(pixels, 2, ceil_mode=True, count_include_pad=False)
