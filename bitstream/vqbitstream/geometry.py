"""Rectangles of latent positions, the grid of positions over a picture, and its tiles (FORMAT.md, "Tiles")."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

PATCH_PX = 16  # side of the pixels of one latent position
CELL = 4  # tiles begin at multiples of it, so that the first group's passes lie alike in each
TILE = 64  # largest side of a tile, in latent positions


@dataclass(frozen=True)
class Rect:
    """A rectangle of rows top..bottom and columns left..right, ends excluded.

    The unit is latent positions unless stated otherwise.

    Attributes:
        top: First row.
        bottom: One past the last row.
        left: First column.
        right: One past the last column.
    """

    top: int
    bottom: int
    left: int
    right: int

    @classmethod
    def of(cls, shape: tuple[int, ...]) -> Rect:
        """All rows and columns of an array of this shape."""
        return cls(0, shape[0], 0, shape[1])

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.bottom - self.top, self.right - self.left

    @property
    def area(self) -> int:
        """Number of positions."""
        return (self.bottom - self.top) * (self.right - self.left)

    def contains(self, other: Rect) -> bool:
        """Whether `other` lies inside."""
        return self.intersect(other) == other

    def intersect(self, other: Rect) -> Rect:
        """The part that both have in common; its `area` is 0 if they do not touch."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        return Rect(top, max(top, min(self.bottom, other.bottom)), left, max(left, min(self.right, other.right)))

    def grow(self, margin: int, inside: Rect | None = None) -> Rect:
        """Larger by `margin` on each side, but never beyond `inside`."""
        grown = Rect(self.top - margin, self.bottom + margin, self.left - margin, self.right + margin)
        return grown if inside is None else grown.intersect(inside)

    def scale(self, factor: int) -> Rect:
        """The same rectangle in a unit `factor` times smaller: `rect.scale(PATCH_PX)` is in pixels."""
        return Rect(self.top * factor, self.bottom * factor, self.left * factor, self.right * factor)

    def shrink(self, factor: int) -> Rect:
        """The smallest rectangle in a unit `factor` times larger that covers this one."""
        return Rect(self.top // factor, -(-self.bottom // factor), self.left // factor, -(-self.right // factor))

    def within(self, outer: Rect) -> tuple[slice, slice]:
        """Slices of rows and columns that select this rectangle in an array that covers `outer`."""
        rows, columns = (
            slice(self.top - outer.top, self.bottom - outer.top),
            slice(self.left - outer.left, self.right - outer.left),
        )
        return rows, columns

    def split(self, side: int) -> Iterator[Rect]:
        """Rectangles of at most `side` x `side` that cover this one, row by row."""
        for top in range(self.top, self.bottom, side):
            for left in range(self.left, self.right, side):
                yield Rect(top, min(top + side, self.bottom), left, min(left + side, self.right))


def latent_shape(width_px: int, height_px: int) -> tuple[int, int]:
    """Rows and columns of the latent of a picture: one position per 16x16 pixels, rounded up."""
    return -(-height_px // PATCH_PX), -(-width_px // PATCH_PX)


def tile_count(side_px: int) -> int:
    """Number of tiles along a side."""
    return -(-side_px // (PATCH_PX * TILE))


def tile_edges(side_px: int) -> list[int]:
    """Where tiles begin and end along a side, in latent positions.

    The fewest tiles of at most 64 positions, of nearly equal length, that begin at multiples of 4.
    """
    positions = -(-side_px // PATCH_PX)
    tiles = tile_count(side_px)
    cells = -(-positions // CELL)
    return [min(positions, CELL * (cells * i // tiles)) for i in range(tiles + 1)]


def tiles_of(width_px: int, height_px: int) -> list[Rect]:
    """The tiles of a picture, row by row."""
    rows, columns = tile_edges(height_px), tile_edges(width_px)
    return [Rect(top, bottom, left, right) for top, bottom in pairwise(rows) for left, right in pairwise(columns)]
