"""The encoder's search: the latent that is coded is moved until its file is smaller and its picture better.

What the analysis finds is only a start. The transforms overlap, so what rounding does to one coefficient its neighbours could
make up for, had they known; and what is decoded early is context for what comes later. Each round codes the latent as the
encoder will, asks the decoder and the prior, by back-propagation, how the cost of the picture and of all that is coded *later*
changes with each decoded value, and moves the latent against that slope. Its own bits are the business of the rate-aware choice.
This is proximal gradient descent (iterative thresholding) with the vector quantiser as the proximal step.

Only the encoder does this: nothing here needs to be the same on two machines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from vqbitstream import Tile
from vqbitstream.header import PATCH_PX

from .blocks import Latent, Pixels, cut, grown
from .model import ModelConfig, compand
from .quantizer import LAMBDA, ONE, SEARCH_RATE_WEIGHT
from .registry import Arrays
from .training.losses import laplace_bits
from .training.network import Network, checkerboard
from .training.restore import restore

SLOPE = 1.2 * LAMBDA  # what a bit may cost, in squared error per squared step: where the rate-distortion curve is best
PULL = 0.5  # share of the way to what was decoded, each round
PUSH = 0.46  # share of a Newton step against the slope
SIDE_PUSH = 0.15  # how far the side grid's values move against theirs, root mean square
LAST = 0.3  # of these shares in the last round
FLATTEN = 0.4  # how much of the slope is divided by the transforms' own curvature
QUIET = 0.3  # the last share of the rounds, without noise
HALO = 2  # positions around a tile that its picture is made with


@dataclass
class _Probe:
    """A coder (see `vqcodec.training.network.Coder`) that chooses as the encoder will; the cost can be differentiated by `shifts`.

    When a predicted mean moves, what is coded keeps its decoded value, at other bits, and what is coded as zero moves along.
    """

    network: Network
    rate_weight: float
    decoded: list[Tensor] = field(
        default_factory=list
    )  # what was coded, the side grid first, then each pass of each group
    shifts: list[Tensor] = field(default_factory=list)

    def __call__(self, residual: Tensor, log2_scale: Tensor, log2_step: Tensor) -> tuple[Tensor, Tensor]:
        decoded, cell = self.network.quantise(residual, log2_scale, log2_step, self.rate_weight)
        shift = torch.zeros_like(decoded, requires_grad=True)
        self.decoded.append(decoded.detach().float())
        self.shifts.append(shift)
        kept = (residual - residual.detach()) * (cell != 0)  # zero, with the slope of minus the mean
        return decoded.detach() + kept + shift, laplace_bits(cell + kept, log2_scale).sum((1, 2, 3))


class Point(NamedTuple):
    """What is coded of B pictures, before rounding: latents [B, C, h, w] in steps, side grids [B, side_channels, ceil(h/4),
    ceil(w/4)]. Or what that decodes to, or the slope of the cost by that, in bits."""

    latent: Tensor
    side: Tensor


@dataclass(frozen=True)
class Descent:
    """Moves latents and side grids of B pictures downhill.

    log2_step: [B]. error: what a latent decodes to -> squared error of each picture over pixels and colours, pixels in
    [-0.5, 0.5], [B]. rate_weight: see `Quantizer.encode`.
    """

    network: Network
    log2_step: Tensor
    error: Callable[[Tensor], Tensor]
    rate_weight: float = SEARCH_RATE_WEIGHT
    bfloat16: bool = True

    def run(
        self,
        start: Point,
        rounds: int,
        *,
        noise: float = 0.0,
        compare: bool = True,
        progress: Callable[[], None] = lambda: None,
    ) -> Point:
        """The point of the lowest cost among `rounds` + 1, for each picture, or the last, if they need not be compared.

        noise: standard deviation of what is added to the latent in the first round, less and less in the later ones. progress
        is called after each round, and after the comparison.
        """
        here = best = start
        lowest = torch.full_like(self.log2_step, torch.inf)
        generator = torch.Generator().manual_seed(0)
        for number in range(rounds + 1):
            left = 1 - number / max(rounds, 1)
            spread = noise * max(0.0, (left - QUIET) / (1 - QUIET))
            tried = here
            if spread:
                wind = torch.randn(here.latent.shape, generator=generator)
                tried = Point(here.latent + spread * wind.to(here.latent), here.side)
            if number == rounds and not compare:
                return tried
            cost, decoded, slope = self.probe(tried, slope=number < rounds)
            better = (cost < lowest)[:, None, None, None]
            lowest = torch.minimum(lowest, cost)
            best = Point(*(torch.where(better, new, old) for new, old in zip(tried, best, strict=True)))
            if slope is not None:
                pace = LAST + (1 - LAST) * left
                flat = (1 - FLATTEN) * slope.latent + FLATTEN * self._flattened(slope.latent)
                # the cost's curvature by the side grid is not known: the length of its move is given instead
                usual = slope.side.square().mean((1, 2, 3), keepdim=True).sqrt()
                here = Point(
                    here.latent + pace * (PULL * (decoded.latent - here.latent) - PUSH * SLOPE / 2 * flat),
                    here.side + pace * (PULL * (decoded.side - here.side) - SIDE_PUSH * slope.side / (1 + usual)),
                )
            progress()
        return best

    def probe(self, point: Point, *, slope: bool = True) -> tuple[Tensor, Point, Point | None]:
        """Cost of coding a point in bits [B], what it decodes to, and the slope of the cost by that."""
        step = torch.exp2(self.log2_step)
        probe = _Probe(self.network, self.rate_weight)
        with torch.set_grad_enabled(slope), self._autocast():
            coded = self.network.code(point.latent * step[:, None, None, None], self.log2_step, probe, point.side)
            cost = self.error(coded.decoded) / (SLOPE * step**2) + coded.bits
            total = cost.sum()
        decoded = Point(coded.decoded.detach().float(), probe.decoded[0])
        if not slope:
            return cost.detach(), decoded, None
        side, *slopes = torch.autograd.grad(total, probe.shifts)
        height, width = point.latent.shape[2:]
        rows = torch.cat(checkerboard(height, width, side.device)).argsort()
        groups = [torch.cat(pair, 2)[:, :, rows, 0] for pair in zip(slopes[::2], slopes[1::2], strict=True)]
        return cost.detach(), decoded, Point(torch.cat(groups, 1).unflatten(2, (height, width)).float(), side.float())

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.log2_step.device.type, torch.bfloat16, enabled=self.bfloat16)

    @torch.no_grad()
    def _flattened(self, slope: Tensor) -> Tensor:
        """The slope divided by about the curvature of the picture's error: the analysis of what it looks like."""
        kernel = self.network.analysis.linear.weight
        with self._autocast():
            return F.conv2d(F.conv_transpose2d(slope, kernel), kernel).float()


