"""Exact arithmetic of the prior: integer layers in float32 matrix products, powers of two, the compander (FORMAT.md, "Prior").

Activations are integers in [-127, 127], weights too. Every layer is a product whose partial sums provably stay below 2^24, so
float32 holds them exactly whatever the order of summation, the instruction set or the number of threads. The same integers in int64
are the reference, and take over where a self-test finds that float32 products are not exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.integer[Any]]
Array = npt.NDArray[Any]

MAX_WEIGHT = MAX_ACTIVATION = 127
MAX_FAN_IN = 1040
MAX_SHIFT = 20
EXACT_LIMIT = 1 << 24
OCTAVE = 32  # unit of log2-scales and gains
COMPAND_LOG2, COMPAND_LIMIT = 6, 457  # the compander's input is in 1/64 sigma, and saturates there
EXP2_LOG2, GAIN_EXP2_LOG2 = 16, 12  # fractional bits

# 2^(i/4096) and 2^(i/32); no entry is near a tie, so any correct pow gives these integers (tested)
EXP2 = np.array([round(2 ** (i / 4096) * (1 << EXP2_LOG2)) for i in range(4096)], dtype=np.int64)
GAIN_EXP2 = np.array([round(2 ** (i / OCTAVE) * (1 << GAIN_EXP2_LOG2)) for i in range(OCTAVE)], dtype=np.int64)
# the compander 2 asinh(x / 2) on a grid of 1/32, for x in 1/64 (tested likewise)
COMPAND = np.array(
    [math.floor(64 * math.asinh(i / 128) + 0.5) for i in range(-COMPAND_LIMIT, COMPAND_LIMIT + 1)], dtype=np.int64
)


def power(log2: Ints, shift: int = 0) -> npt.NDArray[np.float64]:
    """2^(log2/4096 + shift) as the format defines it: a table's 16 fractional bits times a power of two."""
    return _times_power(EXP2[log2 & 4095], (log2 >> 12) + (shift - EXP2_LOG2))


