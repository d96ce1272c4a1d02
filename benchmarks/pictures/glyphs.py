"""One letter or digit each, dark on light, centred: 64x64."""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDE_PX = 64
CHARACTERS = string.ascii_letters + string.digits
SIZES_PX = (36, 44, 52)  # of the em square; training pictures draw one of a range around these


def glyph(font: Path, character: str, size_px: float, paper: int = 255, ink: int = 0) -> Image.Image:
    """A character in the middle of 64x64 pixels, RGB but grey. paper and ink: 0..255"""
    image = Image.new("L", (SIDE_PX, SIDE_PX), paper)
    draw = ImageDraw.Draw(image)
    face = ImageFont.truetype(font, size_px)
    draw.text((SIDE_PX / 2, 0.7 * SIDE_PX), character, fill=ink, font=face, anchor="ms")
    return image.convert("RGB")


def glyphs(fonts: Sequence[Path], count: int | None, seed: int) -> Iterator[tuple[str, Image.Image]]:
    """Names and pictures. count: so many at random, in any size, paper and ink; None: every character of every font, at 44."""
    if count is None:
        for font in fonts:
            for character in CHARACTERS:
                yield f"{font.stem}-{ord(character):02x}", glyph(font, character, SIZES_PX[1])
        return
    rng = np.random.default_rng(seed)
    for number in range(count):
        font = fonts[rng.integers(len(fonts))]
        character = CHARACTERS[rng.integers(len(CHARACTERS))]
        size_px = rng.uniform(SIZES_PX[0], SIZES_PX[-1])
        paper, ink = int(rng.integers(225, 256)), int(rng.integers(0, 60))
        yield f"{number:05}-{font.stem}-{ord(character):02x}", glyph(font, character, size_px, paper, ink)
