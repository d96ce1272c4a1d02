"""The encoder's search: it moves the latent before quantisation, so that the file gets smaller and the picture better.

The analysis gives only a starting point. Because the transforms overlap, neighbouring coefficients can compensate for one another's
rounding errors, and what is decoded early is context for what comes later. Each round encodes the latent as the encoder will. Then
back-propagation through decoder and prior gives the slope of the cost by each decoded value: squared error of the picture, and bits of
everything coded *later*. The latent moves against that slope. Its own bits are left to the rate-aware choice. This is proximal gradient
descent (iterative thresholding) with the vector quantiser as the proximal step.

Only the encoder searches: nothing here must be the same on two machines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from vqbitstream.choice import LAMBDA, SEARCH_RATE_WEIGHT
from vqbitstream.geometry import PATCH_PX, Rect
from vqbitstream.header import Header
from vqbitstream.vectors import ONE

from vqcodec.models.store import Weights
from vqcodec.pictures.planes import Pixels
from vqcodec.runtimes.strips import Latent
from vqcodec.runtimes.torch_state import building_modules, plain_torch
from vqcodec.vqvae.integers import restore
from vqcodec.vqvae.network import Network, checkerboard
from vqcodec.vqvae.rate import laplace_bits
from vqcodec.vqvae.transforms import compand

SLOPE = 1.2 * LAMBDA  # what a bit may cost, in squared error per squared step: where the rate-distortion curve is best
PROXIMAL_SHARE = 0.5  # of the way to what was decoded, each round
NEWTON_SHARE = 0.46  # of a Newton step against the slope
SIDE_MOVE = 0.15  # how far the side grid's values move against theirs, root mean square
LAST = 0.3  # of these shares in the last round
FLATTEN = 0.4  # how much of the slope is divided by the transforms' own curvature
QUIET = 0.3  # the last share of the rounds, without noise
HALO = 2  # positions around a tile that its picture is made with


@dataclass
class _Probe:
    """A coder (see `vqcodec.vqvae.network.Coder`) that chooses as the encoder will. The cost can be differentiated by `shifts`.

    When a predicted mean moves, coded values stay, at other bits; values coded as zero move with the mean.
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
    """Latents and side grids of B pictures: before rounding, or decoded, or the slope of the cost by the decoded values, in bits.

    Attributes:
        latent: [B, C, h, w] in steps.
        side: [B, side channels, ceil(h/4), ceil(w/4)] in the side grid's own step.
    """

    latent: Tensor
    side: Tensor


@dataclass(frozen=True)
class Descent:
    """Moves latents and side grids of B pictures downhill.

    Attributes:
        network: The trainable twin of the model.
        log2_step: [B].
        error: Decoded latents to the squared error of each picture, [B], summed over pixels and colours in [-0.5, 0.5].
        rate_weight: See `Chooser.encode`.
        bfloat16: Compute in bfloat16 where that is safe.
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
        """Search for a number of rounds.

        Args:
            start: Where to begin.
            rounds: Number of moves.
            noise: Standard deviation, in steps, of the noise added to the latent in the first round; it falls to zero later.
            compare: Return the point of the lowest cost for each picture, instead of the last point. The last point is compared only if
                an earlier round failed to lower the cost: where each did, as in photographs, the last never mattered in sixty encodes.
            progress: Called after each round, and after the last comparison.
        """
        here = best = start
        falling = True  # every round so far was better than all before it
        lowest = torch.full_like(self.log2_step, torch.inf)
        generator = torch.Generator("cpu").manual_seed(0)
        for number in range(rounds + 1):
            left = 1 - number / max(rounds, 1)
            spread = noise * max(0.0, (left - QUIET) / (1 - QUIET))
            tried = here
            if spread:
                drawn = torch.randn(here.latent.shape, generator=generator, dtype=torch.float32, device="cpu")
                tried = Point(here.latent + spread * drawn.to(here.latent), here.side)
            if number == rounds and (not compare or (falling and rounds > 1)):
                progress()
                return tried
            cost, decoded, slope = self.probe(tried, slope=number < rounds)
            falling = falling and bool((cost < lowest).all())
            better = (cost < lowest)[:, None, None, None]
            lowest = torch.minimum(lowest, cost)
            best = Point(*(torch.where(better, new, old) for new, old in zip(tried, best, strict=True)))
            if slope is not None:
                pace = LAST + (1 - LAST) * left
                flat = (1 - FLATTEN) * slope.latent + FLATTEN * self._flattened(slope.latent)
                # the cost's curvature by the side grid is not known: the length of its move is given instead
                usual = slope.side.square().mean((1, 2, 3), keepdim=True).sqrt()
                here = Point(
                    here.latent
                    + pace * (PROXIMAL_SHARE * (decoded.latent - here.latent) - NEWTON_SHARE * SLOPE / 2 * flat),
                    here.side
                    + pace * (PROXIMAL_SHARE * (decoded.side - here.side) - SIDE_MOVE * slope.side / (1 + usual)),
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
        """The slope divided by an approximation of the picture's curvature: synthesised and analysed again."""
        kernel = self.network.analysis.linear.weight
        with self._autocast():
            return F.conv2d(F.conv_transpose2d(slope, kernel), kernel).float()


