"""Vectors and their choice: decode inverts encode, at every level and through escapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from vqbitstream.choice import Chooser
from vqbitstream.errors import CorruptError
from vqbitstream.vectors import (
    BOOKS,
    CODEWORDS,
    ESCAPE,
    GRID,
    ONE,
    RADIUS,
    REACH,
    SYMBOLS,
    TABLES,
    ZERO,
    Vectors,
    grid_codebook,
    single_table_book,
)


class Tape:
    """A sink that becomes a source."""

    def __init__(self) -> None:
        self.batches: list[tuple[np.ndarray, np.ndarray]] = []

    def write(self, tables: Any, symbols: Any) -> None:
        assert tables.min(initial=0) >= 0
        assert tables.max(initial=0) < TABLES
        assert symbols.min(initial=0) >= 0
        assert symbols.max(initial=0) < SYMBOLS
        self.batches.append((np.array(tables), np.array(symbols)))

    def read(self, tables: Any) -> Any:
        expected, symbols = self.batches.pop(0)
        np.testing.assert_array_equal(tables, expected)
        return symbols


def quantizer(moved: bool = False) -> Chooser:
    books = np.repeat(grid_codebook()[None], BOOKS, axis=0)
    if moved:
        books = books + np.random.default_rng(0).integers(-60, 60, books.shape).astype(np.int16)
        books[:, ZERO] = 0
    return Chooser(Vectors(books), np.full((TABLES, SYMBOLS), np.log2(SYMBOLS), dtype=np.float32))


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("rate_weight", [0.0, 0.5])
def test_decode_inverts_encode(moved: bool, rate_weight: float) -> None:
    rng = np.random.default_rng(2)
    scales = rng.integers(-192, 289, (5000, 2))
    residual = np.rint(rng.laplace(size=(5000, 2)) * 2.0 ** (scales / 32) * ONE).astype(np.int64)
    residual[::50] *= 40  # far outliers: escapes
    tape, coder = Tape(), quantizer(moved)
    written = coder.encode(scales, residual, rate_weight, tape)
    assert any((symbols == ESCAPE).any() for _, symbols in tape.batches)
    np.testing.assert_array_equal(coder.vectors.decode(scales, tape), written)
    assert not tape.batches


@pytest.mark.parametrize(("scale", "batch"), [(288, 0), (60, 1)])
def test_an_escape_where_none_may_be(scale: int, batch: int) -> None:
    """At the coarsest level, and in a vector below the top one."""
    scales = np.full((5, 2), scale)
    tape, coder = Tape(), quantizer()
    coder.encode(scales, np.zeros((5, 2), dtype=np.int64), 0.0, tape)
    tape.batches[batch][1][2] = ESCAPE
    with pytest.raises(CorruptError, match="escape"):
        coder.vectors.decode(scales, tape)


def test_nearest_grid_point_when_rate_counts_nothing() -> None:
    rng = np.random.default_rng(3)
    scales = rng.integers(-192, 289, (3000, 2))
    residual = np.rint(rng.uniform(-7, 7, (3000, 2)) * ONE).astype(np.int64)
    decoded = quantizer().encode(scales, residual, 0.0, Tape())
    assert np.abs(decoded - residual).max() <= ONE // 2


def test_no_overload_up_to_the_reach() -> None:
    values = np.arange(-REACH[-1], REACH[-1] + 1) * ONE
    residual = np.stack([values, values[::-1]], axis=1)
    for scale in (-192, 0, 20, 150, 288):
        tape = Tape()
        decoded = quantizer().encode(np.full_like(residual, scale), residual, 0.0, tape)
        np.testing.assert_array_equal(decoded, residual)


def test_rate_draws_the_choice_towards_cheap_symbols() -> None:
    coder = quantizer()
    coder.bits[:, ZERO] = 0.1
    residual = np.full((4, 2), int(0.6 * ONE))
    scales = np.full((4, 2), -32)
    assert (coder.encode(scales, residual, 0.0, Tape()) == ONE).all()
    assert (coder.encode(scales, residual, 1.0, Tape()) == 0).all()


def test_rate_draws_coarse_levels_inward() -> None:
    coder = quantizer()
    inner = GRID * (RADIUS + 2) + RADIUS  # of (2, 0): what is left of (10, 0) after (8, 0)
    coder.bits[:, inner] = 0.1
    residual = np.array([[int(10.6 * ONE), 0], [int(-10.6 * ONE), 0], [int(11.6 * ONE), 0]])
    scales = np.full((3, 2), 60)
    assert coder.encode(scales, residual, 0.0, Tape())[:, 0].tolist() == [11 * ONE, -11 * ONE, 12 * ONE]
    assert coder.encode(scales, residual, 1.0, Tape())[:, 0].tolist() == [10 * ONE, -10 * ONE, 12 * ONE]


def test_finer_vectors_are_coded_as_seen_from_the_coarser() -> None:
    """Mirrored residuals cost the same symbols below the top, and a zero above has tables of its own."""
    scales = np.full((4, 2), 60)
    residual = np.array([[10, 3], [-10, 3], [10, 20], [-10, -20]]) * ONE
    tape = Tape()
    quantizer().encode(scales, residual, 0.0, tape)
    (_, _), (tables, symbols) = tape.batches
    assert symbols[0] == symbols[1]
    assert symbols[2] == symbols[3]
    assert tables[0] == tables[1] != tables[2] == tables[3]


def test_tables_name_books_in_order() -> None:
    books = single_table_book()
    assert books.min() == 0
    assert books.max() == BOOKS - 1
    assert (np.diff(books) >= 0).all()


def test_wrong_shapes_and_moved_zero_are_refused() -> None:
    books = np.repeat(grid_codebook()[None], BOOKS, axis=0)
    bits = np.ones((TABLES, SYMBOLS), dtype=np.float32)
    with pytest.raises(ValueError, match="shape"):
        Vectors(books[:1])
    with pytest.raises(ValueError, match="shape"):
        Chooser(Vectors(books), bits[:3])
    books[0, ZERO] = 1
    with pytest.raises(ValueError, match="zero vector"):
        Vectors(books)
    assert GRID * GRID == CODEWORDS
