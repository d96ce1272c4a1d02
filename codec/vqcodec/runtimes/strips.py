"""Runs the transforms of whole pictures in strips, in bounded memory and without seams: each halo covers the receptive field.

A strip is a rectangle of latent positions. The transform of a strip also gets the positions in a halo around it, and their results are
thrown away. What computes the transforms is a `Runtime`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt
from vqbitstream.geometry import PATCH_PX, SIDE_FACTOR, Rect, latent_shape
from vqbitstream.prior import Ints
from vqbitstream.vectors import ONE

Pixels = npt.NDArray[np.uint8]
Latent = Ints  # int32 [rows, columns, channels] in 1/256 of the step
Floats = npt.NDArray[np.float32]

STRIP = 96  # longest side of a strip, in latent positions
ANALYSIS_HALO = 1  # positions: the analysis looks 8 pixels beyond each
SIDE_HALO = SIDE_FACTOR  # the side analysis looks one position far; whole cells keep its grid in place


class Runtime(Protocol):
    """What computes the transforms of a model. h = H/16, w = W/16; latents are in the unit of pixels in [-0.5, 0.5].

    Attributes:
        channels: Of the latent.
        synthesis_halo: How many positions around a pixel's own the synthesis looks at.
    """

    channels: int
    synthesis_halo: int

    def analyse(self, pixels: Floats) -> Floats:
        """Pixels [H, W, 3] in [-0.5, 0.5], sides multiples of 16, to latent [h, w, C]."""

    def side_grid(self, latent: Floats, log2_step: float) -> Floats:
        """Latent [h, w, C] to side grid [ceil(h/4), ceil(w/4), side channels], in its own step."""

    def synthesise(self, latent: Floats, log2_step: float) -> Floats:
        """Latent [h, w, C] to picture [H, W, 3], about [-0.5, 0.5], not clipped."""


class Transforms:
    """Analysis and synthesis of whole pictures. `progress` is called with the number of positions just done.

    Args:
        runtime: What computes them.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    @property
    def synthesis_halo(self) -> int:
        """How many positions around a pixel's own the synthesis looks at."""
        return self.runtime.synthesis_halo

    def analyse(self, pixels: Pixels, log2_step: float, progress: Callable[[int], None] = lambda _: None) -> Latent:
        """uint8 [H, W, 3] or [H, W] to latent, int32 [h, w, C] in 1/256 step."""
        height, width = pixels.shape[:2]
        whole = Rect.of(latent_shape(width, height))
        latent = np.empty((*whole.shape, self.runtime.channels), dtype=np.int32)
        to_units = np.float32(2**-log2_step * ONE)
        for strip in whole.split(STRIP):
            outer = strip.grow(ANALYSIS_HALO, whole)
            part = pixels[outer.scale(PATCH_PX).within(whole)]
            x = part.astype(np.float32) / np.float32(255) - np.float32(0.5)
            x = np.repeat(x[..., None], 3, axis=2) if x.ndim == 2 else x
            missing = [(0, -side % PATCH_PX) for side in x.shape[:2]]
            if any(after for _, after in missing):
                x = np.pad(x, [*missing, (0, 0)], mode="edge")
            y = self.runtime.analyse(np.asarray(x, dtype=np.float32))[strip.within(outer)]
            latent[strip.within(whole)] = np.rint(y * to_units)
            progress(strip.area)
        return latent

    def side_grid(self, latent: Latent, tile: Rect, log2_step: float) -> npt.NDArray[np.int64]:
        """Side grid of a tile, int64 [ceil(rows / 4), ceil(columns / 4), side channels] in 1/256 of its step."""
        whole = Rect.of(latent.shape)
        outer = tile.grow(SIDE_HALO, whole)
        grid = self.runtime.side_grid(_in_pixel_units(latent[outer.within(whole)], log2_step), log2_step)
        top, left = (tile.top - outer.top) // SIDE_FACTOR, (tile.left - outer.left) // SIDE_FACTOR
        height, width = (-(-n // SIDE_FACTOR) for n in tile.shape)
        return np.rint(grid[top : top + height, left : left + width] * ONE).astype(np.int64)

    def synthesise(
        self,
        latent: Latent,
        log2_step: float,
        shape: tuple[int, ...],
        rect: Rect | None = None,
        progress: Callable[[int], None] = lambda _: None,
    ) -> Pixels:
        """Decode a latent to pixels.

        Args:
            latent: int32 [h, w, C] in 1/256 step.
            log2_step: Of the file.
            shape: (H, W, 3), or (H, W) for a grey picture.
            rect: Latent positions to compute, 16x16 pixels each; all by default.
            progress: Called with the number of positions just done.

        Returns:
            uint8 pixels of `rect`, cut to `shape`.
        """
        whole = Rect.of(latent.shape)
        rect = rect or whole
        grey = len(shape) == 2
        pixels = rect.scale(PATCH_PX)
        out = np.empty((*pixels.shape, *(() if grey else (3,))), dtype=np.uint8)
        for strip in rect.split(STRIP):
            outer = strip.grow(self.synthesis_halo, whole)
            part = _in_pixel_units(latent[outer.within(whole)], log2_step)
            picture = self.runtime.synthesise(part, log2_step)[strip.scale(PATCH_PX).within(outer.scale(PATCH_PX))]
            if grey:
                picture = picture.mean(axis=2)
            levels = (picture + np.float32(0.5)) * np.float32(255)
            out[strip.scale(PATCH_PX).within(pixels)] = np.clip(np.rint(levels, out=levels), 0, 255, out=levels)
            progress(strip.area)
        return out[: shape[0] - pixels.top, : shape[1] - pixels.left]


def _in_pixel_units(latent: Latent, log2_step: float) -> Floats:
    """[h, w, C] in 1/256 step -> the unit of pixels."""
    return np.asarray(latent * np.float32(2**log2_step / ONE), dtype=np.float32)
