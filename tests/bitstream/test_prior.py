"""The integer prior: float32 and int64 agree with each other and with the trained network; bounds are enforced."""

from __future__ import annotations

from decimal import Decimal, getcontext
from typing import Any

import numpy as np
import pytest
import torch
from support import random_network
from vqbitstream.arithmetic import (
    COMPAND,
    EXP2,
    EXP2_LOG2,
    GAIN_EXP2,
    GAIN_EXP2_LOG2,
    MAX_ACTIVATION,
    OCTAVE,
    Floats,
    Layer,
    gain_power,
    power,
    scaled,
)  # fmt: skip
from vqbitstream.latent import hierarchy
from vqbitstream.prior import Prior, file_features
from vqcodec.models.config import step_features
from vqcodec.vqvae.integers import export_prior

SHAPE = (7, 9)


@pytest.fixture(scope="module")
def network() -> Any:
    return random_network()


@pytest.fixture(scope="module")
def parts(network: Any) -> dict[str, np.ndarray]:
    return export_prior(network.prior)


def walk(prior: Prior, step_code: int, tune: int) -> list[np.ndarray]:
    """Everything a prior says while random indices are decoded."""
    rng = np.random.default_rng(0)
    state = prior.begin(step_code, tune, SHAPE)
    passes, neighbours = hierarchy(SHAPE)
    said: list[np.ndarray] = [state.log2_step, state.trunk]
    for group in range(len(prior.groups)):
        found = prior.predict(group, state.trunk, state)
        latent = prior.latent(group, found.mean + rng.integers(-9, 10, found.mean.shape) * 256, found.gain, state)
        context = prior.context(group, latent)
        said += [found.mean, found.log2_scale, found.gain, latent, context]
        if group == 0:
            for step in range(4):
                known = np.concatenate(passes[: step + 1])
                said.append(prior.near(step, context[known], state.trunk[known], neighbours[step], state))
        else:
            said.append(prior.refine("refine_half", group, context, state, np.arange(0, SHAPE[0] * SHAPE[1], 2)))
        if group < len(prior.groups) - 1:
            state.trunk = prior.refine("refine_full", group, context, state)
            said.append(state.trunk)
    return said


@pytest.mark.parametrize(("step_code", "tune"), [(4096, 1), (8192, 0), (20000, 1), (27123, 0), (40960, 1)])
def test_int64_gives_the_same_integers(parts: dict[str, np.ndarray], network: Any, step_code: int, tune: int) -> None:
    groups = network.config.groups
    found = walk(Prior(parts, groups), step_code, tune)
    for a, b in zip(found, walk(Prior(parts, groups, reference=True), step_code, tune), strict=True):
        np.testing.assert_array_equal(a, b)


def test_trained_network_rounds_where_the_integers_do(network: Any, parts: dict[str, np.ndarray]) -> None:
    """The soft prior in float64 says what the integer prior says, to within its last, fractional, rounding."""
    prior = Prior(parts, network.config.groups)
    code, tune = 25000, 1
    log2_step = torch.tensor([code / 4096 - 8], dtype=torch.float64)
    features = torch.from_numpy(step_features(code, tune).astype(np.float64))[None]
    rng = np.random.default_rng(0)
    state = prior.begin(code, tune, SHAPE)
    passes, neighbours = hierarchy(SHAPE)

    def rows(array: Any) -> torch.Tensor:
        return torch.from_numpy(np.asarray(array, dtype=np.float64))[None]

    with torch.no_grad():
        soft = network.prior.begin(features)
        np.testing.assert_array_equal(soft[0] * 32, state.trunk[:1])
        local = network.prior.log2_steps(log2_step, features)
        np.testing.assert_allclose(local[0] * 4096, state.log2_step, atol=1e-6)
        soft = soft.expand(-1, SHAPE[0] * SHAPE[1], -1)
        for group in range(len(prior.groups)):
            found = prior.predict(group, state.trunk, state)
            said = network.prior.predict(
                group, *network.prior.heads[group](soft, features), local[:, network.prior.block(group)]
            )
            assert (said.gain[..., 0] * 32 - rows(found.gain)).abs().max() < 1e-6
            allowed = 0.501 + np.abs(found.mean).max() * 2.0**-12  # of the tables' fractional bits
            assert (said.centre * 256 - rows(found.mean)).abs().max() <= allowed
            assert (said.log2_scale * 32 - rows(found.log2_scale)).abs().max() <= 0.501
            latent = prior.latent(group, found.mean + rng.integers(-2, 3, found.mean.shape) * 256, found.gain, state)
            context = prior.context(group, latent)
            if group == 0:
                for step in range(4):
                    known = np.concatenate(passes[: step + 1])
                    new = prior.near(step, context[known], state.trunk[known], neighbours[step], state)
                    flat = torch.from_numpy(neighbours[step].reshape(-1))
                    start = network.prior.begin(features)
                    heard = network.prior.near[step](rows(context[known]) / 32, soft[:, known], start, flat)
                    np.testing.assert_array_equal(heard[0] * 32, new)
            if group < len(prior.groups) - 1:
                state.trunk = prior.refine("refine_full", group, context, state)
                soft = network.prior.refine_full[group](rows(context) / 32, soft, SHAPE)
                np.testing.assert_array_equal(soft[0] * 32, state.trunk)