def searched(network: Network, x: Tensor, log2_step: Tensor, *, rounds: int) -> tuple[Tensor, Tensor]:
    """Latents [B, C, h, w] of crops [B, 3, H, W] after some rounds of search, and their side grids."""
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
    """The search with the model that encodes.

    Args:
        weights: The model.
        device: "cpu" or "cuda".

    Raises:
        ModelError: The weights do not fit the trainable network.
    """

    def __init__(self, weights: Weights, device: str) -> None:
        with building_modules():
            network = restore(weights.tensors, weights.config).to(device).eval().requires_grad_(False)
            self.network: Network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.device = torch.device(device)
        mkldnn = torch.backends.mkldnn.is_available()
        self.bfloat16 = self.device.type != "cpu" or (mkldnn and torch.ops.mkldnn._is_mkldnn_bf16_supported())

    def improve(
        self, pixels: Pixels, latent: Latent, sides: list[npt.NDArray[np.int64]], header: Header, *, rate_weight: float, rounds: int,
        noise: float, progress: Callable[[int], None],
    ) -> tuple[Latent, list[npt.NDArray[np.int64]]]:  # fmt: skip
        """Search, tile by tile, for a better latent and better side grids.

        Args:
            pixels: The picture, uint8 [H, W, 3] or [H, W].
            latent: Of the analysis, int32 [h, w, C] in 1/256 step.
            sides: Side grid of each tile; see `Transforms.side_grid`.
            header: The header of the file.
            rate_weight: See `Chooser.encode`.
            rounds: See `Descent.run`.
            noise: See `Descent.run`.
            progress: Called with each tile's number of positions, once a round.

        Returns:
            Latent and side grids, in the units of the arguments.
        """
        better, better_sides = np.empty_like(latent), []
        with plain_torch():
            for tile, side in zip(header.tiles, sides, strict=True):
                region = _Region(self.network, pixels, latent, tile, header.log2_step, self.device)
                grid = torch.from_numpy(side.astype(np.float32) / ONE).permute(2, 0, 1)[None].to(self.device)
                descent = Descent(self.network, region.log2_step, region.error, rate_weight, self.bfloat16)
                found = descent.run(
                    Point(region.start, grid), rounds, noise=noise, progress=partial(progress, tile.area)
                )  # fmt: skip
                better[tile.top : tile.bottom, tile.left : tile.right] = _integers(found.latent)
                better_sides.append(_integers(found.side))
        return better, better_sides


def _integers(x: Tensor) -> npt.NDArray[np.int64]:
    """[1, C, h, w] in steps -> [h, w, C] in 1/256 step."""
    whole = torch.round(x[0].permute(1, 2, 0) * ONE).clamp(-(2**30), 2**30)
    return whole.cpu().numpy().astype(np.int64)


class _Region:
    """A tile of the picture, and what the search needs of its surroundings."""

    def __init__(
        self, network: Network, pixels: Pixels, latent: Latent, tile: Rect, log2_step: float, device: torch.device
    ) -> None:  # fmt: skip
        self.network = network
        self.log2_step = torch.tensor([log2_step], dtype=torch.float32, device=device)
        whole = Rect.of(latent.shape)
        outer = tile.grow(HALO, whole)
        around = latent[outer.within(whole)].astype(np.float32) / ONE
        self.around = torch.from_numpy(around).permute(2, 0, 1)[None].to(device)
        self.inside, self.inside_px = tile.within(outer), tile.scale(PATCH_PX).within(outer.scale(PATCH_PX))
        self.start = self.around[..., self.inside[0], self.inside[1]]
        shown = pixels[tile.scale(PATCH_PX).within(whole)]
        self.grey = pixels.ndim == 2
        planes = shown[None] if self.grey else shown.transpose(2, 0, 1)
        self.pixels = torch.from_numpy(planes.astype(np.float32) / 255 - 0.5).to(device)

    def error(self, decoded: Tensor) -> Tensor:
        """Squared error of the tile as the decoder would show it. [1, C, h, w] in steps to [1]."""
        whole = self.around.clone()
        whole[..., self.inside[0], self.inside[1]] = decoded
        picture = self.network.synthesis(whole * torch.exp2(self.log2_step), self.log2_step)[0].float()
        picture = picture[:, self.inside_px[0], self.inside_px[1]][:, : self.pixels.shape[1], : self.pixels.shape[2]]
        if self.grey:
            picture = picture.mean(0, keepdim=True)
        return (picture.clamp(-0.5, 0.5) - self.pixels).square().sum()[None] * (3 if self.grey else 1)