def searched(network: Network, x: Tensor, log2_step: Tensor, *, rounds: int) -> tuple[Tensor, Tensor]:
    """Crops [B, 3, H, W] -> latents [B, C, h, w] after so many rounds of the encoder's search, and their side grids."""
    step = torch.exp2(log2_step)[:, None, None, None]
    with torch.no_grad():
        latent = network.analysis(x).float()
        side = network.side_analysis(compand(latent / network.prior.sigma[:, None, None]), log2_step).float()

    def error(decoded: Tensor) -> Tensor:
        return (network.synthesis(decoded * step, log2_step).float() - x).square().sum((1, 2, 3))

    learning = network.quantise.training
    network.quantise.eval()  # the search's choices are not counted
    found = Descent(network, log2_step, error).run(Point(latent / step, side), rounds, compare=False)
    network.quantise.train(learning)
    return found.latent * step, found.side


class Search:
    """Searches with the trainable twin of the model that codes, made from the same weights. Raises ModelError."""

    def __init__(self, tensors: Arrays, config: ModelConfig, device: torch.device) -> None:
        with torch.inference_mode(False):  # or its weights could not take part in back-propagation
            network = restore(tensors, config.to_dict()).to(device).eval().requires_grad_(False)
            self.network: Network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device = device
        mkldnn = torch.backends.mkldnn.is_available()
        self.bfloat16 = device.type != "cpu" or (mkldnn and torch.ops.mkldnn._is_mkldnn_bf16_supported())

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
        progress: Callable[[int], None],
    ) -> tuple[Latent, list[npt.NDArray[np.int64]]]:
        """A better latent and better side grids for the picture uint8 [H, W, 3] or [H, W] than its analysis `latent`, int32
        [h, w, C] in 1/256 step, and `sides`.

        sides: each tile's side grid, as `Transforms.side` gives it. rounds, noise: see `Descent.run`. Tile by tile; progress goes
        on by each tile's positions, `rounds` + 1 times.
        """
        better, better_sides = np.empty_like(latent), []
        with torch.inference_mode(False):
            for tile, side in zip(tiles, sides, strict=True):
                region = _Region(self.network, pixels, latent, tile, log2_step, self.device)
                grid = torch.from_numpy(side.astype(np.float32) / ONE).permute(2, 0, 1)[None].to(self.device)
                descent = Descent(self.network, region.log2_step, region.error, rate_weight, self.bfloat16)
                count = tile.shape[0] * tile.shape[1]
                found = descent.run(
                    Point(region.start, grid),
                    rounds,
                    noise=noise,
                    progress=lambda n=count: progress(n),  # type: ignore[misc]
                )
                better[tile.top : tile.bottom, tile.left : tile.right] = _integers(found.latent)
                better_sides.append(_integers(found.side))
        return better, better_sides


