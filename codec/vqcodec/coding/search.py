"""The encoder's search: it moves the latent before quantisation, so that the file gets smaller and the picture better.

The analysis gives only a starting point. Because the transforms overlap, neighbouring coefficients can compensate for one another's
rounding errors, and what is decoded early is context for what comes later. How the latent moves is in `vqcodec.coding.descent`; here
is what it moves for: the distortion in the file's tune, window by window.

Only the encoder searches: nothing here must be the same on two machines.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from vqbitstream.geometry import CELL, PATCH_PX, Rect
from vqbitstream.header import Header

from vqcodec.coding.descent import Descent
from vqcodec.coding.quality import SEARCH_HALO
from vqcodec.models.store import Weights
from vqcodec.pictures.planes import Pixels
from vqcodec.runtimes.strips import UNIT, Latent
from vqcodec.runtimes.torch_state import building_modules, plain_torch
from vqcodec.vqvae.distortion import Distortion
from vqcodec.vqvae.integers import restore
from vqcodec.vqvae.network import Network

WINDOW = 24  # largest side of what is searched at once, in latent positions: it bounds the memory


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
        self.compare = _distortion(self.height, self.width, tune > 0, pictures.device)
        self.references = self.compare.references(pictures)

    def distortion(self, picture: Tensor) -> Tensor:
        """What is lost in pictures [B, >= H, >= W, 3], about [-0.5, 0.5], in bits. [B]"""
        picture = picture[:, : self.height, : self.width].float()
        if self.grey:
            picture = picture.mean(3, keepdim=True).expand(-1, -1, -1, 3)
        return self.compare(self.references, picture.clamp(-0.5, 0.5), self.log2_step, self.tune)


@lru_cache(maxsize=4)
def _distortion(height: int, width: int, eye: bool, device: torch.device) -> Distortion:
    """Windows of a picture are often of one size."""
    with building_modules():
        return Distortion(height, width, eye=eye).to(device)


def searched(
    network: Network, x: Tensor, log2_step: Tensor, tune: int, *, rounds: int, groups: int | None = None
) -> Tensor:
    """Latents of crops after some rounds of search.

    Args:
        network: The model.
        x: [B, H, W, 3] in [-0.5, 0.5], sides multiples of 16.
        log2_step: [B].
        tune: Of all the files; see `Header`.
        rounds: See `Descent.run`.
        groups: How many the files have; all by default.

    Returns:
        [B, h, w, C of the groups].
    """
    count = len(network.config.groups) if groups is None else groups
    with torch.no_grad():
        features = network.features(log2_step, torch.full_like(log2_step, tune))
        latent = network.analysis(x, features)[..., : network.prior.block(count - 1).stop]
    if not rounds:
        return latent
    original = Original(x, log2_step, tune)

    def distortion(decoded: Tensor) -> Tensor:
        return original.distortion(network.synthesis(decoded, log2_step, features))

    learning = network.quantise.training
    network.quantise.eval()  # the search's choices are not counted
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
            network = restore(weights.tensors, weights.config, settled=True).eval().requires_grad_(False)
            del network.analysis  # large, and the encoder has its own
            self.network: Network = network.to(device)
        self.device = torch.device(device)
        mkldnn = torch.backends.mkldnn.is_available()
        self.bfloat16 = self.device.type != "cpu" or (mkldnn and torch.ops.mkldnn._is_mkldnn_bf16_supported())

    def improve(
        self, pixels: Pixels, latent: Latent, area: Rect, tile: Rect, header: Header, *, rate_weight: float, rounds: int,
        noise: float, progress: Callable[[int], None],
    ) -> Latent:  # fmt: skip
        """Search a tile, window by window, for a better latent.

        Args:
            pixels: The picture, uint8 [H, W, 3] or [H, W].
            latent: Of the analysis, int32 [h, w, C of the file's layers] in 2^-14 of the unit of pixels.
            area: What `latent` covers: the tile, and `SEARCH_HALO` positions around it where the picture has them.
            tile: Latent positions.
            header: The header of the file.
            rate_weight: See `Chooser.encode`.
            rounds: See `Descent.run`.
            noise: See `Descent.run`.
            progress: Called with each window's number of positions, once a round.

        Returns:
            The tile's latent, like `latent`.
        """
        better = np.empty((*tile.shape, latent.shape[2]), dtype=np.int32)
        with plain_torch():
            for window in windows(tile):
                region = _Region(self.network, pixels, latent, area, window, header, self.device)
                descent = Descent(
                    self.network, region.log2_step, region.features, region.distortion, header.layers, rate_weight, self.bfloat16
                )  # fmt: skip
                found = descent.run(region.start, rounds, noise=noise, progress=partial(progress, window.area))
                better[window.within(tile)] = _integers(found)
        return better


def windows(tile: Rect) -> list[Rect]:
    """The parts of a tile that are searched one after the other.

    They begin at multiples of `CELL`, so that the first group's passes lie in each as in the tile.
    """
    rows, columns = (
        [low + min(high - low, CELL * (-(-(high - low) // CELL) * i // count)) for i in range(count + 1)]
        for low, high in ((tile.top, tile.bottom), (tile.left, tile.right))
        for count in [-(-(high - low) // WINDOW)]
    )
    return [Rect(top, bottom, left, right) for top, bottom in pairwise(rows) for left, right in pairwise(columns)]


def _integers(x: Tensor) -> npt.NDArray[np.int32]:
    """[1, h, w, C] in the unit of pixels -> [h, w, C] in 2^-14 of it"""
    return torch.round(x[0] * UNIT).clamp(-(2**30), 2**30).int().cpu().numpy()


class _Region:
    """A window of the picture, and what the search needs of its surroundings."""

    def __init__(
        self, network: Network, pixels: Pixels, latent: Latent, area: Rect, window: Rect, header: Header, device: torch.device
    ) -> None:  # fmt: skip
        self.network = network
        self.log2_step = torch.tensor([header.log2_step], dtype=torch.float32, device=device)
        self.features = network.features(self.log2_step, torch.full_like(self.log2_step, header.tune))
        outer = window.grow(SEARCH_HALO, area)
        around = latent[outer.within(area)].astype(np.float32) / UNIT
        self.around = torch.from_numpy(around)[None].to(device)
        self.inside, self.inside_px = window.within(outer), window.scale(PATCH_PX).within(outer.scale(PATCH_PX))
        self.start = self.around[:, self.inside[0], self.inside[1]]
        shown = pixels[window.scale(PATCH_PX).within(Rect(0, 0, 0, 0))]
        grey = shown.ndim == 2
        planes = np.repeat(shown[..., None], 3, axis=2) if grey else shown
        picture = torch.from_numpy(planes.astype(np.float32) / 255 - 0.5)[None].to(device)
        self.original = Original(picture, self.log2_step, header.tune, grey=grey)

    def distortion(self, decoded: Tensor) -> Tensor:
        """What is lost in the window as the decoder would show it, in bits. [1, h, w, C] -> [1]"""
        if self.around.shape != decoded.shape:
            whole = self.around.clone()
            whole[:, self.inside[0], self.inside[1]] = decoded
            decoded = whole
        picture = self.network.synthesis(decoded, self.log2_step, self.features)
        return self.original.distortion(picture[:, self.inside_px[0], self.inside_px[1]])
