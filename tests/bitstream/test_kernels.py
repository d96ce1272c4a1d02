"""The C kernels give NumPy's integers on every level that this machine can run, for shapes that fill no vector too."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import random_network
from vqbitstream import kernels
from vqbitstream.arithmetic import Integers, Layer, gain_power, power
from vqbitstream.entropy import FrequencyTables, SectionReader, SectionWriter
from vqbitstream.errors import CorruptError
from vqbitstream.kernels import VARIABLE, Library, library, usable
from vqbitstream.kernels.exact import AnsReader, AnsTables, Compiled
from vqbitstream.prior import Prior
from vqcodec.vqvae.integers import export_prior

pytestmark = pytest.mark.skipif(not usable(), reason="the kernels were not compiled")


@pytest.fixture(params=usable())
def found(request: Any) -> Library:
    return Library(request.param)


def layer(inputs: int, outputs: int, *, depthwise: bool = False) -> Layer:
    rng = np.random.default_rng(inputs * 1000 + outputs)
    weight = rng.integers(-127, 128, (inputs, outputs))
    return Layer(weight, rng.integers(-9000, 9000, outputs), rng.integers(0, 12, outputs), depthwise=depthwise)


@pytest.mark.parametrize("inputs", [1, 2, 7, 16, 257])
@pytest.mark.parametrize("outputs", [1, 3, 4, 15, 16, 33, 48, 80, 100])
def test_layers(found: Library, inputs: int, outputs: int) -> None:
    exact, fast, spec = Integers(), Compiled(found), layer(inputs, outputs)
    a, b = exact.prepare(spec), fast.prepare(spec)
    rng = np.random.default_rng(0)
    for rows in (1, 7, 8, 21):
        x, add = rng.integers(-127, 128, (rows, inputs)), rng.integers(-127, 128, (rows, outputs))
        y, more = x.astype(np.int16), add.astype(np.int16)
        np.testing.assert_array_equal(exact.apply(x, a), fast.apply(y, b))
        np.testing.assert_array_equal(exact.clamped(x, a), fast.clamped(y, b))
        np.testing.assert_array_equal(exact.leaky(x, a), fast.leaky(y, b))
        np.testing.assert_array_equal(exact.added(x, a, add), fast.added(y, b, more))
        np.testing.assert_array_equal(exact.added(x, a, add[:1]), fast.added(y, b, more[:1]))


@pytest.mark.parametrize("channels", [1, 5, 16, 40])
@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (5, 1), (4, 7)])
def test_depthwise_layers(found: Library, channels: int, shape: tuple[int, int]) -> None:
    exact, fast, spec = Integers(), Compiled(found), layer(9, channels, depthwise=True)
    x = np.random.default_rng(0).integers(-127, 128, (*shape, channels))
    expected = exact.depthwise(x, exact.prepare(spec))
    np.testing.assert_array_equal(expected, fast.depthwise(x.astype(np.int16), fast.prepare(spec)))


def test_scaling(found: Library) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(-(1 << 23), 1 << 23, (9, 22)).astype(np.int32)[:, :11]  # rows that do not follow one another
    columns, rows = power(rng.integers(-40000, 40000, 11), 2), gain_power(rng.integers(-96, 97, 9))
    for each in (rows, None):
        for limit, most in ((1 << 22, 1 << 18), (457, (1 << 31) - 1)):
            expected = Integers().scaled(values, columns, each, most=most, limit=limit)
            np.testing.assert_array_equal(
                expected, Compiled(found).scaled(values, columns, each, most=most, limit=limit)
            )


def test_rows_that_do_not_fit_are_refused(found: Library) -> None:
    fast = Compiled(found)
    prepared, deep = fast.prepare(layer(8, 4)), fast.prepare(layer(9, 4, depthwise=True))
    x = np.zeros((3, 8), dtype=np.int16)
    for call in (
        lambda: fast.apply(np.zeros((3, 10), dtype=np.int16), prepared),
        lambda: fast.added(x, prepared, np.zeros((2, 4), dtype=np.int16)),
        lambda: fast.depthwise(np.zeros((2, 2, 5), dtype=np.int16), deep),
        lambda: fast.scaled(np.zeros((2, 3), dtype=np.int32), np.ones(2), None, limit=9),
        lambda: fast.scaled(np.zeros((2, 3), dtype=np.int32), np.ones(3), np.ones(3), limit=9),
    ):
        with pytest.raises(ValueError, match="fit"):
            call()


def counts() -> np.ndarray:
    """Tables flat and steep, some with nearly all of the probability in one symbol."""
    rng = np.random.default_rng(0)
    table = np.exp(rng.normal(0, rng.uniform(0, 6, (12, 1)), (12, 290))).astype(np.int64) + 1
    table[3, 144] = (1 << 32) - 1
    return table


def through(monkeypatch: Any, level: str, payload: bytes, batches: list[np.ndarray]) -> list[Any]:
    """What a reader says of a payload: its symbols, or the error that it ends with."""
    monkeypatch.setenv(VARIABLE, level)
    said: list[Any] = []
    try:
        reader = SectionReader(payload, FrequencyTables(counts()), 0)
        said += [reader.read(tables).tolist() for tables in batches]
        reader.close()
    except CorruptError as error:
        said.append(str(error))
    return said


def test_symbols(monkeypatch: Any) -> None:
    """Of sound and of damaged payloads alike."""
    rng, writer = np.random.default_rng(0), SectionWriter(FrequencyTables(counts()))
    batches = [rng.integers(0, 12, n) for n in (1, 0, 700, 30)]
    for tables in batches:
        writer.write(tables, rng.integers(0, 290, len(tables)))
    payload = writer.finish()
    damaged = [payload[:-4], payload[4:], b"", payload[:4], payload[-4:], payload + b"\1\0\0\0", bytes(8) + payload[:9]]
    damaged += [payload[:n] + bytes([payload[n] ^ 255]) + payload[n + 1 :] for n in (0, 5, len(payload) - 2)]
    for data in (payload, *damaged):
        expected = through(monkeypatch, "numpy", data, batches)
        for level in usable():
            assert through(monkeypatch, level, data, batches) == expected


def test_tables_beyond_the_last_are_refused(found: Library) -> None:
    reader = AnsReader(np.array([1, 2, 3], dtype=np.uint32), AnsTables(found, FrequencyTables(counts()).bounds))
    with pytest.raises(ValueError, match=r"outside 0\.\.11"):
        reader.read(np.array([0, 12]))


def test_kernels_that_are_not_exact_are_left_alone(monkeypatch: Any) -> None:
    parts = export_prior(random_network().prior)
    groups = random_network().config.groups
    exact = Compiled.apply
    monkeypatch.setattr(Compiled, "apply", lambda self, x, layer: exact(self, x, layer) + 1)
    with pytest.warns(UserWarning, match="kernels are not exact on this machine; using NumPy"):
        prior = Prior(parts, groups)
    assert prior.begin(20000, 1, (2, 3)).trunk.dtype == np.float32


def test_the_variable_chooses(monkeypatch: Any) -> None:
    monkeypatch.setenv(VARIABLE, "numpy")
    assert library() is None
    for level in usable():
        monkeypatch.setenv(VARIABLE, level)
        chosen = library()
        assert chosen is not None
        assert chosen.level == level
    monkeypatch.setenv(VARIABLE, "sse9")
    with pytest.warns(UserWarning, match="no kernels 'sse9' here"):
        assert library() is None


def test_a_library_of_another_version_is_left_alone(monkeypatch: Any) -> None:
    monkeypatch.setattr(kernels, "VERSION", -1)
    with pytest.raises(OSError, match="another version"):
        Library("plain")


def test_version_and_columns_are_those_of_the_source() -> None:
    source = (Path(kernels.__file__).parent / "simd.h").read_text()
    assert f"#define VERSION {kernels.VERSION} " in source
    assert f"#define COLUMNS {kernels.PANEL}\n" in source
    assert ctypes.sizeof(ctypes.c_ssize_t) == ctypes.sizeof(ctypes.c_void_p)
