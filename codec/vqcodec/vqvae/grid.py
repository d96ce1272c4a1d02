"""Layers on an integer grid: float, but rounded exactly where the integer prior rounds.

Activations are multiples of 1/32 in [-127/32, 127/32]. Weights are multiples of a power of two per output with |integer| <= 127.
Gradients pass straight through the rounding.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqcodec.vqvae.compiled import at, kernels_for
from vqcodec.vqvae.transforms import Depthwise, depthwise

ACT_LOG2 = 5  # activations are integers / 2^5
ACT_MAX = 127 / 2**ACT_LOG2
SHIFT_MAX = 14


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, log2: int) -> Tensor:
        return x.mul(2.0**log2).add_(0.5).floor_().mul_(2.0**-log2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def round_ste(x: Tensor, log2: int = 0) -> Tensor:
    """Round half up to a multiple of 2^-log2; the gradient passes straight through."""
    return _Round.apply(x, log2)


class _Activation(torch.autograd.Function):
    """Round to the grid and clamp to the range, after a leaky ReLU of slope 1/8 if `leaky`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, leaky: bool) -> Tensor:
        if x.dtype == torch.bfloat16 and (kernels := kernels_for(x)):
            x = x.contiguous()
            out, slope = torch.empty_like(x), torch.empty_like(x) if ctx.needs_input_grad[0] else None
            kernels.search_activation(x.numel(), *at(x), leaky, *at(out), None if slope is None else slope.data_ptr())
            ctx.save_for_backward(slope)
            return out
        scaled = x.float() * 2**ACT_LOG2
        integers = torch.floor(scaled + 0.5)
        if ctx.needs_input_grad[0]:
            within = integers <= 127 if leaky else integers.abs() <= 127
            ctx.save_for_backward((torch.where(scaled < 0, 0.125, 1.0) * within if leaky else within).to(x.dtype))
        if leaky:
            integers = torch.maximum(integers, torch.floor(integers * 0.125))
        return integers.clamp_(-127, 127).mul_(2.0**-ACT_LOG2).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return gradients[0] * slope, None


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


class OnGrid:
    """What layers share whose weights and bias lie on an integer grid. Its scale, a power of two per output, follows the weights
    at each `regrid`."""

    weight: Any
    bias: Any
    scale: Tensor
    inputs_axis: int  # of the weight
    settled = False

    def grid(self) -> tuple[Tensor, Tensor]:
        """Weight and bias on the grid."""
        if self.settled:
            return self.weight, self.bias
        scale = self.scale if self.inputs_axis == 0 else self.scale[:, None]
        unit = self.scale * 2**ACT_LOG2
        return _GridWeight.apply(self.weight, scale), round_ste(self.bias * unit) / unit

    @torch.no_grad()
    def settle(self) -> None:
        """Put weight and bias on the grid for good: for a network that learns no more."""
        for own, found in zip((self.weight, self.bias), self.grid(), strict=True):
            own.copy_(found)
        self.settled = True

    @torch.no_grad()
    def regrid(self) -> None:
        """Per output the largest scale 2^k, k in 1..14, with |weight| 2^k <= 127."""
        peak = self.weight.float().abs().amax(self.inputs_axis).clamp(min=1e-6)
        self.scale.copy_(torch.exp2(torch.floor(torch.log2(127 / peak)).clamp(1, SHIFT_MAX)))


class IntLinear(OnGrid, nn.Linear):
    """A 1x1 layer on the integer grid."""

    inputs_axis = 1

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.register_buffer("scale", torch.ones(outputs))
        self.regrid()

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, *self.grid())


class IntDepthwise(OnGrid, Depthwise):
    """A depthwise layer on the integer grid. [B, h, w, channels] -> same"""

    inputs_axis = 0

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__(channels, kernel)
        self.register_buffer("scale", torch.ones(channels))
        self.regrid()

    def forward(self, x: Tensor) -> Tensor:
        return depthwise(x, *self.grid(), self.kernel)