def gain_power(gain: Ints) -> npt.NDArray[np.float64]:
    """2^(gain/32) as the format defines it: a table's 12 fractional bits times a power of two."""
    return _times_power(GAIN_EXP2[gain & (OCTAVE - 1)], (gain // OCTAVE) - GAIN_EXP2_LOG2)


def _times_power(values: Ints, exponent: Ints) -> npt.NDArray[np.float64]:
    # ldexp takes no int64 on Windows, where C's long has 32 bits
    return np.ldexp(values.astype(np.float64), exponent.astype(np.int32))


def scaled(values: Array, columns: npt.NDArray[np.float64], rows: npt.NDArray[np.float64] | None = None) -> Array:
    """floor(values * columns * rows + 1/2), exactly.

    Args:
        values: Integers [n, c] below 2^23, or below 2^36 without `rows`.
        columns: A factor for each column, [c], from `power`.
        rows: A factor for each row, [n], from `gain_power`; 1 by default.

    Returns:
        float64 [n, c]. The three factors have 23 + 17 + 13 bits, which a float64 holds.
    """
    out = np.multiply(values, columns, dtype=np.float64)
    if rows is not None:
        out *= rows[:, None]
    out += 0.5
    return np.floor(out, out=out)


def within(values: Ints, most: int) -> bool:
    """Whether no magnitude exceeds `most`. np.abs would not do: that of the smallest int64 is negative."""
    return -most <= int(values.min(initial=0)) and int(values.max(initial=0)) <= most


@dataclass(frozen=True)
class Layer:
    """y = floor((sum of products + bias) / 2^shift + 1/2), for each output.

    Attributes:
        weight: Integers in [-127, 127], [fan_in, outputs]. A depthwise layer has fan_in 9, the neighbours row by row.
        bias: Integers [outputs].
        shift: Integers in 0..20, [outputs].
        depthwise: Each output sees the 3x3 neighbourhood of its own channel, instead of every channel of its position.
    """

    weight: Ints
    bias: Ints
    shift: Ints
    depthwise: bool = False

    def check(self, name: str) -> None:
        """Raises ValueError unless every partial sum stays exact in float32."""
        if self.weight.ndim != 2 or self.bias.shape != self.shift.shape or self.bias.shape != self.weight.shape[1:]:
            raise ValueError(f"prior layer {name}: weight, bias and shift do not belong together")
        fan_in = len(self.weight)
        if not self.weight.size or not within(self.weight, MAX_WEIGHT) or fan_in > MAX_FAN_IN:
            raise ValueError(f"prior layer {name}: |weight| > {MAX_WEIGHT} or fan-in {fan_in} not in 1..{MAX_FAN_IN}")
        if self.shift.min() < 0 or self.shift.max() > MAX_SHIFT:
            raise ValueError(f"prior layer {name}: a shift is outside 0..{MAX_SHIFT}")
        if not within(self.bias, EXACT_LIMIT - 1):  # before a sum with it could overflow
            raise ValueError(f"prior layer {name}: |bias| reaches {EXACT_LIMIT}")
        half = (np.int64(1) << self.shift) >> 1
        reach = np.abs(self.weight).sum(0) * MAX_ACTIVATION + np.abs(self.bias) + half
        if reach.max() >= EXACT_LIMIT:
            raise ValueError(f"prior layer {name}: sums may reach {reach.max()}, float32 is exact below {EXACT_LIMIT}")


Prepared = tuple[Array, Array, Array]


class InNumPy:
    """What the layers of the prior compute with NumPy; `Integers` and `Floats` say in which numbers."""

    dtype: Any

    def apply(self, x: Array, prepared: Prepared) -> Array:
        """A layer over rows: [n, fan_in] -> [n, outputs]"""
        return self._finish(x @ prepared[0], prepared)

    def clamped(self, x: Array, prepared: Prepared) -> Array:
        """A layer, its outputs brought into the range of activations."""
        return clamp(self.apply(x, prepared))

    def leaky(self, x: Array, prepared: Prepared) -> Array:
        """A layer and a leaky ReLU of slope 1/8, clamped."""
        y = self.apply(x, prepared)
        return clamp(np.maximum(y, self._eighth(y)))

    def added(self, x: Array, prepared: Prepared, add: Array) -> Array:
        """A layer, clamped, plus activations [n or 1, outputs], clamped again."""
        y = self.clamped(x, prepared)
        y += add
        return clamp(y)

    def depthwise(self, x: Array, prepared: Prepared) -> Array:
        """A depthwise layer, zero-padded and clamped: [h, w, c] -> [h, w, c]"""
        return clamp(self._finish(_depthwise_sums(x, prepared[0]), prepared))

    def scaled(
        self,
        values: Array,
        columns: npt.NDArray[np.float64],
        rows: npt.NDArray[np.float64] | None,
        *,
        most: int | None = None,
        limit: int,
    ) -> Ints:
        """See the function `scaled`. Values are first brought within +-most, the results within +-limit. int32"""
        values = values if most is None else np.clip(values, -most, most)
        out = scaled(values, columns, rows)
        return np.clip(out, -limit, limit, out=out).astype(np.int32)

    def _finish(self, y: Array, prepared: Prepared) -> Array:
        raise NotImplementedError

    def _eighth(self, x: Array) -> Array:
        raise NotImplementedError


class Integers(InNumPy):
    """The reference: int64 throughout."""

    dtype: Any = np.int64

    def prepare(self, layer: Layer) -> Prepared:
        half = (np.int64(1) << layer.shift) >> 1
        return layer.weight.astype(np.int64), layer.bias + half, layer.shift.astype(np.int64)

    def _finish(self, y: Array, prepared: Prepared) -> Array:
        return (y + prepared[1]) >> prepared[2]

    def _eighth(self, x: Array) -> Array:
        return x >> 3


class Floats(InNumPy):
    """The same integers, held in float32."""

    dtype: Any = np.float32

    def prepare(self, layer: Layer) -> Prepared:
        half = (np.int64(1) << layer.shift) >> 1
        unit = np.ldexp(np.float32(1), -layer.shift.astype(np.int32))
        return layer.weight.astype(np.float32), (layer.bias + half).astype(np.float32), unit.astype(np.float32)

    def _finish(self, y: Array, prepared: Prepared) -> Array:
        _, bias, unit = prepared
        y += bias
        y *= unit
        return np.floor(y, out=y)

    def _eighth(self, x: Array) -> Array:
        y = x * np.float32(0.125)
        return np.floor(y, out=y)


def _depthwise_sums(x: Array, weight: Array) -> Array:
    height, width = x.shape[:2]
    padded = np.zeros((height + 2, width + 2, x.shape[2]), dtype=x.dtype)
    padded[1:-1, 1:-1] = x
    out = np.empty_like(x)
    product = np.empty((width, x.shape[2]), dtype=x.dtype)
    for row in range(height):  # a row at a time stays in the cache
        sums = np.multiply(padded[row, :width], weight[0], out=out[row])
        for neighbour in range(1, 9):
            down, right = divmod(neighbour, 3)
            sums += np.multiply(padded[row + down, right : right + width], weight[neighbour], out=product)
    return out


def clamp(x: Array) -> Array:
    """Into the range of activations, in place."""
    return np.clip(x, -MAX_ACTIVATION, MAX_ACTIVATION, out=x)


def tested(arithmetic: Any, layers: Mapping[str, Layer]) -> dict[str, Any] | None:
    """The self-test at load: compares every layer with int64 on inputs of the largest magnitude with varying signs.

    Returns:
        The layers as the arithmetic takes them, or None where one of them gives other integers.
    """
    reference, prepared = Integers(), {}
    for name, layer in layers.items():
        exact, found = reference.prepare(layer), arithmetic.prepare(layer)
        if layer.depthwise:
            x = _signs(3, 4, layer.weight.shape[1])
            same = np.array_equal(
                arithmetic.depthwise(x.astype(arithmetic.dtype), found), reference.depthwise(x, exact)
            )
        else:
            x = _signs(4, len(layer.weight))
            x[0] = MAX_ACTIVATION * np.where(layer.weight[:, 0] < 0, -1, 1)  # the first output's largest sum
            same = np.array_equal(arithmetic.apply(x.astype(arithmetic.dtype), found), reference.apply(x, exact))
        if not same:
            return None
        prepared[name] = found
    return prepared


def _signs(*shape: int) -> Ints:
    """Largest activations with signs without a pattern: bits of the multiples of 2^32 over the golden ratio."""
    bits = np.arange(math.prod(shape)) * 2654435769 >> 20 & 1
    return np.asarray(MAX_ACTIVATION * (2 * bits - 1)).reshape(shape)
