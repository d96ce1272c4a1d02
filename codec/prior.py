"""The prior: exact integers from decoded latent to predicted means and scales, the same on every machine.

Activations are integers in [-127, 127], weights too; every layer is a matrix product whose partial sums provably stay
below 2^24, so float32 holds them exactly whatever the order of summation, the instruction set or the number of threads.
The same code runs on torch (float32) and, as reference and fallback, on NumPy int64.

Rows are latent positions, row by row: an array [h*w, channels]. Units: means in 1/256 step, log2-scales in 1/32 octave.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from vqbitstream.header import SIDE_FACTOR, STEP_LOG2_FRACTION, STEP_LOG2_OFFSET

Ints = npt.NDArray[np.int64]

STEP_KNOTS = 7  # hat functions of log2(step) at -5, -4, .. 1
STEP_KNOT_MIN = -5
MAX_WEIGHT = MAX_ACTIVATION = 127
MAX_FAN_IN = 1040
EXACT_LIMIT = 1 << 24
MEAN_LOG2 = 6  # heads give means in 1/64 sigma
COMPAND_LOG2, COMPAND_LIMIT = 6, 457  # the compander's input is in 1/64 sigma, and saturates there
LOG2_SCALE_MIN, LOG2_SCALE_MAX = -192, 288
SIGMA_LOG2_MAX = 8 * 32  # |log2(sigma)| in 1/32 octave: keeps scale_by_power in its exact range
CHUNK_ROWS = 1 << 15

# 2^(i/4096) in 20 fractional bits; no entry is near a tie, so any correct pow gives these integers (tested)
EXP2 = np.array([round(2 ** (i / 4096) * (1 << 20)) for i in range(4096)], dtype=np.int64)
# the compander 2 asinh(x / 2) on a grid of 1/32, for x in 1/64 (tested likewise)
COMPAND = np.array(
    [math.floor(64 * math.asinh(i / 128) + 0.5) for i in range(-COMPAND_LIMIT, COMPAND_LIMIT + 1)], dtype=np.int64
)


def scale_by_power(values: Ints, log2: Ints, shift: int) -> Ints:
    """floor(values * 2^(log2/4096 + shift) + 1/2) in integers. values [..., n], log2 [n], both int64.

    Exact for |values| < 2^40 and log2/4096 + shift < 20.
    """
    exponent = 20 - shift - (log2 >> 12)
    product = values * EXP2[log2 & 4095]
    down = np.maximum(exponent, 1)
    rounded = (product + (np.int64(1) << (down - 1))) >> down
    return np.where(exponent >= 1, rounded, product << np.maximum(-exponent, 0))


@dataclass(frozen=True)
class Layer:
    """y = floor((x @ weight + bias) / 2^shift + 1/2), per output; weight [fan_in, outputs], bias and shift [outputs].

    A 3x3 layer has fan_in = 9 * inputs, the neighbours row by row, channels innermost.
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


class _NumpyOps:
    """Reference arithmetic in int64."""

    def array(self, values: Ints) -> Any:
        return values.astype(np.int64)

    def numpy(self, values: Any) -> Ints:
        return np.asarray(values, dtype=np.int64)

    def layer(self, layer: Layer) -> Any:
        half = (np.int64(1) << layer.shift) >> 1
        return layer.weight.astype(np.int64), layer.bias + half, layer.shift.astype(np.int64)

    def apply(self, x: Any, prepared: Any) -> Any:
        weight, bias, shift = prepared
        return (x @ weight + bias) >> shift

    def cat(self, parts: list[Any]) -> Any:
        return np.concatenate(parts, axis=1)

    def leaky(self, x: Any) -> Any:
        return _clamp(np.maximum(x, x >> 3))

    def stack(self, parts: list[Any]) -> Any:
        return np.concatenate(parts, axis=0)

    def repeat(self, row: Any, rows: int) -> Any:
        return np.broadcast_to(row, (rows, row.shape[1]))

    def zeros(self, rows: int, columns: int) -> Any:
        return np.zeros((rows, columns), dtype=np.int64)

    def index(self, values: Ints) -> Any:
        return values


