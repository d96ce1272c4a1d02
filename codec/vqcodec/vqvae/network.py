"""The whole codec as one differentiable network: transforms, quantiser and soft prior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vqcodec.models.config import ModelConfig
from vqcodec.vqvae.prior import SoftPrior
from vqcodec.vqvae.quantizer import SoftQuantizer
from vqcodec.vqvae.rate import laplace_bits
from vqcodec.vqvae.transforms import Analysis, SideAnalysis, Synthesis, compand

# residual, log2_scale [B, channels, h, w], log2_step [B] -> decoded residual, and the grid point whose cell's mass is its rate
Quantise = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
# the same -> decoded residual and bits of each picture [B], both differentiable in some sense
Coder = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass
class Coded:
    """One forward pass over B pictures.

    Attributes:
        decoded: Latent [B, C, h, w] in steps.
        side_bits: Of the side grid, [B].
        group_bits: Of each group, [B].
    """

    decoded: Tensor
    side_bits: Tensor
    group_bits: list[Tensor]

    @property
    def bits(self) -> Tensor:
        """All bits of each picture, [B]."""
        return self.side_bits + torch.stack(self.group_bits).sum(0)


def rounding(residual: Tensor, log2_scale: Tensor, log2_step: Tensor) -> tuple[Tensor, Tensor]:
    """The scalar quantiser, a control that the vectors are measured against."""
    rounded = torch.floor(residual.detach() + 0.5)
    return rounded, rounded


def straight_through(quantise: Quantise, *, noise: bool) -> Coder:
    """The coder for training: gradients pass straight through to the residual and to the codebooks.

    Args:
        quantise: What chooses the codewords.
        noise: Take the bits of the residual plus uniform noise, a differentiable stand-in, instead of those of the decoded
            residual.
    """

    def code(residual: Tensor, log2_scale: Tensor, log2_step: Tensor) -> tuple[Tensor, Tensor]:
        coded, cell = quantise(residual, log2_scale, log2_step)
        # straight through, but not for what is coded as zero: there the picture hangs on the predicted mean alone, and a
        # gradient to the analysis would let it wander about in the dead zone, where neither rate nor picture holds it back
        through = residual if noise else residual * (cell != 0)
        coded = through + (coded - through).detach() + (coded - coded.detach())
        # the cells of the grid share out all probability; those of codewords that moved would overlap, and flatter the rate
        value = residual + (torch.rand_like(residual) - 0.5 if noise else (cell - residual).detach())
        return coded, laplace_bits(value, log2_scale).sum((1, 2, 3))

    return code


def checkerboard(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Flat positions of the first pass, (row + column) even, and of the second."""
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    parity = ((rows[:, None] + columns) % 2).flatten()
    return torch.nonzero(parity == 0).squeeze(1), torch.nonzero(parity).squeeze(1)


def _at(state: Tensor, rows: Tensor) -> Tensor:
    """[B, C, h, w] at flat positions [n] -> [B, C, n, 1]. In memory channels stay innermost, as the 1x1 layers want them."""
    return state.permute(0, 2, 3, 1).flatten(1, 2).index_select(1, rows).transpose(1, 2).unsqueeze(3)


class Network(nn.Module):
    """The whole model: analysis, side analysis, prior, quantiser and synthesis.

    Args:
        config: Its sizes.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.analysis = Analysis(config)
        self.side_analysis = SideAnalysis(config)
        self.prior = SoftPrior(config)
        self.synthesis = Synthesis(config)
        self.quantise = SoftQuantizer()

    def set_sigma(self, sigma: Tensor) -> None:
        """Set the spread of each channel, rounded to the 1/32 octave of the integer prior."""
        log2_sigma = torch.log2(sigma).clamp(
            -8, 8
        )  # the integer prior's range; few or flat pictures leave channels empty
        sigma = torch.exp2(torch.round(log2_sigma * 32) / 32)
        self.prior.sigma.copy_(sigma)
        self.synthesis.sigma.copy_(sigma)

    def code(self, latent: Tensor, log2_step: Tensor, coder: Coder, side: Tensor | None = None) -> Coded:
        """Code latents group by group, as the encoder will.

        Args:
            latent: [B, C, h, w] in the unit of pixels.
            log2_step: [B].
            coder: Quantises a residual and counts its bits.
            side: Side grids before rounding, [B, side channels, ceil(h/4), ceil(w/4)]; by default the side analysis of the latent.
        """
        height, width = latent.shape[2:]
        prior = self.prior
        scaled = latent * torch.exp2(-log2_step)[:, None, None, None]
        if side is None:
            side = self.side_analysis(compand(latent / prior.sigma[:, None, None]), log2_step).float()
        side_scales = prior.side_scales(log2_step).expand_as(side)
        side_decoded, side_bits = coder(side, side_scales, log2_step)
        state, steps = prior.begin(side_decoded, log2_step, height, width)
        first, second = checkerboard(height, width, latent.device)
        decoded, group_bits = [], []
        for group, target in enumerate(scaled.split(self.config.groups, 1)):

            def code(
                state: Tensor, rows: Tensor, group: int = group, target: Tensor = target
            ) -> tuple[Tensor, Tensor, Tensor]:
                """One pass: its decoded latent and what the trunk sees of it [B, channels, n, 1], and its bits [B]."""
                mean, log2_scale = prior.predict(group, _at(state, rows), steps, log2_step)
                coded, bits = coder(_at(target, rows) - mean, log2_scale, log2_step)
                return mean + coded, prior.context(group, mean + coded, log2_step), bits

            def place(early: Tensor, late: Tensor | None) -> Tensor:
                """Rows of the two passes at their positions. -> [B, channels, h, w]"""
                shape = (early.shape[0], height * width, early.shape[1])
                full = torch.zeros(shape, dtype=torch.float32, device=early.device).index_copy(
                    1, first, early[..., 0].transpose(1, 2).float()
                )
                if late is not None:
                    full = full.index_copy(1, second, late[..., 0].transpose(1, 2).float())
                return full.unflatten(1, (height, width)).permute(0, 3, 1, 2)

            early, seen, bits = code(state, first)
            trunk = prior.refine_half[group](place(seen, None), state)
            late, seen_late, bits_late = code(trunk, second)
            group_bits.append(bits + bits_late)
            decoded.append(place(early, late))
            if group < len(self.config.groups) - 1:
                state = prior.refine_full[group](place(seen, seen_late), state)
        return Coded(torch.cat(decoded, 1), side_bits, group_bits)

    def forward(self, x: Tensor, log2_step: Tensor, quantise: Quantise, *, noise: bool) -> tuple[Tensor, Coded]:
        """Encode and decode pictures.

        Args:
            x: [B, 3, H, W] in [-0.5, 0.5], sides multiples of 16.
            log2_step: [B].
            quantise: What chooses the codewords.
            noise: See `straight_through`.

        Returns:
            The decoded pictures [B, 3, H, W], and what they cost.
        """
        latent = self.analysis(x).float()
        coded = self.code(latent, log2_step, straight_through(quantise, noise=noise))
        return self.picture(coded, log2_step), coded

    def picture(self, coded: Coded, log2_step: Tensor) -> Tensor:
        """The decoded pictures [B, 3, H, W]."""
        return self.synthesis(coded.decoded * torch.exp2(log2_step)[:, None, None, None], log2_step).float()
