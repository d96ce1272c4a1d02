"""Tiles of a latent <-> the sections of a file, whole or as far as they are sound (FORMAT.md, "Tiles" and "Sections")."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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
    """The latent of a picture, int32 [h, w, C] in 2^-14 of the unit of pixels, <-> the layer sections of its file.

    C is the number of channels of the layers that there are.

    Args:
        latent_coder: Codes one tile.
        tables: The model's frequency tables.
    """

    def __init__(self, latent_coder: LatentCoder, tables: FrequencyTables) -> None:
        self.latent_coder, self.tables = latent_coder, tables
        self.layers = len(latent_coder.prior.groups)  # the most that a file can have

    def encode(
        self,
        header: Header,
        latents: Iterable[Ints],
        rate_weight: float,
        *,
        verify: bool,
        step: Callable[[int], None] = lambda _: None,
        seen: Callable[[Rect, Ints], None] = lambda _, __: None,
    ) -> CodedTiles:
        """Code every tile.

        Args:
            header: The header of the file.
            latents: Integers [h, w, C of the file's layers] of each tile in turn.
            rate_weight: See `Chooser.encode`.
            verify: Decode each tile again.
            step: Called with the number of positions of each tile that was coded, and again when it was verified.
            seen: Called with each tile and what it decodes to, [h, w, C].

        Raises:
            CorruptError: With `verify`, if a tile does not decode to what was encoded.
        """
        tiles, bits = [], 0.0
        for tile, latent in zip(header.tiles, latents, strict=True):
            rows = latent.reshape(tile.area, -1)
            writers = [SectionWriter(self.tables) for _ in range(1 if header.single_section else header.layers)]
            sinks = writers * header.layers if header.single_section else writers
            decoded = self.latent_coder.encode(rows, tile.shape, header.step_code, header.tune, rate_weight, sinks)
            tiles.append([Section(w.finish(), w.index_crc) for w in writers])
            bits += sum(w.estimated_bits for w in writers)
            step(tile.area)
            if verify:
                if not np.array_equal(self.decode(header, tile.shape, tiles[-1], header.layers), decoded):
                    raise CorruptError("the file just coded does not decode to what was encoded; please report this")
                step(tile.area)
            seen(tile, decoded.reshape(*tile.shape, -1))
        return CodedTiles([tile[layer] for layer in range(len(tiles[0])) for tile in tiles], bits)

    def decode(
        self, header: Header, shape: tuple[int, int], sections: Sequence[Section | None], layers: int
    ) -> Ints:  # fmt: skip
        """Decode the first few layers of one tile.

        Args:
            header: Of the file.
            shape: h and w of the tile.
            sections: The tile's sections.
            layers: Number of layers to decode.

        Returns:
            The latent, int32 [h*w, C of those layers].

        Raises:
            CorruptError: A section is missing or damaged.
        """
        needed = 1 if header.single_section else layers
        used = [s for s in sections[:needed] if s is not None]
        if len(used) < needed:
            raise TruncatedError("a layer is missing")
        readers = [SectionReader(s.payload, self.tables, s.index_crc) for s in used]
        if header.single_section:  # one checksum covers all layers: all are decoded to prove it
            readers *= header.layers
        latent = self.latent_coder.decode(shape, header.step_code, header.tune, readers)
        return latent[:, : self.latent_coder.prior.channels(layers)]

    def verify(self, contents: Contents) -> None:
        """Decode every tile of a file. Raises CorruptError unless all its checksums hold."""
        tiles = contents.header.tiles
        for number, tile in enumerate(tiles):
            sections = contents.sections[number :: len(tiles)]
            self.decode(contents.header, tile.shape, sections, contents.header.layers)

    def _decode_sound(
        self, header: Header, shape: tuple[int, int], sections: Sequence[Section | None], layers: int, problems: list[str]
    ) -> Ints:  # fmt: skip
        """Like `decode`, but stops before the first layer that is missing or damaged. Raises CorruptError if that is the first."""
        if header.single_section:
            return self.decode(header, shape, sections, layers)
        whole = next((n for n, s in enumerate(sections) if s is None), len(sections))
        for count in range(min(layers, whole), 0, -1):
            try:
                return self.decode(header, shape, sections, count)
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
            The latent, int32 [h, w, C of those layers], zero in layers that are missing or damaged, and the rectangle that it covers.

        Raises:
            CorruptError: A section is missing or damaged; with `problems`, only if more than half of these tiles lack a first layer.
        """
        header, tiles = contents.header, contents.header.tiles
        touching = [n for n, tile in enumerate(tiles) if tile.intersect(wanted).area]
        first, last = tiles[touching[0]], tiles[touching[-1]]
        area = Rect(first.top, last.bottom, first.left, last.right)
        step = Steps(progress, area.area)
        latent = np.zeros((*area.shape, self.latent_coder.prior.channels(layers)), dtype=np.int32)
        blank = 0
        for number in touching:
            tile, sections = tiles[number], contents.sections[number :: len(tiles)]
            place = latent[tile.within(area)]
            if problems is None:
                place[:] = self.decode(header, tile.shape, sections, layers).reshape(place.shape)
            else:
                try:
                    rows = self._decode_sound(header, tile.shape, sections, layers, problems)
                    place[..., : rows.shape[1]] = rows.reshape(*tile.shape, -1)
                except CorruptError as error:
                    problems.append(f"tile {number + 1} of {len(tiles)} is blank: {error}")
                    blank += 1
            step(tile.area)
            if 2 * blank > len(touching):  # or a few bytes could ask for a huge blank picture
                raise TruncatedError(f"nothing to show: {problems[-1] if problems else 'the first layer is missing'}")
        return latent, area
