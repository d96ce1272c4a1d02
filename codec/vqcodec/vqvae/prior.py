"""The prior as a trainable network: float, but rounded exactly where the integer prior rounds.

It has the layers and names of `vqbitstream.prior.Prior`; `vqcodec.vqvae.integers` converts one into the other. Activations are
multiples of 1/32 in [-127/32, 127/32]. Weights are multiples of a power of two per output channel with |integer| <= 127. Gradients
pass straight through the rounding.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from vqbitstream.geometry import SIDE_FACTOR
from vqbitstream.prior import STEP_KNOTS

from vqcodec.models.config import ModelConfig
from vqcodec.vqvae.transforms import compand, step_features

ACT_LOG2 = 5  # activations are integers / 2^5
MEAN_LOG2 = 6  # means are integers / 2^6, in sigmas of their channel
SCALE_LOG2 = 5  # log2-scales are integers / 2^5, in octaves over sigma
ACT_MAX = 127 / 2**ACT_LOG2
SHIFT_MAX = 14


def round_ste(x: Tensor, log2: int = 0) -> Tensor:
    """Round half up to a multiple of 2^-log2; the gradient passes straight through."""
    return x + (torch.floor(x.detach() * 2.0**log2 + 0.5) * 2.0**-log2 - x.detach())


class _Activation(torch.autograd.Function):
    """Round to the grid and clamp to the range, after a leaky ReLU of slope 1/8 if `leaky`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, leaky: bool) -> Tensor:
        ctx.save_for_backward(x)
        ctx.leaky = leaky
        integers = x.float().mul(2**ACT_LOG2).add_(0.5).floor_()
        if leaky:
            integers = torch.maximum(integers, torch.floor(integers * 0.125))
        return integers.clamp_(-127, 127).mul_(2.0**-ACT_LOG2).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        gradient = gradients[0] * (x.abs() < ACT_MAX + 1 / 64 if not ctx.leaky else x < ACT_MAX + 1 / 64)
        return (torch.where(x < 0, gradient * 0.125, gradient) if ctx.leaky else gradient), None


class _GridWeight(torch.autograd.Function):
    """A weight on its integer grid; the gradient passes straight through."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, scale: Tensor) -> Tensor:
        return weight.mul(scale).add_(0.5).floor_().clamp_(-127, 127).div_(scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def activation(x: Tensor, leaky: bool = False) -> Tensor:
    return _Activation.apply(x, leaky)


def weight_shift(weight: Tensor) -> Tensor:
    """Per output channel the largest k with |w| 2^k <= 127. [out, ...] -> float [out], integer-valued in 1..14."""
    peak = weight.detach().float().flatten(1).abs().amax(1).clamp(min=1e-6)
    return torch.floor(torch.log2(127 / peak)).clamp(1, SHIFT_MAX)


class IntConv(nn.Conv2d):
    """A convolution (1x1 or 3x3, zero padding) whose weights and bias lie on the integer grid."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, padding=kernel // 2)

    def grid(self) -> tuple[Tensor, Tensor, Tensor]:
        """Weight and bias as integers, and the shift."""
        shift = weight_shift(self.weight)
        scale = torch.exp2(shift)[:, None, None, None]
        weight = _GridWeight.apply(self.weight, scale) * scale
        bias = torch.floor(cast(Tensor, self.bias) * torch.exp2(shift + ACT_LOG2) + 0.5)
        return weight, bias, shift

    def forward(self, x: Tensor) -> Tensor:
        shift = weight_shift(self.weight)
        weight = _GridWeight.apply(self.weight, torch.exp2(shift)[:, None, None, None])
        scale = torch.exp2(shift + ACT_LOG2)
        bias = round_ste(cast(Tensor, self.bias) * scale) / scale
        if self.kernel_size == (1, 1):
            return F.linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)
        return F.conv2d(x, weight, bias, padding=self.padding)


def _joined(*parts: Tensor) -> Tensor:
    """Concatenated channels, innermost in memory. [B, ., h, w] each -> [B, sum, h, w]"""
    return torch.cat([p.permute(0, 2, 3, 1) for p in parts], 3).permute(0, 3, 1, 2)