def test_features_are_hats_of_the_step_in_the_half_of_the_tune() -> None:
    for code in (4096, 8192, 10000, 25001, 36864, 40960):
        log2 = min(max(code / 4096 - 8, -6), 1)
        hats = np.maximum(1 - np.abs(log2 - np.arange(-6, 2)), 0)
        for tune in (0, 1):
            found = file_features(code, tune).reshape(2, 8)
            assert not found[1 - tune].any()
            np.testing.assert_allclose(found[tune], 64 * hats, atol=0.51)
            assert found.sum() == 64


def test_bounds_are_enforced() -> None:
    weight = np.full((1040, 2), 127, dtype=np.int64)
    zeros = np.zeros(2, dtype=np.int64)
    Layer(weight, zeros, zeros + 5).check("fits")
    for bad in (
        Layer(weight + 1, zeros, zeros + 5),
        Layer(np.ones((1041, 2), dtype=np.int64), zeros, zeros + 5),
        Layer(weight, zeros + 4000, zeros + 5),
        Layer(weight, np.full(2, np.iinfo(np.int64).min), zeros + 5),
        Layer(weight, zeros, zeros - 1),
        Layer(weight, zeros, zeros + 21),
        Layer(weight[0], zeros, zeros),
        Layer(weight, zeros[:1], zeros[:1]),
        Layer(weight[:0], zeros, zeros),
    ):
        with pytest.raises(ValueError, match="prior layer"):
            bad.check("bad")
    assert MAX_ACTIVATION == 127


def test_unsound_weights_are_refused_at_load(parts: dict[str, np.ndarray], network: Any) -> None:
    for name, change in (
        ("heads.0.out.bias", lambda a: a + (1 << 24)),
        ("heads.0.gain.weight", lambda a: a[:-1]),
        ("refine_full.0.space.weight", lambda a: a[:-1]),
        ("near.2.near.weight", lambda a: a[:-4]),
        ("sigma_log2", lambda a: a + 1000),
        ("channel_gain", lambda a: a + 129),
        ("channel_gain", lambda a: a[:-1]),
    ):
        with pytest.raises(ValueError, match="prior"):
            Prior(parts | {name: change(parts[name].astype(np.int64))}, network.config.groups)
    with pytest.raises(KeyError):
        Prior({k: v for k, v in parts.items() if k != "heads.1.out.shift"}, network.config.groups)


@pytest.mark.parametrize("method", ["apply", "depthwise"])
def test_inexact_arithmetic_falls_back_to_integers(
    parts: dict[str, np.ndarray], network: Any, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """A machine whose products keep fewer bits is found out at load, and decodes all the same."""
    groups = network.config.groups
    expected = walk(Prior(parts, groups), 20000, 1)
    monkeypatch.setenv("VQCODEC_KERNELS", "numpy")
    exact = getattr(Floats, method)
    monkeypatch.setattr(Floats, method, lambda self, x, layer: exact(self, x * np.float32(1 - 2**-10), layer))
    with pytest.warns(UserWarning, match="not exact"):
        prior = Prior(parts, groups)
    for a, b in zip(expected, walk(prior, 20000, 1), strict=True):
        np.testing.assert_array_equal(a, b)


def test_power_tables_are_far_from_ties() -> None:
    """So that every correct `pow` gives the same integers."""
    getcontext().prec = 40
    for table, bits in ((EXP2, EXP2_LOG2), (GAIN_EXP2, GAIN_EXP2_LOG2)):
        for i, entry in enumerate(table.tolist()):
            exact = Decimal(2) ** (Decimal(i) / len(table)) * (1 << bits)
            assert abs(exact - entry) < Decimal("0.49999")
    x = np.arange(len(COMPAND)) - len(COMPAND) // 2
    assert np.abs(64 * np.arcsinh(x / 128) - COMPAND).max() < 0.499999
    assert np.abs(COMPAND).max() == 127


def test_scaling_by_powers_is_exact() -> None:
    """floor(values * both table entries * 2^whole + 1/2), checked in Python's integers."""
    rng = np.random.default_rng(4)
    values = rng.integers(-(1 << 22), 1 << 22, (40, 50))
    log2, gain = rng.integers(-11 * 4096, 6 * 4096, 50), rng.integers(-96, 97, 40)
    found = scaled(values, power(log2, 6), gain_power(gain))
    for row, place, said in zip(values.tolist(), gain.tolist(), found.tolist(), strict=True):
        for value, exponent, result in zip(row, log2.tolist(), said, strict=True):
            product = value * int(EXP2[exponent % 4096]) * int(GAIN_EXP2[place % OCTAVE])
            down = EXP2_LOG2 + GAIN_EXP2_LOG2 - 6 - exponent // 4096 - place // OCTAVE
            assert down >= 0
            assert result == (2 * product + (1 << down)) >> (down + 1)


def test_the_encoder_undoes_the_local_step(parts: dict[str, np.ndarray], network: Any) -> None:
    prior = Prior(parts, network.config.groups)
    rng = np.random.default_rng(1)
    state = prior.begin(24000, 1, SHAPE)
    gain = rng.integers(-96, 97, SHAPE[0] * SHAPE[1]).astype(np.int32)
    decoded = rng.integers(-(1 << 15), 1 << 15, (len(gain), prior.groups[1]))
    latent = prior.latent(1, decoded, gain, state)
    again = prior.latent(1, prior.in_steps(1, latent, gain, state), gain, state)
    assert np.abs(latent.astype(np.int64) - again).max() <= 1 + np.abs(latent).max() * 2.0**-15
