"""The prior as a trainable network: float, but rounded exactly where the integer prior rounds.

It has the layers and names of `vqbitstream.prior.Prior`; `vqcodec.vqvae.integers` converts one into the other. Its layers are those
of `vqcodec.vqvae.grid`. Channels last: [B, n, channels], rows of latent positions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from vqbitstream.arithmetic import OCTAVE
from vqbitstream.prior import (
    CHANNEL_GAIN_MAX,
    FEATURES,
    FIRST_PASSES,
    LOG2_SCALE_MAX,
    LOG2_SCALE_MIN,
    NEIGHBOURS,
    PLACE_GAIN_MAX,
)

from vqcodec.models.config import ModelConfig
from vqcodec.vqvae.grid import IntDepthwise, IntLinear, OnGrid, activation, round_ste
from vqcodec.vqvae.transforms import compand

MEAN_LOG2 = 6  # means are integers / 2^6, in sigmas of their channel
SCALE_LOG2 = 5  # log2-scales and gains are integers / 2^5, in octaves


def _joined(context: Tensor, state: Tensor) -> Tensor:
    return torch.cat([context.to(state.dtype), state], 2)


class Near(nn.Module):
    """The state of new positions of the first group, from their four nearest known ones."""

    def __init__(self, channels: int, config: ModelConfig) -> None:
        super().__init__()
        self.reduce = IntLinear(channels + config.state, config.near)
        self.near = IntLinear(NEIGHBOURS * config.near, config.reduce)
        self.mix = IntLinear(config.reduce, config.state)
        with torch.no_grad():
            self.mix.weight.mul_(0.5)
        self.mix.regrid()

    def forward(self, context: Tensor, state: Tensor, start: Tensor, neighbours: Tensor) -> Tensor:
        """New states.

        Args:
            context: Of the m known positions, [B, m, channels].
            state: Of the known positions, [B, m, state].
            start: Of all positions before anything is known, [B, 1, state].
            neighbours: Flat [n * 4], 0..m; m is outside.

        Returns:
            [B, n, state].
        """
        told = F.pad(activation(self.reduce(_joined(context, state)), leaky=True), (0, 0, 0, 1))
        heard = told.index_select(1, neighbours).unflatten(1, (-1, NEIGHBOURS)).flatten(2)
        return activation(start + activation(self.mix(activation(self.near(heard), leaky=True))))


class Refine(nn.Module):
    """New latent channels and the trunk's state to the trunk's next state."""

    def __init__(self, channels: int, config: ModelConfig) -> None:
        super().__init__()
        self.reduce = IntLinear(channels + config.state, config.reduce)
        self.space = IntDepthwise(config.reduce, 3)
        self.mix = IntLinear(config.reduce, config.state)
        with torch.no_grad():
            self.mix.weight.mul_(0.5)
        self.mix.regrid()

    def forward(self, context: Tensor, state: Tensor, shape: tuple[int, int], rows: Tensor | None = None) -> Tensor:
        """New states.

        Args:
            context: [B, h*w, channels].
            state: [B, h*w, state].
            shape: h and w.
            rows: Flat positions to compute, [n]; all by default.

        Returns:
            [B, n, state].
        """
        x = activation(self.reduce(_joined(context, state)), leaky=True)
        x = activation(self.space(x.unflatten(1, shape))).flatten(1, 2)
        if rows is not None:
            x, state = x.index_select(1, rows), state.index_select(1, rows)
        return activation(state + activation(self.mix(x)))


class Head(nn.Module):
    """State to mean (in sigmas) and log2 of the scale over sigma of each channel of a group, and the place gain in octaves."""

    def __init__(self, channels: int, config: ModelConfig) -> None:
        super().__init__()
        self.hidden = IntLinear(config.state + FEATURES, config.hidden)
        self.out, self.gain = IntLinear(config.hidden, 2 * channels), IntLinear(config.hidden, 1)
        with torch.no_grad():
            self.out.weight.mul_(0.3)
            self.out.bias[:channels] = 0
            self.out.bias[channels:] = -1
            self.gain.weight.mul_(0.02)
            self.gain.bias.zero_()
        self.out.regrid()
        self.gain.regrid()

    def forward(self, state: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log2-scale of each channel, not rounded yet, [B, n, 2 channels], and the place gain, [B, n, 1]."""
        features = features[:, None].expand(-1, state.shape[1], -1)
        x = activation(self.hidden(_joined(state, features.to(state.dtype))), leaky=True)
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.out.weight.dtype)
            said, gain = self.out(x), self.gain(x)
        most = PLACE_GAIN_MAX / OCTAVE
        return said, round_ste(gain, SCALE_LOG2).clamp(-most, most)


