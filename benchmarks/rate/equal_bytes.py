"""A picture as ours and as others code it in the same number of bytes, to look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from vqcodec.codec import Codec
from vqcodec.compare import compare, others
from vqcodec.compare.compare import Comparison
from vqcodec.compare.divider import Shown

from .codecs import CodecMissing, JpegXL

CROP_PX, VIEW_PX = 256, 512  # of a sheet, of a page
HEAD_PX, TEXT_PX = 40, 12
QUALITIES = (50, 75, 90)
JXL = JpegXL.name
JXL_DISTANCES = [float(d) for d in np.geomspace(25, 0.05, 400)]


def comparison(codec: Codec, image: Image.Image, quality: float, names: Sequence[str]) -> Comparison:
    """Ours at a quality, and others in the same bytes within 1 %, where they can.

    Args:
        codec: Our model.
        image: RGB.
        quality: Of ours.
        names: Of the others: JPEG, WebP, AVIF, JPEG XL.
    """
    found = compare.compare(codec, image, quality=quality, names=[n for n in names if n != JXL])
    if JXL not in names:
        return found
    try:
        library = JpegXL()
    except CodecMissing as reason:
        return replace(found, left_out=[*found.left_out, f"{JXL} left out: {reason}"])
    distance, data = others.nearest(lambda d: library.encode(image, d), JXL_DISTANCES, found.ours.file_bytes)
    settings = f"distance {distance:.2f}, effort 7"
    version = compare.version(JXL, settings, image, library.decode(data), len(data), found.ours.file_bytes)
    return replace(found, others=[*found.others, version])


def shown(found: Comparison, notes: Callable[[compare.Version], str] = lambda version: version.figures) -> list[Shown]:
    """The middle of each version, at most 512x512, for a page; the notes are of the whole picture."""
    width, height = found.original.size
    inner = min(width, VIEW_PX), min(height, VIEW_PX)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    box = (left, top, left + inner[0], top + inner[1])
    coded = [Shown(v.name, notes(v), v.image.crop(box)) for v in found.versions]
    return [Shown("original", f"{width}×{height}", found.original.crop(box)), *coded]


def sheet(rows: Sequence[tuple[str, Comparison]], corner: tuple[int, int]) -> Image.Image:
    """A picture of a square of each version, 256x256 at full size: a row for each comparison, with its title."""
    box = (*corner, corner[0] + CROP_PX, corner[1] + CROP_PX)
    out = Image.new("RGB", ((1 + len(rows[0][1].versions)) * CROP_PX, len(rows) * (CROP_PX + HEAD_PX)), "white")
    draw, font = ImageDraw.Draw(out), ImageFont.load_default(TEXT_PX)
    for row, (title, found) in enumerate(rows):
        top = row * (CROP_PX + HEAD_PX)
        cells = [(title, "original", found.original)]
        cells += [(v.name, f"{v.file_bytes:,} bytes, {_figures(v)}", v.image) for v in found.versions]
        for column, (name, text, image) in enumerate(cells):
            draw.text((column * CROP_PX + 4, top + 3), name, fill="black", font=font)
            draw.text((column * CROP_PX + 4, top + 20), text, fill="black", font=font)
            out.paste(image.crop(box), (column * CROP_PX, top + HEAD_PX))
    return out


def _figures(version: compare.Version) -> str:
    score = "" if version.ssimulacra2 is None else f"SSIMULACRA2 {version.ssimulacra2:.1f}, "
    return f"{score}{version.psnr_db:.1f} dB"
