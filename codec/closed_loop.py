"""The encoder's loop: code the latent, look at the picture that comes out, add what is missing, and code again.

The transforms overlap, so what rounding does to one coefficient its neighbours could make up for, had they known. Each round
moves the latent that is coded towards: what it was decoded to, plus the analysis of the picture's remaining error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from vqbitstream import Header, Section, Tile
from vqbitstream.errors import CorruptError

from .blocks import Latent, Pixels, Transforms
from .quantizer import LAMBDA
from .tile_coder import Steps, TileCoder, tile_rows

PACE = 0.6  # share of the way that a round goes


@dataclass(frozen=True)
class Coded:
    """Sections of each tile, row by row; the latent that they decode to (None without a loop); bits by the prior's estimate."""

    sections: list[list[Section]]
    decoded: Latent | None
    estimated_bits: float


@dataclass(frozen=True)
class ClosedLoop:
    """Codes a picture's tiles. rate_weight: see `Quantizer.encode`. rounds: how often to look and code again. verify: decode the
    sections once, and raise CorruptError unless they hold what was coded."""

    transforms: Transforms
    tile_coder: TileCoder
    rate_weight: float
    rounds: int
    verify: bool

    def encode(self, pixels: Pixels, header: Header, log2_step: float, step: Steps) -> Coded:
        """pixels: uint8 [H, W, 3] or [H, W]. Returns the round of the lowest cost."""
        latent = self.transforms.analyse(pixels, log2_step, step)
        tiles = header.tiles
        sides = [self.transforms.side(latent, tile, log2_step) for tile in tiles]
        target, best, lowest = latent, None, np.inf
        for left in range(self.rounds, -1, -1):
            coded = self._code(target, tiles, sides, header, step)
            if coded.decoded is None:
                return coded
            shown = self.transforms.synthesise(coded.decoded, log2_step, pixels.shape, progress=step)
            cost = _squared_error(pixels, shown) * 4.0**-log2_step + self.rate_weight * LAMBDA * coded.estimated_bits
            if cost < lowest:
                best, lowest = coded, cost
            if left:
                missing = latent - self.transforms.analyse(shown, log2_step, step)
                target = target + np.rint(PACE * (coded.decoded + missing - target)).astype(np.int32)
        assert best is not None
        assert best.decoded is not None
        for tile, sections in zip(tiles, best.sections, strict=True):
            self._prove(tile, sections, tile_rows(best.decoded, tile), header, step)
        return best

    def _code(
        self, latent: Latent, tiles: list[Tile], sides: list[npt.NDArray[np.int64]], header: Header, step: Steps
    ) -> Coded:
        """One round over the tiles. Without a loop each tile is proved at once, and nothing is kept of it but its sections."""
        whole = np.empty_like(latent) if self.rounds else None
        coded, bits = [], 0.0
        for tile, side in zip(tiles, sides, strict=True):
            sections, decoded, tile_bits = self.tile_coder.encode(
                tile_rows(latent, tile), side, tile.shape, header.step_code, self.rate_weight, header.single_section
            )
            coded.append(sections)
            bits += tile_bits
            step(tile.shape[0] * tile.shape[1])
            if whole is None:
                self._prove(tile, sections, decoded, header, step)
            else:
                whole[tile.top : tile.bottom, tile.left : tile.right] = decoded.reshape(*tile.shape, -1)
        return Coded(coded, whole, bits)

    def _prove(
        self, tile: Tile, sections: list[Section], expected: npt.NDArray[np.int64], header: Header, step: Steps
    ) -> None:
        if not self.verify:
            return
        if not np.array_equal(self.tile_coder.decode(tile.shape, header.step_code, sections, header.layers), expected):
            raise CorruptError("the file just coded does not decode to what was encoded; please report this")
        step(tile.shape[0] * tile.shape[1])


def _squared_error(pixels: Pixels, shown: Pixels) -> float:
    """Summed over pixels and three colours, pixels in [-0.5, 0.5]."""
    total = 0.0
    for begin in range(0, len(pixels), 256):
        difference = pixels[begin : begin + 256].astype(np.float32) - shown[begin : begin + 256]
        total += float(np.square(difference).sum(dtype=np.float64))
    return total / 255**2 * (3 if pixels.ndim == 2 else 1)
