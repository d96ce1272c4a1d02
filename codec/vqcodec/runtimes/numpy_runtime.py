"""The transforms in NumPy: matrix products over rows of positions, channels innermost. Decoding needs nothing else.

The synthesis is specified (FORMAT.md, "Synthesis"). The trainable twin, with the reasons for each layer, is
`vqcodec.vqvae.transforms`; both give the same pixels to within one level.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from vqbitstream.geometry import PATCH_PX
from vqbitstream.header import log2_step

from vqcodec.models.config import COLOURS, STRIDE_TAIL, ModelConfig, step_features
from vqcodec.runtimes.strips import Floats

CHUNK_FLOATS = 1 << 18  # of gathered neighbourhoods at a time: they stay in the cache between gathering and product
Tensors = Mapping[str, npt.NDArray[Any]]
BLOCK = COLOURS * PATCH_PX**2  # values of the pixels of one position


class NumpyRuntime:
    """See `vqcodec.runtimes.strips.Runtime`. tensors: of a weights file. Raises KeyError or ValueError where they do not fit."""

    def __init__(self, tensors: Tensors, config: ModelConfig) -> None:
        self._tensors, self._config = tensors, config
        self.synthesis_halo, self.analysis_halo = config.synthesis_halo, config.analysis_halo
        self._synthesis = self._make_synthesis(Part(tensors, "synthesis."))

    @cached_property
    def _analysis(self) -> Analysis:
        return self._make_analysis(Part(self._tensors, "analysis."))

    def _make_synthesis(self, part: Part) -> Synthesis:
        return Synthesis(part, self._config)

    def _make_analysis(self, part: Part) -> Analysis:
        return Analysis(part, self._config)

    def analyse(self, pixels: Floats, step_code: int, tune: int, channels: int) -> Floats:
        """[H, W, 3] in [-0.5, 0.5], sides multiples of 16 -> the first channels of the latent, [h, w, channels]"""
        return self._analysis(pixels, step_features(step_code, tune), channels)

    def synthesise(self, latent: Floats, step_code: int, tune: int) -> Floats:
        """Latent [h, w, some channels] -> picture [H, W, 3], about [-0.5, 0.5], not clipped"""
        return self._synthesis(latent, step_code, step_features(step_code, tune))


class Part:
    """The tensors under a prefix, in float32, their shapes checked. Raises KeyError or ValueError."""

    def __init__(self, tensors: Tensors, prefix: str) -> None:
        self._tensors, self._prefix = tensors, prefix

    def __call__(self, name: str, *shape: int) -> Floats:
        array = self._tensors[self._prefix + name]
        if array.shape != shape:
            raise ValueError(f"{self._prefix}{name} is {list(array.shape)} instead of {list(shape)}")
        return np.asarray(array, dtype=np.float32)

    def dense(self, name: str, inputs: int, outputs: int) -> tuple[Floats, Floats]:
        """Weight [inputs, outputs] and bias of a layer."""
        return np.ascontiguousarray(self(f"{name}.weight", outputs, inputs).T), self(f"{name}.bias", outputs)

    def block(self, name: str, width: int, kernel: int) -> Block:
        """A residual block."""
        space = self(f"{name}.space.weight", kernel**2, width).reshape(kernel, kernel, width)
        first, second = self.dense(f"{name}.first", width, 2 * width), self.dense(f"{name}.second", 2 * width, width)
        return Block(space, self(f"{name}.space.bias", width), first, second)

    def refuse_block(self, name: str) -> None:
        """Raises ValueError if there are more blocks than the sizes say."""
        if f"{self._prefix}{name}.first.weight" in self._tensors:
            raise ValueError(f"{self._prefix}{name} is one block more than the sizes say")


class Block:
    """x + second(leaky(first(depthwise(x))))"""

    def __init__(
        self, space: Floats, bias: Floats, first: tuple[Floats, Floats], second: tuple[Floats, Floats]
    ) -> None:
        self.space, self.bias, self.first, self.second = space, bias, first, second

    def __call__(self, x: Floats) -> Floats:
        """[h, w, c] -> [h, w, c], in place"""
        y = _depthwise(x, self.space, self.bias)
        rows = max(1, CHUNK_FLOATS // (x.shape[1] * self.first[0].shape[1]))
        for top in range(0, len(x), rows):  # the wide layer stays in the cache
            hidden = y[top : top + rows] @ self.first[0]
            hidden += self.first[1]
            x[top : top + rows] += leaky(hidden) @ self.second[0]
        x += self.second[1]
        return x


class Analysis:
    """The linear overlapping transform, and a correction of its result that sees quality and tune."""

    def __init__(self, part: Part, config: ModelConfig) -> None:
        channels, width = config.channels, config.analysis_width
        # file: pixels (colour, row, column); here they are (row, column, colour)
        linear = part("linear.weight", channels, 4 * BLOCK).reshape(channels, 4, COLOURS, PATCH_PX, PATCH_PX)
        self._linear = np.ascontiguousarray(linear.transpose(1, 3, 4, 2, 0)).reshape(4 * BLOCK, channels)
        self._bias, self._sigma = part("linear.bias", channels), part("sigma", channels)
        self._enter, self._out = part.dense("enter", channels, width), part.dense("out", width, channels)
        self._features = part.dense("step_bias", 16, width)
        self._blocks = [part.block(f"blocks.{n}", width, 5) for n in range(config.analysis_blocks)]
        part.refuse_block(f"blocks.{config.analysis_blocks}")

    def _enter_bias(self, features: Floats) -> Floats:
        return np.asarray(self._enter[1] + self._features[1] + features @ self._features[0])

    def __call__(self, pixels: Floats, features: Floats, channels: int) -> Floats:
        blocks = shifted_blocks(pixels)
        linear = convolve2x2(blocks, self._linear)
        linear += self._bias
        x = compand(linear / self._sigma) @ self._enter[0]
        x += self._enter_bias(features)
        x = leaky(x)
        for block in self._blocks:
            x = block(x)
        latent = linear[..., :channels] + self._sigma[:channels] * (
            x @ self._out[0][:, :channels] + self._out[1][:channels]
        )
        return np.asarray(latent, dtype=np.float32)


class Synthesis:
    """The linear synthesis, whose coarse channels overlap, and its correction."""

    def __init__(self, part: Part, config: ModelConfig) -> None:
        self._lapped_channels, self._shown, self._tail_width = config.lapped, config.shown, config.tail
        body, tail = config.body, config.tail
        self._sigma = part("sigma", config.channels)
        self._lapped = _spread(part("lapped.weight", BLOCK, 4 * config.lapped), PATCH_PX).T.copy()
        self._fine = _spread(part("fine.weight", BLOCK, config.channels - config.lapped), PATCH_PX).T.copy()
        self._enter, self._features = part.dense("enter", config.shown, body), part.dense("step_bias", 16, body)
        self._body = [part.block(f"body.{n}", body, 3) for n in range(config.body_blocks)]
        self._rise = self._shuffled(part, "rise", body, tail)
        self._tail = [part.block(f"tail.{n}", tail, 3) for n in range(config.tail_blocks)]
        self._out = self._shuffled(part, "out", tail, COLOURS)
        part.refuse_block(f"body.{config.body_blocks}")
        part.refuse_block(f"tail.{config.tail_blocks}")

    @staticmethod
    def _shuffled(part: Part, name: str, inputs: int, outputs: int) -> tuple[Floats, Floats]:
        """A layer before a depth-to-space by 4."""
        weight = _spread(part(f"{name}.weight", outputs * STRIDE_TAIL**2, inputs), STRIDE_TAIL)
        return weight.T.copy(), _spread(part(f"{name}.bias", outputs * STRIDE_TAIL**2), STRIDE_TAIL)

    def _enter_bias(self, features: Floats) -> Floats:
        return np.asarray(self._enter[1] + self._features[1] + features @ self._features[0])

    def __call__(self, latent: Floats, step_code: int, features: Floats) -> Floats:
        half, lapped, channels = PATCH_PX // 2, self._lapped_channels, latent.shape[2]
        shown = min(channels, self._shown)
        kernel = self._lapped
        if channels < lapped:  # of a preview
            kernel = kernel.reshape(4, lapped, BLOCK)[:, :channels].reshape(-1, BLOCK)
        padded = np.pad(latent[..., :lapped], ((1, 1), (1, 1), (0, 0)))
        picture = depth_to_space(convolve2x2(padded, kernel), PATCH_PX)[half:-half, half:-half]
        if channels > lapped:
            picture += depth_to_space(latent[..., lapped:] @ self._fine[: channels - lapped], PATCH_PX)
        x = compand(latent[..., :shown] / self._sigma[:shown]) @ self._enter[0][:shown]
        x += self._enter_bias(features)
        x = leaky(x)
        for block in self._body:
            x = block(x)
        x = leaky(depth_to_space(x @ self._rise[0] + self._rise[1], STRIDE_TAIL))
        for block in self._tail:
            x = block(x)
        correction = leaky(x) @ self._out[0]
        correction += self._out[1]
        correction *= strength(step_code)
        picture += depth_to_space(correction, STRIDE_TAIL)
        return picture


def strength(step_code: int) -> np.float32:
    """Of the synthesis's correction: about the square root of the step."""
    return np.float32(0.3 * 2 ** (0.5 * (log2_step(step_code) + 2.75)))


