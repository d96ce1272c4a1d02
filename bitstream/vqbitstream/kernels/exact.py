"""The prior's arithmetic and the ANS decoder in C; the same integers as `vqbitstream.arithmetic` and `vqbitstream.entropy` give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from vqbitstream.arithmetic import Array, Ints, Layer
from vqbitstream.kernels import Library, address

INTEGERS, CLAMPED, LEAKY, ADDED = range(4)  # what becomes of a layer's sums; see exact.c


@dataclass(frozen=True)
class PackedLayer:
    """A layer as the kernels read it.

    Attributes:
        weight: int16, in panels; of a depthwise layer [9, channels in whole vectors].
        bias: int32, with the half of the rounding, in whole vectors.
        shift: int32, in whole vectors.
        inputs: Of a position, even.
        outputs: Of a position.
    """

    weight: Array
    bias: Array
    shift: Array
    inputs: int
    outputs: int


class Compiled:
    """Like `vqbitstream.arithmetic.Floats`, in C: activations are int16, sums int32.

    Args:
        library: The kernels.
    """

    dtype: Any = np.int16

    def __init__(self, library: Library) -> None:
        self._library = library

    def prepare(self, layer: Layer) -> PackedLayer:
        library = self._library
        bias = library.pad(layer.bias + ((np.int64(1) << layer.shift) >> 1), np.int32)
        weight = layer.weight.astype(np.int16)
        packed = library.pad(weight, np.int16) if layer.depthwise else library.panels(weight, 2)
        inputs, outputs = layer.weight.shape
        return PackedLayer(packed, bias, library.pad(layer.shift, np.int32), inputs + inputs % 2, outputs)

    def apply(self, x: Array, layer: PackedLayer) -> Array:
        """A layer over rows: int16 [n, fan_in] -> int32 [n, outputs]"""
        return self._layer(x, layer, INTEGERS)

    def clamped(self, x: Array, layer: PackedLayer) -> Array:
        return self._layer(x, layer, CLAMPED)

    def leaky(self, x: Array, layer: PackedLayer) -> Array:
        return self._layer(x, layer, LEAKY)

    def added(self, x: Array, layer: PackedLayer, add: Array) -> Array:
        return self._layer(x, layer, ADDED, np.ascontiguousarray(add, dtype=np.int16))

    def _layer(self, x: Array, layer: PackedLayer, finish: int, add: Array | None = None) -> Array:
        if x.shape[1] < layer.inputs:
            x = np.concatenate([x, np.zeros((len(x), layer.inputs - x.shape[1]), dtype=np.int16)], axis=1)
        x = np.ascontiguousarray(x, dtype=np.int16)
        out = np.empty((len(x), layer.outputs), dtype=np.int32 if finish == INTEGERS else np.int16)
        if x.shape[1] != layer.inputs or not (add is None or add.shape in (out.shape, (1, layer.outputs))):
            raise ValueError("rows do not fit the layer")
        stride = layer.outputs if add is not None and len(add) > 1 else 0
        self._library.prior_layer(
            address(x), len(x), layer.inputs, layer.outputs, address(layer.weight), address(layer.bias), address(layer.shift),
            None if add is None else address(add), stride, finish, address(out),
        )  # fmt: skip
        return out

    def depthwise(self, x: Array, layer: PackedLayer) -> Array:
        """A depthwise layer, zero-padded and clamped: int16 [h, w, c] -> int16 [h, w, c]"""
        x = np.ascontiguousarray(x, dtype=np.int16)
        out = np.empty_like(x)
        if x.shape[2] != layer.outputs:
            raise ValueError("channels do not fit the layer")
        self._library.prior_depthwise(
            address(x), *x.shape, address(layer.weight), address(layer.bias), address(layer.shift), address(out)
        )
        return out

    def scaled(
        self,
        values: Ints,
        columns: npt.NDArray[np.float64],
        rows: npt.NDArray[np.float64] | None,
        *,
        most: int = (1 << 31) - 1,
        limit: int,
    ) -> Ints:
        """See `vqbitstream.arithmetic.Floats.scaled`."""
        if values.dtype != np.int32 or values.strides[1] != 4 or values.strides[0] % 4:
            values = np.ascontiguousarray(values, dtype=np.int32)
        columns = np.ascontiguousarray(columns)
        out = np.empty(values.shape, dtype=np.int32)
        if columns.shape != values.shape[1:] or not (rows is None or rows.shape == values.shape[:1]):
            raise ValueError("factors do not fit the values")
        self._library.prior_scale(
            address(values), *values.shape, values.strides[0] // 4, most, address(columns),
            None if rows is None else address(rows), limit, address(out),
        )  # fmt: skip
        return out


class AnsTables:
    """The format's frequency tables, ready to decode with.

    Args:
        library: The kernels.
        bounds: uint32 [tables, symbols + 1]; see FORMAT.md, "Entropy coding".
    """

    def __init__(self, library: Library, bounds: npt.NDArray[np.uint32]) -> None:
        self.library, self.bounds = library, np.ascontiguousarray(bounds)
        coarse = np.arange(257) << 16
        coarse[-1] -= 1  # the last number that there is
        starts = [np.searchsorted(table, coarse, side="right") - 1 for table in self.bounds]
        self.starts = np.array(starts, dtype=np.uint16)
        self.usual = np.diff(self.bounds.astype(np.int64)).argmax(axis=1).astype(np.uint16)


class AnsReader:
    """Pops symbols from ANS words, batch by batch.

    Args:
        words: uint32; the last is not 0.
        tables: The model's.
    """

    def __init__(self, words: npt.NDArray[np.uint32], tables: AnsTables) -> None:
        self._words, self._tables = np.ascontiguousarray(words, dtype=np.uint32), tables
        state, left = 0, len(words)
        for _ in range(min(2, left)):
            left -= 1
            state = state << 32 | int(words[left])
        self._coder = np.array([state, left], dtype=np.uint64)

    def read(self, tables: Ints) -> npt.NDArray[np.uint16]:
        """The next symbols, one from each table. [n] to [n]. Raises ValueError for a table that there is not."""
        own = self._tables
        tables = np.ascontiguousarray(tables, dtype=np.uint16)
        count, symbols = len(own.bounds), own.bounds.shape[1] - 1
        order, begins = np.empty(len(tables), dtype=np.int32), np.empty(count + 1, dtype=np.int32)
        out = np.empty(len(tables), dtype=np.uint16)
        failed = own.library.ans_read(
            address(tables), len(tables), count, symbols, address(own.bounds), address(own.starts), address(own.usual),
            address(self._words), address(self._coder), address(order), address(begins), address(out),
        )  # fmt: skip
        if failed:
            raise ValueError(f"a table outside 0..{count - 1}")
        return out

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left."""
        return not self._coder.any()
