"""The contents of a file to planes, whole or in part."""

from __future__ import annotations

import warnings
from collections import deque
from numbers import Real

import numpy as np
import numpy.typing as npt
from PIL import Image
from vqbitstream import Contents, Header
from vqbitstream.alpha import plane_bands
from vqbitstream.errors import CorruptError, TruncatedError, UnsupportedError
from vqbitstream.geometry import PATCH_PX, Rect, latent_shape
from vqbitstream.tiles import Progress, Steps, TileCoder

from vqcodec.arguments import checked_whole, region_numbers
from vqcodec.pictures.overlay import unpack_overlay
from vqcodec.pictures.planes import Pixels, Planes
from vqcodec.runtimes.preview import FACTORS
from vqcodec.runtimes.strips import Latent, Transforms

Region = tuple[int, int, int, int]  # x, y, width, height in pixels


class Decoder:
    """Decodes the files of one model.

    Args:
        model_id: 8 bytes.
        transforms: The synthesis.
        tile_coder: Decodes the sections.
    """

    def __init__(self, model_id: bytes, transforms: Transforms, tile_coder: TileCoder) -> None:
        self.model_id, self.transforms, self.tile_coder = model_id, transforms, tile_coder

    def decode(
        self,
        contents: Contents,
        *,
        layers: int | None = None,
        region: Region | None = None,
        factor: int = 1,
        allow_partial: bool = False,
        progress: Progress | None = None,
    ) -> Planes:
        """Decode a file, or a part of it.

        Args:
            contents: The file.
            layers: Number of layers; all by default.
            region: (x, y, width, height) in pixels; the whole picture by default.
            factor: 2, 4, 8 or 16 give a preview so many times smaller, from the layers that it needs. It has every pixel that the
                region touches.
            allow_partial: Show the intact part of a cut or damaged file, with a warning.
            progress: Called with the share done, 0..1.

        Raises:
            VQCError: Anything is wrong with the file.
            ValueError: The picture does not have these layers or this region.
        """
        header = contents.header
        self.check(header)
        first = contents.sections[: header.first_layer_sections] if header.layers else contents.exact
        if 2 * list(first).count(None) > len(first):  # or a few bytes could ask for a huge blank picture
            reason = contents.problems[0] if contents.problems else "the first layer is missing"
            raise TruncatedError(f"nothing to show: {reason}")
        layers = _checked_layers(header, layers)
        if factor > 1:
            layers = min(layers, self.transforms.layers(factor))
        shown = checked_region(header, region)
        small = shown.shrink(factor)
        problems = list(contents.problems)
        tolerated = problems if allow_partial else None
        alpha = self._alpha(contents, small, factor, tolerated)
        colour = self._painted(contents, shown, factor, layers, tolerated, progress)
        if header.exact:
            lay_exact(contents, colour, small, factor, tolerated)
        if problems:
            warnings.warn("incomplete picture: " + "; ".join(problems), stacklevel=4)
        return Planes(colour, alpha, dict(contents.metadata))

    def _painted(
        self, contents: Contents, shown: Rect, factor: int, layers: int, problems: list[str] | None, progress: Progress | None
    ) -> Pixels:  # fmt: skip
        """What the model paints of the pixels `shown`; nothing, if the file has no layers."""
        header, small = contents.header, shown.shrink(factor)
        if not layers:
            return np.zeros(small.shape if header.grey else (*small.shape, 3), dtype=np.uint8)
        # the positions whose pixels are shown, and those that the synthesis looks at for them
        rect = shown.shrink(PATCH_PX)
        latent, area = self.tile_coder.decode_area(
            contents, rect.grow(self.transforms.synthesis_halo(factor)), layers, problems,
            None if progress is None else lambda share: progress(share / 2),
        )  # fmt: skip
        inner = Rect(rect.top - area.top, rect.bottom - area.top, rect.left - area.left, rect.right - area.left)
        side = PATCH_PX // factor
        size = -(-header.height // factor) - area.top * side, -(-header.width // factor) - area.left * side
        step = Steps(progress, rect.area, 0.5, 0.5)
        shape = size if header.grey else (*size, 3)
        colour = self.transforms.synthesise(latent, header, shape, inner, step, factor)
        return np.ascontiguousarray(colour[small.within(rect.scale(side))])

    def verify(self, contents: Contents) -> None:
        """Decode the indices, the exact pixels and the alpha plane. Raises a VQCError unless their checksums are right."""
        header = contents.header
        self.check(header)
        if header.layers:
            self.tile_coder.verify(contents)
        for tile, data in zip(header.tiles, contents.exact, strict=False):
            if data or not header.layers:
                exact_pixels(header, tile, data)
        if contents.alpha is not None:
            deque(plane_bands(contents.alpha, header.height, header.width), maxlen=0)

    def latent(self, contents: Contents) -> Latent:
        """The whole latent, int32 [h, w, C of the file's layers]. Raises a VQCError."""
        header = contents.header
        self.check(header)
        if not header.layers:
            raise UnsupportedError("the file has no latent: all its pixels are exact")
        whole = Rect.of(latent_shape(header.width, header.height))
        return np.asarray(self.tile_coder.decode_area(contents, whole, header.layers, None)[0], dtype=np.int32)

    def check(self, header: Header) -> None:
        """Raises UnsupportedError if the file needs another model, CorruptError if it contradicts this one."""
        if header.layers and header.model_id != self.model_id:
            raise UnsupportedError(f"the file needs model {header.model_id.hex()}, this is {self.model_id.hex()}")
        if header.layers > self.tile_coder.layers:
            raise CorruptError(f"{header.layers} layers in the file, {self.tile_coder.layers} in the model")

    @staticmethod
    def _alpha(contents: Contents, shown: Rect, factor: int, problems: list[str] | None) -> Pixels | None:
        """Alpha of the pixels `shown`, each of factor x factor of the file's. If it is missing or damaged it is opaque, provided that
        there are `problems` to list that in."""
        header = contents.header
        if not header.alpha:
            return None
        try:
            if contents.alpha is None:
                raise CorruptError("alpha is missing")
            return _alpha_of(contents.alpha, header, shown, factor)
        except CorruptError as error:
            if problems is None:
                raise
            problems.append(f"{error}, shown opaque")
            return np.full(shown.shape, 255, dtype=np.uint8)


def _alpha_of(data: bytes, header: Header, shown: Rect, factor: int) -> Pixels:
    """See `Decoder._alpha`. Takes memory for the pixels `shown`, and time for the rows down to them. Raises CorruptError."""
    out = np.empty(shown.shape, dtype=np.uint8)
    wanted = shown.scale(factor).intersect(Rect(0, header.height, 0, header.width))
    for top, band in plane_bands(data, header.height, header.width):
        part = Rect(top, top + len(band), 0, header.width).intersect(wanted)
        if part.area:
            seen = band[part.top - top : part.bottom - top, part.left : part.right]
            row = (part.top - wanted.top) // factor
            seen = seen if factor == 1 else _reduced(np.ascontiguousarray(seen), factor)
            out[row : row + len(seen)] = seen
        if wanted.bottom <= top + len(band) < header.height:
            break
    return out


def exact_pixels(header: Header, tile: Rect, data: bytes | None) -> tuple[Pixels, npt.NDArray[np.bool_]]:
    """The pixels of a tile, uint8 [h, w, 3] or [h, w], and which of them are exact, [h, w].

    Raises:
        CorruptError: They are missing or damaged, or do not make the whole picture of a file without layers.
    """
    if not data:
        raise TruncatedError("exact pixels are missing")
    place = tile.scale(PATCH_PX).intersect(Rect(0, header.height, 0, header.width))
    pixels, exact = unpack_overlay(data, *place.shape)
    if not header.layers and not exact.all():
        raise CorruptError("a tile without layers has pixels that are not exact")
    return pixels[..., 1] if header.grey else pixels, exact


def lay_exact(contents: Contents, picture: Pixels, shown: Rect, factor: int, problems: list[str] | None) -> None:
    """Lay the exact pixels over a picture.

    Args:
        contents: The file.
        picture: uint8 [h, w, 3] or [h, w]; changed.
        shown: Where the picture lies, in pixels of factor x factor of the file's.
        factor: See `Decoder.decode`.
        problems: Where lines about damaged tiles go, which are then left as they are; None raises instead.

    Raises:
        CorruptError: A tile is damaged; with `problems`, only if more than half of the picture is then blank.
    """
    header = contents.header
    blank = touching = 0
    for number, (tile, data) in enumerate(zip(header.tiles, contents.exact, strict=True), 1):
        place = tile.scale(PATCH_PX // factor)
        part = place.intersect(shown)
        if not part.area or (data == b"" and header.layers):
            continue
        touching += 1
        try:
            pixels, exact = exact_pixels(header, tile, data)
        except CorruptError as error:
            if problems is None:
                raise
            problems.append(f"tile {number} of {len(header.tiles)} lacks exact pixels: {error}")
            blank += not header.layers
            continue
        own, under = part.within(place), picture[part.within(shown)]
        if factor == 1:
            under[exact[own]] = pixels[own][exact[own]]
            continue
        share = _reduced(np.where(exact, 255, 0).astype(np.uint8), factor)[own].astype(np.float32) / 255
        seen = np.where(exact if pixels.ndim == 2 else exact[..., None], pixels, 0).astype(np.uint8)
        rest = (1 - share) if under.ndim == 2 else (1 - share)[..., None]
        under[:] = np.minimum(np.rint(_reduced(seen, factor)[own] + rest * under), 255)
    if 2 * blank > touching:  # or a few bytes could ask for a huge blank picture
        raise TruncatedError(f"nothing to show: {problems[-1] if problems else 'no exact pixels'}")


def _reduced(plane: Pixels, factor: int) -> Pixels:
    return np.asarray(Image.fromarray(plane).reduce(factor))


def _checked_layers(header: Header, layers: int | None) -> int:
    layers = header.layers if layers is None else checked_whole("layers", layers, 1)
    if not header.layers:  # a preview of exact pixels is the picture
        return 0
    if not 1 <= layers <= header.layers:
        raise ValueError(f"layers must lie in 1..{header.layers}, not {layers}")
    return layers


def checked_region(header: Header, region: Region | None) -> Rect:
    """The region in pixels; the whole picture by default."""
    whole = Rect(0, header.height, 0, header.width)
    if region is None:
        return whole
    left, top, width, height = region_numbers(region)
    if min(width, height) < 1 or not whole.contains(shown := Rect(top, top + height, left, left + width)):
        raise ValueError(f"region {left},{top},{width},{height} is not inside {header.width}x{header.height} pixels")
    return shown


def preview_factor(scale: float, max_size: int | None, longest: int) -> int:
    """How many times smaller than the picture to paint.

    Args:
        scale: 1, 1/2, 1/4, 1/8 or 1/16.
        max_size: Longest side of the result in pixels; the picture painted is at least as large, to be scaled down.
        longest: Longest side of what is shown, in pixels.

    Raises:
        ValueError: Another scale, a size below 1, or both.
    """
    if max_size is None:
        if not isinstance(scale, Real) or scale not in [1 / n for n in (1, *FACTORS)]:
            raise ValueError(f"scale must be 1, 1/2, 1/4, 1/8 or 1/16, not {scale}")
        return round(1 / scale)
    if scale != 1:
        raise ValueError("give one of scale and max_size")
    checked_whole("max_size", max_size, 1)
    return max((n for n in FACTORS if -(-longest // n) >= max_size), default=1)
