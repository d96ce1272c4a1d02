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
from vqbitstream.header import log2_step as log2_of
from vqcodec.codec import Codec
from vqcodec.coding.search import SLOPE, Descent, Point, Search, _Region, searched


@pytest.fixture(scope="module")
def shipped() -> Codec:
    return Codec("default")


def cost(codec: Codec, pixels: np.ndarray, data: bytes, quality: float) -> float:
    """Bits, and the picture's error at the exchange rate that the search uses."""
    error = np.square(codec.decode_pixels(data).astype(float) - pixels).sum() / 255**2
    return 8 * len(data) + float(error * 4 ** -log2_of(codec.step_code(quality)) / SLOPE)


@pytest.mark.parametrize("quality", [30, 60, 85])
def test_more_effort_costs_less(shipped: Codec, quality: float) -> None:
    pixels = skimage.data.chelsea()[60:188, 100:260]
    costs = [
        cost(shipped, pixels, shipped.encode_pixels(pixels, quality=quality, effort=e), quality) for e in (1, 3, 5, 8)
    ]
    assert all(after < 1.005 * before for before, after in pairwise(costs))
    assert max(costs[2:]) < 0.995 * costs[0]


def test_the_search_finds_what_it_found_when_the_weights_were_made(shipped: Codec) -> None:
    """At equal cost, bits and error together, effort 5 needs 0.962 of what effort 1 needs (geometric mean of these twelve; 0.958
    where the machine has no bfloat16). With half the step, or one round in place of three, it was 0.979 to 0.985."""
    astronaut, chelsea = skimage.data.astronaut(), skimage.data.chelsea()
    ratios = []
    for pixels in (
        astronaut[40:168, 150:278],
        astronaut[330:458, 300:428],
        chelsea[60:188, 100:228],
        chelsea[60:188, 200:328],
    ):
        for quality in (30, 60, 85):
            before, after = (
                cost(shipped, pixels, shipped.encode_pixels(pixels, quality=quality, effort=e), quality) for e in (1, 5)
            )
            ratios.append(after / before)
    assert np.exp(np.log(ratios).mean()) < 0.969


@pytest.mark.parametrize("grey", [False, True])
def test_no_round_is_worse_than_none(codec: Codec, grey: bool) -> None:
    """Noise and blank pictures, odd sizes: of all rounds the best is taken, and the first is the analysis itself."""
    blank = np.full((40, 56, 3), 255, dtype=np.uint8)
    for pixels in (blank, picture(41, 53), np.random.default_rng(0).integers(0, 256, (33, 70, 3), dtype=np.uint8)):
        x = pixels[..., 0] if grey else pixels
        coded = [codec.encode_pixels(x, quality=60, effort=e, rate_weight=SEARCH_RATE_WEIGHT) for e in (1, 5)]
        before, after = (cost(codec, x, data, 60) for data in coded)
        assert after <= 1.02 * before + 32  # the search estimates rates by Laplace, the file has tables


@pytest.mark.parametrize("grey", [False, True])
def test_a_tile_sees_its_part_of_the_picture(shipped: Codec, grey: bool) -> None:
    """The errors of all tiles, each among the others' latents, add up to the whole picture's."""
    pixels, log2_step = skimage.data.chelsea()[60:185, 100:253], -2.0
    pixels = pixels[..., 1] if grey else pixels
    latent = shipped.transforms.analyse(pixels, log2_step)
    rows, columns = latent.shape[:2]
    network, errors = shipped.encoder.search.network, []
    for tiles in (
        [Rect(0, rows, 0, columns)],
        [Rect(0, 3, 0, 5), Rect(0, 3, 5, columns), Rect(3, rows, 0, 5), Rect(3, rows, 5, columns)],
    ):
        regions = [_Region(network, pixels, latent, tile, log2_step, torch.device("cpu")) for tile in tiles]
        errors.append(sum(float(r.error(r.start)[0]) for r in regions))
    assert errors[1] == pytest.approx(errors[0], rel=0.01)
    shown = shipped.transforms.synthesise(latent, log2_step, pixels.shape)
    exact = np.square(shown.astype(float) - pixels).sum() / 255**2 * (3 if grey else 1)
    assert errors[0] == pytest.approx(exact, rel=0.05)  # to whole levels


def test_without_bfloat16_the_search_is_the_same_but_slower(shipped: Codec) -> None:
    network = shipped.encoder.search.network
    x = torch.from_numpy(skimage.data.chelsea()[60:124, 100:164].copy()).permute(2, 0, 1)[None].float() / 255 - 0.5
    log2_step = torch.tensor([-2.5])
    latent, side = searched(network, x, log2_step, rounds=0)

    def error(decoded: torch.Tensor) -> torch.Tensor:
        return (network.synthesis(decoded * torch.exp2(log2_step), log2_step).float() - x).square().sum((1, 2, 3))

    start = Point(latent / torch.exp2(log2_step), side)
    costs = []
    for bfloat16 in (False, True):
        descent = Descent(network, log2_step, error, bfloat16=bfloat16)
        found = descent.run(start, 3)
        assert (found.side != side).any()
        costs.append([float(descent.probe(y, slope=False)[0]) for y in (start, found)])
    assert costs[0][1] < costs[0][0]
    assert costs[1] == pytest.approx(costs[0], rel=0.02)


def test_slopes_are_those_of_the_cost(shipped: Codec) -> None:
    """Moving what is decoded a little along the slope, with everything later coded as before, changes the cost as foretold."""
    search = shipped.encoder.search
    assert isinstance(search, Search)
    network = search.network
    x = torch.from_numpy(skimage.data.chelsea()[60:124, 100:164].copy()).permute(2, 0, 1)[None].float() / 255 - 0.5
    log2_step = torch.tensor([-2.5])
    latent, side = searched(network, x, log2_step, rounds=0)

    def error(decoded: torch.Tensor) -> torch.Tensor:
        return (network.synthesis(decoded * torch.exp2(log2_step), log2_step).float() - x).square().sum((1, 2, 3))

    descent = Descent(network, log2_step, error, bfloat16=False)
    _, (decoded, side_decoded), slopes = descent.probe(Point(latent / torch.exp2(log2_step), side))
    assert slopes is not None
    assert side_decoded.shape == slopes.side.shape == side.shape
    slope = slopes.latent
    last = slice(160, 320)  # the last group's decoded values are context for nothing but its own second pass
    moved = decoded.clone()
    moved[:, last] -= 1e-3 * slope[:, last]
    # in the second half of the checkerboard only the picture depends on them
    parity = (torch.arange(4)[:, None] + torch.arange(4)) % 2 == 1
    only = torch.where(parity, moved, decoded)
    unit = SLOPE * torch.exp2(2 * log2_step)
    foretold = ((only - decoded) * slope).sum()
    found = (error(only) - error(decoded)) / unit
    assert float(found) == pytest.approx(float(foretold), rel=0.1)
