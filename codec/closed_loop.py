"""The encoder's loop: code the latent, look at the picture that comes out, add what is missing, and code again.

The transforms overlap, so what rounding does to one coefficient its neighbours could make up for, had they known. Each round
moves the latent that is coded towards: what it was decoded to, plus the analysis of the picture's remaining error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from vqbitstream import Header, Section, Tile

from .blocks import Latent, Pixels, Transforms
from .quantizer import LAMBDA
from .tile_coder import Steps, TileCoder, tile_rows

PACE = 0.6  # share of the way that a round goes


@dataclass(frozen=True)
class Coded:
    """Tiles, row by row: sections, decoded latent (rows by position) of each; and bits of all, by the prior's estimate."""

    sections: list[list[Section]]
    decoded: list[npt.NDArray[np.int64]]
    estimated_bits: float


@dataclass(frozen=True)
class ClosedLoop:
    """Codes a picture's tiles. rate_weight: see `Quantizer.encode`. rounds: how often to look and code again."""

    transforms: Transforms
    tile_coder: TileCoder
    rate_weight: float
    rounds: int

    def encode(self, pixels: Pixels, header: Header, log2_step: float, step: Steps) -> Coded:
        """pixels: uint8 [H, W, 3] or [H, W]. Returns the round of the lowest cost."""
        latent = self.transforms.analyse(pixels, log2_step, step)
        tiles = header.tiles
        sides = [self.transforms.side(latent, tile, log2_step) for tile in tiles]
        target, best, lowest = latent, None, np.inf
        for left in range(self.rounds, -1, -1):
            coded = self._code(target, tiles, sides, header, step)
            if not self.rounds:
                return coded
            decoded = _whole(coded, tiles, latent)
            shown = self.transforms.synthesise(decoded, log2_step, pixels.shape, progress=step)
            cost = _squared_error(pixels, shown) * 4.0**-log2_step + self.rate_weight * LAMBDA * coded.estimated_bits
            if cost < lowest:
                best, lowest = coded, cost
            if left:
                missing = latent - self.transforms.analyse(shown, log2_step, step)
                target = target + np.rint(PACE * (decoded + missing - target)).astype(np.int32)
        assert best is not None
        return best

    def _code(
        self, latent: Latent, tiles: list[Tile], sides: list[npt.NDArray[np.int64]], header: Header, step: Steps
    ) -> Coded:
        coded = Coded([], [], 0.0)
        bits = 0.0
        for tile, side in zip(tiles, sides, strict=True):
            sections, decoded, tile_bits = self.tile_coder.encode(
                tile_rows(latent, tile), side, tile.shape, header.step_code, self.rate_weight, header.single_section
            )
            coded.sections.append(sections)
            coded.decoded.append(decoded)
            bits += tile_bits
            step(tile.shape[0] * tile.shape[1])
        return Coded(coded.sections, coded.decoded, bits)


def _whole(coded: Coded, tiles: list[Tile], like: Latent) -> Latent:
    """The decoded latent of all tiles."""
    out = np.empty_like(like)
    for tile, rows in zip(tiles, coded.decoded, strict=True):
        out[tile.top : tile.bottom, tile.left : tile.right] = rows.reshape(*tile.shape, -1)
    return out


def _squared_error(pixels: Pixels, shown: Pixels) -> float:
    """Summed over pixels and three colours, pixels in [-0.5, 0.5]."""
    total = 0.0
    for begin in range(0, len(pixels), 256):
        difference = pixels[begin : begin + 256].astype(np.float32) - shown[begin : begin + 256]
        total += float(np.square(difference).sum(dtype=np.float64))
    return total / 255**2 * (3 if pixels.ndim == 2 else 1)
