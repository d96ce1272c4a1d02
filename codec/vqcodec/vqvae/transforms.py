"""The transforms of the VQ-VAE: picture <-> latent.

Each is a linear transform of 16x16 blocks and a small residual network that corrects it. Both see quality and tune as features. The
linear kernels are learned in the domain of each block's DCT, where the coefficients that a kernel weighs differ least in strength, so
that Adam's one learning rate fits all of them. (The idea of a light decoder: Yang & Mandt, "Computationally-efficient neural image
compression with shallow decoders", ICCV 2023.)

Everything is channels last. Shapes: B pictures, H and W pixels (multiples of 16), h = H/16, w = W/16, C latent channels, 16 features.
Pixels are floats in [-0.5, 0.5]; latents are in the same unit. The pixels of a block are ordered (colour, row, column).
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from vqbitstream.geometry import PATCH_PX
from vqbitstream.prior import ACTIVATION_UNIT, FEATURES, KNOT_MIN, KNOTS

from vqcodec.models.config import COLOURS, STRIDE_TAIL, ModelConfig

BLOCK = COLOURS * PATCH_PX**2  # values of a block
HALF = PATCH_PX // 2
WINDOW = 4  # blocks of a 2x2 window
RISE = PATCH_PX // STRIDE_TAIL  # the tail's positions per latent position, along a side
CORRECTION, CORRECTION_LOG2 = 0.3, 2.75  # the correction is about 0.3 sqrt(2^2.75 step) strong


def step_features(log2_step: Tensor, tune: Tensor) -> Tensor:
    """What the networks see of a file: hat functions of log2(step), one per octave, in the half of its tune.

    Args:
        log2_step: [B].
        tune: [B], 0 or 1; see `Header`.

    Returns:
        [B, 16] in [0, 2], on a grid of 1/32: `vqbitstream.prior.file_features` over 32.
    """
    position = torch.floor((log2_step - KNOT_MIN).clamp(0, KNOTS - 1) * 64 + 0.5)
    knots = 64 * torch.arange(KNOTS, device=log2_step.device, dtype=log2_step.dtype)
    hats = (64 - (position[:, None] - knots).abs()).clamp(min=0) / ACTIVATION_UNIT
    tune = tune.to(hats)[:, None]
    return torch.cat([hats * (1 - tune), hats * tune], 1)


class _Compand(torch.autograd.Function):
    """2 asinh(x / 2) by log1p, which torch computes many at a time on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        y = x.abs().mul_(0.5)
        square = y * y
        y += square.div_(square.add(1).sqrt_().add_(1))
        return y.log1p_().mul_(2).copysign_(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return gradients[0] * (x * x).mul_(0.25).add_(1).rsqrt_()


def compand(x: Tensor) -> Tensor:
    """Squash a normalised latent, 2 asinh(x / 2): linear near zero, logarithmic beyond 2 sigma."""
    return _Compand.apply(x)


def block_dct() -> Tensor:
    """The orthonormal DCT of a block, over colour, rows and columns. float32 [768 coefficients, 768 pixels]"""

    def dct(size: int) -> Tensor:
        k, x = torch.arange(size, dtype=torch.float64)[:, None], torch.arange(size, dtype=torch.float64)[None]
        matrix = torch.cos(math.pi / size * (x + 0.5) * k) * math.sqrt(2 / size)
        matrix[0] /= math.sqrt(2)
        return matrix

    return torch.kron(dct(COLOURS), torch.kron(dct(PATCH_PX), dct(PATCH_PX))).float()


def blocks_of(x: Tensor) -> Tensor:
    """Pixels to blocks. [B, H, W, 3] -> [B, h, w, 768]"""
    batch, height, width, _ = x.shape
    x = x.reshape(batch, height // PATCH_PX, PATCH_PX, width // PATCH_PX, PATCH_PX, COLOURS)
    return x.permute(0, 1, 3, 5, 2, 4).flatten(3)


def depth_to_space(x: Tensor, factor: int) -> Tensor:
    """Channels to neighbours. [B, h, w, (c, row, column)] -> [B, h * factor, w * factor, c]"""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height, width, channels // factor**2, factor, factor)
    return x.permute(0, 1, 4, 2, 5, 3).reshape(batch, height * factor, width * factor, -1)


def windows(x: Tensor) -> Tensor:
    """The 2x2 windows, row by row. [B, h, w, c] -> [B, h - 1, w - 1, 4c]"""
    return torch.cat([x[:, :-1, :-1], x[:, :-1, 1:], x[:, 1:, :-1], x[:, 1:, 1:]], 3)


class Depthwise(nn.Module):
    """A k x k convolution of each channel by itself, zero-padded. [B, h, w, channels] -> same. Starts near the identity."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.weight = nn.Parameter(torch.randn(kernel**2, channels) / kernel)  # neighbours row by row
        self.bias = nn.Parameter(torch.zeros(channels))
        with torch.no_grad():
            self.weight[kernel**2 // 2] += 0.7

    def forward(self, x: Tensor) -> Tensor:
        return depthwise(x, self.weight, self.bias, self.kernel)


def depthwise(x: Tensor, weight: Tensor, bias: Tensor, kernel: int) -> Tensor:
    """See `Depthwise`. weight [kernel * kernel, channels]"""
    channels = x.shape[3]
    planes = weight.t().reshape(channels, 1, kernel, kernel).to(x.dtype)
    y = F.conv2d(x.permute(0, 3, 1, 2), planes, bias.to(x.dtype), padding=kernel // 2, groups=channels)
    return y.permute(0, 2, 3, 1)


class ResidualBlock(nn.Module):
    """A depthwise convolution, then two 1x1 layers around a leaky ReLU. [B, h, w, width] -> same.

    Args:
        width: Channels.
        kernel: Of the depthwise convolution.
        still: Start as if it were not there.
    """

    def __init__(self, width: int, kernel: int, *, still: bool = False) -> None:
        super().__init__()
        self.space = Depthwise(width, kernel)
        self.first, self.second = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        nn.init.normal_(self.second.weight, std=0.1 / math.sqrt(2 * width))
        nn.init.zeros_(self.second.bias)
        if still:
            with torch.no_grad():
                self.space.weight.zero_()[kernel**2 // 2] = 1

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.leaky_relu(self.first(self.space(x)), 0.1))


class _InDCT(nn.Module):
    """A transform whose linear kernels are learned in the DCT's domain; in a weights file they are in the pixels'."""

    spectrum: Tensor | None
    sigma: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("spectrum", block_dct(), persistent=False)
        self.register_buffer("sigma", torch.ones(channels))  # spread of each channel over natural pictures

    def kernels(self, *, pixels: bool) -> dict[str, Tensor]:
        """The linear kernels by name, from the present domain to the one of the pixels or of the DCT."""
        raise NotImplementedError

    @torch.no_grad()
    def in_pixels(self) -> None:
        """Leave the DCT's domain for good: for a network that learns no more, and computes less."""
        if self.spectrum is None:
            return
        for name, weight in self.kernels(pixels=True).items():
            self.get_parameter(name).copy_(weight)
        self.spectrum = None


class Analysis(_InDCT):
    """Picture to latent: a linear map over overlapping blocks (kernel 32, stride 16), corrected by a residual network.

    Args:
        config: Its sizes.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config.channels)
        width = config.analysis_width
        self.linear = nn.Linear(WINDOW * BLOCK, config.channels)  # over blocks shifted by 8
        self.enter, self.step_bias = nn.Linear(config.channels, width), nn.Linear(FEATURES, width)
        self.blocks = nn.Sequential(*(ResidualBlock(width, 5) for _ in range(config.analysis_blocks)))
        self.out = nn.Linear(width, config.channels)
        nn.init.normal_(self.out.weight, std=0.003)
        nn.init.zeros_(self.out.bias)

    def kernels(self, *, pixels: bool) -> dict[str, Tensor]:
        weight = self.linear.weight.detach()
        if self.spectrum is not None:
            spectrum = (
                self.spectrum if pixels else self.spectrum.t()
            ).double()  # whatever float32's precision is set to
            weight = (weight.double().unflatten(1, (WINDOW, BLOCK)) @ spectrum).flatten(1).to(weight)
        return {"linear.weight": weight}

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        """Pixels [B, H, W, 3] and features [B, 16] -> latent [B, h, w, C], float32"""
        x = F.pad(x.permute(0, 3, 1, 2), (HALF, HALF, HALF, HALF), mode="replicate").permute(0, 2, 3, 1)
        blocks = blocks_of(x)
        if self.spectrum is not None:
            blocks = F.linear(blocks, self.spectrum)
        y = self.linear(windows(blocks)).float()
        z = self.enter(compand(y / self.sigma)) + self.step_bias(features)[:, None, None]
        return y + self.sigma * self.out(self.blocks(F.leaky_relu(z, 0.1))).float()


class Synthesis(_InDCT):
    """Latent to picture, not clipped. The first channels overlap their neighbours; each of the others paints its own block.

    Args:
        config: Its sizes.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config.channels)
        self.lapped_channels, self.shown = config.lapped, config.shown
        self.lapped = nn.Linear(WINDOW * config.lapped, BLOCK, bias=False)  # onto blocks shifted by 8
        self.fine = nn.Linear(config.channels - config.lapped, BLOCK, bias=False)
        self.enter, self.step_bias = nn.Linear(config.shown, config.body), nn.Linear(FEATURES, config.body)
        self.body = nn.Sequential(*(ResidualBlock(config.body, 3) for _ in range(config.body_blocks)))
        self.rise = nn.Linear(config.body, RISE**2 * config.tail)
        self.tail = nn.Sequential(*(ResidualBlock(config.tail, 3, still=True) for _ in range(config.tail_blocks)))
        self.out = nn.Linear(config.tail, COLOURS * STRIDE_TAIL**2)
        nn.init.normal_(self.out.weight, std=0.01)
        nn.init.zeros_(self.out.bias)

    def kernels(self, *, pixels: bool) -> dict[str, Tensor]:
        weights = {f"{name}.weight": getattr(self, name).weight.detach() for name in ("lapped", "fine")}
        if self.spectrum is not None:
            spectrum = (self.spectrum.t() if pixels else self.spectrum).double()
            weights = {name: (spectrum @ weight.double()).to(weight) for name, weight in weights.items()}
        return weights

    def forward(self, latent: Tensor, log2_step: Tensor, features: Tensor) -> Tensor:
        """Latents to pictures.

        Args:
            latent: [B, h, w, C]. Last channels may be missing, as if they were zero.
            log2_step: [B].
            features: [B, 16].

        Returns:
            [B, H, W, 3], float32.
        """
        if latent.shape[3] < max(self.shown, self.lapped_channels):
            latent = F.pad(latent, (0, max(self.shown, self.lapped_channels) - latent.shape[3]))
        lapped = windows(F.pad(latent[..., : self.lapped_channels], (0, 0, 1, 1, 1, 1)))
        picture = self._picture(self.lapped(lapped))[:, HALF:-HALF, HALF:-HALF]
        fine = latent[..., self.lapped_channels :]
        picture = picture + self._picture(F.linear(fine, self.fine.weight[:, : fine.shape[3]]))
        shown = compand(latent[..., : self.shown] / self.sigma[: self.shown])
        x = self.enter(shown) + self.step_bias(features)[:, None, None]
        x = self.body(F.leaky_relu(x, 0.1))
        x = self.tail(F.leaky_relu(depth_to_space(self.rise(x), RISE), 0.1))  # (B, 4h, 4w, tail)
        correction = depth_to_space(self.out(F.leaky_relu(x, 0.1)), STRIDE_TAIL).float()
        strength = CORRECTION * torch.exp2(0.5 * (log2_step + CORRECTION_LOG2))
        return picture + strength[:, None, None, None] * correction

    def _picture(self, blocks: Tensor) -> Tensor:
        """[B, h, w, 768] -> [B, H, W, 3]"""
        if self.spectrum is not None:
            blocks = F.linear(blocks, self.spectrum.t())
        return depth_to_space(blocks, PATCH_PX).float()


@torch.no_grad()
def start_from_basis(analysis: Analysis, synthesis: Synthesis, basis: Tensor, sigma: Tensor) -> None:
    """Initialise the pair as an orthonormal block transform, with a faint correction.

    Args:
        analysis: Changed in place.
        synthesis: Changed in place.
        basis: PCA of patches, coarse to fine, [C, 3, 16, 16], with orthonormal rows.
        sigma: Root mean square of each coefficient, [C].
    """
    channels, spectrum = len(basis), block_dct().to(basis)
    whole = torch.zeros(channels, COLOURS, 2 * PATCH_PX, 2 * PATCH_PX, dtype=basis.dtype, device=basis.device)
    whole[:, :, HALF:-HALF, HALF:-HALF] = basis
    quarters = whole.unflatten(3, (2, PATCH_PX)).unflatten(2, (2, PATCH_PX)).permute(0, 2, 4, 1, 3, 5)
    quarters = quarters.reshape(channels, WINDOW, BLOCK) @ spectrum.t()
    analysis.linear.weight.copy_(quarters.flatten(1))
    analysis.linear.bias.zero_()
    # transposed: a shifted block is reached by the latent above-left with its lower-right quarter, and so on
    lapped = quarters[: synthesis.lapped_channels].flip(1).permute(2, 1, 0)
    synthesis.lapped.weight.copy_(lapped.flatten(1))
    synthesis.fine.weight.copy_((basis[synthesis.lapped_channels :].flatten(1) @ spectrum.t()).t())
    for module in (analysis, synthesis):
        module.sigma.copy_(sigma)
