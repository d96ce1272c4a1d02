"""Watches, tile by tile, that the model ruins nothing: which blocks of a decoded picture are far worse than its quality promises."""

from __future__ import annotations

import numpy as np
from vqbitstream.geometry import PATCH_PX, Rect
from vqbitstream.header import Header

from vqcodec.coding.exact import Mask, lost
from vqcodec.pictures.planes import Pixels
from vqcodec.runtimes.strips import Latent, Transforms


class Guard:
    """Compares a picture with what its tiles decode to, as they are coded, row by row.

    A pixel depends on the latent a few positions around it. So with each tile a window is checked that lies that much further up and
    to the left, and only the last rows and columns of earlier tiles are kept.

    Args:
        transforms: The synthesis.
        pixels: The picture that is coded, uint8 [H, W, 3] or [H, W].
        header: Of its file.
        quality: 1..100.
        tune: "eye" or "psnr".

    Attributes:
        lost: The blocks that are lost.
    """

    def __init__(self, transforms: Transforms, pixels: Pixels, header: Header, quality: float, tune: str) -> None:
        self._transforms, self._pixels, self._header, self._for = transforms, pixels, header, (quality, tune)
        self._whole = Rect(0, header.tiles[-1].bottom, 0, header.tiles[-1].right)
        shortest = min(min(tile.shape) for tile in header.tiles)
        self._margin = 2 * min(transforms.synthesis_halo(), shortest // 2)
        self._above: Latent | None = None  # the rows above the present row of tiles, [margin, all columns, C]
        self._below: Latent | None = None  # likewise its own last rows
        self._left: Latent | None = None  # of what was seen last, its last columns
        self.lost: Mask = np.zeros(self._whole.shape, dtype=np.bool_)

    def __call__(self, tile: Rect, decoded: Latent) -> None:
        """The next tile, and what it decodes to, int32 [h, w, C]."""
        margin, whole = self._margin, self._whole
        if tile.left == 0:
            self._above, self._below, self._left = self._below, None, None
        if self._below is None and tile.bottom < whole.bottom:
            self._below = np.empty((margin, whole.right, decoded.shape[2]), dtype=np.int32)
        area = Rect(max(tile.top - margin, 0), tile.bottom, max(tile.left - margin, 0), tile.right)
        latent = decoded
        if area != tile:
            latent = np.empty((*area.shape, decoded.shape[2]), dtype=np.int32)
            if self._above is not None:
                latent[: tile.top - area.top] = self._above[:, area.left : area.right]
            if self._left is not None:
                latent[:, : tile.left - area.left] = self._left
            latent[tile.within(area)] = decoded
        if self._below is not None:
            self._below[:, tile.left : tile.right] = decoded[-margin:]
        self._left = latent[:, -margin:].copy() if tile.right < whole.right else None
        self._check(tile, latent, area)

    def _check(self, tile: Rect, latent: Latent, area: Rect) -> None:
        """Compare the window of a tile; `latent` covers `area`."""
        halo, whole, header = self._margin // 2, self._whole, self._header
        window = Rect(
            max(tile.top - halo, 0), tile.bottom - halo * (tile.bottom < whole.bottom),
            max(tile.left - halo, 0), tile.right - halo * (tile.right < whole.right),
        )  # fmt: skip
        corner = area.scale(PATCH_PX)
        shape = header.height - corner.top, header.width - corner.left, *self._pixels.shape[2:]
        inner = Rect(window.top - area.top, window.bottom - area.top, window.left - area.left, window.right - area.left)
        shown = self._transforms.synthesise(latent, header, shape, inner)
        original = self._pixels[window.scale(PATCH_PX).within(Rect(0, 0, 0, 0))]
        self.lost[window.within(whole)] = lost(original, shown, *self._for)
