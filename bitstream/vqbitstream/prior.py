"""The prior: exact integers from decoded latent to predicted means and scales, the same on every machine (FORMAT.md, "Prior").

Activations are integers in [-127, 127], weights too. Every layer is a matrix product whose partial sums provably stay below
2^24, so float32 holds them exactly whatever the order of summation, the instruction set or the number of threads. The same
integers in int64 are the reference, and take over where a self-test finds that float32 products are not exact.

Rows are latent positions, row by row: an array [h*w, channels]. Units: means in 1/256 step, log2-scales in 1/32 octave.
The trainable twin is `vqcodec.vqvae.prior`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from vqbitstream.geometry import PATCH_PX, SIDE_FACTOR
from vqbitstream.header import STEP_LOG2_FRACTION, STEP_LOG2_OFFSET

Ints = npt.NDArray[np.integer[Any]]
Array = npt.NDArray[Any]

STEP_KNOT_MIN, STEP_KNOTS = -5, 7  # hat functions of log2(step) at -5, -4, .. 1
MAX_WEIGHT = MAX_ACTIVATION = 127
MAX_FAN_IN = 1040
EXACT_LIMIT = 1 << 24
MEAN_LOG2 = 6  # heads give means in 1/64 sigma
MEAN_LIMIT = 1 << 24  # largest |mean| in 1/256 step
COMPAND_LOG2, COMPAND_LIMIT = 6, 457  # the compander's input is in 1/64 sigma, and saturates there
OCTAVE = 32  # unit of log2-scales
LOG2_SCALE_MIN, LOG2_SCALE_MAX = -6 * OCTAVE, 9 * OCTAVE
SIGMA_LOG2_MAX = 8 * OCTAVE  # |log2(sigma)|
CHUNK_ROWS = 1 << 9  # rows of a 3x3 layer at a time: their neighbourhoods fit a cache

# 2^(i/4096) in 20 fractional bits; no entry is near a tie, so any correct pow gives these integers (tested)
EXP2 = np.array([round(2 ** (i / 4096) * (1 << 20)) for i in range(4096)], dtype=np.int64)
# the compander 2 asinh(x / 2) on a grid of 1/32, for x in 1/64 (tested likewise)
COMPAND = np.array(
    [math.floor(64 * math.asinh(i / 128) + 0.5) for i in range(-COMPAND_LIMIT, COMPAND_LIMIT + 1)], dtype=np.int64
)


def power(log2: Ints, shift: int = 0) -> npt.NDArray[np.float64]:
    """2^(log2/4096 + shift) as the format defines it: a table's 20 fractional bits times a power of two.

    Its product with an integer below 2^32 is exact in float64, and so is the floor of that product plus 1/2.
    """
    return np.ldexp(EXP2[log2 & 4095].astype(np.float64), (log2 >> 12) + (shift - 20))


def rounded(values: Array, factor: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """floor(values * factor + 1/2), exactly: values [..., n], and factor [n] from `power`."""
    out = np.multiply(values, factor, dtype=np.float64)
    out += 0.5
    return np.floor(out, out=out)


@dataclass(frozen=True)
class Layer:
    """y = floor((x @ weight + bias) / 2^shift + 1/2), for each output.

    Attributes:
        weight: Integers in [-127, 127], [fan_in, outputs]. A 3x3 layer has fan_in = 9 * inputs: neighbours row by row, channels
            innermost.
        bias: Integers [outputs].
        shift: Integers in 0..20, [outputs].
    """

    weight: Ints
    bias: Ints
    shift: Ints

    def check(self, name: str) -> None:
        """Raises ValueError unless every partial sum stays exact in float32."""
        half = (np.int64(1) << np.clip(self.shift, 0, 20)) >> 1
        reach = np.abs(self.weight).sum(0) * MAX_ACTIVATION + np.abs(self.bias) + half
        if np.abs(self.weight).max() > MAX_WEIGHT or len(self.weight) > MAX_FAN_IN:
            raise ValueError(f"prior layer {name}: |weight| > {MAX_WEIGHT} or fan-in {len(self.weight)} > {MAX_FAN_IN}")
        if self.bias.shape != self.shift.shape or self.bias.shape != (self.weight.shape[1],):
            raise ValueError(f"prior layer {name}: weight, bias and shift do not belong together")
        if self.shift.min() < 0 or self.shift.max() > 20:
            raise ValueError(f"prior layer {name}: a shift is outside 0..20")
        if reach.max() >= EXACT_LIMIT:
            raise ValueError(f"prior layer {name}: sums may reach {reach.max()}, float32 is exact below {EXACT_LIMIT}")


class _Integers:
    """The reference: int64 throughout."""

    dtype: Any = np.int64

    def prepare(self, layer: Layer) -> tuple[Array, Array, Array]:
        half = (np.int64(1) << layer.shift) >> 1
        return layer.weight.astype(np.int64), layer.bias + half, layer.shift.astype(np.int64)

    def apply(self, x: Array, prepared: tuple[Array, Array, Array]) -> Array:
        weight, bias, shift = prepared
        return (x @ weight + bias) >> shift

    def eighth(self, x: Array) -> Array:
        return x >> 3


class _Floats:
    """The same integers, held in float32."""

    dtype: Any = np.float32

    def prepare(self, layer: Layer) -> tuple[Array, Array, Array]:
        half = (np.int64(1) << layer.shift) >> 1
        unit = np.ldexp(np.float32(1), -layer.shift.astype(np.int32))
        return layer.weight.astype(np.float32), (layer.bias + half).astype(np.float32), unit.astype(np.float32)

    def apply(self, x: Array, prepared: tuple[Array, Array, Array]) -> Array:
        weight, bias, unit = prepared
        y = x @ weight
        y += bias
        y *= unit
        return np.floor(y, out=y)

    def eighth(self, x: Array) -> Array:
        y = x * np.float32(0.125)
        return np.floor(y, out=y)


def _clamp(x: Array) -> Array:
    return np.clip(x, -MAX_ACTIVATION, MAX_ACTIVATION, out=x)


def _agree(arithmetic: _Floats, layers: Mapping[str, Layer]) -> bool:
    """The self-test at load: compares every layer on inputs of the largest magnitude with random signs."""
    rng = np.random.default_rng(0)
    reference = _Integers()
    for layer in layers.values():
        x = rng.choice([-MAX_ACTIVATION, MAX_ACTIVATION], (4, len(layer.weight)))
        x[0] = MAX_ACTIVATION * np.where(layer.weight[:, 0] < 0, -1, 1)  # the first output's largest sum
        said = arithmetic.apply(x.astype(np.float32), arithmetic.prepare(layer))
        if not np.array_equal(said, reference.apply(x, reference.prepare(layer))):
            return False
    return True


@dataclass
class PriorState:
    """What the prior knows while a tile is being decoded.

    Attributes:
        trunk: Activations [h*w, state].
        steps: Step features [1, 7].
        step_code: See `Header`.
        shape: h and w.
    """

    trunk: Array
    steps: Array
    step_code: int
    shape: tuple[int, int]


class Prior:
    """The integer prior of a model.

    Warns if float32 matrix products are not exact on this machine, and then uses int64.

    Args:
        tensors: For each layer `NAME.weight` (int8 [fan_in, outputs]), `NAME.bias` (int32) and `NAME.shift` (uint8); also
            `sigma_log2` (int16 [C]) and `side_log2_scale` (int16 [7, side channels]), both in 1/32 octave.
        groups: Number of channels of each layer of the file, coarse to fine.
        reference: Compute in int64 from the start, which is slow.

    Raises:
        ValueError: The tensors do not fit together, or a sum could leave the exact range.
    """

    def __init__(self, tensors: Mapping[str, Array], groups: tuple[int, ...], *, reference: bool = False) -> None:
        self.groups = groups
        layers: dict[str, Layer] = {}
        for key in tensors:
            if key.endswith(".weight"):
                name = key.removesuffix(".weight")
                parts = (tensors[f"{name}.{part}"].astype(np.int64) for part in ("weight", "bias", "shift"))
                layers[name] = Layer(*parts)
                layers[name].check(name)
        self.macs = {name: int(layer.weight.size) for name, layer in layers.items()}
        self._arithmetic: _Integers | _Floats = _Integers()
        if not reference:
            floats = _Floats()
            if _agree(floats, layers):
                self._arithmetic = floats
            else:
                warnings.warn(
                    "float32 arithmetic is not exact on this machine; using int64, which is slow", stacklevel=2
                )
        self._layers = {name: self._arithmetic.prepare(layer) for name, layer in layers.items()}
        self._sigma_log2 = tensors["sigma_log2"].astype(np.int64)
        self._side_log2_scale = tensors["side_log2_scale"].astype(np.int64)
        self.side_channels = self._side_log2_scale.shape[1]
        self._starts = np.cumsum([0, *groups])
        self._check_shapes(layers)

    def _check_shapes(self, layers: Mapping[str, Layer]) -> None:
        """Raises ValueError if a layer is missing or does not fit its neighbours."""
        shapes = {name: layer.weight.shape for name, layer in layers.items()}
        state = shapes["start_step"][1]
        expected = {"start_step": (STEP_KNOTS, state), "start": (9 * shapes["side_up"][1] // SIDE_FACTOR**2, state)}
        expected["side_up"] = (self.side_channels, shapes["side_up"][1])
        for group, channels in enumerate(self.groups):
            hidden = shapes[f"heads.{group}.hidden"][1]
            expected |= {
                f"heads.{group}.hidden": (state + STEP_KNOTS, hidden),
                f"heads.{group}.out": (hidden, 2 * channels),
            }
            for kind in ("refine_half", "refine_full")[: 1 if group == len(self.groups) - 1 else 2]:
                width = shapes[f"{kind}.{group}.reduce"][1]
                expected[f"{kind}.{group}.reduce"] = (channels + state, width)
                expected[f"{kind}.{group}.mix"] = (9 * width, state)
        if shapes != expected or shapes["side_up"][1] % SIDE_FACTOR**2:
            raise ValueError("the prior's layers do not fit together")
        if self._sigma_log2.shape != (sum(self.groups),) or np.abs(self._sigma_log2).max() > SIGMA_LOG2_MAX:
            raise ValueError("the prior's sigmas do not fit its groups, or are out of range")
        if self._side_log2_scale.shape[0] != STEP_KNOTS or self.side_channels % 2:
            raise ValueError("the prior's side scales have the wrong shape")

    def macs_per_pixel(self) -> float:
        """Multiply-accumulates per pixel of the picture."""
        total = 0.0
        for name, macs in self.macs.items():
            positions = 1 / SIDE_FACTOR**2 if name == "side_up" else 0 if name == "start_step" else 1
            if name.startswith("refine_half") and name.endswith("mix"):
                positions = 0.5
            total += macs * positions / PATCH_PX**2
        return total

    def _apply(self, name: str, x: Array) -> Array:
        return self._arithmetic.apply(x, self._layers[name])

    def _leaky(self, x: Array) -> Array:
        """Leaky ReLU of slope 1/8, into the range of activations."""
        return _clamp(np.maximum(x, self._arithmetic.eighth(x)))

    def _apply3x3(self, name: str, x: Array, shape: tuple[int, int], rows: Ints | None = None) -> Array:
        """A 3x3 layer, zero-padded, over x [h*w, c], at the flat positions `rows` or at all of them. Returns [n, outputs]."""
        height, width = shape
        padded = np.zeros((height + 2, width + 2, x.shape[1]), dtype=x.dtype)
        padded[1:-1, 1:-1] = x.reshape(height, width, -1)
        windows = sliding_window_view(padded, (3, 3), (0, 1)).transpose(0, 1, 3, 4, 2)  # [h, w, 3, 3, c]
        positions = np.arange(height * width) if rows is None else rows
        parts = []
        for begin in range(0, len(positions), CHUNK_ROWS):
            part = positions[begin : begin + CHUNK_ROWS]
            neighbours = windows[part // width, part % width]
            parts.append(self._apply(name, neighbours.reshape(len(part), -1)))
        return np.concatenate(parts)

    @staticmethod
    def step_features(step_code: int) -> Ints:
        """Hat functions of log2(step). int64 [7] in 0..64."""
        position = step_code - (STEP_LOG2_OFFSET + STEP_KNOT_MIN) * STEP_LOG2_FRACTION
        position = min(max(position, 0), (STEP_KNOTS - 1) * STEP_LOG2_FRACTION)
        position = (position + 32) >> 6  # in 1/64 octave
        return np.maximum(64 - np.abs(position - 64 * np.arange(STEP_KNOTS)), 0).astype(np.int64)

    def side_scales(self, step_code: int) -> Ints:
        """log2-scales of the side channels in 1/32 octave. int64 [side channels]."""
        scales = (self.step_features(step_code) @ self._side_log2_scale + 32) >> 6
        return np.clip(scales, LOG2_SCALE_MIN, LOG2_SCALE_MAX)

    def _ratio_log2(self, group: int, step_code: int) -> Ints:
        """log2(sigma / step) of a group's channels, in 1/4096 octave."""
        sigma = self._sigma_log2[self._starts[group] : self._starts[group + 1]]
        return sigma * (STEP_LOG2_FRACTION // OCTAVE) - (step_code - STEP_LOG2_OFFSET * STEP_LOG2_FRACTION)

    def begin(self, side: Ints, step_code: int, height: int, width: int) -> PriorState:
        """Start a tile.

        Args:
            side: The decoded side grid in 1/256 of its step, [ceil(h/4), ceil(w/4), side channels].
            step_code: See `Header`.
            height: h, the tile's rows of latent positions.
            width: w, the tile's columns.
        """
        rows, columns, channels = side.shape
        context = _clamp(((side + 32) >> 6).reshape(-1, channels).astype(self._arithmetic.dtype))
        up = self._leaky(self._apply("side_up", context))
        up = up.reshape(rows, columns, -1, SIDE_FACTOR, SIDE_FACTOR).transpose(0, 3, 1, 4, 2)
        up = up.reshape(rows * SIDE_FACTOR, columns * SIDE_FACTOR, -1)[:height, :width].reshape(height * width, -1)
        steps = self.step_features(step_code)[None].astype(self._arithmetic.dtype)
        trunk = _clamp(self._apply3x3("start", up, (height, width)))
        trunk += _clamp(self._apply("start_step", steps))
        return PriorState(_clamp(trunk), steps, step_code, (height, width))

    def predict(self, group: int, trunk: Array, state: PriorState) -> tuple[Ints, Ints]:
        """Predict a group of channels.

        Args:
            group: Index of the group.
            trunk: The trunk at n positions, [n, state].
            state: The tile's state.

        Returns:
            Means, int32 [n, channels] in 1/256 step, and log2-scales, int16 [n, channels] in 1/32 octave.
        """
        features = np.concatenate([trunk, np.broadcast_to(state.steps, (len(trunk), state.steps.shape[1]))], axis=1)
        hidden = self._leaky(self._apply(f"heads.{group}.hidden", features))
        out = self._apply(f"heads.{group}.out", hidden)
        channels = self.groups[group]
        ratio = self._ratio_log2(group, state.step_code)
        mean = rounded(out[:, :channels], power(ratio, 8 - MEAN_LOG2))
        np.clip(mean, -MEAN_LIMIT, MEAN_LIMIT, out=mean)
        log2_scale = out[:, channels:] + ((ratio + 64) >> 7).astype(out.dtype)
        np.clip(log2_scale, LOG2_SCALE_MIN, LOG2_SCALE_MAX, out=log2_scale)
        return mean.astype(np.int32), log2_scale.astype(np.int16)

    def context(self, group: int, decoded: Ints, step_code: int) -> Array:
        """Decoded latent of a group, [n, channels] in 1/256 step, to the activations that the trunk sees, [n, channels]."""
        normalised = rounded(decoded, power(-self._ratio_log2(group, step_code), COMPAND_LOG2 - 8))
        np.clip(normalised, -COMPAND_LIMIT, COMPAND_LIMIT, out=normalised)
        return _COMPANDED[self._arithmetic.dtype][(normalised + COMPAND_LIMIT).astype(np.intp)]

    def refine(self, kind: str, group: int, context: Array, state: PriorState, rows: Ints | None = None) -> Array:
        """The trunk after more of a group is known. `state` does not change.

        Args:
            kind: "refine_half" after a group's first pass, "refine_full" after its second.
            group: Index of the group.
            context: What is known of the group, [h*w, channels]; see `context`.
            state: The tile's state.
            rows: Flat positions to compute; all by default.

        Returns:
            The new trunk at `rows`, [n, state].
        """
        name = f"{kind}.{group}"
        x = np.concatenate([context, state.trunk], axis=1)
        x = self._leaky(self._apply(f"{name}.reduce", x))
        mixed = _clamp(self._apply3x3(f"{name}.mix", x, state.shape, rows))
        mixed += state.trunk if rows is None else state.trunk[rows]
        return _clamp(mixed)

    def zeros(self, state: PriorState, channels: int) -> Array:
        """The context of a group before any of it is known. [h*w, channels]."""
        return np.zeros((state.shape[0] * state.shape[1], channels), dtype=self._arithmetic.dtype)


_COMPANDED = {dtype: COMPAND.astype(dtype) for dtype in (_Integers.dtype, _Floats.dtype)}
