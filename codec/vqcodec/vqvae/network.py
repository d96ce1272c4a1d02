"""The whole codec as one differentiable network: transforms, quantiser and soft prior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
import vqbitstream.latent
from torch import Tensor, nn

from vqcodec.models.config import ModelConfig
from vqcodec.vqvae.prior import Prediction, SoftPrior
from vqcodec.vqvae.quantizer import SoftQuantizer
from vqcodec.vqvae.rate import laplace_bits
from vqcodec.vqvae.transforms import Analysis, Synthesis, step_features

# residual, log2_scale [B, n, channels], log2_step [B] -> decoded residual, and the grid point whose cell's mass is its rate
Quantise = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
# residual [B, n, channels], what the prior says, log2_step [B] -> decoded residual and bits of each picture [B], both
# differentiable in some sense
StepCoder = Callable[[Tensor, Prediction, Tensor], tuple[Tensor, Tensor]]


@runtime_checkable
class PassCoder(Protocol):
    """A coder that does all that a pass takes at once."""

    def code_pass(
        self, prior: SoftPrior, group: int, rows: Tensor, said: Tensor, gain: Tensor, log2_steps: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Latents of one pass to what they decode to, what later passes see of it (both [B, n, channels]), and bits [B].

        Args:
            prior: Of the network.
            group: Index of the group.
            rows: Latents, [B, n, channels].
            said: See `vqcodec.vqvae.prior.Head`.
            gain: See `vqcodec.vqvae.prior.Head`.
            log2_steps: Of the group's channels, [B, channels].
        """


Coder = StepCoder | PassCoder
SIGMA_LOG2_MAX = 8  # the integer prior's range


@dataclass
class Coded:
    """What B latents cost, and what they decode to.

    Attributes:
        decoded: Latent [B, h, w, C] in the unit of pixels.
        group_bits: Of each group, [B, groups].
        place_gains: Of each group in octaves, [B, h, w, groups].
    """

    decoded: Tensor
    group_bits: Tensor
    place_gains: Tensor

    @property
    def bits(self) -> Tensor:
        """All bits of each picture, [B]."""
        return self.group_bits.sum(1)

    @property
    def gains(self) -> Tensor:
        """Mean place gain of each group in octaves, [B, groups]."""
        return self.place_gains.mean((1, 2))


def rounding(residual: Tensor, log2_scale: Tensor, log2_step: Tensor) -> tuple[Tensor, Tensor]:
    """The scalar quantiser, a control that the vectors are measured against."""
    rounded = torch.floor(residual.detach() + 0.5)
    return rounded, rounded


def straight_through(quantise: Quantise, *, noise: bool) -> StepCoder:
    """The coder for training: gradients pass straight through to the residual and to the codebooks.

    Args:
        quantise: What chooses the codewords.
        noise: Take the bits of the residual plus uniform noise, a differentiable stand-in, instead of those of the decoded
            residual.
    """

    def code(residual: Tensor, said: Prediction, log2_step: Tensor) -> tuple[Tensor, Tensor]:
        coded, cell = quantise(residual, said.log2_scale, log2_step)
        # straight through, but not for what is coded as zero: there the picture hangs on the predicted mean alone, and a
        # gradient to the analysis would let it wander about in the dead zone, where neither rate nor picture holds it back
        through = residual if noise else residual * (cell != 0)
        coded = through + (coded - through).detach() + (coded - coded.detach())
        # the cells of the grid share out all probability; those of codewords that moved would overlap, and flatter the rate
        value = residual + (torch.rand_like(residual) - 0.5 if noise else (cell - residual).detach())
        return coded, laplace_bits(value, said.log2_scale).sum((1, 2))

    return code


@lru_cache(maxsize=32)
def hierarchy(height: int, width: int, device: torch.device) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], Tensor]:
    """The five passes of the first group; see `vqbitstream.latent.hierarchy`.

    Returns:
        Flat positions of each pass, the neighbours of passes 1 to 4, flat [n * 4], and where each position is in the order of
        coding, [h*w].
    """
    passes, neighbours = vqbitstream.latent.hierarchy((height, width))
    with torch.inference_mode(False):
        parts = [torch.from_numpy(part) for part in passes]
        near = [torch.from_numpy(part).flatten() for part in neighbours]
        back = torch.cat(parts).argsort()
        return tuple(p.to(device) for p in parts), tuple(n.to(device) for n in near), back.to(device)


