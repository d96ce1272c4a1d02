"""The transforms of the VQ-VAE: picture <-> latent, and latent to side grid.

Each transform is a linear overlapping block transform, initialised with the PCA of 16x16 patches; the synthesis adds a small
convolutional correction that starts near zero. The codec is therefore a decent transform coder before its first training step. (The
idea of a light decoder: Yang & Mandt, "Computationally-efficient neural image compression with shallow decoders", ICCV 2023.)

Shapes: B pictures, H and W pixels (multiples of 16), h = H/16, w = W/16, C latent channels. Pixels are floats in [-0.5, 0.5]; latents
are in the same unit, and the quantiser divides them by the step.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from vqbitstream.geometry import PATCH_PX, SIDE_FACTOR
from vqbitstream.prior import STEP_KNOTS

from vqcodec.models.config import STEP_LOG2_MIN, ModelConfig


def step_features(log2_step: Tensor) -> Tensor:
    """Hat functions of log2(step), one per octave. [B] -> [B, 7] in [0, 2], on a grid of 1/32."""
    position = torch.floor((log2_step - STEP_LOG2_MIN).clamp(0, STEP_KNOTS - 1) * 64 + 0.5)
    knots = 64 * torch.arange(STEP_KNOTS, device=log2_step.device, dtype=log2_step.dtype)
    return (64 - (position[:, None] - knots).abs()).clamp(min=0) / 32


def compand(x: Tensor) -> Tensor:
    """Squash a normalised latent: linear near zero, logarithmic beyond 2 sigma."""
    return 2 * torch.asinh(x / 2)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around a leaky ReLU; the second starts at zero. [B, width, h, w] -> same."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(cast(Tensor, self.second.bias))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.leaky_relu(self.first(F.leaky_relu(x, 0.1)), 0.1))


class Analysis(nn.Module):
    """Picture [B, 3, H, W] in [-0.5, 0.5] to latent [B, C, h, w]: one linear map over overlapping blocks.

    Nonlinear corrections after it, of pixels or of the latent, learned nothing worth their time (weights/log.md).

    Args:
        config: Its sizes.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        # on 16x16 blocks shifted by 8: kernel 32, stride 16
        self.linear = nn.Conv2d(3 * PATCH_PX**2, config.channels, 2)

    def forward(self, x: Tensor) -> Tensor:
        half = PATCH_PX // 2
        return self.linear(F.pixel_unshuffle(F.pad(x, (half, half, half, half), mode="replicate"), PATCH_PX))


class SideAnalysis(nn.Module):
    """Latent to side grid (the hyper-analysis of Ballé et al. 2018), in units of the side grid's own step, 1.

    The latent [B, C, h, w] comes normalised and companded; the output is [B, side channels, ceil(h/4), ceil(w/4)].

    Args:
        config: Its sizes.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.first = nn.Conv2d(config.channels, 96, 1)
        self.step_bias = nn.Linear(STEP_KNOTS, 96)
        self.second = nn.Conv2d(96, 64, 3, padding=1)
        self.out = nn.Conv2d(64 * SIDE_FACTOR**2, config.side_channels, 1)

    def forward(self, x: Tensor, log2_step: Tensor) -> Tensor:
        x = F.pad(x, (0, -x.shape[3] % SIDE_FACTOR, 0, -x.shape[2] % SIDE_FACTOR))
        x = F.leaky_relu(self.first(x) + self.step_bias(step_features(log2_step))[:, :, None, None], 0.1)
        x = F.leaky_relu(self.second(x), 0.1)
        return self.out(F.pixel_unshuffle(x, SIDE_FACTOR))


class Synthesis(nn.Module):
    """Latent [B, C, h, w] and log2_step [B] to picture [B, 3, H, W], not clipped.

    Args:
        config: Its sizes.
    """

    sigma: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.synthesis_width
        self.register_buffer("sigma", torch.ones(config.channels))  # spread of each channel over natural pictures
        self.linear = nn.Conv2d(config.channels, 3 * PATCH_PX**2, 2, padding=1, bias=False)
        self.first = nn.Conv2d(config.channels, 4 * width, 1)
        self.step_bias = nn.Linear(STEP_KNOTS, 4 * width)
        self.blocks = nn.Sequential(*(ResidualBlock(width) for _ in range(config.synthesis_blocks)))
        self.out = nn.Conv2d(width, 192, 3, padding=1)
        nn.init.normal_(self.out.weight, std=0.002)

    def forward(self, latent: Tensor, log2_step: Tensor) -> Tensor:
        half = PATCH_PX // 2
        linear = F.pixel_shuffle(self.linear(latent), PATCH_PX)[:, :, half:-half, half:-half]
        x = self.first(compand(latent / self.sigma[:, None, None]))
        x = x + self.step_bias(step_features(log2_step))[:, :, None, None]
        x = self.blocks(F.pixel_shuffle(F.leaky_relu(x, 0.1), 2))  # (B, width, 2h, 2w)
        correction = F.pixel_shuffle(self.out(F.leaky_relu(x, 0.1)), 8)
        gain = 0.3 * torch.exp2(0.5 * (log2_step - STEP_LOG2_MIN - 2.25))  # about the square root of the step
        return linear + gain[:, None, None, None] * correction


def start_from_basis(analysis: Analysis, synthesis: Synthesis, basis: Tensor, sigma: Tensor) -> None:
    """Initialise the pair as an orthonormal block transform, with a faint convolutional part.

    Args:
        analysis: Changed in place.
        synthesis: Changed in place.
        basis: PCA of patches, coarse to fine, [C, 3, 16, 16], with orthonormal rows.
        sigma: Root mean square of each coefficient, [C].
    """
    channels, half = basis.shape[0], PATCH_PX // 2
    kernel = torch.zeros(channels, 3, 2 * PATCH_PX, 2 * PATCH_PX)
    kernel[:, :, half:-half, half:-half] = basis
    # the 32x32 kernel as a 2x2 convolution over blocks of 16x16, in pixel_unshuffle's order
    blocks = F.pixel_unshuffle(kernel, PATCH_PX)  # (C, 768, 2, 2)
    with torch.no_grad():
        analysis.linear.weight.copy_(blocks)
        cast(Tensor, analysis.linear.bias).zero_()
        # transposed: an output block is reached by the latent above-left with its lower-right quarter, and so on
        synthesis.linear.weight.copy_(blocks.flip(2, 3).transpose(0, 1))
        synthesis.sigma.copy_(sigma)
