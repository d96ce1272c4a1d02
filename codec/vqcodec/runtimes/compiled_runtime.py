"""The transforms in C: what `vqcodec.runtimes.numpy_runtime` computes, in the same order of layers, within rounding errors.

Planes have a border of zeros, as wide as the depthwise layers look, so that these need no cases at the edges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from vqbitstream.geometry import PATCH_PX
from vqbitstream.kernels import Library, address

from vqcodec.models.config import COLOURS, STRIDE_TAIL, ModelConfig
from vqcodec.runtimes.numpy_runtime import (
    BLOCK,
    Analysis,
    Block,
    NumpyRuntime,
    Part,
    Synthesis,
    Tensors,
    shifted_blocks,
    strength,
)
from vqcodec.runtimes.strips import Floats

LEAKY, ADDED = 1, 2  # what becomes of a layer's sums; see floats.c
RUN = COLOURS * PATCH_PX  # floats of a block in one row of the picture
HALF = PATCH_PX // 2


@dataclass(frozen=True)
class View:
    """Positions [height, width] inside an array: `offset` floats from its beginning, rows and positions so many floats apart."""

    array: Floats
    height: int
    width: int
    row: int
    stride: int
    offset: int = 0

    @property
    def address(self) -> int:
        return address(self.array) + 4 * self.offset


def whole(array: Floats) -> View:
    """All of [height, width, channels]."""
    height, width, channels = array.shape
    return View(np.ascontiguousarray(array, dtype=np.float32), height, width, width * channels, channels)


def empty(height: int, width: int, channels: int) -> View:
    """Room for [height, width, channels]."""
    return whole(np.empty((height, width, channels), dtype=np.float32))


class Plane:
    """Positions with a border of zeros. [height + 2 border, width + 2 border, channels]"""

    def __init__(self, height: int, width: int, channels: int, border: int) -> None:
        self.array = np.empty((height + 2 * border, width + 2 * border, channels), dtype=np.float32)
        self.array[:border], self.array[-border:], self.array[:, :border], self.array[:, -border:] = 0, 0, 0, 0
        self.height, self.width, self.channels, self.border = height, width, channels, border

    @property
    def inside(self) -> View:
        row = (self.width + 2 * self.border) * self.channels
        return View(self.array, self.height, self.width, row, self.channels, self.border * (row + self.channels))


class Dense:
    """A layer of every position; outputs are padded to whole vectors.

    Args:
        library: The kernels.
        weight: [inputs, outputs]
        bias: [outputs], 0 by default.
    """

    def __init__(self, library: Library, weight: Floats, bias: Floats | None = None) -> None:
        self._library, self.inputs, self.outputs = library, len(weight), library.padded(weight.shape[1])
        self.weight = library.panels(weight)
        self.bias = library.pad(np.zeros(weight.shape[1]) if bias is None else bias, np.float32)

    def __call__(
        self, x: View, out: View, finish: int = 0, *, bias: Floats | None = None, run: int | None = None, run_stride: int = 0
    ) -> None:  # fmt: skip
        """Compute `out`, whose positions hold their outputs in runs of `run` floats, `run_stride` apart; in one by default."""
        bias = self.bias if bias is None else self._library.pad(bias, np.float32)
        self._library.float_layer(
            x.address, x.height, x.width, x.row, x.stride, self.inputs, self.outputs, address(self.weight), address(bias),
            out.address, out.row, out.stride, run or self.outputs, run_stride, finish,
        )  # fmt: skip


class ResidualBlock:
    """`numpy_runtime.Block` in C."""

    def __init__(self, library: Library, block: Block) -> None:
        self._library, self._kernel = library, len(block.space)
        self._space, self._bias = library.pad(block.space, np.float32), library.pad(block.bias, np.float32)
        self._first, self._second = (
            Dense(library, *block.first),
            Dense(library, _more_rows(library, block.second[0]), block.second[1]),
        )

    def __call__(self, x: Plane, out: Plane) -> None:
        """Compute `out`, another plane of the same size."""
        first, second = self._first, self._second
        scratch = np.empty(x.width * (x.channels + first.outputs), dtype=np.float32)
        self._library.float_block(
            address(x.array), x.height, x.width, x.channels, first.inputs, first.outputs, self._kernel, address(self._space),
            address(self._bias), address(first.weight), address(first.bias), address(second.weight), address(second.bias),
            address(scratch), address(out.array),
        )  # fmt: skip


def _more_rows(library: Library, weight: Floats) -> Floats:
    """A weight [inputs, outputs] whose inputs are padded to whole vectors."""
    return np.pad(weight, ((0, library.padded(len(weight)) - len(weight)), (0, 0)))


def through(blocks: Sequence[ResidualBlock], plane: Plane) -> Plane:
    """One block after the other; `plane` is overwritten."""
    other = Plane(plane.height, plane.width, plane.channels, plane.border)
    for block in blocks:
        block(plane, other)
        plane, other = other, plane
    return plane


class Window:
    """A layer that sees 2 x 2 positions, without padding. weight: [4 inputs, outputs]"""

    def __init__(self, library: Library, weight: Floats, bias: Floats | None = None) -> None:
        half = len(weight) // 2  # two neighbours lie side by side in the plane
        self._upper, self._lower = Dense(library, weight[:half], bias), Dense(library, weight[half:])

    def __call__(self, x: Floats, out: View, *, run: int | None = None, run_stride: int = 0) -> None:
        """x: [h + 1, w + 1, inputs]"""
        height, width, inputs = x.shape
        for down, layer in enumerate((self._upper, self._lower)):
            seen = View(x, height - 1, width - 1, width * inputs, inputs, down * width * inputs)
            layer(seen, out, ADDED * down, run=run, run_stride=run_stride)


def companded(library: Library, x: Floats, sigma: Floats) -> View:
    """`compand(x / sigma)` of as many channels as there are sigmas."""
    x = np.ascontiguousarray(x, dtype=np.float32)
    height, width, channels = x.shape
    out, sigma = empty(height, width, len(sigma)), np.ascontiguousarray(sigma)
    library.float_compand(address(x), height * width, len(sigma), channels, address(sigma), out.address)
    return out


class CompiledAnalysis(Analysis):
    """`Analysis` in C."""

    def __init__(self, part: Part, config: ModelConfig, library: Library) -> None:
        super().__init__(part, config)
        self._library = library
        self._window = Window(library, self._linear, self._bias)
        del self._linear  # large, and not needed any more
        self._compiled_enter = Dense(library, self._enter[0])
        self._compiled_blocks = [ResidualBlock(library, block) for block in self._blocks]
        self._compiled_out = cache(lambda channels: Dense(library, *(a[..., :channels] for a in self._out)))

    def __call__(self, pixels: Floats, features: Floats, channels: int) -> Floats:
        linear = whole(shifted_blocks(pixels))
        height, width = linear.height - 1, linear.width - 1
        out = empty(height, width, self._library.padded(len(self._sigma)))
        self._window(linear.array, out)
        enter = self._compiled_enter
        plane = Plane(height, width, enter.outputs, len(self._blocks[0].space) // 2)
        enter(companded(self._library, out.array, self._sigma), plane.inside, LEAKY, bias=self._enter_bias(features))
        plane = through(self._compiled_blocks, plane)
        correction = empty(height, width, self._library.padded(channels))
        self._compiled_out(channels)(plane.inside, correction)
        latent = correction.array[..., :channels]
        latent *= self._sigma[:channels]
        latent += out.array[..., :channels]
        return latent


class CompiledSynthesis(Synthesis):
    """`Synthesis` in C."""

    def __init__(self, part: Part, config: ModelConfig, library: Library) -> None:
        super().__init__(part, config)
        self._library = library
        lapped = self._lapped.reshape(4, config.lapped, BLOCK)
        self._window = cache(lambda channels: Window(library, lapped[:, :channels].reshape(-1, BLOCK)))
        self._compiled_fine = cache(lambda channels: Dense(library, self._fine[:channels]))
        self._compiled_enter = cache(lambda channels: Dense(library, self._enter[0][:channels]))
        inputs = len(self._rise[0])  # each of the 4 x 4 positions gets whole vectors
        rise = library.pad(self._rise[0].reshape(inputs, -1, config.tail), np.float32).reshape(inputs, -1)
        rise_bias = library.pad(self._rise[1].reshape(-1, config.tail), np.float32).reshape(-1)
        self._compiled_rise, self._compiled_out = Dense(library, rise, rise_bias), Dense(library, *self._out)
        self._compiled_body = [ResidualBlock(library, block) for block in self._body]
        self._compiled_tail = [ResidualBlock(library, block) for block in self._tail]

    def __call__(self, latent: Floats, step_code: int, features: Floats) -> Floats:
        latent = np.ascontiguousarray(latent, dtype=np.float32)
        height, width, channels = latent.shape
        lapped, shown = min(channels, self._lapped_channels), min(channels, self._shown)
        picture = np.empty(((height + 1) * PATCH_PX, (width + 1) * PATCH_PX, COLOURS), dtype=np.float32)
        row = (width + 1) * RUN  # of the picture
        padded = Plane(height, width, lapped, 1)
        padded.array[1:-1, 1:-1] = latent[..., :lapped]
        blocks = View(picture, height + 1, width + 1, PATCH_PX * row, RUN)
        self._window(lapped)(padded.array, blocks, run=RUN, run_stride=row)
        inner = HALF * (row + COLOURS)  # where the picture itself begins
        if channels > lapped:
            fine = View(latent, height, width, width * channels, channels, lapped)
            own = View(picture, height, width, PATCH_PX * row, RUN, inner)
            self._compiled_fine(channels - lapped)(fine, own, ADDED, run=RUN, run_stride=row)
        enter = self._compiled_enter(shown)
        plane = Plane(height, width, enter.outputs, 1)
        enter(
            companded(self._library, latent, self._sigma[:shown]), plane.inside, LEAKY, bias=self._enter_bias(features)
        )
        plane = through(self._compiled_body, plane)
        plane = through(self._compiled_tail, self._risen(plane))
        scratch = np.empty(plane.width * (plane.channels + STRIDE_TAIL**2 * COLOURS), dtype=np.float32)
        self._library.float_paint(
            address(plane.array), plane.height, plane.width, plane.channels, self._tail_width,
            address(self._compiled_out.weight), address(self._compiled_out.bias), strength(step_code), address(scratch),
            address(picture) + 4 * inner, row,
        )  # fmt: skip
        return picture[HALF:-HALF, HALF:-HALF]

    def _risen(self, plane: Plane) -> Plane:
        """Four times as many positions along a side."""
        channels = self._library.padded(self._tail_width)
        out = Plane(STRIDE_TAIL * plane.height, STRIDE_TAIL * plane.width, channels, 1)
        fine, run = out.inside, STRIDE_TAIL * channels
        coarse = View(fine.array, plane.height, plane.width, STRIDE_TAIL * fine.row, run, fine.offset)
        self._compiled_rise(plane.inside, coarse, LEAKY, run=run, run_stride=fine.row)
        return out


class CompiledRuntime(NumpyRuntime):
    """See `vqcodec.runtimes.strips.Runtime`.

    Args:
        tensors: Of a weights file.
        config: Its sizes.
        library: The kernels.

    Raises:
        KeyError: A tensor is missing.
        ValueError: The tensors do not fit together.
    """

    def __init__(self, tensors: Tensors, config: ModelConfig, library: Library) -> None:
        self._library = library
        super().__init__(tensors, config)

    def _make_synthesis(self, part: Part) -> Synthesis:
        return CompiledSynthesis(part, self._config, self._library)

    def _make_analysis(self, part: Part) -> Analysis:
        return CompiledAnalysis(part, self._config, self._library)
