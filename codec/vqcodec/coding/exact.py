"""Which blocks of a picture are coded exactly: drawings and text, where that is smaller, and whatever the model would ruin.

The model knows photographs. Of text, pixel art, dither and other things at the grid of the pixels it makes many bytes and a bad
picture; lossless coding of them is small. Blocks are 16x16 pixels, the patches of the latent. Masks are bool [rows, columns of
blocks].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from vqbitstream.errors import CorruptError
from vqbitstream.geometry import PATCH_PX, Rect, latent_shape
from vqbitstream.header import Header

from vqcodec.coding.quality import TYPICAL
from vqcodec.pictures.overlay import pack_overlay, unpack_overlay
from vqcodec.pictures.planes import Pixels

Mask = npt.NDArray[np.bool_]
Exact = Literal["auto", "drawn", "all", "none"]
BAND = 32  # rows of blocks that are looked at together: it bounds the memory

FEW_COLOURS, SOME_COLOURS = 16, 96  # as many at most has a block of a drawing; some, if one of them is its ground
GROUND = PATCH_PX**2 // 4  # as many pixels at least have the colour of the ground, the others being smoothed edges
STARK = 200.0  # variance, in squared levels, of a block with edges: there must be such blocks, for a sky may have few colours too
STARK_SHARE = 0.01  # of all blocks
DRAWN_SHARE = 0.95  # where as many blocks have few colours, edges may lie between blocks alone
WHOLE_SHARE = 0.25  # of a tile's blocks: where as many are drawn, the whole tile may be exact
# a picture of so few samples that fits exactly into so few bytes is always exact
TINY_BYTES, TINY_SAMPLES = 140, 1 << 12
DEAR_BITS = 2.5  # per sample: lossless coding of a tile that costs more may be smaller; photographs cost less
WORTH_MORE = 1.02  # what nothing lost may cost
EXACT_WORTH = 64  # bytes that a drawing may cost more when it is exact, in each tile
SECTION_BYTES = 9  # around the exact pixels of a tile

GUARDED_QUALITY = 75.0  # from here on nothing may be ruined
LOST_SHARE = 0.5  # of a block's variance: so large an error leaves nothing of its structure
LOST_TIMES = 4.0  # ... if it is also so many times the squared error of a typical picture of this quality
RUINED_TIMES = 120.0  # so many times is ruined in any case; no block of 20 photographs had more than 96 at quality 75


class ExactParts:
    """Which blocks of a picture are exact, and what the model codes of the rest.

    Args:
        pixels: The picture, uint8 [H, W, 3] or [H, W].
        header: Of the file without exact pixels.

    Attributes:
        mask: Blocks that are exact.
        rest: What the model codes: the picture, with a smooth continuation in place of the exact blocks.
    """

    def __init__(self, pixels: Pixels, header: Header) -> None:
        self.pixels, self.plain = pixels, header
        self.mask = np.zeros(latent_shape(header.width, header.height), dtype=np.bool_)
        self.rest = pixels

    @property
    def header(self) -> Header:
        """Of the file: without layers if all is exact."""
        whole = bool(self.mask.all())
        exact = bool(self.mask.any())
        layers = 0 if whole else self.plain.layers
        return replace(self.plain, exact=exact, layers=layers, single_section=self.plain.single_section and layers > 0)

    def is_tiny(self, quality: float) -> bool:
        """Whether the whole picture, exact, is so small that nothing else is worth a thought."""
        if (self.pixels == self.pixels[:1, :1]).all() or (
            quality >= GUARDED_QUALITY and min(self.pixels.shape[:2]) < PATCH_PX
        ):
            return True
        return self.pixels.size <= TINY_SAMPLES and len(pack_overlay(self.pixels)) <= TINY_BYTES

    def keep_all(self) -> None:
        """Make all blocks exact."""
        self.mask[:] = True

    def keep_drawn(self, draft: Callable[[Pixels], list[int]]) -> None:
        """Make blocks of drawings exact, or whole tiles, where that takes fewer bytes.

        Args:
            draft: A picture to the bytes that the layers of each of its tiles take.
        """
        blocks = drawn(self.pixels)
        if blocks is None:
            return
        plain, spared = draft(self.pixels), draft(filled(self.pixels, blocks))
        for tile, without, with_exact in zip(self.plain.tiles, plain, spared, strict=True):
            own = blocks[tile.top : tile.bottom, tile.left : tile.right]
            if not own.any():
                continue
            choices = {without + EXACT_WORTH: False, with_exact + self._bytes(tile, own): own}
            if own.mean() > WHOLE_SHARE:
                choices[self._bytes(tile, np.ones_like(own))] = True
            self.mask[tile.top : tile.bottom, tile.left : tile.right] = choices[min(choices)]
        if self.mask.any():
            self.rest = filled(self.pixels, self.mask)

    def keep_smaller(self, coded: Sequence[int]) -> bool:
        """Make tiles exact that take fewer bytes so, or hardly more. Says whether there are any.

        Args:
            coded: Bytes that the layers of each tile take.
        """
        found = False
        for tile, size in zip(self.plain.tiles, coded, strict=True):
            part = self._part(tile)
            own = self.mask[tile.top : tile.bottom, tile.left : tile.right]
            if 8 * size > DEAR_BITS * part.size and self._bytes(tile, np.ones_like(own)) < WORTH_MORE * size:
                own[:] = found = True
        if found:
            self.rest = filled(self.pixels, self.mask)
        return found

    def keep(self, blocks: Mask) -> None:
        """Make blocks exact, whatever they take."""
        self.mask |= blocks

    def packed(self) -> list[bytes]:
        """The exact pixels of each tile; an empty list if there are none."""
        if not self.mask.any():
            return []
        return [self._pack(t, self.mask[t.top : t.bottom, t.left : t.right]) for t in self.plain.tiles]

    def verify(self, packed: Sequence[bytes]) -> None:
        """Decode exact pixels again. Raises CorruptError unless they are the picture's."""
        for tile, data in zip(self.plain.tiles, packed, strict=False):
            if data:
                part = self._part(tile)
                mask = to_pixels(self.mask[tile.top : tile.bottom, tile.left : tile.right], part.shape)
                pixels, exact = unpack_overlay(data, *part.shape[:2])
                seen = pixels[..., 1] if part.ndim == 2 else pixels
                if (exact != mask).any() or (seen[mask] != part[mask]).any():
                    raise CorruptError("the exact pixels do not decode to what was encoded")

    def _part(self, tile: Rect) -> Pixels:
        return self.pixels[tile.scale(PATCH_PX).within(Rect(0, 0, 0, 0))]

    def _pack(self, tile: Rect, mask: Mask, *, quick: bool = False) -> bytes:
        part = self._part(tile)
        return pack_overlay(part, to_pixels(mask, part.shape), quick=quick)

    def _bytes(self, tile: Rect, mask: Mask) -> int:
        return len(self._pack(tile, mask, quick=True)) + SECTION_BYTES


