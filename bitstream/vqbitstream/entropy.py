"""Integer frequency tables, and symbols <-> ANS words (FORMAT.md, "Entropy coding"). Only integers come in here.

A stream is a sequence of *batches*. A batch holds n symbols and the table of each. Inside a batch, symbols are coded sorted by table
(stable), because constriction, which does the coding, is fast at coding many symbols with one model. Both sides know a batch's tables
before its symbols, so the order needs no side information. ANS is a stack: batches are pushed in reverse.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import cached_property

import numpy as np
import numpy.typing as npt

from vqbitstream.errors import CorruptError
from vqbitstream.kernels import library
from vqbitstream.kernels.exact import AnsReader, AnsTables

IntArray = npt.NDArray[np.integer]
TOTAL_LOG2 = 24  # frequencies are out of 2^24


class FrequencyTables:
    """The frequency tables that all files of a model share.

    The probabilities of table t are `counts[t]` as float64, quantised by constriction with `perfect=False`. The dtype and the flag
    are part of the format.

    Args:
        counts: Positive integers [tables, symbols].

    Raises:
        ValueError: Another shape, more than 65536 tables, or a count that is not in 1..2^32 - 1.
    """

    def __init__(self, counts: IntArray) -> None:
        if counts.ndim != 2 or counts.shape[1] < 2 or int(counts.min()) < 1 or int(counts.max()) >> 32:
            raise ValueError("counts must be [tables, symbols >= 2], all in 1..2^32 - 1")
        if len(counts) > 1 << 16:
            raise ValueError("at most 65536 tables")
        self.counts = counts.astype(np.int64)
        self._models: dict[int, object] = {}

    @cached_property
    def bits(self) -> npt.NDArray[np.float32]:
        """Ideal code length of every symbol in every table, in bits. float32 [tables, symbols]."""
        totals = self.counts.sum(axis=1, keepdims=True)
        return np.asarray(-np.log2(self.counts / totals), dtype=np.float32)

    @cached_property
    def bounds(self) -> npt.NDArray[np.uint32]:
        """Symbol i of table t owns the numbers from bounds[t, i] up to bounds[t, i + 1] of 2^24, as constriction has it. uint32
        [tables, symbols + 1]"""
        tables, symbols = self.counts.shape
        scale = ((1 << TOTAL_LOG2) - symbols) / self.counts.sum(axis=1, keepdims=True)
        bounds = np.zeros((tables, symbols + 1), dtype=np.uint32)
        bounds[:, 1:] = (np.cumsum(self.counts, axis=1) * scale).astype(np.uint32) + np.arange(1, symbols + 1)
        bounds[:, -1] = 1 << TOTAL_LOG2
        return bounds

    @cached_property
    def compiled(self) -> AnsTables | None:
        """The tables as the C decoder reads them; None if it is not there."""
        found = library()
        return None if found is None else AnsTables(found, self.bounds)

    def model(self, table: int) -> object:
        """constriction's model of a table; made once."""
        if table not in self._models:
            import constriction

            self._models[table] = constriction.stream.model.Categorical(
                self.counts[table].astype(np.float64), perfect=False
            )
        return self._models[table]


def _runs(tables: IntArray, count: int) -> tuple[IntArray, Iterator[tuple[int, int, int]]]:
    """Stable order by table, and (table, begin, end) of every run in that order. count: of the tables that there are."""
    order = np.argsort(tables.astype(np.uint16), kind="stable")  # 16 bits are sorted by radix
    lengths = np.bincount(tables, minlength=count)
    present = np.flatnonzero(lengths)
    ends = np.cumsum(lengths[present])
    return order, zip(present.tolist(), (ends - lengths[present]).tolist(), ends.tolist(), strict=True)


def _checksum(symbols: IntArray, running: int) -> int:
    return zlib.crc32(symbols.astype("<u2", copy=False).tobytes(), running)


class SectionWriter:
    """Collects batches in decoding order and encodes them in `finish`."""

    def __init__(self, tables: FrequencyTables) -> None:
        self._tables = tables
        self._batches: list[tuple[IntArray, IntArray]] = []
        self.index_crc = 0
        self.symbols = 0

    def write(self, tables: IntArray, symbols: IntArray) -> None:
        """Append a batch. tables, symbols: integers [n]."""
        self._batches.append((tables, symbols))
        self.index_crc = _checksum(symbols, self.index_crc)
        self.symbols += len(symbols)

    @property
    def estimated_bits(self) -> float:
        """The symbols' ideal code length, without the coder's overhead."""
        bits = self._tables.bits
        return float(sum(bits[t, s].sum(dtype=np.float64) for t, s in self._batches))

    def finish(self) -> bytes:
        """The payload: ANS words, little-endian uint32."""
        import constriction

        coder = constriction.stream.stack.AnsCoder()
        for tables, symbols in reversed(self._batches):
            order, runs = _runs(tables, len(self._tables.counts))
            ordered = symbols[order].astype(np.int32)
            for table, begin, end in reversed(list(runs)):
                coder.encode_reverse(np.ascontiguousarray(ordered[begin:end]), self._tables.model(table))
        return bytes(coder.get_compressed().astype("<u4").tobytes())


class _ConstrictionReader:
    """Pops symbols from ANS words, batch by batch. words: uint32, the last of them not 0."""

    def __init__(self, words: npt.NDArray[np.uint32], tables: FrequencyTables) -> None:
        import constriction

        self._coder, self._tables = constriction.stream.stack.AnsCoder(words), tables

    def read(self, tables: IntArray) -> IntArray:
        order, runs = _runs(tables, len(self._tables.counts))
        ordered = np.empty(len(tables), dtype=np.uint16)
        for table, begin, end in runs:
            ordered[begin:end] = self._coder.decode(self._tables.model(table), end - begin)
        symbols = np.empty_like(ordered)
        symbols[order] = ordered
        return symbols

    @property
    def is_empty(self) -> bool:
        return bool(self._coder.is_empty())


class SectionReader:
    """Decodes symbols batch by batch; `close` proves that the payload held exactly those.

    Args:
        payload: Bytes that `SectionWriter.finish` made.
        tables: The model's tables.
        index_crc: The file's CRC32 of the decoded symbols.

    Raises:
        CorruptError: No coder writes such a payload.
    """

    def __init__(self, payload: bytes, tables: FrequencyTables, index_crc: int) -> None:
        if len(payload) % 4:
            raise CorruptError(f"entropy payload of {len(payload)} bytes is not a whole number of words")
        words = np.frombuffer(payload, dtype="<u4").astype(np.uint32)
        if len(words) and not words[-1]:
            raise CorruptError("entropy payload does not end in a non-zero word")
        compiled = tables.compiled
        self._reader = _ConstrictionReader(words, tables) if compiled is None else AnsReader(words, compiled)
        self._expected = index_crc
        self._running = 0

    def read(self, tables: IntArray) -> IntArray:
        """The symbols of the next batch: tables [n] to uint16 [n]."""
        symbols = self._reader.read(tables)
        self._running = _checksum(symbols, self._running)
        return symbols

    def close(self) -> None:
        """Raises CorruptError unless every bit was used and the symbols have the file's checksum."""
        if not self._reader.is_empty:
            raise CorruptError("entropy payload holds more than its symbols")
        if self._running != self._expected:
            raise CorruptError(f"decoded indices have checksum {self._running:08x}, the file says {self._expected:08x}")
