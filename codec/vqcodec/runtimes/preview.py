"""Pictures 2, 4, 8 or 16 times smaller, straight from the latent: the linear synthesis alone, its kernels averaged over boxes.

It paints what a box filter would leave of the linear synthesis of the whole picture, at the cost of the pixels that it paints, as JPEG
readers scale down with a smaller DCT. The correction is left out: boxes average most of it away. Few channels are needed, since the
others are finer than the painted pixels; the layers of the others are not decoded.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate

import numpy as np
from vqbitstream.geometry import PATCH_PX

from vqcodec.models.config import COLOURS, ModelConfig
from vqcodec.runtimes.numpy_runtime import Tensors, convolve2x2, depth_to_space
from vqcodec.runtimes.strips import Floats

FACTORS = (2, 4, 8, 16)
CHANNELS_PER_VALUE = 3  # of the latent, for each value that is painted: more channels change little


class Preview:
    """The previews of a model.

    Args:
        tensors: Of a weights file.
        config: Its sizes.
    """

    def __init__(self, tensors: Tensors, config: ModelConfig) -> None:
        self._tensors, self._config = tensors, config
        self._kernels = lru_cache(maxsize=8)(self._make_kernels)

    def layers(self, factor: int) -> int:
        """How many layers a preview needs, this many times smaller."""
        wanted = CHANNELS_PER_VALUE * COLOURS * (PATCH_PX // factor) ** 2
        channels = list(accumulate(self._config.groups))
        return next((n for n, have in enumerate(channels, 1) if have >= wanted), len(channels))

    def paint(self, latent: Floats, factor: int) -> Floats:
        """The first channels of a latent, [h, w, c], to [H / factor, W / factor, 3], about [-0.5, 0.5], not clipped."""
        lapped, fine, side = self._kernels(factor, latent.shape[2])
        padded = np.pad(latent[..., : self._config.lapped], ((1, 1), (1, 1), (0, 0)))
        half = side // 2
        picture = depth_to_space(convolve2x2(padded, lapped), side)[half:-half, half:-half]
        if len(fine):
            picture += depth_to_space(latent[..., self._config.lapped :] @ fine, side)
        if side * factor > PATCH_PX:  # one pixel for each position
            height, width = latent.shape[:2]
            return np.asarray(picture.reshape(height, 2, width, 2, COLOURS).mean((1, 3)))
        return picture

    def _make_kernels(self, factor: int, channels: int) -> tuple[Floats, Floats, int]:
        """The kernels of the overlapping channels [4 c, outputs] and of the others [c, outputs], and how many pixels a side they paint
        for each position: at least 2, for the overlapping grid is shifted by half a position."""
        side, lapped = max(PATCH_PX // factor, 2), self._config.lapped
        overlapping = self._averaged("lapped", side).reshape(4, lapped, -1)[:, :channels]
        own = self._averaged("fine", side)[: max(channels - lapped, 0)]
        return overlapping.reshape(-1, overlapping.shape[2]), own, side

    def _averaged(self, name: str, side: int) -> Floats:
        """A kernel [inputs, (row, column, colour)] that paints side x side pixels for each position."""
        weight = np.asarray(self._tensors[f"synthesis.{name}.weight"], dtype=np.float32)
        box = PATCH_PX // side
        boxes = weight.reshape(COLOURS, side, box, side, box, -1).mean((2, 4))
        return np.ascontiguousarray(boxes.transpose(3, 1, 2, 0)).reshape(weight.shape[1], -1)
