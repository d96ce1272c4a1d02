"""The transforms: torch and NumPy agree, weights files keep them, halos cover what they look at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from support import random_network
from vqbitstream.geometry import PATCH_PX
from vqcodec.models.config import ModelConfig, step_features
from vqcodec.models.weights_file import Arrays, ModelError
from vqcodec.runtimes.numpy_runtime import NumpyRuntime
from vqcodec.runtimes.torch_runtime import TorchRuntime
from vqcodec.vqvae import transforms
from vqcodec.vqvae.integers import export_prior, export_transforms, restore
from vqcodec.vqvae.network import Network


@pytest.fixture(scope="module")
def network() -> Network:
    found: Network = random_network().float()
    return found


@pytest.fixture(scope="module")
def tensors(network: Network) -> Arrays:
    out = export_transforms(network) | {f"prior.{k}": v for k, v in export_prior(network.prior).items()}
    books = network.quantise.codebooks.detach().numpy() * 256
    out["quantizer.codebooks"] = books.astype(np.int16)
    out["quantizer.counts"] = np.ones((440, 290), dtype=np.uint32)
    return out


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (3, 2), (7, 9)])
def test_numpy_and_torch_agree_at_every_size(network: Network, tensors: Arrays, shape: tuple[int, int]) -> None:
    one, other = NumpyRuntime(tensors, network.config), TorchRuntime(tensors, network.config, "cpu")
    rng = np.random.default_rng(0)
    pixels = rng.uniform(-0.5, 0.5, (shape[0] * PATCH_PX, shape[1] * PATCH_PX, 3)).astype(np.float32)
    for step_code, tune in ((9000, 0), (20000, 1), (36000, 1)):
        for channels in (4, 10, 18):  # of the first, the second, every layer
            latent = one.analyse(pixels, step_code, tune, channels)
            assert latent.shape == (*shape, channels)
            np.testing.assert_allclose(other.analyse(pixels, step_code, tune, channels), latent, atol=2e-5)
            picture = one.synthesise(latent, step_code, tune)
            assert picture.shape == pixels.shape
            np.testing.assert_allclose(other.synthesise(latent, step_code, tune), picture, atol=2e-5)


def test_a_weights_file_keeps_a_network(network: Network, tensors: Arrays) -> None:
    """The prior and the codebooks bit for bit, the transforms to float16."""
    again = restore(tensors, network.config)
    for name, array in export_prior(again.prior).items():
        np.testing.assert_array_equal(array, tensors[f"prior.{name}"], err_msg=name)
        assert array.dtype == tensors[f"prior.{name}"].dtype
    for name, array in export_transforms(again).items():
        np.testing.assert_allclose(array, tensors[name], rtol=1e-3, atol=1e-6, err_msg=name)
        assert array.dtype == tensors[name].dtype
    torch.testing.assert_close(again.prior.sigma, network.prior.sigma)
    x, log2_step, tune = torch.rand(1, 48, 32, 3) - 0.5, torch.tensor([-2.0]), torch.tensor([1.0])
    with torch.no_grad():
        features = network.features(log2_step, tune)
        latent = network.analysis(x, features)
        torch.testing.assert_close(again.analysis(x, features), latent, atol=2e-3, rtol=1e-2)
        shown = network.synthesis(latent, log2_step, features)
        torch.testing.assert_close(again.synthesis(latent, log2_step, features), shown, atol=2e-3, rtol=1e-2)


def test_a_settled_network_computes_the_same(network: Network, tensors: Arrays) -> None:
    x, log2_step, tune = torch.rand(1, 48, 32, 3) - 0.5, torch.tensor([-2.0]), torch.tensor([1.0])
    restored = restore(tensors, network.config).eval()
    with torch.no_grad():
        picture, coded = restored(x, log2_step, tune, restored.quantise, noise=False)
        restored.settle()
        again, recoded = restored(x, log2_step, tune, restored.quantise, noise=False)
    torch.testing.assert_close(again, picture, atol=1e-5, rtol=0)
    torch.testing.assert_close(recoded.bits, coded.bits, rtol=1e-4, atol=0)


@pytest.mark.parametrize("damage", ["missing", "shape"])
def test_tensors_that_do_not_fit_are_one_line(network: Network, tensors: Arrays, damage: str) -> None:
    for name in (
        "prior.near.1.mix.bias",
        "prior.refine_half.1.space.weight",
        "synthesis.fine.weight",
        "prior.channel_gain",
    ):
        bad = dict(tensors)
        array = bad.pop(name)
        if damage == "shape":
            bad[name] = array[..., :1]
        with pytest.raises(ModelError, match="do not fit this architecture"):
            restore(bad, network.config)


def reach(module: Any, inputs: torch.Tensor, pick: tuple[slice, slice], *rest: torch.Tensor) -> torch.Tensor:
    """Where the picked outputs depend on the inputs. [B, h, w, c] -> bool [h, w]"""
    inputs = inputs.requires_grad_()
    (slope,) = torch.autograd.grad(module(inputs, *rest)[:, pick[0], pick[1]].square().sum(), inputs)
    return slope[0].abs().amax(2) > 0


@pytest.mark.parametrize("blocks", [1, 2])
def test_halos_cover_what_a_position_looks_at_and_no_more(blocks: int) -> None:
    torch.manual_seed(0)
    config = ModelConfig(
        groups=(4, 6), lapped=4, shown=8, body=6, body_blocks=blocks, tail=4, tail_blocks=2, analysis_width=6, analysis_blocks=blocks
    )  # fmt: skip
    network, side = Network(config).double(), 15
    for block in network.synthesis.tail:  # they start as if they were not there
        torch.nn.init.normal_(block.space.weight)
    middle, log2_step = side // 2, torch.tensor([-1.0], dtype=torch.float64)
    features = network.features(log2_step, torch.ones(1, dtype=torch.float64))
    latent = torch.randn(1, side, side, 10, dtype=torch.float64)
    pixels = slice(middle * PATCH_PX, (middle + 1) * PATCH_PX)
    found = reach(network.synthesis, latent, (pixels, pixels), log2_step, features).any(0).nonzero().flatten()
    assert [int(found[0]), int(found[-1])] == [middle - config.synthesis_halo, middle + config.synthesis_halo]
    x = torch.randn(1, side * PATCH_PX, side * PATCH_PX, 3, dtype=torch.float64)
    one = slice(middle, middle + 1)
    seen = reach(network.analysis, x, (one, one), features).any(0).unflatten(0, (side, PATCH_PX)).any(1).nonzero()
    assert [int(seen[0]), int(seen[-1])] == [middle - config.analysis_halo, middle + config.analysis_halo]


def test_features_are_those_of_a_file() -> None:
    for step_code in (4096, 8192, 10000, 25001, 36864, 40960):
        for tune in (0, 1):
            log2_step = torch.tensor([step_code / 4096 - 8])
            found = transforms.step_features(log2_step, torch.tensor([tune]))
            np.testing.assert_array_equal(found[0], step_features(step_code, tune))


def test_a_transform_of_patches_is_its_own_inverse() -> None:
    """Started from an orthonormal basis, without corrections."""
    config = ModelConfig(body_blocks=1, tail_blocks=1, analysis_blocks=1)
    torch.manual_seed(0)
    network = Network(config)
    basis = torch.linalg.qr(torch.randn(768, 768)).Q.view(768, 3, 16, 16)
    transforms.start_from_basis(network.analysis, network.synthesis, basis, torch.ones(768))
    with torch.no_grad():
        for layer in (network.analysis.out, network.synthesis.out):
            layer.weight.zero_()
        x, log2_step = torch.rand(2, 64, 48, 3) - 0.5, torch.tensor([-2.0, 0.0])
        features = network.features(log2_step, torch.zeros(2))
        latent = network.analysis(x, features)
        torch.testing.assert_close(network.synthesis(latent, log2_step, features), x, atol=1e-4, rtol=0)
        patch = x[1, 16:32, 32:48].permute(2, 0, 1)
        torch.testing.assert_close(latent[1, 1, 2], (basis * patch).sum((1, 2, 3)), atol=1e-4, rtol=0)


def test_compand_is_exact_near_zero_and_far_out() -> None:
    x = torch.tensor([-1e6, -3.0, -1e-3, 0.0, 1e-12, 0.7, 40.0], dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(transforms.compand(x), 2 * torch.asinh(x / 2), rtol=1e-12, atol=0)
    assert torch.autograd.gradcheck(transforms.compand, (x.detach()[1:].requires_grad_(),))
