"""The encoder's search: the latent that is coded is moved until its file is smaller and its picture better.

What the analysis finds is only a start. The transforms overlap, so what rounding does to one coefficient its neighbours could
make up for, had they known; and what is decoded early is context for what comes later. Each round codes the latent as the
encoder will, asks the decoder and the prior, by back-propagation, how the cost of the picture and of all that is coded *later*
changes with each decoded value, and moves the latent against that slope. Its own bits are the business of the rate-aware choice.
This is proximal gradient descent (iterative thresholding) with the vector quantiser as the proximal step.

Only the encoder does this: nothing here needs to be the same on two machines.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from vqbitstream import Tile
from vqbitstream.header import PATCH_PX

from .blocks import Latent, Pixels, cut, grown
from .quantizer import LAMBDA, ONE
from .tile_coder import Steps
from .training.losses import laplace_bits
from .training.network import Network, checkerboard

PULL = 0.5  # share of the way to what was decoded, each round
PUSH = 0.4  # share of a Newton step against the slope
LAST = 0.3  # of these shares in the last round
FLATTEN = 0.3  # how much of the slope is divided by the transforms' own curvature
HALO = 2  # positions around a tile that its picture is made with


@dataclass
class _Probe:
    """A coder (see `vqcodec.training.network.Coder`) that chooses as the encoder will; the cost can be differentiated by `shifts`.

    When a predicted mean moves, what is coded keeps its decoded value, at other bits, and what is coded as zero moves along.
    """

    network: Network
    rate_weight: float
    shifts: list[Tensor] = field(default_factory=list)

    def __call__(self, residual: Tensor, log2_scale: Tensor, log2_step: Tensor) -> tuple[Tensor, Tensor]:
        decoded, cell = self.network.quantise(residual, log2_scale, log2_step, self.rate_weight)
        shift = torch.zeros_like(decoded, requires_grad=True)
        self.shifts.append(shift)
        kept = (residual - residual.detach()) * (cell != 0)  # zero, with the slope of minus the mean
        return decoded.detach() + kept + shift, laplace_bits(cell + kept, log2_scale).sum((1, 2, 3))


class Search:
    """Searches with the given network, the trainable twin of the model that codes."""

    def __init__(self, network: Network) -> None:
        self.network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        weight: Any = self.network.analysis.linear.weight
        self.device: torch.device = weight.device
        self.bfloat16 = self.device.type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported()

    def improve(
        self,
        pixels: Pixels,
        latent: Latent,
        sides: list[npt.NDArray[np.int64]],
        tiles: list[Tile],
        log2_step: float,
        *,
        rate_weight: float,
        rounds: int,
        noise: float,
        progress: Steps,
    ) -> Latent:
        """A better latent for the picture uint8 [H, W, 3] or [H, W] than its analysis `latent`, int32 [h, w, C] in 1/256 step.

        sides: each tile's side grid, as `Transforms.side` gives it. rate_weight: see `Quantizer.encode`. noise: standard deviation,
        in steps, of what is added to the latent in the first round; it leads out of poor local minima, given rounds enough.
        Progress goes on by each tile's positions, `rounds` + 1 times.
        """
        with torch.inference_mode(False):
            return self._improve(pixels, latent, sides, tiles, log2_step, rate_weight, rounds, noise, progress)

    def _improve(
        self,
        pixels: Pixels,
        latent: Latent,
        sides: list[npt.NDArray[np.int64]],
        tiles: list[Tile],
        log2_step: float,
        rate_weight: float,
        rounds: int,
        noise: float,
        progress: Steps,
    ) -> Latent:
        better = np.empty_like(latent)
        generator = torch.Generator().manual_seed(0)
        for tile, side in zip(tiles, sides, strict=True):
            picture = _Region(self, pixels, latent, tile, log2_step)
            grid = torch.from_numpy(side.astype(np.float32) / ONE).permute(2, 0, 1)[None].to(self.device)
            target = best = picture.start
            lowest = np.inf
            for number in range(rounds + 1):
                left = 1 - number / max(rounds, 1)
                spread = max(0.0, (left - 0.3) / 0.7) * noise
                jitter = spread * torch.randn(target.shape, generator=generator).to(self.device) if spread else 0
                last = number == rounds
                cost, decoded, slope = self._probe(picture, target + jitter, grid, rate_weight, slope=not last)
                if cost < lowest:
                    lowest, best = cost, target + jitter
                if slope is not None:
                    pace = LAST + (1 - LAST) * left
                    flat = (1 - FLATTEN) * slope + FLATTEN * self._flattened(slope)
                    target = target + pace * (PULL * (decoded - target) - PUSH * LAMBDA / 2 * flat)
                progress(tile.shape[0] * tile.shape[1])
            fixed_point = torch.round(best[0].permute(1, 2, 0) * ONE).clamp(-(2**30), 2**30)
            better[tile.top : tile.bottom, tile.left : tile.right] = fixed_point.cpu().numpy()
        return better

    def _probe(
        self, picture: _Region, target: Tensor, side: Tensor, rate_weight: float, *, slope: bool
    ) -> tuple[float, Tensor, Tensor | None]:
        """Cost in bits of coding a target [1, C, h, w] (in steps), what it decodes to, and the slope of the cost by that."""
        probe = _Probe(self.network, rate_weight)
        with torch.set_grad_enabled(slope), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            coded = self.network.code(target * picture.step, picture.log2_step, probe, side)
            cost = picture.error(coded.decoded) / (LAMBDA * picture.step**2) + coded.bits.sum()
        decoded = coded.decoded.detach().float()
        if not slope:
            return float(cost), decoded, None
        slopes = torch.autograd.grad(cost, probe.shifts[1:])  # the first is the side grid's
        height, width = target.shape[2:]
        rows = torch.cat(checkerboard(height, width, self.device)).argsort()
        groups = [torch.cat(pair, 2)[:, :, rows, 0] for pair in zip(slopes[::2], slopes[1::2], strict=True)]
        return float(cost.detach()), decoded, torch.cat(groups, 1).unflatten(2, (height, width)).float()

    def _flattened(self, slope: Tensor) -> Tensor:
        """The slope [1, C, h, w] divided by about the curvature of the picture's error: the analysis of what it looks like."""
        kernel = self.network.analysis.linear.weight
        return F.conv2d(F.conv_transpose2d(slope, kernel), kernel)


