"""Runs the transforms of whole pictures in strips, in bounded memory and without seams: each halo covers the receptive field.

A strip is a rectangle of latent positions. The transform of a strip also gets the positions in a halo around it, and their results are
thrown away. What computes the transforms is a `Runtime`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import numpy.typing as npt
from vqbitstream.geometry import PATCH_PX, Rect, latent_shape
from vqbitstream.header import Header
from vqbitstream.kernels import address, library
from vqbitstream.prior import LATENT_LIMIT, LATENT_LOG2, Ints

Pixels = npt.NDArray[np.uint8]
Latent = Ints  # int32 [rows, columns, channels] in 2^-14 of the unit of pixels
Floats = npt.NDArray[np.float32]

STRIP = 96  # longest side of a strip, in latent positions
UNIT = 1 << LATENT_LOG2


class Runtime(Protocol):
    """What computes the transforms of a model. h = H/16, w = W/16; latents are in the unit of pixels in [-0.5, 0.5].

    Step codes and tunes are those of `Header`.

    Attributes:
        analysis_halo: How many positions around its own the analysis looks at.
        synthesis_halo: How many positions around a pixel's own the synthesis looks at.
    """

    analysis_halo: int
    synthesis_halo: int

    def analyse(self, pixels: Floats, step_code: int, tune: int, channels: int) -> Floats:
        """Pixels [H, W, 3] in [-0.5, 0.5], sides multiples of 16, to the first channels of the latent, [h, w, channels]."""

    def synthesise(self, latent: Floats, step_code: int, tune: int) -> Floats:
        """The first channels of a latent, [h, w, c], to picture [H, W, 3], about [-0.5, 0.5], not clipped."""


class Painter(Protocol):
    """What paints previews; see `vqcodec.runtimes.preview.Preview`."""

    def layers(self, factor: int) -> int:
        """How many layers a preview needs, this many times smaller."""

    def paint(self, latent: Floats, factor: int) -> Floats:
        """The first channels of a latent, [h, w, c], to a picture this many times smaller."""


class Transforms:
    """Analysis and synthesis of whole pictures. `progress` is called with the number of positions just done.

    Args:
        runtime: What computes them.
        painter: What paints previews; without it there are none.
    """

    def __init__(self, runtime: Runtime, painter: Painter | None = None) -> None:
        self.runtime, self._painter = runtime, painter

    def synthesis_halo(self, factor: int = 1) -> int:
        """How many positions around a pixel's own the synthesis looks at."""
        return self.runtime.synthesis_halo if factor == 1 else 1

    def layers(self, factor: int) -> int:
        """How many layers a picture needs that is 2, 4, 8 or 16 times smaller. Raises ValueError if there are no previews."""
        return self.painter.layers(factor)

    @property
    def painter(self) -> Painter:
        """What paints previews. Raises ValueError if there is nothing."""
        if self._painter is None:
            raise ValueError("no previews here")
        return self._painter

    def analyse(self, pixels: Pixels, header: Header, channels: int, rect: Rect | None = None) -> Latent:
        """uint8 [H, W, 3] or [H, W] to the first channels of the latent, int32 [h, w, channels]: of `rect`, or all of it."""
        height, width = pixels.shape[:2]
        whole = Rect.of(latent_shape(width, height))
        rect = rect or whole
        latent = np.empty((*rect.shape, channels), dtype=np.int32)
        for strip in rect.split(STRIP):
            outer = strip.grow(self.runtime.analysis_halo, whole)
            part = pixels[outer.scale(PATCH_PX).within(whole)]
            x = part.astype(np.float32) / np.float32(255) - np.float32(0.5)
            x = np.repeat(x[..., None], 3, axis=2) if x.ndim == 2 else x
            missing = [(0, -side % PATCH_PX) for side in x.shape[:2]]
            if any(after for _, after in missing):
                x = np.pad(x, [*missing, (0, 0)], mode="edge")
            y = self.runtime.analyse(np.asarray(x, dtype=np.float32), header.step_code, header.tune, channels)
            y = np.rint(y[strip.within(outer)] * np.float32(UNIT))
            latent[strip.within(rect)] = np.clip(y, -LATENT_LIMIT, LATENT_LIMIT, out=y)
        return latent

    def synthesise(
        self,
        latent: Latent,
        header: Header,
        shape: tuple[int, ...],
        rect: Rect | None = None,
        progress: Callable[[int], None] = lambda _: None,
        factor: int = 1,
    ) -> Pixels:
        """Decode a latent to pixels.

        Args:
            latent: int32 [h, w, c], the first channels.
            header: Of the file.
            shape: (H, W, 3), or (H, W) for a grey picture.
            rect: Latent positions to compute, 16x16 pixels each; all by default.
            progress: Called with the number of positions just done.
            factor: 2, 4, 8 or 16 paint a preview so many times smaller; `shape` and the result count its pixels.

        Returns:
            uint8 pixels of `rect`, cut to `shape`.
        """
        whole, side = Rect.of(latent.shape), PATCH_PX // factor
        rect = rect or whole
        grey = len(shape) == 2
        pixels = rect.scale(side)
        out = np.empty((*pixels.shape, *(() if grey else (3,))), dtype=np.uint8)
        for strip in rect.split(STRIP):
            outer = strip.grow(self.synthesis_halo(factor), whole)
            part = latent[outer.within(whole)].astype(np.float32)
            part *= np.float32(1 / UNIT)
            picture = (
                self.painter.paint(part, factor) if factor > 1
                else self.runtime.synthesise(part, header.step_code, header.tune)
            )  # fmt: skip
            _to_levels(picture[strip.scale(side).within(outer.scale(side))], out[strip.scale(side).within(pixels)])
            progress(strip.area)
        return out[: shape[0] - pixels.top, : shape[1] - pixels.left]


def _to_levels(picture: Floats, out: Pixels) -> None:
    """[H, W, 3] in [-0.5, 0.5] to levels, [H, W, 3], or [H, W] for a grey picture."""
    kernels = library()
    if kernels and picture.strides[1:] == (12, 4):
        height, width = out.shape[:2]
        rows = picture.strides[0] // 4, out.strides[0]
        kernels.float_levels(address(picture), height, width, rows[0], out.ndim == 2, address(out), rows[1])
        return
    if out.ndim == 2:
        picture = picture.mean(axis=2)
    levels = (picture + np.float32(0.5)) * np.float32(255)
    out[:] = np.clip(np.rint(levels, out=levels), 0, 255, out=levels)