class Refine(nn.Module):
    """New latent channels and the trunk's state to the trunk's next state."""

    def __init__(self, channels: int, config: ModelConfig) -> None:
        super().__init__()
        self.reduce = IntConv(channels + config.state, config.reduce)
        self.mix = IntConv(config.reduce, config.state, 3)
        with torch.no_grad():
            self.mix.weight.mul_(0.5)

    def forward(self, context: Tensor, state: Tensor) -> Tensor:
        x = activation(self.reduce(_joined(context, state)), leaky=True)
        return activation(state + activation(self.mix(x)))


class Head(nn.Module):
    """State to mean (in sigmas) and log2 of the scale over sigma, for each channel of a group."""

    def __init__(self, channels: int, config: ModelConfig) -> None:
        super().__init__()
        self.hidden = IntConv(config.state + STEP_KNOTS, config.hidden)
        self.out = IntConv(config.hidden, 2 * channels)
        with torch.no_grad():
            self.out.weight.mul_(0.3)
            cast(Tensor, self.out.bias)[:channels] = 0
            cast(Tensor, self.out.bias)[channels:] = -1

    def forward(self, state: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
        steps = steps.expand(-1, -1, *state.shape[2:])
        x = activation(self.hidden(_joined(state, steps)), leaky=True)
        with torch.autocast(x.device.type, enabled=False):
            mean, log_scale = self.out(x.to(self.out.weight.dtype)).chunk(2, 1)
        return round_ste(mean, MEAN_LOG2), round_ste(log_scale, SCALE_LOG2)


class Prediction(NamedTuple):
    """What the prior predicts for one group, in steps.

    Attributes:
        mean: [B, channels, h, w].
        log2_scale: Laplace's b, [B, channels, h, w] in octaves.
    """

    mean: Tensor
    log2_scale: Tensor


class SoftPrior(nn.Module):
    """Side grid and channel groups, coarse to fine, each in two checkerboard passes around one shared trunk.

    Args:
        config: Its sizes.
    """

    sigma: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("sigma", torch.ones(config.channels))
        self.side_log2_scale = nn.Parameter(torch.zeros(STEP_KNOTS, config.side_channels))
        self.side_up = IntConv(config.side_channels, SIDE_FACTOR**2 * config.side_up)
        self.start = IntConv(config.side_up, config.state, 3)
        self.start_step = IntConv(STEP_KNOTS, config.state)
        self.heads = nn.ModuleList(Head(g, config) for g in config.groups)
        self.refine_half = nn.ModuleList(Refine(g, config) for g in config.groups)
        self.refine_full = nn.ModuleList(Refine(g, config) for g in config.groups[:-1])

    def side_scales(self, log2_step: Tensor) -> Tensor:
        """log2-scale of every side channel. [B] -> [B, side_channels, 1, 1]"""
        return ((step_features(log2_step) / 2) @ round_ste(self.side_log2_scale, SCALE_LOG2))[:, :, None, None]

    def begin(self, side: Tensor, log2_step: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
        """Quantised side grid -> state [B, state, h, w] and step features [B, 7, 1, 1]."""
        steps = step_features(log2_step)[:, :, None, None]
        x = activation(self.side_up(activation(side / 8)), leaky=True)
        x = F.pixel_shuffle(x, SIDE_FACTOR)[:, :, :height, :width]
        return activation(activation(self.start(x)) + activation(self.start_step(steps))), steps

    def context(self, group: int, decoded: Tensor, log2_step: Tensor) -> Tensor:
        """Decoded latent of a group, in steps, to what the trunk sees of it."""
        return activation(compand(decoded * torch.exp2(self.offset(group, log2_step))))

    def offset(self, group: int, log2_step: Tensor) -> Tensor:
        """log2(step / sigma). [B] -> [B, channels of the group, 1, 1]"""
        start = sum(self.config.groups[:group])
        sigma = self.sigma[start : start + self.config.groups[group]]
        return (log2_step[:, None] - torch.log2(sigma))[:, :, None, None]

    def predict(self, group: int, state: Tensor, steps: Tensor, log2_step: Tensor) -> Prediction:
        mean, log_scale = self.heads[group](state, steps)
        offset = self.offset(group, log2_step)
        return Prediction(mean * torch.exp2(-offset), (log_scale - offset).clamp(-6, 9))