class Prediction(NamedTuple):
    """What the prior says of a group of channels at n positions.

    Attributes:
        centre: The predicted mean in local steps, [B, n, channels].
        log2_scale: Laplace's b in octaves of the local step, [B, n, channels].
        step: The local step in the unit of pixels, [B, n, channels].
        gain: Place gain in octaves, [B, n, 1].
    """

    centre: Tensor
    log2_scale: Tensor
    step: Tensor
    gain: Tensor


class SoftPrior(nn.Module):
    """Channel groups, coarse to fine, around one shared trunk; see `vqbitstream.latent` for the order of positions.

    Args:
        config: Its sizes.
    """

    sigma: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("sigma", torch.ones(config.channels))
        self.channel_gain = nn.Parameter(torch.zeros(FEATURES, config.channels))  # octaves
        self.start = IntLinear(FEATURES, config.state)
        self.near = nn.ModuleList(Near(config.groups[0], config) for _ in range(FIRST_PASSES - 1))
        self.heads = nn.ModuleList(Head(g, config) for g in config.groups)
        halves = [
            nn.Identity(),
            *(Refine(g, config) for g in config.groups[1:]),
        ]  # the first group has passes of its own
        self.refine_half = nn.ModuleList(halves)
        self.refine_full = nn.ModuleList(Refine(g, config) for g in config.groups[:-1])

    def regrid(self) -> None:
        """Let every layer's grid follow its weights."""
        for module in self.modules():
            if isinstance(module, OnGrid):
                module.regrid()

    def settle(self) -> None:
        """Put every layer on its grid for good: for a network that learns no more."""
        for module in self.modules():
            if isinstance(module, OnGrid):
                module.settle()

    def begin(self, features: Tensor) -> Tensor:
        """The state of every position before anything is known. [B, 16] -> [B, 1, state]"""
        return activation(self.start(features))[:, None]

    def log2_steps(self, log2_step: Tensor, features: Tensor) -> Tensor:
        """log2 of the step of each channel, without place gain. [B], [B, 16] -> [B, C]"""
        most = CHANNEL_GAIN_MAX / OCTAVE
        gains = round_ste(self.channel_gain, SCALE_LOG2).clamp(-most, most)
        with torch.autocast(features.device.type, enabled=False):
            return (features.to(gains.dtype) / 2) @ gains + log2_step[:, None]

    def predict(self, group: int, said: Tensor, gain: Tensor, log2_steps: Tensor) -> Prediction:
        """What a group's head says, in local steps.

        Args:
            group: Index of the group.
            said: See `Head`.
            gain: See `Head`.
            log2_steps: Of the group's channels, [B, channels]; see `log2_steps`.
        """
        mean, log2_scale = said.chunk(2, 2)
        mean, log2_scale = round_ste(mean, MEAN_LOG2), round_ste(log2_scale, SCALE_LOG2)
        ratio = torch.log2(self.sigma[self.block(group)]) - log2_steps
        low, high = LOG2_SCALE_MIN / OCTAVE, LOG2_SCALE_MAX / OCTAVE
        log2_scale = (log2_scale + ratio[:, None] - gain).clamp(low, high)
        centre = mean * torch.exp2(ratio)[:, None] * torch.exp2(-gain)
        return Prediction(centre, log2_scale, torch.exp2(log2_steps)[:, None] * torch.exp2(gain), gain)

    def context(self, group: int, latent: Tensor) -> Tensor:
        """Decoded latent of a group to what the trunk sees of it. [B, n, channels] -> same"""
        return activation(compand(latent / self.sigma[self.block(group)]))

    def block(self, group: int) -> slice:
        """The channels of a group."""
        start = sum(self.config.groups[:group])
        return slice(start, start + self.config.groups[group])