class _TorchOps:
    """The same integers in float32 matrix products, on the CPU."""

    def __init__(self) -> None:
        import torch

        self._torch = torch

    def array(self, values: Ints) -> Any:
        return self._torch.from_numpy(values.astype(np.float32))

    def numpy(self, values: Any) -> Ints:
        return np.asarray(values.numpy(), dtype=np.int64)

    def layer(self, layer: Layer) -> Any:
        half = (np.int64(1) << layer.shift) >> 1
        return self.array(layer.weight), self.array(layer.bias + half), self.array(np.ldexp(1.0, -layer.shift))

    def apply(self, x: Any, prepared: Any) -> Any:
        weight, bias, unit = prepared
        with self._torch.autocast("cpu", enabled=False):  # whatever the caller has switched on
            return self._torch.matmul(x, weight).add_(bias).mul_(unit).floor_()

    def cat(self, parts: list[Any]) -> Any:
        return self._torch.cat(parts, 1)

    def leaky(self, x: Any) -> Any:
        return _clamp(self._torch.maximum(x, self._torch.floor(x * 0.125)))

    def stack(self, parts: list[Any]) -> Any:
        return self._torch.cat(parts, 0)

    def repeat(self, row: Any, rows: int) -> Any:
        return row.expand(rows, -1)

    def zeros(self, rows: int, columns: int) -> Any:
        return self._torch.zeros(rows, columns, dtype=self._torch.float32, device="cpu")

    def index(self, values: Ints) -> Any:
        return self._torch.from_numpy(values)


def _clamp(x: Any) -> Any:
    return x.clip(-MAX_ACTIVATION, MAX_ACTIVATION)


def _agree(ops: Any, reference: Any, layers: Mapping[str, Layer]) -> bool:
    """The self-test at load: every layer on the largest activations there can be, signs at random."""
    rng = np.random.default_rng(0)
    for layer in layers.values():
        x = rng.choice([-MAX_ACTIVATION, MAX_ACTIVATION], (4, len(layer.weight))).astype(np.int64)
        x[0] = MAX_ACTIVATION * np.where(layer.weight[:, 0] < 0, -1, 1)  # the first output's largest sum
        said = [o.numpy(o.apply(o.array(x), o.layer(layer))) for o in (ops, reference)]
        if not np.array_equal(*said):
            return False
    return True


@dataclass
class PriorState:
    """What the prior knows while one picture is decoded."""

    trunk: Any  # (h*w, state)
    steps: Any  # (1, 7)
    step_code: int
    neighbours: Any  # (h*w, 9), h*w where outside


