"""The kernels of the encoder's search compute what PyTorch does, with the same slopes."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor
from vqbitstream.kernels import VARIABLE, library, usable
from vqcodec.codec import Codec
from vqcodec.coding.descent import Descent
from vqcodec.coding.search import Original, searched
from vqcodec.vqvae.distortion import Distortion
from vqcodec.vqvae.fused import FusedCoder
from vqcodec.vqvae.grid import activation
from vqcodec.vqvae.integers import restore

pytestmark = pytest.mark.skipif(not usable(), reason="no kernels were compiled")
Patch = pytest.MonkeyPatch


@pytest.fixture(params=usable())
def level(request: pytest.FixtureRequest, monkeypatch: Patch) -> str:
    monkeypatch.setenv(VARIABLE, request.param)
    found = library()
    if found is None or not found.searches:
        pytest.skip("these kernels were compiled before there were those of the search")
    return request.param


def photograph(height: int, width: int, top: int = 40) -> Tensor:
    pixels = skimage.data.astronaut()[top : top + height, 120 : 120 + width]
    return torch.from_numpy(pixels.astype(np.float32) / 255 - 0.5)[None]


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (24, 31), (65, 200), (256, 193)])
def test_the_distortion_is_that_of_torch(level: str, size: tuple[int, int], monkeypatch: Patch) -> None:
    original = torch.cat([photograph(*size), photograph(*size, top=200)])
    torch.manual_seed(0)
    decoded = original + 0.06 * torch.randn_like(original)
    decoded[0, : size[0] // 3] = original[0, : size[0] // 3]  # kinks: equal pixels
    found = []
    for kernels in (level, "numpy"):
        monkeypatch.setenv(VARIABLE, kernels)
        compare = Distortion(*size)
        references = compare.references(original)
        at = decoded.clone().requires_grad_()
        terms = compare.terms(references, at)
        slopes = [torch.autograd.grad(term.sum(), at, retain_graph=True)[0] for term in terms[1:] if term.requires_grad]
        found.append(([term.detach() for term in terms], slopes))
        with torch.no_grad():
            torch.testing.assert_close(list(compare.terms(references, decoded)), found[-1][0])
    (terms, slopes), (expected, expected_slopes) = found
    torch.testing.assert_close(terms, expected, rtol=1e-4, atol=1e-6)
    assert len(slopes) == len(expected_slopes) == (min(size) >= 4) + (min(size) >= 8) + (min(size) >= 21)
    for slope, other in zip(slopes, expected_slopes, strict=True):
        assert other.norm() > 0
        assert (slope - other).norm() < 2e-3 * other.norm()


@pytest.mark.parametrize("log2_step", [0.5, -2.5, -5.5])
def test_a_round_of_the_search_is_that_of_torch(codec: Codec, level: str, log2_step: float, monkeypatch: Patch) -> None:
    network = restore(codec.weights.tensors, codec.config, settled=True).eval().requires_grad_(False)
    steps = torch.tensor([log2_step, log2_step + 0.3])
    x = torch.cat([photograph(48, 64), photograph(48, 64, top=200)])
    features = network.features(steps, torch.zeros(2))
    start = searched(network, x, steps, 0, rounds=0)
    original = Original(x, steps, 0)

    def distortion(decoded: Tensor) -> Tensor:
        return original.distortion(network.synthesis(decoded, steps, features))

    found = []
    for kernels in (level, "numpy"):
        monkeypatch.setenv(VARIABLE, kernels)
        descent = Descent(network, steps, features, distortion, len(network.config.groups), 0.9, bfloat16=False)
        assert isinstance(descent.coder, FusedCoder) == (kernels == level)
        found.append(descent.probe(start))
    own, other = found
    assert own.slope is not None
    assert other.slope is not None
    torch.testing.assert_close(own.cost, other.cost, rtol=1e-3, atol=0)
    apart = (
        (own.decoded - other.decoded) / other.steps
    ).abs() > 0.01  # where rounding fell the other way, context differs
    assert apart.float().mean() < 0.01
    assert (own.slope - other.slope).norm() < 0.05 * other.slope.norm()
    assert (own.decoded != 0).any()


@pytest.mark.parametrize("leaky", [False, True])
def test_activations_are_those_of_torch(level: str, leaky: bool, monkeypatch: Patch) -> None:
    x = torch.cat([torch.linspace(-6, 6, 3001), torch.tensor([0.0, -0.0, 127 / 32, -127 / 32, 1e9, -1e9])]).bfloat16()
    found = []
    for kernels in (level, "numpy"):
        monkeypatch.setenv(VARIABLE, kernels)
        at = x.clone().requires_grad_()
        y = activation(at, leaky=leaky)
        found.append((y.detach(), torch.autograd.grad(y.sum(), at)[0]))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)
