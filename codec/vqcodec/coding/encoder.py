"""Planes to the bytes of a file: analysis, search, rate-aware choice, entropy coding."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import vqbitstream
from vqbitstream import Contents, Header
from vqbitstream.alpha import unpack_plane
from vqbitstream.choice import SEARCH_RATE_WEIGHT, default_rate_weight
from vqbitstream.errors import CorruptError
from vqbitstream.geometry import latent_shape
from vqbitstream.tiles import Progress, Steps, TileCoder

from vqcodec.coding.defaults import DEFAULT_TUNE
from vqcodec.coding.quality import ROUNDS, QualityScale, chosen_effort, search_noise, tune_number
from vqcodec.models.store import Weights
from vqcodec.pictures.planes import Planes
from vqcodec.runtimes.strips import Transforms

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
        self.scale = QualityScale(weights.tensors["encoder.step_codes"], weights.tensors["encoder.layers"])

    @cached_property
    def search(self) -> Search:
        """The encoder's search, made when it is first needed. Only this needs torch."""
        from vqcodec.coding.search import Search

        return Search(self.weights, self.device)

    def header(
        self, width: int, height: int, quality: float, tune: str = DEFAULT_TUNE, *, grey: bool = False, alpha: bool = False
    ) -> Header:  # fmt: skip
        """The header of a picture of this size. Raises ValueError for a quality outside 1..100, or an unknown tune."""
        number = tune_number(tune)
        step_code = self.scale.step_code(quality, number)
        layers = min(self.scale.layers(quality, number), self.tile_coder.layers)
        return Header.for_picture(
            width, height, grey=grey, alpha=alpha, quality=quality, step_code=step_code, tune=number,
            model_id=self.weights.model_id, layers=layers,
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
        progress: Progress | None = None,
    ) -> tuple[bytes, EncodeStats]:
        """Encode a picture.

        Args:
            planes: The picture.
            quality: 1..100.
            tune: "eye" or "psnr".
            effort: See `chosen_effort`.
            verify: Decode the indices and the alpha plane again.
            rate_weight: See `Chooser.encode`; None is the default of the effort.
            progress: Called with the share done, 0..1.

        Returns:
            The file, and what it cost.

        Raises:
            ValueError: An argument is out of range.
            CorruptError: With `verify`, if the file does not decode to what was encoded.
        """
        effort = chosen_effort(effort)
        pixels = planes.colour
        height, width = pixels.shape[:2]
        header = self.header(width, height, quality, tune, grey=pixels.ndim == 2, alpha=planes.alpha is not None)
        rows, columns = latent_shape(width, height)
        rounds = ROUNDS[effort]
        if rate_weight is None:
            rate_weight = SEARCH_RATE_WEIGHT if rounds else default_rate_weight(header.log2_step)
        step = Steps(progress, (2 + rounds + verify) * rows * columns)
        channels = self.tile_coder.latent_coder.prior.channels(header.layers)
        latent = self.transforms.analyse(pixels, header, channels, step)
        if rounds:
            latent = self.search.improve(
                pixels, latent, header, rate_weight=rate_weight, rounds=rounds, noise=search_noise(rounds), progress=step
            )  # fmt: skip
        coded = self.tile_coder.encode(header, latent, rate_weight, verify=verify, step=step)
        alpha = planes.packed_alpha
        if verify and alpha is not None and (unpack_plane(alpha, height, width) != planes.alpha).any():
            raise CorruptError("the alpha section does not decode to what was encoded")
        data = vqbitstream.pack(Contents(header, coded.sections, alpha, planes.metadata))
        return data, EncodeStats(coded.estimated_bits, sum(len(s.payload) for s in coded.sections), len(data))
