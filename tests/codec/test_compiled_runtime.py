"""The transforms in C paint NumPy's pixels to within rounding errors, whatever the size of picture, model and preview."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support import TINY, picture
from vqbitstream.kernels import VARIABLE, Library, usable
from vqcodec.codec import Codec
from vqcodec.models import store
from vqcodec.runtimes.compiled_runtime import CompiledRuntime
from vqcodec.runtimes.numpy_runtime import NumpyRuntime

pytestmark = pytest.mark.skipif(not usable(), reason="the kernels were not compiled")


@pytest.fixture(params=usable())
def found(request: Any) -> Library:
    return Library(request.param)


@pytest.mark.parametrize("model", [TINY, "default"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (5, 17)])
def test_synthesis(found: Library, model: Any, shape: tuple[int, int]) -> None:
    weights = store.load(model)
    runtimes = NumpyRuntime(weights.tensors, weights.config), CompiledRuntime(weights.tensors, weights.config, found)
    rng = np.random.default_rng(0)
    sigma = weights.tensors["synthesis.sigma"].astype(np.float32)
    whole = (rng.laplace(0, 1, (*shape, len(sigma))) * sigma).astype(np.float32)
    for channels in {*np.cumsum(weights.config.groups).tolist(), len(sigma)}:
        for step_code, tune in ((8192, 0), (36000, 1)):
            a, b = (r.synthesise(whole[..., :channels], step_code, tune) for r in runtimes)
            assert a.shape == b.shape
            assert np.abs(a - b).max() < 1e-4  # a level is 1/255
    np.testing.assert_array_equal(
        runtimes[1].synthesise(whole.astype(np.float64), 36000, 1), runtimes[1].synthesise(whole, 36000, 1)
    )


@pytest.mark.parametrize("model", [TINY, "default"])
def test_analysis(found: Library, model: Any) -> None:
    weights = store.load(model)
    runtimes = NumpyRuntime(weights.tensors, weights.config), CompiledRuntime(weights.tensors, weights.config, found)
    pixels = picture(80, 48).astype(np.float32) / 255 - np.float32(0.5)
    for channels in (weights.config.groups[0], weights.config.channels):
        a, b = (r.analyse(pixels, 20000, 1, channels) for r in runtimes)
        assert a.shape == b.shape
        assert np.abs(a - b).max() < 1e-4


def test_files(found: Library, monkeypatch: Any) -> None:
    """Equal indices; levels that differ by one at most; a compiled encoder's files decode in NumPy, and the other way round."""
    monkeypatch.setenv(VARIABLE, "numpy")
    plain = Codec(TINY)
    assert type(plain.transforms.runtime) is NumpyRuntime
    files = [plain.encode_pixels(picture(83, 50), quality=80, effort=1)]
    files.append(plain.encode_pixels(picture(83, 50)[..., 0], quality=30, effort=1))
    expected = [(plain.decode_latent(f)[0], plain.decode_pixels(f)) for f in files]
    monkeypatch.setenv(VARIABLE, found.level)
    fast = Codec(TINY)
    assert type(fast.transforms.runtime) is CompiledRuntime
    files.append(fast.encode_pixels(picture(83, 50), quality=80, effort=1))
    for data, (latent, pixels) in zip(files, expected, strict=False):
        np.testing.assert_array_equal(fast.decode_latent(data)[0], latent)
        found_pixels = fast.decode_pixels(data)
        assert found_pixels.shape == pixels.shape
        assert np.abs(found_pixels.astype(int) - pixels).max() <= 1
    monkeypatch.setenv(VARIABLE, "numpy")
    assert plain.decode_pixels(files[-1]).shape == (50, 83, 3)
