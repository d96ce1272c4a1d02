"""The visible term: the static half of ColorVideoVDP, in just-objectionable differences, differentiable.

A pyramid of contrasts in an opponent colour space, weighted by the eye's sensitivity at the display's brightness and masked by the
contrast that is there (Mantiuk et al., "ColorVideoVDP: A visual difference predictor for image, video and display", SIGGRAPH 2024).
Its constants are those of the package `cvvdp` for the display "standard_fhd". The decoded half of the work is separate from the
original's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vqcodec.vqvae import compiled
from vqcodec.vqvae.bands import Separable, blur_matrix, expand_matrix, halved, reduce_matrix
from vqcodec.vqvae.compiled import kernels_for

LOWEST_BAND = 0.2  # cycles per degree
BACKGROUND_MIN = 0.01  # candela per square metre
CONTRAST_MAX = 1000.0
BOOST = (1.0, 1.45, 1.0)  # of the sensitivity to each opponent colour, within the bands
MASK_SIGMA, MASK_RADIUS = 3.0, 6
FAINT = 0.1  # pooled difference up to which the scale is linear


class Reference(NamedTuple):
    """What is known of an original in one band, [B, 3, h, w] each.

    Attributes:
        contrast: Times the sensitivity.
        sensitivity: Of the eye.
    """

    contrast: Tensor
    sensitivity: Tensor


class _Seen(torch.autograd.Function):
    """Mean square of the differences as they are seen beside the contrast that both pictures have. Its own backward: this is most
    of the term's work.

    contrast, mutual (blurred), original: [B, 3, h, w]; constants: see `Visible`. -> [B, 3]
    """

    @staticmethod
    def forward(ctx: Any, contrast: Tensor, mutual: Tensor, original: Tensor, constants: tuple[Tensor, ...]) -> Tensor:
        mask_p, mask_q, mask_c, cross, top = constants
        base = (mutual * mask_c).clamp_(min=1e-6)
        power = base**mask_q
        mask = (cross.t() @ power.flatten(2)).view_as(power).add_(1)
        signed = contrast - original
        difference = signed.abs().add_(1e-5)
        raw = (difference**mask_p).div_(mask)
        over = raw + top
        seen = (top * raw).div_(over)
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[1]:
            by_raw = (2 / seen[0, 0].numel()) * seen * (top / over).square_()
            by_contrast = (by_raw * raw).mul_(mask_p).div_(difference).mul_(signed.sign_())
            by_mask = by_raw.mul_(raw).div_(mask).neg_()
            chain = power.mul_(mask_q * mask_c).div_(base).mul_(base > 1e-6)
            ctx.save_for_backward(by_contrast, by_mask, chain, cross)
        return seen.square_().mean((2, 3))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        scale = gradients[0][..., None, None]
        by_contrast, by_mask, chain, cross = ctx.saved_tensors
        # one colour masks all of them
        by_mutual = (cross @ (by_mask * scale).flatten(2)).view_as(chain).mul_(chain)
        return by_contrast * scale, by_mutual, None, None


class Visible(nn.Module):
    """The term for pictures of one size, 10 minus ColorVideoVDP's JOD.

    Args:
        height: Pixels.
        width: Pixels.
        constants: See `vqcodec.vqvae.distortion`.
    """

    matrix: Tensor
    white: Tensor
    black: Tensor
    sensitivity: Tensor
    band_weight: Tensor
    mask_p: Tensor
    mask_q: Tensor
    mask_c: Tensor
    cross: Tensor
    top: Tensor
    still: Tensor
    jod_a: Tensor
    jod_exp: Tensor

    def __init__(self, height: int, width: int, constants: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name in ("matrix", "white", "black", "mask_p", "mask_c", "cross", "top", "still", "jod_a", "jod_exp"):
            self.register_buffer(name, constants[name].float().clone(), persistent=False)
        self.register_buffer("mask_q", constants["mask_q"].float().view(1, 3, 1, 1), persistent=False)
        grid = constants["grid"]
        self.grid = float(grid[0]), float(grid[-1])  # evenly spaced log10 of the background
        self.register_buffer("sensitivity", constants["log_s"].float().clone(), persistent=False)
        most = int(math.log2(min(height, width))) - 1
        bands = constants["bands"].tolist()
        lowest = next((i + 1 for i, band in enumerate(bands) if band <= LOWEST_BAND), most)
        self.levels = max(min(lowest, most), 0)
        weights = torch.tensor([BOOST, constants["base"].tolist()], dtype=torch.float32).view(2, 1, 3, 1, 1)
        self.register_buffer("band_weight", weights, persistent=False)
        self.down, self.up, self.blur = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for _ in range(self.levels):
            sides = height, width
            self.down.append(Separable(*(reduce_matrix(n) for n in sides)))
            self.up.append(Separable(*(expand_matrix(n) for n in sides)))
            room = min(sides) > MASK_RADIUS
            self.blur.append(
                Separable(*(blur_matrix(n, MASK_SIGMA, MASK_RADIUS) for n in sides)) if room else nn.Identity()
            )
            height, width = halved(height), halved(width)

    def references(self, light: Tensor) -> list[Reference]:
        """The original's half. light: linear RGB [B, 3, H, W] in [0, 1]."""
        out = []
        for band, (x, wide) in enumerate(self._pyramid(light)):
            contrast, background = _contrast(x, wide, self._factor(band))
            last = band == self.levels
            sensitivity = self._sensitivity(torch.log10(background), -1 if last else band) * self.band_weight[int(last)]
            out.append(Reference(contrast * sensitivity, sensitivity))
        return out

    def forward(self, references: list[Reference], light: Tensor) -> Tensor:
        """The decoded half: linear RGB [B, 3, H, W] in [0, 1] -> [B]"""
        pooled = []
        constants = self.mask_p, self.mask_q, self.mask_c, self.cross, self.top
        for band, (original, (x, wide)) in enumerate(zip(references, self._pyramid(light), strict=True)):
            blur = self.blur[band] if band < self.levels else None
            if isinstance(blur, Separable) and kernels_for(x):
                weber = BACKGROUND_MIN, CONTRAST_MAX, self._factor(band)
                energy = compiled.Level.apply(x, wide, original, blur, weber, constants)
            else:
                contrast = _contrast(x, wide, self._factor(band))[0] * original.sensitivity
                if blur:
                    mutual = torch.minimum(contrast.abs(), original.contrast.abs())
                    energy = _Seen.apply(contrast, blur(mutual), original.contrast, constants)
                else:
                    energy = (contrast - original.contrast).square().mean((2, 3))
            pooled.append((energy + 1e-12).sqrt())
        total = (torch.stack(pooled, 2) ** 4).sum(2) ** 0.25  # over bands, then colours
        total = self.still * (total**4).sum(1) ** 0.25
        slope = self.jod_a * FAINT ** (self.jod_exp - 1)
        return torch.where(total <= FAINT, slope * total, self.jod_a * total.clamp(min=FAINT) ** self.jod_exp)

    def _pyramid(self, light: Tensor) -> list[tuple[Tensor, Tensor | None]]:
        """Every band with what is coarser in it, both [B, 3, h, w]; last, what is coarser than all of them."""
        x = light * (self.white - self.black) + self.black
        x = (self.matrix @ x.flatten(2)).view_as(x)
        out: list[tuple[Tensor, Tensor | None]] = []
        for down, up in zip(self.down, self.up, strict=True):
            low = down(x)
            out.append((x, up(low)))
            x = low
        return [*out, (x, None)]

    def _factor(self, band: int) -> float:
        """What the contrasts of a band count."""
        return 2.0 if 0 < band < self.levels else 1.0

    def _sensitivity(self, log_background: Tensor, band: int) -> Tensor:
        """Between the entries of the table. [B, 1, h, w] -> [B, 3, h, w]"""
        table = self.sensitivity[band]  # (3, entries)
        last, (low, high) = table.shape[1] - 1, self.grid
        place = ((log_background[:, 0] - low) / (high - low) * last).clamp(0, last - 0.001)
        index = place.long()
        at = index.flatten()
        first, second = (table.index_select(1, at + i).unflatten(1, index.shape) for i in (0, 1))
        share = place - index
        return (10 ** (first * (1 - share) + second * share)).transpose(0, 1)


def _contrast(x: Tensor, wide: Tensor | None, factor: float) -> tuple[Tensor, Tensor]:
    """Weber contrast of a band [B, 3, h, w], and its background [B, 1, h, w]; without `wide` that of the mean."""
    if wide is None:
        background = x[:, :1].clamp(min=BACKGROUND_MIN).mean((2, 3), keepdim=True)
        return (x / background).clamp(max=CONTRAST_MAX), background.expand_as(x[:, :1])
    background = wide[:, :1].clamp(min=BACKGROUND_MIN)
    return factor * ((x - wide) / background).clamp(max=CONTRAST_MAX), background
