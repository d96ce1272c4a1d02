"""The transforms in NumPy: matrix products over rows of positions, channels innermost. Decoding needs nothing else.

The synthesis is specified (FORMAT.md, "Synthesis"). The trainable twin, with the reasons for each layer, is
`vqcodec.vqvae.transforms`; both give the same pixels to within one level.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from vqbitstream.geometry import PATCH_PX, SIDE_FACTOR

from vqcodec.models.config import STEP_LOG2_MIN, ModelConfig, step_features
from vqcodec.runtimes.strips import Floats

CHUNK_FLOATS = 1 << 18  # of gathered neighbourhoods at a time: they stay in the cache between gathering and product
Tensors = Mapping[str, npt.NDArray[Any]]


class NumpyRuntime:
    """See `vqcodec.runtimes.strips.Runtime`. tensors: of a weights file. Raises KeyError or ValueError where they do not fit."""

    def __init__(self, tensors: Tensors, config: ModelConfig) -> None:
        self._tensors, self._config = tensors, config
        self.channels = config.channels
        self.synthesis_halo = config.synthesis_halo
        self._synthesis = _Synthesis(tensors, config)

    @cached_property
    def _analysis(self) -> tuple[Floats, Floats]:
        """Weight [4 * 768, C] over the blocks of a 2x2 neighbourhood, and bias."""
        weight = self._tensor("analysis.linear.weight", (self.channels, 3, PATCH_PX, PATCH_PX, 2, 2))
        # file: (colour, row, column); here pixels are (row, column, colour)
        return np.ascontiguousarray(weight.transpose(4, 5, 2, 3, 1, 0)).reshape(-1, self.channels), self._tensor(
            "analysis.linear.bias"
        )

    def _tensor(self, name: str, shape: tuple[int, ...] | None = None) -> Floats:
        array = self._tensors[name].astype(np.float32)
        return array if shape is None else array.reshape(shape)

    def analyse(self, pixels: Floats) -> Floats:
        """[H, W, 3] in [-0.5, 0.5], sides multiples of 16 -> latent [h, w, C]"""
        weight, bias = self._analysis
        half = PATCH_PX // 2
        padded = np.pad(pixels, ((half, half), (half, half), (0, 0)), mode="edge")
        height, width = (n // PATCH_PX for n in padded.shape[:2])
        blocks = padded.reshape(height, PATCH_PX, width, PATCH_PX * 3).swapaxes(1, 2).reshape(height, width, -1)
        return _convolve(blocks, weight, 2) + bias

    def side_grid(self, latent: Floats, log2_step: float) -> Floats:
        """Latent [h, w, C] -> side grid [ceil(h/4), ceil(w/4), side channels] in its own step"""
        layer = {n: self._tensor(f"side_analysis.{n}") for n in ("first.weight", "second.weight", "out.weight")}
        bias = {n: self._tensor(f"side_analysis.{n}.bias") for n in ("first", "second", "out", "step_bias")}
        steps = step_features(log2_step) @ self._tensor("side_analysis.step_bias.weight").T + bias["step_bias"]
        padding = [(0, -n % SIDE_FACTOR) for n in latent.shape[:2]]
        x = np.pad(compand(latent / self._synthesis.sigma), [*padding, (0, 0)])
        x = leaky(x @ layer["first.weight"][..., 0, 0].T + (bias["first"] + steps))
        x = leaky(_convolve3x3(x, _by_neighbour(layer["second.weight"])) + bias["second"])
        cells = x.reshape(x.shape[0] // SIDE_FACTOR, SIDE_FACTOR, x.shape[1] // SIDE_FACTOR, SIDE_FACTOR, -1)
        cells = cells.transpose(0, 2, 4, 1, 3)  # (channel, row, column) innermost, as the weight has it
        return np.asarray(
            cells.reshape(*cells.shape[:2], -1) @ layer["out.weight"][..., 0, 0].T + bias["out"], dtype=np.float32
        )

    def synthesise(self, latent: Floats, log2_step: float) -> Floats:
        """Latent [h, w, C] -> picture [H, W, 3], about [-0.5, 0.5], not clipped"""
        return self._synthesis(latent, log2_step)


class _Synthesis:
    """The linear overlapping synthesis and its correction; weights are laid out so that each layer is one product."""

    def __init__(self, tensors: Tensors, config: ModelConfig) -> None:
        def tensor(name: str) -> Floats:
            return tensors[f"synthesis.{name}"].astype(np.float32)

        def spread(array: Floats, factor: int) -> Floats:
            """Outputs (channel, row, column) of a depth-to-space layer -> (row, column, channel)"""
            parts = array.reshape(-1, factor, factor, *array.shape[1:])
            return np.ascontiguousarray(np.moveaxis(parts, 0, 2)).reshape(array.shape)

        self.sigma = tensor("sigma")
        if self.sigma.shape != (config.channels,):
            raise ValueError("synthesis.sigma does not fit the latent's channels")
        self._linear = _by_neighbour(spread(tensor("linear.weight"), PATCH_PX))
        self._first = spread(tensor("first.weight")[..., 0, 0], 2).T.copy()
        self._first_bias = spread(tensor("first.bias"), 2)
        self._step_weight, self._step_bias = spread(tensor("step_bias.weight"), 2), spread(tensor("step_bias.bias"), 2)
        self._blocks = [
            [
                (_by_neighbour(tensor(f"blocks.{n}.{part}.weight")), tensor(f"blocks.{n}.{part}.bias"))
                for part in ("first", "second")
            ]
            for n in range(config.synthesis_blocks)
        ]
        self._out = _by_neighbour(spread(tensor("out.weight"), PATCH_PX // 2))
        self._out_bias = spread(tensor("out.bias"), PATCH_PX // 2)

    def __call__(self, latent: Floats, log2_step: float) -> Floats:
        half = PATCH_PX // 2
        linear = _depth_to_space(_convolve(np.pad(latent, ((1, 1), (1, 1), (0, 0))), self._linear, 2), PATCH_PX)
        x = compand(latent / self.sigma) @ self._first
        x += self._first_bias + self._step_bias + self._step_weight @ step_features(log2_step)
        x = _depth_to_space(leaky(x), 2)
        for (first, first_bias), (second, second_bias) in self._blocks:
            y = _convolve3x3(leaky(x), first)
            y += first_bias
            y = _convolve3x3(leaky(y), second)
            y += second_bias
            x += y
        correction = _convolve3x3(leaky(x), self._out)
        correction += self._out_bias
        correction *= np.float32(
            0.3 * 2 ** (0.5 * (log2_step - STEP_LOG2_MIN - 2.25))
        )  # about the square root of the step
        picture = linear[half:-half, half:-half]
        picture += _depth_to_space(correction, half)
        return picture


def compand(x: Floats) -> Floats:
    """2 asinh(x / 2): linear near zero, logarithmic beyond 2. By logarithms, which NumPy computes many at a time."""
    y = np.abs(x) * np.float32(0.5)
    y = np.log(y + np.sqrt(y * y + np.float32(1)))
    return np.copysign(2 * y, x)


def leaky(x: Floats) -> Floats:
    """Leaky ReLU of slope 0.1."""
    return np.maximum(x, np.float32(0.1) * x)


def _by_neighbour(weight: Floats) -> Floats:
    """Kernel [out, in, k, k] -> [k * k * in, out], neighbours row by row."""
    return np.ascontiguousarray(weight.transpose(2, 3, 1, 0)).reshape(-1, weight.shape[0])


def _convolve3x3(x: Floats, weight: Floats) -> Floats:
    """[h, w, c] with zeros around it -> [h, w, out]"""
    return _convolve(np.pad(x, ((1, 1), (1, 1), (0, 0))), weight, 3)


def _convolve(x: Floats, weight: Floats, kernel: int) -> Floats:
    """A k x k convolution without padding: [h, w, c], [k * k * c, out] -> [h - k + 1, w - k + 1, out]"""
    windows = sliding_window_view(x, (kernel, kernel), (0, 1)).transpose(0, 1, 3, 4, 2)
    height, width = windows.shape[:2]
    out = np.empty((height, width, weight.shape[1]), dtype=np.float32)
    for top, bottom in _chunks(height, width * len(weight)):
        np.matmul(
            windows[top:bottom].reshape(-1, len(weight)), weight, out=out[top:bottom].reshape(-1, weight.shape[1])
        )
    return out


def _chunks(rows: int, floats_per_row: int) -> Iterator[tuple[int, int]]:
    step = max(1, CHUNK_FLOATS // floats_per_row)
    return ((top, min(top + step, rows)) for top in range(0, rows, step))


def _depth_to_space(x: Floats, factor: int) -> Floats:
    """[h, w, factor * factor * c], ordered (row, column, channel) -> [h * factor, w * factor, c]"""
    height, width = x.shape[:2]
    return x.reshape(height, width, factor, -1).swapaxes(1, 2).reshape(height * factor, width * factor, -1)