def _integers(x: Tensor) -> npt.NDArray[np.int64]:
    """[1, C, h, w] in steps -> [h, w, C] in 1/256 step."""
    whole = torch.round(x[0].permute(1, 2, 0) * ONE).clamp(-(2**30), 2**30)
    return whole.cpu().numpy().astype(np.int64)


class _Region:
    """A tile of the picture, and what the search needs to know around it."""

    def __init__(
        self, network: Network, pixels: Pixels, latent: Latent, tile: Tile, log2_step: float, device: torch.device
    ) -> None:
        self.network = network
        self.log2_step = torch.tensor([log2_step], dtype=torch.float32, device=device)
        outer = grown(tile, HALO, *latent.shape[:2])
        around = latent[outer.top : outer.bottom, outer.left : outer.right].astype(np.float32) / ONE
        self.around = torch.from_numpy(around).permute(2, 0, 1)[None].to(device)
        self.inside, self.inside_px = cut(tile, outer), cut(tile, outer, PATCH_PX)
        self.start = self.around[..., self.inside[0], self.inside[1]]
        shown = pixels[tile.top * PATCH_PX : tile.bottom * PATCH_PX, tile.left * PATCH_PX : tile.right * PATCH_PX]
        self.grey = pixels.ndim == 2
        planes = shown[None] if self.grey else shown.transpose(2, 0, 1)
        self.pixels = torch.from_numpy(planes.astype(np.float32) / 255 - 0.5).to(device)

    def error(self, decoded: Tensor) -> Tensor:
        """Squared error of the tile's picture, as its decoder would show it. [1, C, h, w] in steps -> [1]"""
        whole = self.around.clone()
        whole[..., self.inside[0], self.inside[1]] = decoded
        picture = self.network.synthesis(whole * torch.exp2(self.log2_step), self.log2_step)[0].float()
        picture = picture[:, self.inside_px[0], self.inside_px[1]][:, : self.pixels.shape[1], : self.pixels.shape[2]]
        if self.grey:
            picture = picture.mean(0, keepdim=True)
        return (picture.clamp(-0.5, 0.5) - self.pixels).square().sum()[None] * (3 if self.grey else 1)
