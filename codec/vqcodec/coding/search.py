"""The encoder's search: it moves the latent before quantisation, so that the file gets smaller and the picture better.

The analysis gives only a starting point. Because the transforms overlap, neighbouring coefficients can compensate for one another's
rounding errors, and what is decoded early is context for what comes later. Each round encodes the latent as the encoder will. Then
back-propagation through decoder and prior gives the slope of the cost by each decoded value: the distortion of the picture in the
file's tune, and bits of everything coded *later*. The latent moves against that slope. Its own bits are left to the rate-aware choice.
This is proximal gradient descent (iterative thresholding) with the vector quantiser as the proximal step.

Only the encoder searches: nothing here must be the same on two machines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from vqbitstream.choice import SEARCH_RATE_WEIGHT
from vqbitstream.geometry import PATCH_PX, Rect
from vqbitstream.header import Header

from vqcodec.models.store import Weights
from vqcodec.pictures.planes import Pixels
from vqcodec.runtimes.strips import UNIT, Latent
from vqcodec.runtimes.torch_state import building_modules, plain_torch
from vqcodec.vqvae.distortion import Distortion
from vqcodec.vqvae.integers import restore
from vqcodec.vqvae.network import Network
from vqcodec.vqvae.prior import Prediction
from vqcodec.vqvae.rate import laplace_bits

PROXIMAL_SHARE = 0.4  # of the way to what was decoded, each round
SLOPE_SHARE = 0.5  # of a channel's usual rounding error, against the slope where that is as steep as usual
STEEPEST = 3.0  # times as steep as usual: steeper slopes count as this, or few positions would hold back the others
LAST = 0.3  # of these shares in the last round
QUIET = 0.3  # the last share of the rounds, without noise
HALO = 2  # positions around a tile that its picture is made with


@dataclass(frozen=True)
class _Probe:
    """A coder (see `vqcodec.vqvae.network.Coder`) that chooses as the encoder will. The slope of the cost by the latent is the one by
    the decoded latent, without its own bits.

    When a predicted mean moves, coded values stay, at other bits; values coded as zero move with the mean.
    """

    network: Network
    rate_weight: float

    def __call__(self, residual: Tensor, said: Prediction, log2_step: Tensor) -> tuple[Tensor, Tensor]:
        coded, cell = self.network.quantise(residual, said.log2_scale, log2_step, self.rate_weight)
        if not residual.requires_grad:
            return coded, laplace_bits(cell, said.log2_scale).sum((1, 2))
        latent = (residual + said.centre) * (said.step / said.step.detach())  # in local steps that stay
        moved = latent - latent.detach()
        kept = (residual - residual.detach() - moved) * (cell != 0)  # zero, with the slope of minus the mean
        return coded.detach() + kept + moved, laplace_bits(cell + kept, said.log2_scale).sum((1, 2))


class Probed(NamedTuple):
    """What a latent costs.

    Attributes:
        cost: Bits, of the file and of the distortion, [B].
        decoded: What it decodes to, [B, h, w, C].
        steps: The local step of each value, [B, h, w, C].
        slope: Of the cost by what is decoded, or None.
    """

    cost: Tensor
    decoded: Tensor
    steps: Tensor
    slope: Tensor | None


@dataclass(frozen=True)
class Descent:
    """Moves latents [B, h, w, C] of B pictures, in the unit of pixels, downhill.

    Attributes:
        network: The trainable twin of the model.
        log2_step: [B].
        features: [B, 16].
        distortion: Decoded latents to the distortion of each picture in bits, [B].
        groups: How many groups the files have.
        rate_weight: See `Chooser.encode`.
        bfloat16: Compute in bfloat16 where that is safe.
    """

    network: Network
    log2_step: Tensor
    features: Tensor
    distortion: Callable[[Tensor], Tensor]
    groups: int
    rate_weight: float = SEARCH_RATE_WEIGHT
    bfloat16: bool = True

    def run(
        self,
        start: Tensor,
        rounds: int,
        *,
        noise: float = 0.0,
        compare: bool = True,
        progress: Callable[[], None] = lambda: None,
    ) -> Tensor:
        """Search for a number of rounds.

        Args:
            start: Where to begin.
            rounds: Number of moves.
            noise: Standard deviation, in steps, of the noise added to the latent in the first round; it falls to zero later.
            compare: Return the latent of the lowest cost for each picture, instead of the last. The last is compared only if an
                earlier round failed to lower the cost: where each did, as in photographs, the last never mattered.
            progress: Called after each round, and after the last comparison.
        """
        here = best = start
        falling = True  # every round so far was better than all before it
        lowest = torch.full_like(self.log2_step, torch.inf)
        generator = torch.Generator("cpu").manual_seed(0)
        groups = len(self.network.config.groups)
        for number in range(rounds + 1):
            left = 1 - number / max(rounds, 1)
            spread = noise * max(0.0, (left - QUIET) / (1 - QUIET))
            tried = here
            if spread:
                drawn = torch.randn(here.shape, generator=generator, dtype=torch.float32, device="cpu").to(here)
                tried = here + spread * drawn * self._steps(here.new_zeros(1, 1, 1, groups))[..., : here.shape[3]]
            if number == rounds and (not compare or (falling and rounds > 1)):
                progress()
                return tried
            cost, decoded, local, slope = self.probe(tried, slope=number < rounds)
            falling = falling and bool((cost < lowest).all())
            better = (cost < lowest)[:, None, None, None]
            lowest = torch.minimum(lowest, cost)
            best = torch.where(better, tried, best)
            if slope is not None:
                pace = LAST + (1 - LAST) * left
                # both in local steps; the terms of the distortion differ in curvature, and from channel to channel, so that the
                # length of the move is given instead
                missed, slope = (decoded - here) / local, slope * local
                usual = _usual(slope) + 1e-20
                uphill = (slope / usual).clamp(-STEEPEST, STEEPEST) * _usual(missed)
                here = here + pace * local * (PROXIMAL_SHARE * missed - SLOPE_SHARE * uphill)
            progress()
        return best

    def probe(self, latent: Tensor, *, slope: bool = True) -> Probed:
        """What coding a latent costs, what it decodes to, and the slope of the cost by that."""
        latent = latent.detach().requires_grad_(slope)
        with torch.set_grad_enabled(slope), self._autocast():
            coded = self.network.code(
                latent, self.log2_step, self.features, _Probe(self.network, self.rate_weight), self.groups
            )
            decoded = coded.decoded[..., : latent.shape[3]]
            cost = self.distortion(decoded) + coded.bits
            total = cost.sum()  # in here: the caller may have switched gradients off
        found = torch.autograd.grad(total, latent)[0] if slope else None
        return Probed(
            cost.detach(), decoded.detach(), self._steps(coded.place_gains.detach())[..., : latent.shape[3]], found
        )

    def _steps(self, place_gains: Tensor) -> Tensor:
        """The local step of each value. [B, h, w, groups] -> [B, h, w, C]"""
        gains = torch.exp2(place_gains).split(1, 3)
        whole = torch.exp2(self.network.prior.log2_steps(self.log2_step, self.features))[:, None, None]
        return torch.cat([s * g for s, g in zip(whole.split(self.network.config.groups, 3), gains, strict=True)], 3)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.log2_step.device.type, torch.bfloat16, enabled=self.bfloat16)


def _usual(x: Tensor) -> Tensor:
    """Root mean square over positions. [B, h, w, C] -> [B, 1, 1, C]"""
    return x.square().mean((1, 2), keepdim=True).sqrt()


class Original:
    """B pictures of one size, and what comparing with them needs.

    Args:
        pictures: [B, H, W, 3] in [-0.5, 0.5].
        log2_step: [B].
        tune: Of all the files; see `Header`.
        grey: Pictures are shown as the mean of their colours.
    """

    def __init__(self, pictures: Tensor, log2_step: Tensor, tune: int, *, grey: bool = False) -> None:
        self.height, self.width = pictures.shape[1:3]
        self.log2_step, self.tune, self.grey = log2_step, torch.full_like(log2_step, tune), grey
        with building_modules():
            self.compare = Distortion(self.height, self.width, eye=tune > 0)
        self.compare.to(pictures.device)
        self.references = self.compare.references(pictures)

    def distortion(self, picture: Tensor) -> Tensor:
        """What is lost in pictures [B, >= H, >= W, 3], about [-0.5, 0.5], in bits. [B]"""
        picture = picture[:, : self.height, : self.width].float()
        if self.grey:
            picture = picture.mean(3, keepdim=True).expand(-1, -1, -1, 3)
        return self.compare(self.references, picture.clamp(-0.5, 0.5), self.log2_step, self.tune)


def searched(
    network: Network, x: Tensor, log2_step: Tensor, tune: int, *, rounds: int, groups: int | None = None
) -> Tensor:
    """Latents [B, h, w, C] of crops [B, H, W, 3] after some rounds of search. groups: see `Network.code`."""
    with torch.no_grad():
        features = network.features(log2_step, torch.full_like(log2_step, tune))
        latent = network.analysis(x, features)
    if not rounds:
        return latent
    original = Original(x, log2_step, tune)

    def distortion(decoded: Tensor) -> Tensor:
        return original.distortion(network.synthesis(decoded, log2_step, features))

    learning = network.quantise.training
    network.quantise.eval()  # the search's choices are not counted
    count = len(network.config.groups) if groups is None else groups
    found = Descent(network, log2_step, features, distortion, count).run(latent, rounds, compare=False)
    network.quantise.train(learning)
    return found


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
            network = restore(weights.tensors, weights.config).eval().requires_grad_(False)
            network.settle()
            self.network: Network = network.to(device)
        self.device = torch.device(device)
        mkldnn = torch.backends.mkldnn.is_available()
        self.bfloat16 = self.device.type != "cpu" or (mkldnn and torch.ops.mkldnn._is_mkldnn_bf16_supported())

    def improve(
        self, pixels: Pixels, latent: Latent, header: Header, *, rate_weight: float, rounds: int, noise: float,
        progress: Callable[[int], None],
    ) -> Latent:  # fmt: skip
        """Search, tile by tile, for a better latent.

        Args:
            pixels: The picture, uint8 [H, W, 3] or [H, W].
            latent: Of the analysis, int32 [h, w, C of the file's layers] in 2^-14 of the unit of pixels.
            header: The header of the file.
            rate_weight: See `Chooser.encode`.
            rounds: See `Descent.run`.
            noise: See `Descent.run`.
            progress: Called with each tile's number of positions, once a round.

        Returns:
            A latent like `latent`.
        """
        better = np.empty_like(latent)
        with plain_torch():
            for tile in header.tiles:
                region = _Region(self.network, pixels, latent, tile, header, self.device)
                descent = Descent(
                    self.network, region.log2_step, region.features, region.distortion, header.layers, rate_weight, self.bfloat16
                )  # fmt: skip
                found = descent.run(region.start, rounds, noise=noise, progress=partial(progress, tile.area))
                better[tile.top : tile.bottom, tile.left : tile.right] = _integers(found)
        return better


def _integers(x: Tensor) -> npt.NDArray[np.int32]:
    """[1, h, w, C] in the unit of pixels -> [h, w, C] in 2^-14 of it"""
    return torch.round(x[0] * UNIT).clamp(-(2**30), 2**30).int().cpu().numpy()


class _Region:
    """A tile of the picture, and what the search needs of its surroundings."""

    def __init__(
        self, network: Network, pixels: Pixels, latent: Latent, tile: Rect, header: Header, device: torch.device
    ) -> None:  # fmt: skip
        self.network = network
        self.log2_step = torch.tensor([header.log2_step], dtype=torch.float32, device=device)
        self.features = network.features(self.log2_step, torch.full_like(self.log2_step, header.tune))
        whole = Rect.of(latent.shape)
        outer = tile.grow(HALO, whole)
        around = latent[outer.within(whole)].astype(np.float32) / UNIT
        self.around = torch.from_numpy(around)[None].to(device)
        self.inside, self.inside_px = tile.within(outer), tile.scale(PATCH_PX).within(outer.scale(PATCH_PX))
        self.start = self.around[:, self.inside[0], self.inside[1]]
        shown = pixels[tile.scale(PATCH_PX).within(whole)]
        grey = shown.ndim == 2
        planes = np.repeat(shown[..., None], 3, axis=2) if grey else shown
        picture = torch.from_numpy(planes.astype(np.float32) / 255 - 0.5)[None].to(device)
        self.original = Original(picture, self.log2_step, header.tune, grey=grey)

    def distortion(self, decoded: Tensor) -> Tensor:
        """What is lost in the tile as the decoder would show it, in bits. [1, h, w, C] -> [1]"""
        if self.around.shape != decoded.shape:
            whole = self.around.clone()
            whole[:, self.inside[0], self.inside[1]] = decoded
            decoded = whole
        picture = self.network.synthesis(decoded, self.log2_step, self.features)
        return self.original.distortion(picture[:, self.inside_px[0], self.inside_px[1]])