def shifted_blocks(pixels: Floats) -> Floats:
    """The blocks of a grid that is shifted by half a block up and to the left. [H, W, 3] -> [h + 1, w + 1, (row, column, colour)]"""
    half = PATCH_PX // 2
    padded = np.pad(pixels, ((half, half), (half, half), (0, 0)), mode="edge")
    height, width = (n // PATCH_PX for n in padded.shape[:2])
    return padded.reshape(height, PATCH_PX, width, PATCH_PX * COLOURS).swapaxes(1, 2).reshape(height, width, -1)


def compand(x: Floats) -> Floats:
    """2 asinh(x / 2): linear near zero, logarithmic beyond 2. By logarithms, which NumPy computes many at a time."""
    y = np.abs(x) * np.float32(0.5)
    y = np.log(y + np.sqrt(y * y + np.float32(1)))
    return np.copysign(2 * y, x)


def leaky(x: Floats) -> Floats:
    """Leaky ReLU of slope 0.1."""
    return np.maximum(x, np.float32(0.1) * x)


def _spread(array: Floats, factor: int) -> Floats:
    """Outputs (channel, row, column) of a depth-to-space layer -> (row, column, channel)"""
    parts = array.reshape(-1, factor, factor, *array.shape[1:])
    return np.ascontiguousarray(np.moveaxis(parts, 0, 2)).reshape(array.shape)


def _depthwise(x: Floats, weight: Floats, bias: Floats) -> Floats:
    """A depthwise k x k convolution with zeros around it: [h, w, c], [k, k, c] -> [h, w, c]"""
    kernel, width = len(weight), x.shape[1]
    half = kernel // 2
    padded = np.pad(x, ((half, half), (half, half), (0, 0)))
    out = np.empty_like(x)
    product = np.empty_like(x[0])
    for row in range(len(x)):  # a row at a time stays in the cache
        sums = out[row]
        sums[:] = bias
        for down in range(kernel):
            for right in range(kernel):
                sums += np.multiply(padded[row + down, right : right + width], weight[down, right], out=product)
    return out


def convolve2x2(x: Floats, weight: Floats) -> Floats:
    """A 2x2 convolution without padding: [h, w, c], [4c, out] -> [h - 1, w - 1, out]"""
    windows = sliding_window_view(x, (2, 2), (0, 1)).transpose(0, 1, 3, 4, 2)
    height, width = windows.shape[:2]
    out = np.empty((height, width, weight.shape[1]), dtype=np.float32)
    rows = max(1, CHUNK_FLOATS // (width * len(weight)))
    for top in range(0, height, rows):
        part = windows[top : top + rows].reshape(-1, len(weight))
        np.matmul(part, weight, out=out[top : top + rows].reshape(-1, weight.shape[1]))
    return out


def depth_to_space(x: Floats, factor: int) -> Floats:
    """[h, w, factor * factor * c], ordered (row, column, channel) -> [h * factor, w * factor, c]"""
    height, width = x.shape[:2]
    return x.reshape(height, width, factor, -1).swapaxes(1, 2).reshape(height * factor, width * factor, -1)