@lru_cache(maxsize=32)
def checkerboard(height: int, width: int, device: torch.device) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Flat positions of the two passes of later groups, and where each position is in the order of coding, [h*w]."""
    with torch.inference_mode(False):
        first, second = (torch.from_numpy(part) for part in vqbitstream.latent.checkerboard((height, width)))
        back = torch.cat((first, second)).argsort()
        return (first.to(device), second.to(device)), back.to(device)


class Network(nn.Module):
    """The whole model: analysis, prior, quantiser and synthesis.

    Args:
        config: Its sizes.

    Attributes:
        hold_gains: Give the place gains no gradient. While vectors are learned nothing holds them: what is coded as zero has no
            gradient of distortion, and they would drift to coarser steps.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.analysis = Analysis(config)
        self.prior = SoftPrior(config)
        self.synthesis = Synthesis(config)
        self.quantise = SoftQuantizer()
        self.hold_gains = False

    def features(self, log2_step: Tensor, tune: Tensor) -> Tensor:
        """What every part sees of the files; see `step_features`. [B], [B] -> [B, 16]"""
        return step_features(log2_step, tune)

    def settle(self) -> None:
        """For a network that learns no more, and computes less: no DCT before the kernels, weights that lie on their grids."""
        self.analysis.in_pixels()
        self.synthesis.in_pixels()
        self.prior.settle()

    def set_sigma(self, sigma: Tensor) -> None:
        """Set the spread of each channel, rounded to the 1/32 octave of the integer prior."""
        # few or flat pictures leave channels empty
        log2_sigma = torch.log2(sigma).clamp(-SIGMA_LOG2_MAX, SIGMA_LOG2_MAX)
        sigma = torch.exp2(torch.round(log2_sigma * 32) / 32)
        for module in (self.analysis, self.prior, self.synthesis):
            module.sigma.copy_(sigma)

    def code(
        self, latent: Tensor, log2_step: Tensor, features: Tensor, coder: Coder, groups: int | None = None
    ) -> Coded:
        """Code latents group by group, as the encoder will.

        Args:
            latent: [B, h, w, C] in the unit of pixels.
            log2_step: [B].
            features: [B, 16]; see `features`.
            coder: Quantises a residual and counts its bits.
            groups: How many are coded; all by default. The others are decoded as zero, cost nothing, and are not computed.
        """
        prior, shape = self.prior, (latent.shape[1], latent.shape[2])
        walk = _Walk(self, coder, log2_step, features)
        decoded, bits, gains = [], [], []
        state = prior.begin(features)
        count = len(self.config.groups) if groups is None else groups
        for group in range(count):
            rows = latent[..., prior.block(group)].flatten(1, 2)
            passes = _Passes(walk, group, rows)
            state, back = passes.first(state, shape) if group == 0 else passes.later(state, shape)
            decoded.append(torch.cat(passes.values, 1).index_select(1, back))
            bits.append(torch.stack(passes.bits).sum(0))
            gains.append(torch.cat(passes.gains, 1).index_select(1, back))
            if group < count - 1:
                context = torch.cat(passes.contexts, 1).index_select(1, back)
                state = prior.refine_full[group](context, state, shape)
        missing = len(self.config.groups) - count
        whole = F.pad(torch.cat(decoded, 2), (0, self.config.channels - prior.block(count - 1).stop))
        place_gains = F.pad(torch.cat(gains, 2), (0, missing))
        return Coded(
            whole.unflatten(1, shape), F.pad(torch.stack(bits, 1), (0, missing)), place_gains.unflatten(1, shape)
        )

    def forward(
        self, x: Tensor, log2_step: Tensor, tune: Tensor, quantise: Quantise, *, noise: bool, groups: int | None = None
    ) -> tuple[Tensor, Coded]:
        """Encode and decode pictures.

        Args:
            x: [B, H, W, 3] in [-0.5, 0.5], sides multiples of 16.
            log2_step: [B].
            tune: [B], 0 or 1; see `Header`.
            quantise: What chooses the codewords.
            noise: See `straight_through`.
            groups: See `code`.

        Returns:
            The decoded pictures [B, H, W, 3], and what they cost.
        """
        features = self.features(log2_step, tune)
        latent = self.analysis(x, features)
        coded = self.code(latent, log2_step, features, straight_through(quantise, noise=noise), groups)
        return self.synthesis(coded.decoded, log2_step, features), coded


class _Walk:
    """What all passes of a walk share."""

    def __init__(self, network: Network, coder: Coder, log2_step: Tensor, features: Tensor) -> None:
        self.prior, self.coder, self.hold_gains = network.prior, coder, network.hold_gains
        self.log2_step, self.features = log2_step, features
        self.log2_steps = network.prior.log2_steps(log2_step, features)


class _Passes:
    """The passes of one group, in the order of coding: decoded latents, their contexts and place gains, and bits."""

    def __init__(self, walk: _Walk, group: int, rows: Tensor) -> None:
        self.walk, self.group, self.rows = walk, group, rows
        self.values: list[Tensor] = []
        self.contexts: list[Tensor] = []
        self.gains: list[Tensor] = []
        self.bits: list[Tensor] = []

    def do(self, state: Tensor, at: Tensor) -> None:
        """One pass. state: at its positions, [B, n, state]; at: [n]"""
        walk, prior, group = self.walk, self.walk.prior, self.group
        said, gain = prior.heads[group](state, walk.features)
        if walk.hold_gains:
            gain = gain.detach()
        rows, log2_steps = self.rows.index_select(1, at), walk.log2_steps[:, prior.block(group)]
        if isinstance(walk.coder, PassCoder):
            value, context, bits = walk.coder.code_pass(prior, group, rows, said, gain, log2_steps)
        else:
            prediction = prior.predict(group, said, gain, log2_steps)
            coded, bits = walk.coder(rows / prediction.step - prediction.centre, prediction, walk.log2_step)
            value = (prediction.centre + coded) * prediction.step
            context = prior.context(group, value)
        self.values.append(value)
        self.contexts.append(context)
        self.gains.append(gain)
        self.bits.append(bits)

    def first(self, start: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The five passes of the first group. -> state of all positions [B, h*w, state], and the way back to their order"""
        parts, near, back = hierarchy(*shape, self.rows.device)
        states: list[Tensor] = []
        for number, at in enumerate(parts):
            if not len(at):
                continue
            if number:
                known = torch.cat(self.contexts, 1), torch.cat(states, 1)
                states.append(self.walk.prior.near[number - 1](*known, start, near[number - 1]))
            else:
                states.append(start.expand(-1, len(at), -1))
            self.do(states[-1], at)
        return torch.cat(states, 1).index_select(1, back), back

    def later(self, state: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The two passes of a later group. -> the state as it was, and the way back to the order of positions"""
        (first, second), back = checkerboard(*shape, self.rows.device)
        self.do(state.index_select(1, first), first)
        if len(second):
            seen = F.pad(self.contexts[0], (0, 0, 0, len(second))).index_select(1, back)
            self.do(self.walk.prior.refine_half[self.group](seen, state, shape, second), second)
        return state, back
