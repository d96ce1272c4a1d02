"""The integer prior: float32 and int64 agree with each other and with the trained network; bounds are enforced."""

from __future__ import annotations

from decimal import Decimal, getcontext
from typing import Any

import numpy as np
import pytest
import torch
from support import TINY
from vqbitstream.prior import COMPAND, EXP2, MAX_ACTIVATION, Layer, Prior, _Floats, power, rounded
from vqcodec.models.config import ModelConfig
from vqcodec.models.weights_file import read_weights
from vqcodec.vqvae.integers import export_prior
from vqcodec.vqvae.network import Network

SHAPE = (7, 9)


def walk(prior: Prior, step_code: int) -> list[np.ndarray]:
    """Everything a prior says while random indices are decoded."""
    rng = np.random.default_rng(0)
    height, width = SHAPE
    side = rng.integers(-3, 4, (2, 3, prior.side_channels)) * 256
    state = prior.begin(side, step_code, height, width)
    said: list[np.ndarray] = [prior.side_scales(step_code)]
    for group in range(len(prior.groups)):
        mean, scale = prior.predict(group, state.trunk, state)
        context = prior.context(group, mean + rng.integers(-9, 10, mean.shape) * 256, step_code)
        half = prior.refine("refine_half", group, context, state, np.arange(0, height * width, 2))
        said += [mean, scale, context, half]
        if group < len(prior.groups) - 1:
            state.trunk = prior.refine("refine_full", group, context, state)
            said.append(state.trunk)
    return said


@pytest.mark.parametrize("step_code", [8192, 20000, 27123, 40960])
def test_int64_gives_the_same_integers(step_code: int) -> None:
    tensors, config = read_weights(TINY)
    parts = {k.removeprefix("prior."): v for k, v in tensors.items() if k.startswith("prior.")}
    groups = tuple(config["groups"])
    for a, b in zip(
        walk(Prior(parts, groups), step_code), walk(Prior(parts, groups, reference=True), step_code), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def random_network() -> Network:
    torch.manual_seed(1)
    config = ModelConfig(groups=(4, 6), side_channels=4, side_up=4, state=16, reduce=8, hidden=12)
    network = Network(config).double().eval()
    with torch.no_grad():
        for parameter in network.prior.parameters():
            parameter.mul_(2)
    network.set_sigma(torch.logspace(0.7, -1, config.channels).double())
    return network


def test_trained_network_rounds_where_the_integers_do() -> None:
    """The soft prior in float64 says what the integer prior says, to within its last, fractional, rounding."""
    network = random_network()
    prior = Prior(export_prior(network), network.config.groups)
    code, (height, width) = 25000, SHAPE
    log2_step = torch.tensor([code / 4096 - 8], dtype=torch.float64)
    rng = np.random.default_rng(0)
    side = rng.integers(-3, 4, (2, 3, 4)) * 256

    def image(rows: Any) -> torch.Tensor:
        return torch.from_numpy(np.asarray(rows, dtype=np.float64)).reshape(1, height, width, -1).permute(0, 3, 1, 2)

    with torch.no_grad():
        state = prior.begin(side, code, height, width)
        soft, steps = network.prior.begin(
            torch.from_numpy(side / 256).permute(2, 0, 1)[None], log2_step, height, width
        )  # fmt: skip
        for group in range(2):
            np.testing.assert_array_equal(soft * 32, image(state.trunk))
            mean, scale = prior.predict(group, state.trunk, state)
            said = network.prior.predict(group, soft, steps, log2_step)
            assert (said.mean * 256 - image(mean)).abs().max() <= 0.501
            assert (said.log2_scale * 32 - image(scale)).abs().max() <= 0.501
            context = prior.context(group, mean + rng.integers(-2, 3, mean.shape) * 256, code)
            if group == 0:
                state.trunk = prior.refine("refine_full", 0, context, state)
                soft = network.prior.refine_full[0](image(context) / 32, soft)


def test_bounds_are_enforced() -> None:
    weight = np.full((1040, 2), 127, dtype=np.int64)
    zeros = np.zeros(2, dtype=np.int64)
    Layer(weight, zeros, zeros + 5).check("fits")
    for bad in (
        Layer(weight + 1, zeros, zeros + 5),
        Layer(np.ones((1041, 2), dtype=np.int64), zeros, zeros + 5),
        Layer(weight, zeros + 4000, zeros + 5),
        Layer(weight, zeros, zeros - 1),
    ):
        with pytest.raises(ValueError, match="prior layer"):
            bad.check("bad")
    assert MAX_ACTIVATION == 127


def test_unsound_weights_are_refused_at_load() -> None:
    tensors, config = read_weights(TINY)
    parts = {k.removeprefix("prior."): v for k, v in tensors.items() if k.startswith("prior.")}
    parts["heads.0.out.bias"] = parts["heads.0.out.bias"] + (1 << 24)
    with pytest.raises(ValueError, match=r"heads\.0\.out"):
        Prior(parts, tuple(config["groups"]))


def test_inexact_arithmetic_falls_back_to_integers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose matrix products keep fewer bits is found out at load, and decodes all the same."""
    tensors, config = read_weights(TINY)
    parts = {k.removeprefix("prior."): v for k, v in tensors.items() if k.startswith("prior.")}
    groups = tuple(config["groups"])
    expected = walk(Prior(parts, groups), 20000)
    exact = _Floats.apply
    monkeypatch.setattr(_Floats, "apply", lambda self, x, layer: exact(self, x * np.float32(1 - 2**-10), layer))
    with pytest.warns(UserWarning, match="not exact"):
        prior = Prior(parts, groups)
    for a, b in zip(expected, walk(prior, 20000), strict=True):
        np.testing.assert_array_equal(a, b)


def test_power_table_is_far_from_ties() -> None:
    """So that every correct `pow` gives the same integers."""
    getcontext().prec = 40
    for i in range(4096):
        exact = Decimal(2) ** (Decimal(i) / 4096) * (1 << 20)
        assert abs(exact - int(EXP2[i])) < Decimal("0.49999")
    x = np.arange(len(COMPAND)) - len(COMPAND) // 2
    assert np.abs(64 * np.arcsinh(x / 128) - COMPAND).max() < 0.499999
    assert np.abs(COMPAND).max() == 127


def test_scaling_by_powers_is_exact() -> None:
    """floor(values * EXP2[fraction] * 2^(whole - 20) + 1/2), checked in Python's integers."""
    rng = np.random.default_rng(4)
    values, log2 = rng.integers(-(1 << 25), 1 << 25, (200, 50)), rng.integers(-14 * 4096, 14 * 4096, 50)
    found = rounded(values, power(log2, -2))
    for row, said in zip(values[:20].tolist(), found.tolist(), strict=False):
        for value, exponent, result in zip(row, log2.tolist(), said, strict=True):
            product, down = value * int(EXP2[exponent & 4095]), 22 - (exponent >> 12)
            exact = (2 * product + (1 << down)) >> (down + 1) if down >= 0 else product << -down
            assert result == exact