class _Region:
    """A tile of the picture, and what the search needs to know around it."""

    def __init__(self, search: Search, pixels: Pixels, latent: Latent, tile: Tile, log2_step: float) -> None:
        self.network, device = search.network, search.device
        outer = grown(tile, HALO, *latent.shape[:2])
        self.step = 2.0**log2_step
        self.log2_step = torch.tensor([log2_step], dtype=torch.float32, device=device)
        around = latent[outer.top : outer.bottom, outer.left : outer.right].astype(np.float32) / ONE
        self.around = torch.from_numpy(around).permute(2, 0, 1)[None].to(device)
        self.inside = cut(tile, outer)
        self.start = self.around[..., self.inside[0], self.inside[1]]
        self.inside_px = cut(tile, outer, PATCH_PX)
        shown = pixels[tile.top * PATCH_PX : tile.bottom * PATCH_PX, tile.left * PATCH_PX : tile.right * PATCH_PX]
        self.grey = pixels.ndim == 2
        planes = shown[None] if self.grey else shown.transpose(2, 0, 1)
        self.pixels = torch.from_numpy(planes.astype(np.float32) / 255 - 0.5).to(device)

    def error(self, decoded: Tensor) -> Tensor:
        """Squared error of the picture that a latent [1, C, h, w] (in steps) decodes to, summed over pixels and three colours."""
        whole = self.around.clone()
        whole[..., self.inside[0], self.inside[1]] = decoded
        picture = self.network.synthesis(whole * self.step, self.log2_step)[0].float()
        picture = picture[:, self.inside_px[0], self.inside_px[1]][:, : self.pixels.shape[1], : self.pixels.shape[2]]
        if self.grey:
            picture = picture.mean(0, keepdim=True)
        return (picture.clamp(-0.5, 0.5) - self.pixels).square().sum() * (3 if self.grey else 1)
