"""The structural term: the weighted sum of SSIMULACRA2 before its last curve, differentiable.

A multi-scale SSIM in a perceptual colour space, with two more maps for edges that got lost and edges that appeared (Sneyers,
"SSIMULACRA 2", 2022, https://github.com/cloudinary/ssimulacra2). The decoded half of the work is separate from the original's.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqcodec.vqvae import compiled
from vqcodec.vqvae.bands import Separable, blur_matrix, halved
from vqcodec.vqvae.compiled import kernels_for

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


class _CubeRoot(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        root = x.clamp(min=1e-6) ** (1 / 3)
        ctx.save_for_backward(root)
        return root

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (root,) = ctx.saved_tensors
        return gradients[0] / (root * root).mul_(3)


class _Maps(torch.autograd.Function):
    """The three maps of a scale, pooled. Its own backward: this is most of the term's work.

    y, mean, square, product: [B, 3, h, w]; weights: [mean or 4-norm, map, colour]. -> [B]
    """

    @staticmethod
    def forward(
        ctx: Any, y: Tensor, mean: Tensor, square: Tensor, product: Tensor, original: Reference, weights: Tensor
    ) -> Tensor:
        level = 1 - (original.mean - mean).square_()
        shared = torch.addcmul(product, original.mean, mean, value=-1).mul_(2).add_(C2)
        spread = torch.addcmul(original.spread + square, mean, mean, value=-1)
        likeness = (level * shared).div_(spread)
        edge = (y - mean).abs_().add_(1).div_(original.edges).sub_(1)
        total, gradients = y.new_zeros(len(y)), []
        for number, values in enumerate(((1 - likeness).clamp_(min=0), edge.clamp(min=0), edge.neg().clamp_(min=0))):
            cube = values * values * values
            power = (cube * values).mean((2, 3)).clamp_(min=1e-20)
            total = total + (values.mean((2, 3)) * weights[0, number] + power**0.25 * weights[1, number]).sum(1)
            if ctx.needs_input_grad[0]:
                share, pixels = (weights[1, number] * power**-0.75)[..., None, None], y[0, 0].numel()
                slope = cube.mul_(share).add_(weights[0, number, :, None, None]).mul_(1 / pixels)
                gradients.append(slope.mul_(values > 0))
        if gradients:
            lost, more, less = gradients
            ctx.save_for_backward(
                *_map_slopes(lost, more.sub_(less), y, mean, original, level, shared, spread, likeness)
            )
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        scale = gradients[0][:, None, None, None]
        return *(slope * scale for slope in ctx.saved_tensors), None, None


def _map_slopes(
    lost: Tensor, edges: Tensor, y: Tensor, mean: Tensor, original: Reference, level: Tensor, shared: Tensor,
    spread: Tensor, likeness: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Slopes of a sum by y, mean, square and product, from those by 1 - likeness and by the edges' ratio."""
    by_y = edges.div_(original.edges).mul_((y - mean).sign_())
    lost = lost.div_(spread).neg_()  # now by the numerator
    by_square = (lost * likeness).neg_()
    by_product = (2 * lost).mul_(level)
    # likeness has the mean in its level, in its shared part and in its spread
    by_mean = (original.mean - mean).mul_(2).mul_(shared).mul_(lost)
    by_mean.addcmul_(by_product, original.mean, value=-1).addcmul_(by_square, mean, value=-2).sub_(by_y)
    return by_y, by_mean, by_square, by_product


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
    opponent: Tensor
    offset: Tensor

    def __init__(self, height: int, width: int, weights: Tensor, absorbance: Tensor) -> None:
        super().__init__()
        # (colour, scale, mean or 4-norm, map) -> (scale, mean or 4-norm, map, colour)
        order = weights.reshape(3, SCALES, 2, 3).permute(1, 2, 3, 0).contiguous()
        self.register_buffer("weights", order, persistent=False)
        self.register_buffer("absorbance", absorbance, persistent=False)
        # X = 14 (L - M) / 2, Y = (L + M) / 2, B = S - Y, each moved into the positive; L, M and S without the bias's root
        opponent = torch.tensor([[7, -7, 0], [0.5, 0.5, 0], [-0.5, -0.5, 1]], dtype=torch.float32)
        offset = torch.tensor([[0.42], [0.01 - ABSORBANCE_BIAS ** (1 / 3)], [0.55]], dtype=torch.float32)
        self.register_buffer("opponent", opponent, persistent=False)
        self.register_buffer("offset", offset, persistent=False)
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
            if kernels_for(y):
                total = total + compiled.Scale.apply(y, original, blur, self.weights[scale], C2)
                continue
            mean, square, product = blur(torch.cat([y, y * y, original.xyb * y])).chunk(3)
            total = total + _Maps.apply(y, mean, square, product, original, self.weights[scale])
        return TOTAL * total

    def _xyb(self, light: Tensor) -> Tensor:
        """Linear RGB to XYB, made positive. [B, 3, h, w] -> same"""
        if kernels_for(light):
            bias = light.new_tensor([ABSORBANCE_BIAS])
            return compiled.XYB.apply(light, [self.absorbance, bias, self.opponent, self.offset])
        roots = _CubeRoot.apply((self.absorbance @ light.flatten(2)) + ABSORBANCE_BIAS)
        return (self.opponent @ roots + self.offset).view_as(light)


def _half(light: Tensor) -> Tensor:
    return F.avg_pool2d(light, 2, ceil_mode=True, count_include_pad=False)


def score(term: Tensor) -> Tensor:
    """The structural term as SSIMULACRA2's number, at most 100."""
    curved = 2.326765642916932 * term - 0.020884521182843837 * term**2 + 6.248496625763138e-05 * term**3
    return 100 - 10 * curved.clamp(min=1e-9) ** 0.6276336467831387
