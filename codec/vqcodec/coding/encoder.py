"""Planes to the bytes of a file: exact parts, analysis, search, rate-aware choice, entropy coding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import vqbitstream
from vqbitstream import Contents, Header
from vqbitstream.alpha import unpack_plane
from vqbitstream.choice import SEARCH_RATE_WEIGHT, default_rate_weight
from vqbitstream.container import LAYER_OVERHEAD_BYTES
from vqbitstream.errors import CorruptError
from vqbitstream.geometry import Rect, latent_shape
from vqbitstream.header import unpack_header
from vqbitstream.limits import BOUNDLESS
from vqbitstream.tiles import CodedTiles, Progress, Steps, TileCoder

from vqcodec.coding.defaults import DEFAULT_TUNE
from vqcodec.coding.exact import GUARDED_QUALITY, Exact, ExactParts
from vqcodec.coding.guard import Guard
from vqcodec.coding.quality import (
    EFFORT_WITHOUT_TORCH,
    ROUNDS,
    SEARCH_HALO,
    QualityScale,
    chosen_effort,
    search_noise,
    tune_number,
)
from vqcodec.models.store import Weights
from vqcodec.pictures.planes import Pixels, Planes
from vqcodec.runtimes.strips import Latent, Transforms

if TYPE_CHECKING:
    from vqcodec.coding.search import Search


@dataclass(frozen=True)
class EncodeStats:
    """What an encode cost.

    Attributes:
        estimated_bits: Ideal code length of all symbols.
        payload_bytes: Of the entropy-coded sections.
        file_bytes: Of the whole file.
    """

    estimated_bits: float
    payload_bytes: int
    file_bytes: int


class Encoder:
    """Encodes with one model.

    Args:
        weights: The model.
        transforms: The analysis.
        tile_coder: Encodes the latent.
        device: Where the search runs, "cpu" or "cuda".

    Raises:
        KeyError: The model lacks its quality scale.
        ValueError: The quality scale is not valid.
    """

    def __init__(self, weights: Weights, transforms: Transforms, tile_coder: TileCoder, device: str) -> None:
        self.weights, self.transforms, self.tile_coder, self.device = weights, transforms, tile_coder, device
        self._search: Search | None = None
        tables = weights.tensors["encoder.step_codes"], weights.tensors["encoder.layers"]
        self.scale = QualityScale(*tables, most_layers=tile_coder.layers)

    @property
    def search(self) -> Search:
        """The encoder's search, made when it is first needed. Only this needs torch."""
        if (
            self._search is None
        ):  # threads may each make one; `cached_property` would lock, and a forked child wait forever
            from vqcodec.coding.search import Search

            self._search = Search(self.weights, self.device)
        return self._search

    def header(
        self, width: int, height: int, quality: float, tune: str = DEFAULT_TUNE, *, grey: bool = False, alpha: bool = False
    ) -> Header:  # fmt: skip
        """The header of a picture of this size. Raises ValueError for a quality outside 1..100, or an unknown tune."""
        number = tune_number(tune)
        step_code = self.scale.step_code(quality, number)
        return Header.for_picture(
            width, height, grey=grey, alpha=alpha, quality=quality, step_code=step_code, tune=number,
            model_id=self.weights.model_id, layers=self.scale.layers(quality, number),
        )  # fmt: skip

    def encode(
        self,
        planes: Planes,
        *,
        quality: float,
        tune: str = DEFAULT_TUNE,
        effort: int | None = None,
        verify: bool = True,
        rate_weight: float | None = None,
        exact: Exact = "auto",
        progress: Progress | None = None,
    ) -> tuple[bytes, EncodeStats]:
        """Encode a picture.

        Args:
            planes: The picture.
            quality: 1..100.
            tune: "eye" or "psnr".
            effort: See `chosen_effort`.
            verify: Read the header and decode the indices, the exact pixels and the alpha plane again.
            rate_weight: See `Chooser.encode`; None is the default of the effort.
            exact: Which pixels are exact: "all", when quality and effort mean nothing; "none"; "drawn", those of drawings where
                that is smaller; or "auto", these and, at quality 75 or more, what the model would ruin.
            progress: Called with the share done, 0..1.

        Returns:
            The file, and what it cost.

        Raises:
            ValueError: An argument is out of range.
            CorruptError: With `verify`, if the file does not decode to what was encoded.
        """
        effort = chosen_effort(effort)
        pixels = planes.colour
        header = self.header(
            pixels.shape[1], pixels.shape[0], quality, tune, grey=pixels.ndim == 2, alpha=planes.alpha is not None
        )
        header = replace(header, quality_centi=0) if exact == "all" else header
        alpha = planes.packed_alpha
        if verify and alpha is not None and (unpack_plane(alpha, *pixels.shape[:2]) != planes.alpha).any():
            raise CorruptError("the alpha section does not decode to what was encoded")
        parts = ExactParts(pixels, header)
        if exact == "all" or (exact != "none" and parts.is_tiny(quality)):
            parts.keep_all()
        elif exact != "none":
            parts.keep_drawn(lambda shown: self._draft(shown, header))
        coded, bits = [], 0.0

        def code(report: Progress | None) -> tuple[CodedTiles, Guard | None]:
            guarded = exact == "auto" and quality >= GUARDED_QUALITY
            guard = Guard(self.transforms, parts.rest, parts.header, quality, tune) if guarded else None
            return self._code(parts.rest, parts.header, effort, rate_weight, verify, report, guard), guard

        if parts.header.layers:
            found, guard = code(progress)
            if exact != "none" and parts.keep_smaller(_tile_bytes(found, header)) and parts.header.layers:
                found, guard = code(None)
        if parts.header.layers:
            coded, bits = found.sections, found.estimated_bits
            if guard:
                parts.keep(guard.lost)
        pixels_kept = parts.packed()
        coded = coded if parts.header.layers else []
        if verify:
            parts.verify(pixels_kept)
        data = vqbitstream.pack(Contents(parts.header, coded, alpha, planes.metadata, exact=pixels_kept))
        if verify and unpack_header(data, BOUNDLESS) != parts.header:
            raise CorruptError("the header does not say what was encoded")
        return data, EncodeStats(bits, sum(len(s.payload) for s in coded), len(data))

    def _code(
        self, pixels: Pixels, header: Header, effort: int, rate_weight: float | None, verify: bool,
        progress: Progress | None = None, guard: Guard | None = None,
    ) -> CodedTiles:  # fmt: skip
        """The layers of a picture. Only one tile is in memory at a time; `guard` sees what each decodes to."""
        rows, columns = latent_shape(header.width, header.height)
        rounds = ROUNDS[effort]
        if rate_weight is None:
            rate_weight = SEARCH_RATE_WEIGHT if rounds else default_rate_weight(header.log2_step)
        step = Steps(progress, (2 + rounds + verify) * rows * columns)
        channels = self.tile_coder.latent_coder.prior.channels(header.layers)

        def latents() -> Iterator[Latent]:
            for tile in header.tiles:
                area = tile.grow(SEARCH_HALO, Rect(0, rows, 0, columns)) if rounds else tile
                latent = self.transforms.analyse(pixels, header, channels, area)
                step(tile.area)
                yield latent if not rounds else self.search.improve(
                    pixels, latent, area, tile, header,
                    rate_weight=rate_weight, rounds=rounds, noise=search_noise(rounds), progress=step,
                )  # fmt: skip

        nothing = lambda _, __: None  # noqa: E731
        return self.tile_coder.encode(header, latents(), rate_weight, verify=verify, step=step, seen=guard or nothing)

    def _draft(self, pixels: Pixels, header: Header) -> list[int]:
        """About how many bytes the layers of each tile of a picture take."""
        return _tile_bytes(self._code(pixels, header, EFFORT_WITHOUT_TORCH, None, False), header)


def _tile_bytes(coded: CodedTiles, header: Header) -> list[int]:
    """How many bytes the layers of each tile take."""
    sizes = [len(section.payload) + LAYER_OVERHEAD_BYTES for section in coded.sections]
    count = header.first_layer_sections
    return [sum(sizes[tile::count]) for tile in range(count)]
