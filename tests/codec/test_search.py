"""The encoder's search lowers what it says it lowers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import skimage.data
import torch
from support import picture
from vqbitstream.choice import SEARCH_RATE_WEIGHT
from vqbitstream.geometry import Rect
from vqbitstream.header import TUNES
from vqcodec.codec import Codec
from vqcodec.coding.search import Descent, Original, _Region, searched


@pytest.fixture(scope="module")
def shipped() -> Codec:
    return Codec("default")


def _planes(pixels: np.ndarray) -> torch.Tensor:
    """uint8 [H, W, 3] or [H, W] -> [1, H, W, 3] in [-0.5, 0.5]"""
    colour = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
    return torch.from_numpy(colour.astype(np.float32) / 255 - 0.5)[None]


def cost(codec: Codec, pixels: np.ndarray, data: bytes, quality: float, tune: str) -> float:
    """Bits, and the picture's distortion in bits, as the search counts them."""
    header = codec.encoder.header(*pixels.shape[1::-1], quality, tune)

    original = Original(_planes(pixels), torch.tensor([header.log2_step]), TUNES.index(tune), grey=pixels.ndim == 2)
    return 8 * len(data) + float(original.distortion(_planes(codec.decode_pixels(data))))


@pytest.mark.parametrize("tune", TUNES)
@pytest.mark.parametrize("quality", [30, 60, 85])
def test_more_effort_costs_less(shipped: Codec, quality: float, tune: str) -> None:
    pixels = skimage.data.chelsea()[60:188, 100:260]
    costs = [
        cost(shipped, pixels, shipped.encode_pixels(pixels, quality=quality, tune=tune, effort=e), quality, tune)
        for e in (1, 3, 5, 8)
    ]
    assert all(after < 1.01 * before for before, after in pairwise(costs))
    assert max(costs[2:]) < 0.995 * costs[0]


@pytest.mark.parametrize(("tune", "band"), [("eye", 0.985), ("psnr", 0.985)])
def test_the_search_finds_what_it_found_when_the_weights_were_made(shipped: Codec, tune: str, band: float) -> None:
    """Effort 5's cost, bits and distortion together, as a share of effort 1's: geometric mean of six."""
    astronaut, chelsea = skimage.data.astronaut(), skimage.data.chelsea()
    ratios = []
    for pixels in (astronaut[40:168, 150:278], chelsea[60:188, 100:228]):
        for quality in (30, 60, 85):
            before, after = (
                cost(
                    shipped, pixels, shipped.encode_pixels(pixels, quality=quality, tune=tune, effort=e), quality, tune
                )
                for e in (1, 5)
            )
            ratios.append(after / before)
    assert np.exp(np.log(ratios).mean()) < band


@pytest.mark.parametrize("grey", [False, True])
def test_no_round_is_worse_than_none(codec: Codec, grey: bool) -> None:
    """Noise and blank pictures, odd sizes: of all rounds the best is taken, and the first is the analysis itself."""
    blank = np.full((40, 56, 3), 255, dtype=np.uint8)
    for pixels in (blank, picture(41, 53), np.random.default_rng(0).integers(0, 256, (33, 70, 3), dtype=np.uint8)):
        x = pixels[..., 0] if grey else pixels
        coded = [codec.encode_pixels(x, quality=60, effort=e, rate_weight=SEARCH_RATE_WEIGHT) for e in (1, 5)]
        before, after = (cost(codec, x, data, 60, "eye") for data in coded)
        assert after <= 1.02 * before + 64  # the search estimates rates by Laplace, the file has tables


def crop() -> torch.Tensor:
    return torch.from_numpy(skimage.data.chelsea()[60:124, 100:164].copy())[None].float() / 255 - 0.5


def descent(codec: Codec, x: torch.Tensor, tune: int, *, bfloat16: bool) -> tuple[Descent, torch.Tensor]:
    network = codec.encoder.search.network
    log2_step = torch.tensor([-2.5])
    features = network.features(log2_step, torch.full_like(log2_step, tune))
    original = Original(x, log2_step, tune)

    def distortion(decoded: torch.Tensor) -> torch.Tensor:
        return original.distortion(network.synthesis(decoded, log2_step, features))

    start = searched(network, x, log2_step, tune, rounds=0)
    groups = len(network.config.groups)
    return Descent(network, log2_step, features, distortion, groups, bfloat16=bfloat16), start


@pytest.mark.parametrize("tune", [0, 1])
def test_without_bfloat16_the_search_is_the_same_but_slower(shipped: Codec, tune: int) -> None:
    costs = []
    for bfloat16 in (False, True):
        search, start = descent(shipped, crop(), tune, bfloat16=bfloat16)
        found = search.run(start, 3)
        costs.append([float(search.probe(y, slope=False).cost) for y in (start, found)])
    assert costs[0][1] < costs[0][0]
    assert costs[1] == pytest.approx(costs[0], rel=0.02)


@pytest.mark.parametrize("tune", [0, 1])
def test_slopes_are_those_of_the_cost(shipped: Codec, tune: int) -> None:
    """Moving what is decoded a little along the slope, with everything later coded as before, changes the cost as foretold."""
    search, start = descent(shipped, crop(), tune, bfloat16=False)
    _, decoded, slope = search.probe(start)
    assert slope is not None
    last = search.network.prior.block(len(search.network.config.groups) - 1)
    # the last group's decoded values are context for nothing but its own second pass, whose values are context for nothing
    parity = (torch.arange(4)[:, None] + torch.arange(4)) % 2 == 1
    move = torch.zeros_like(decoded)
    move[..., last] = slope[..., last] * parity[:, :, None]
    move *= 1e-3 / move.abs().max()
    foretold = float((move * slope).sum())
    found = float(search.distortion(decoded + move) - search.distortion(decoded - move)) / 2
    assert found == pytest.approx(foretold, rel=0.1)


@pytest.mark.parametrize("grey", [False, True])
def test_a_tile_sees_its_part_of_the_picture(shipped: Codec, grey: bool) -> None:
    """The squared errors of all tiles, each among the others' latents, add up to the whole picture's."""
    pixels = skimage.data.chelsea()[60:185, 100:253]
    pixels = pixels[..., 1] if grey else pixels
    header = shipped.encoder.header(153, 125, 60, "psnr", grey=grey)
    latent = shipped.transforms.analyse(pixels, header, shipped.prior.channels(header.layers))
    rows, columns = latent.shape[:2]
    network, lost = shipped.encoder.search.network, []
    for tiles in (
        [Rect(0, rows, 0, columns)],
        [Rect(0, 4, 0, 4), Rect(0, 4, 4, columns), Rect(4, rows, 0, 4), Rect(4, rows, 4, columns)],
    ):
        regions = [_Region(network, pixels, latent, tile, header, torch.device("cpu")) for tile in tiles]
        lost.append(sum(float(r.distortion(r.start)) for r in regions))
    assert lost[1] == pytest.approx(lost[0], rel=0.03)
    shown = shipped.transforms.synthesise(latent, header, pixels.shape)
    original = Original(_planes(pixels), torch.tensor([header.log2_step]), 0, grey=grey)
    assert lost[0] == pytest.approx(float(original.distortion(_planes(shown))), rel=0.05)  # to whole levels