class Prior:
    """The integer prior of a model.

    tensors: for every layer `NAME.weight` (int8 [fan_in, outputs]), `NAME.bias` (int32), `NAME.shift` (uint8), besides
    `sigma_log2` (int16 [C], 1/32 octave) and `side_log2_scale` (int16 [7, side channels], 1/32 octave).
    groups: channels of each layer, coarse to fine. backend: "torch" or "numpy"; a self-test falls back to the latter, with a
    warning, where float32 matrix products are not what IEEE 754 says. Raises ValueError where a bound fails.
    """

    def __init__(
        self, tensors: Mapping[str, npt.NDArray[Any]], groups: tuple[int, ...], backend: str = "torch"
    ) -> None:
        self.groups = groups
        layers: dict[str, Layer] = {}
        for key in tensors:
            if key.endswith(".weight"):
                name = key.removesuffix(".weight")
                parts = (tensors[f"{name}.{part}"].astype(np.int64) for part in ("weight", "bias", "shift"))
                layers[name] = Layer(*parts)
                layers[name].check(name)
        self.macs = {name: int(layer.weight.size) for name, layer in layers.items()}
        self._ops: Any = _TorchOps() if backend == "torch" else _NumpyOps()
        if backend == "torch" and not _agree(self._ops, _NumpyOps(), layers):
            warnings.warn("float32 arithmetic is not exact on this machine; using int64, which is slow", stacklevel=2)
            self._ops = _NumpyOps()
        self._layers = {name: self._ops.layer(layer) for name, layer in layers.items()}
        self._sigma_log2 = tensors["sigma_log2"].astype(np.int64)
        self._side_log2_scale = tensors["side_log2_scale"].astype(np.int64)
        self.side_channels = self._side_log2_scale.shape[1]
        self._starts = np.cumsum([0, *groups])
        self._check_shapes(layers)

    def _check_shapes(self, layers: Mapping[str, Layer]) -> None:
        """Raises ValueError unless there is every layer, and each fits its neighbours."""
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

    def _apply(self, name: str, x: Any) -> Any:
        return self._ops.apply(x, self._layers[name])

    def _apply3x3(self, name: str, x: Any, neighbours: Any) -> Any:
        """neighbours [n, 9] into the rows of x; returns [n, outputs]."""
        padded = self._ops.stack([x, self._ops.zeros(1, x.shape[1])])
        parts = []
        for begin in range(0, len(neighbours), CHUNK_ROWS):
            index = neighbours[begin : begin + CHUNK_ROWS]
            parts.append(self._apply(name, padded[index].reshape(len(index), -1)))
        return parts[0] if len(parts) == 1 else self._ops.stack(parts)

    @staticmethod
    def step_features(step_code: int) -> Ints:
        """Hat functions of log2(step). -> int64 [7] in 0..64"""
        position = step_code - (STEP_LOG2_OFFSET + STEP_KNOT_MIN) * STEP_LOG2_FRACTION
        position = min(max(position, 0), (STEP_KNOTS - 1) * STEP_LOG2_FRACTION)
        position = (position + 32) >> 6  # in 1/64 octave
        return np.maximum(64 - np.abs(position - 64 * np.arange(STEP_KNOTS)), 0).astype(np.int64)

    def side_scales(self, step_code: int) -> Ints:
        """log2-scale of the side channels. -> int64 [side channels]"""
        scales = (self.step_features(step_code) @ self._side_log2_scale + 32) >> 6
        return np.clip(scales, LOG2_SCALE_MIN, LOG2_SCALE_MAX)

    def _ratio_log2(self, group: int, step_code: int) -> Ints:
        """log2(sigma / step) of a group's channels, in 1/4096 octave."""
        sigma = self._sigma_log2[self._starts[group] : self._starts[group + 1]]
        return sigma * (STEP_LOG2_FRACTION // 32) - (step_code - STEP_LOG2_OFFSET * STEP_LOG2_FRACTION)

    def begin(self, side: Ints, step_code: int, height: int, width: int) -> PriorState:
        """Start a picture of height x width latent positions from its decoded side grid [rows, columns, channels]."""
        rows, columns, channels = side.shape
        context = _clamp(self._ops.array(((side + 32) >> 6).reshape(-1, channels)))
        up = self._ops.numpy(self._ops.leaky(self._apply("side_up", context)))
        up = up.reshape(rows, columns, -1, SIDE_FACTOR, SIDE_FACTOR).transpose(0, 3, 1, 4, 2)
        up = up.reshape(rows * SIDE_FACTOR, columns * SIDE_FACTOR, -1)[:height, :width].reshape(height * width, -1)
        steps = self._ops.array(self.step_features(step_code)[None])
        neighbours = self._ops.index(neighbour_index(height, width))
        trunk = _clamp(self._apply3x3("start", self._ops.array(up), neighbours))
        trunk = _clamp(trunk + _clamp(self._apply("start_step", steps)))
        return PriorState(trunk, steps, step_code, neighbours)

    def trunk_at(self, state: PriorState, rows: Ints) -> Any:
        return state.trunk[self._ops.index(rows)]

    def integers(self, trunk: Any) -> Ints:
        """A trunk as int64, for looking at."""
        return np.asarray(self._ops.numpy(trunk))

    def predict(self, group: int, trunk: Any, state: PriorState) -> tuple[Ints, Ints]:
        """Means (1/256 step) and log2-scales (1/32 octave) of a group at the rows of `trunk`. Each int64 [n, channels]"""
        features = self._ops.cat([trunk, self._ops.repeat(state.steps, len(trunk))])
        hidden = self._ops.leaky(self._apply(f"heads.{group}.hidden", features))
        out = self._ops.numpy(self._apply(f"heads.{group}.out", hidden))
        channels = self.groups[group]
        ratio = self._ratio_log2(group, state.step_code)
        mean = scale_by_power(out[:, :channels], ratio, 8 - MEAN_LOG2)
        log2_scale = out[:, channels:] + ((ratio + 64) >> 7)
        return mean, np.clip(log2_scale, LOG2_SCALE_MIN, LOG2_SCALE_MAX)

    def context(self, group: int, decoded: Ints, step_code: int) -> Ints:
        """What the trunk sees of decoded latents (1/256 step). [n, channels] -> int64 [n, channels] in -127..127"""
        normalised = scale_by_power(decoded, -self._ratio_log2(group, step_code), COMPAND_LOG2 - 8)
        return COMPAND[np.clip(normalised, -COMPAND_LIMIT, COMPAND_LIMIT) + COMPAND_LIMIT]

    def refine(self, kind: str, group: int, context: Ints, state: PriorState, rows: Ints | None = None) -> Any:
        """The trunk after more of a group is known. kind: "refine_half" or "refine_full"; context [h*w, channels].

        Returns the new trunk at `rows` (all by default); `state` is not changed.
        """
        name = f"{kind}.{group}"
        x = self._ops.cat([self._ops.array(context), state.trunk])
        x = self._ops.leaky(self._apply(f"{name}.reduce", x))
        index = slice(None) if rows is None else self._ops.index(rows)
        mixed = _clamp(self._apply3x3(f"{name}.mix", x, state.neighbours[index]))
        return _clamp(state.trunk[index] + mixed)


def neighbour_index(height: int, width: int) -> Ints:
    """Rows of the 3x3 neighbourhood of every position, height * width where outside. -> int64 [h*w, 9]"""
    padded = np.full((height + 2, width + 2), height * width, dtype=np.int64)
    padded[1:-1, 1:-1] = np.arange(height * width).reshape(height, width)
    shifts = [padded[dy : dy + height, dx : dx + width].reshape(-1) for dy in range(3) for dx in range(3)]
    return np.stack(shifts, axis=1)
