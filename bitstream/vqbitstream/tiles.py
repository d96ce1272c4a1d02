"""Tiles of a latent <-> the sections of a file, whole or as far as they are sound (FORMAT.md, "Tiles" and "Sections")."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vqbitstream.container import Contents, Section
from vqbitstream.entropy import FrequencyTables, SectionReader, SectionWriter
from vqbitstream.errors import CorruptError, TruncatedError
from vqbitstream.geometry import Rect
from vqbitstream.header import Header
from vqbitstream.latent import LatentCoder
from vqbitstream.prior import Ints

Progress = Callable[[float], None]


class Steps:
    """Counts finished latent positions and reports `start + share * done / total` to `progress`."""

    def __init__(self, progress: Progress | None, total: int, share: float = 1.0, start: float = 0.0) -> None:
        self.progress, self.share, self.start = progress, share, start
        self.total, self.done = total, 0

    def __call__(self, count: int) -> None:
        self.done += count
        if self.progress:
            self.progress(min(self.start + self.share * self.done / self.total, 1.0))


@dataclass(frozen=True)
class CodedTiles:
    """The layers of a picture.

    Attributes:
        sections: In the order of the file.
        estimated_bits: Ideal code length of all symbols.
    """

    sections: list[Section]
    estimated_bits: float


class TileCoder:
    """The latent of a picture, integers [h, w, C] in 1/256 step, <-> the layer sections of its file.

    Args:
        latent_coder: Codes one tile.
        tables: The model's frequency tables.
    """

    def __init__(self, latent_coder: LatentCoder, tables: FrequencyTables) -> None:
        self.latent_coder, self.tables = latent_coder, tables
        self.layers = len(latent_coder.prior.groups)
        self.channels = sum(latent_coder.prior.groups)

    def encode(
        self, header: Header, latent: Ints, sides: Sequence[Ints], rate_weight: float, *, verify: bool,
        step: Callable[[int], None] = lambda _: None,
    ) -> CodedTiles:  # fmt: skip
        """Code every tile.

        Args:
            header: The header of the file.
            latent: Integers [h, w, C] in 1/256 step.
            sides: The side grid of each tile; see `LatentCoder.encode`.
            rate_weight: See `Chooser.encode`.
            verify: Decode each tile again.
            step: Called with the number of positions of each tile that was coded, and again when it was verified.

        Raises:
            CorruptError: With `verify`, if a tile does not decode to what was encoded.
        """
        tiles, bits = [], 0.0
        for tile, side in zip(header.tiles, sides, strict=True):
            rows = latent[tile.top : tile.bottom, tile.left : tile.right].reshape(-1, self.channels)
            writers = [SectionWriter(self.tables) for _ in range(1 if header.single_section else self.layers)]
            sinks = writers * self.layers if header.single_section else writers
            decoded = self.latent_coder.encode(rows, side, tile.shape, header.step_code, rate_weight, sinks)
            tiles.append([Section(w.finish(), w.index_crc) for w in writers])
            bits += sum(w.estimated_bits for w in writers)
            step(tile.area)
            if verify:
                if not np.array_equal(self.decode(tile.shape, header.step_code, tiles[-1], self.layers), decoded):
                    raise CorruptError("the file just coded does not decode to what was encoded; please report this")
                step(tile.area)
        return CodedTiles([tile[layer] for layer in range(len(tiles[0])) for tile in tiles], bits)

    def decode(self, shape: tuple[int, int], step_code: int, sections: Sequence[Section | None], layers: int) -> Ints:
        """Decode the first few layers of one tile.

        Args:
            shape: h and w of the tile.
            step_code: See `Header`.
            sections: The tile's sections.
            layers: Number of layers to decode.

        Returns:
            The latent, integers [h*w, C] in 1/256 step.

        Raises:
            CorruptError: A section is missing or damaged.
        """
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

    def verify(self, contents: Contents) -> None:
        """Decode every tile of a file. Raises CorruptError unless all its checksums hold."""
        tiles = contents.header.tiles
        for number, tile in enumerate(tiles):
            sections = contents.sections[number :: len(tiles)]
            self.decode(tile.shape, contents.header.step_code, sections, self.layers)

    def _decode_sound(
        self, shape: tuple[int, int], step_code: int, sections: Sequence[Section | None], layers: int, problems: list[str]
    ) -> Ints:  # fmt: skip
        """Like `decode`, but stops before the first layer that is missing or damaged. Raises CorruptError if that is the first."""
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
        self,
        contents: Contents,
        wanted: Rect,
        layers: int,
        problems: list[str] | None,
        progress: Progress | None = None,
    ) -> tuple[Ints, Rect]:
        """Decode the tiles that touch a rectangle.

        Args:
            contents: The file.
            wanted: Latent positions.
            layers: Number of layers to decode.
            problems: None raises CorruptError for anything missing. A list collects a line for each problem, and what is intact is
                decoded.
            progress: Called with the share done, 0..1.

        Returns:
            The latent, int32 [h, w, C] in 1/256 step, and the rectangle that it covers.

        Raises:
            CorruptError: A section is missing or damaged; with `problems`, only if more than half of these tiles lack a first layer.
        """
        header, tiles = contents.header, contents.header.tiles
        touching = [n for n, tile in enumerate(tiles) if tile.intersect(wanted).area]
        first, last = tiles[touching[0]], tiles[touching[-1]]
        area = Rect(first.top, last.bottom, first.left, last.right)
        step = Steps(progress, area.area)
        latent = np.zeros((*area.shape, self.channels), dtype=np.int32)
        blank = 0
        for number in touching:
            tile, sections = tiles[number], contents.sections[number :: len(tiles)]
            place = latent[tile.within(area)]
            if problems is None:
                place[:] = self.decode(tile.shape, header.step_code, sections, layers).reshape(place.shape)
            else:
                try:
                    rows = self._decode_sound(tile.shape, header.step_code, sections, layers, problems)
                    place[:] = rows.reshape(place.shape)
                except CorruptError as error:
                    problems.append(f"tile {number + 1} of {len(tiles)} is blank: {error}")
                    blank += 1
            step(tile.area)
            if 2 * blank > len(touching):  # or a few bytes could ask for a huge blank picture
                raise TruncatedError(f"nothing to show: {problems[-1] if problems else 'the first layer is missing'}")
        return latent, area