def to_pixels(mask: Mask, shape: tuple[int, ...]) -> Mask:
    """A mask of blocks as one of pixels, [H, W]."""
    return mask.repeat(PATCH_PX, axis=0).repeat(PATCH_PX, axis=1)[: shape[0], : shape[1]]


def _bands(*pictures: Pixels) -> Iterator[list[Pixels]]:
    """Pictures [H, W] or [H, W, 3] as their blocks, [rows, columns, 256, channels], a band at a time; the edges are repeated."""
    height = len(pictures[0])
    for top in range(0, height, BAND * PATCH_PX):
        out = []
        for picture in pictures:
            band = picture[top : top + BAND * PATCH_PX]
            band = band[..., None] if band.ndim == 2 else band
            missing = [(0, -side % PATCH_PX) for side in band.shape[:2]]
            band = np.pad(band, [*missing, (0, 0)], mode="edge")
            rows, columns = (side // PATCH_PX for side in band.shape[:2])
            grid = band.reshape(rows, PATCH_PX, columns, PATCH_PX, -1).transpose(0, 2, 1, 3, 4)
            out.append(grid.reshape(rows, columns, PATCH_PX**2, -1))
        yield out


def drawn(pixels: Pixels) -> Mask | None:
    """Blocks of few colours, or mostly of one, if enough of them have edges or nearly all are such; else None: it is a photograph."""
    few, stark = [], 0
    for (grid,) in _bands(pixels):
        codes = grid.astype(np.int32) @ np.array([1, 256, 65536][: grid.shape[3]], dtype=np.int32)
        codes.sort(axis=2)
        plain = (codes[..., GROUND - 1 :] == codes[..., : 1 - GROUND]).any(2)
        changes = (np.diff(codes, axis=2) != 0).sum(2)
        few.append((changes < FEW_COLOURS) | (plain & (changes < SOME_COLOURS)))
        stark += int((_variance(grid[few[-1]]) > STARK).sum())
    mask = np.concatenate(few)
    return mask if stark > STARK_SHARE * mask.size or mask.mean() > DRAWN_SHARE else None


def lost(original: Pixels, decoded: Pixels, quality: float, tune: str) -> Mask:
    """Blocks of a decoded picture that are far worse than the quality promises."""
    curve = TYPICAL[tune]
    typical = 255**2 / 10 ** (float(np.interp(quality, curve[:, 0], curve[:, 2])) / 10)
    out = []
    for before, after in _bands(original, decoded):
        apart = before.astype(np.float32) - after
        flat = apart.reshape(*apart.shape[:2], -1)
        error = np.einsum("...i,...i->...", flat, flat) / flat.shape[2]
        gone = error > LOST_TIMES * typical
        gone[gone] = error[gone] > LOST_SHARE * _variance(before[gone])
        out.append(gone | (error > RUINED_TIMES * typical))
    return np.concatenate(out)


def _variance(blocks: Pixels) -> npt.NDArray[np.float32]:
    """Of blocks [..., 256, channels], the mean over channels, in squared levels."""
    return np.asarray(blocks.astype(np.float32).var(axis=-2).mean(axis=-1))


def filled(pixels: Pixels, mask: Mask) -> Pixels:
    """A picture whose masked blocks are replaced by a smooth continuation of the others, which costs the model little."""
    if mask.all():
        return np.full_like(pixels, 128)
    means = np.concatenate([grid.mean(2, dtype=np.float32) for (grid,) in _bands(pixels)])
    smooth = _continued(means, ~mask)
    smooth = _enlarged(smooth, PATCH_PX)
    out = np.array(pixels)
    where = to_pixels(mask, pixels.shape)
    part = np.rint(smooth[: where.shape[0], : where.shape[1]][where])
    out[where] = part if out.ndim == 3 else part[:, 0]
    return out


def _enlarged(planes: npt.NDArray[np.float32], factor: int) -> npt.NDArray[np.float32]:
    """[h, w, c] to [h * factor, w * factor, c], bilinear."""
    size = planes.shape[1] * factor, planes.shape[0] * factor
    shown = [Image.fromarray(plane).resize(size, Image.Resampling.BILINEAR) for plane in np.moveaxis(planes, 2, 0)]
    return np.stack([np.asarray(plane) for plane in shown], axis=2)


def _continued(means: npt.NDArray[np.float32], known: Mask) -> npt.NDArray[np.float32]:
    """Means of blocks [h, w, c], the unknown ones from coarser and coarser means of the known ones (pull and push)."""
    if known.all():
        return means
    odd = [(0, side % 2) for side in known.shape]
    weights = np.pad(known.astype(np.float32), odd)
    values = np.pad(np.where(known[..., None], means, 0), [*odd, (0, 0)])
    shape = weights.shape[0] // 2, 2, weights.shape[1] // 2, 2
    weight = weights.reshape(shape).sum((1, 3))
    total = values.reshape(*shape, -1).sum((1, 3))
    coarse = _continued(total / np.maximum(weight, 1)[..., None], weight > 0)
    wide = _enlarged(coarse, 2)[: known.shape[0], : known.shape[1]]
    return np.where(known[..., None], means, wide).astype(np.float32)
