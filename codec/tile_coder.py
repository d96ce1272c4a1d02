"""Tiles of a latent <-> the sections of a file, whole or as far as they are sound."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from vqbitstream import Contents, Section, Tile
from vqbitstream.entropy import FrequencyTables, SectionReader, SectionWriter
from vqbitstream.errors import CorruptError, TruncatedError

from .blocks import Latent
from .latent_coder import LatentCoder

Ints = npt.NDArray[np.int64]
Progress = Callable[[float], None]


class Steps:
    """Counts finished latent positions, of `total`, and reports the share done, from `start` on, to `progress`."""

    def __init__(self, progress: Progress | None, share: float = 1.0, start: float = 0.0) -> None:
        self.progress, self.share, self.start = progress, share, start
        self.total, self.done = 1, 0

    def __call__(self, count: int) -> None:
        self.done += count
        if self.progress:
            self.progress(min(self.start + self.share * self.done / self.total, 1.0))


def tile_rows(latent: Latent, tile: Tile) -> Ints:
    """A tile's part of a latent [h, w, C], as rows by position: int64 [tile h * w, C]."""
    part = latent[tile.top : tile.bottom, tile.left : tile.right]
    return part.reshape(-1, latent.shape[2]).astype(np.int64)


class TileCoder:
    """Latents are rows by position, int64 [h*w, C] in 1/256 of the step; sections are coarse to fine."""

    def __init__(self, latent_coder: LatentCoder, tables: FrequencyTables) -> None:
        self.latent_coder, self.tables = latent_coder, tables
        self.layers = len(latent_coder.prior.groups)

    def encode(
        self, latent: Ints, side: Ints, shape: tuple[int, int], step_code: int, rate_weight: float, single: bool
    ) -> tuple[list[Section], Ints, float]:
        """Sections (one, with `single`), the latent that they decode to, and their bits by the prior's estimate."""
        writers = [SectionWriter(self.tables) for _ in range(1 if single else self.layers)]
        sinks = writers * self.layers if single else writers
        decoded = self.latent_coder.encode(latent, side, shape, step_code, rate_weight, sinks)
        return [Section(w.finish(), w.index_crc) for w in writers], decoded, sum(w.estimated_bits for w in writers)

    def decode(self, shape: tuple[int, int], step_code: int, sections: Sequence[Section | None], layers: int) -> Ints:
        """Latent of one tile from its first few layers. Raises CorruptError."""
        single = len(sections) < self.layers
        used = [s for s in sections[: 1 if single else layers] if s is not None]
        if len(used) < (1 if single else layers):
            raise TruncatedError("a layer is missing")
        readers = [SectionReader(s.payload, self.tables, s.index_crc) for s in used]
        if not single:
            return self.latent_coder.decode(shape, step_code, readers)
        # one checksum covers all layers: proved first, then read again for a preview
        latent = self.latent_coder.decode(shape, step_code, readers * self.layers)
        if layers < self.layers:
            again = SectionReader(used[0].payload, self.tables, used[0].index_crc)
            latent = self.latent_coder.decode(shape, step_code, [again] * layers, close=False)
        return latent

    def _decode_sound(
        self,
        shape: tuple[int, int],
        step_code: int,
        sections: Sequence[Section | None],
        layers: int,
        problems: list[str],
    ) -> Ints:
        """As `decode`, from the layers before the first that is missing or damaged. Raises CorruptError if there is none."""
        if len(sections) < self.layers:
            return self.decode(shape, step_code, sections, layers)
        whole = next((n for n, s in enumerate(sections) if s is None), len(sections))
        for count in range(min(layers, whole), 0, -1):
            try:
                return self.decode(shape, step_code, sections, count)
            except CorruptError as error:
                if str(error) not in problems:
                    problems.append(str(error))
        raise TruncatedError("the first layer is cut or damaged")

    def decode_area(
        self, contents: Contents, rect: Tile, layers: int, problems: list[str] | None, step: Steps
    ) -> tuple[Latent, Tile]:
        """Latent int32 [h, w, C] of the tiles that touch the positions `rect`, and the area that they cover.

        problems: None raises CorruptError for whatever is missing; a list makes do with what is sound, tells the rest there, and
        raises only where no tile has a first layer.
        """
        header, tiles = contents.header, contents.header.tiles
        wanted = [
            n
            for n, t in enumerate(tiles)
            if t.top < rect.bottom and t.bottom > rect.top and t.left < rect.right and t.right > rect.left
        ]
        first, last = tiles[wanted[0]], tiles[wanted[-1]]
        area = Tile(first.top, last.bottom, first.left, last.right)
        step.total = area.shape[0] * area.shape[1]
        latent = np.zeros((*area.shape, sum(self.latent_coder.prior.groups)), dtype=np.int32)
        blank = 0
        for number in wanted:
            tile, sections = tiles[number], contents.sections[number :: len(tiles)]
            place = latent[tile.top - area.top : tile.bottom - area.top, tile.left - area.left : tile.right - area.left]
            if problems is None:
                place[:] = self.decode(tile.shape, header.step_code, sections, layers).reshape(place.shape)
            else:
                try:
                    rows = self._decode_sound(tile.shape, header.step_code, sections, layers, problems)
                    place[:] = rows.reshape(place.shape)
                except CorruptError as error:
                    problems.append(f"tile {number + 1} of {len(tiles)} is blank: {error}")
                    blank += 1
            step(tile.shape[0] * tile.shape[1])
            if 2 * blank > len(wanted):  # or a few bytes could ask for a huge blank picture
                raise TruncatedError(f"nothing to show: {problems[-1] if problems else 'the first layer is missing'}")
        return latent, area
