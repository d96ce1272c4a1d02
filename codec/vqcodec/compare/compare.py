"""A picture beside JPEG at the same number of bytes: figures, a page with a divider, a sheet of pictures."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from string import Template
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vqcodec.coding.defaults import DEFAULT_QUALITY, DEFAULT_TUNE
from vqcodec.coding.quality import chosen_effort
from vqcodec.compare import divider
from vqcodec.compare.divider import STATIC, Shown
from vqcodec.pictures.psnr import psnr

if TYPE_CHECKING:
    from vqcodec.codec import Codec

JPEG_QUALITIES = (1, 95)  # above 95 JPEG files grow and hardly get better (Pillow's advice)
PAGE_PX = 1600  # longest side behind the divider; of a larger picture its middle
CROPS, CROP_PX, ZOOM = 3, 160, 3
MARGIN_PX, TEXT_PX = 12, 15
Box = tuple[int, int, int, int]  # left, top, right, bottom


@dataclass(frozen=True)
class Version:
    """A picture as a codec returns it.

    Attributes:
        name: Of the codec.
        settings: Of the codec.
        image: The decoded picture.
        file_bytes: Size of the file.
        psnr_db: Infinite if it equals the original.
        note: A remark for the figures.
    """

    name: str
    settings: str
    image: Image.Image
    file_bytes: int
    psnr_db: float
    note: str = ""

    @property
    def bpp(self) -> float:
        """Bits per pixel."""
        return 8 * self.file_bytes / (self.image.width * self.image.height)

    @property
    def figures(self) -> str:
        """Such as `12,345 bytes, 0.251 bpp, 30.12 dB`."""
        note = f" ({self.note})" if self.note else ""
        return f"{self.file_bytes:,} bytes{note}, {self.bpp:.3f} bpp, {self.psnr_db:.2f} dB"


@dataclass(frozen=True)
class Comparison:
    """A picture, our version, and JPEG's at the highest quality whose file is not larger than ours.

    Attributes:
        original: L or RGB.
        ours: Our version.
        jpeg: JPEG's version.
    """

    original: Image.Image
    ours: Version
    jpeg: Version

    @property
    def lines(self) -> list[str]:
        """The figures, one line per version."""
        width, height = self.original.size
        return [f"original: {width}x{height} {self.original.mode}"] + [
            f"{v.name}, {v.settings}: {v.figures}" for v in (self.ours, self.jpeg)
        ]

    @property
    def shown(self) -> list[Shown]:
        return [Shown("original", f"{self.original.width}×{self.original.height}", self.original)] + [
            Shown(v.name, v.figures, v.image) for v in (self.ours, self.jpeg)
        ]


def largest_within(
    encode: Callable[[int], bytes], limit_bytes: int, qualities: tuple[int, int] = JPEG_QUALITIES
) -> tuple[int, bytes]:
    """The highest quality whose file is at most `limit_bytes`, found by bisection, and the file; the lowest quality if none is."""
    low, high = qualities
    best = low, encode(low)
    while low < high:
        middle = (low + high + 1) // 2
        data = encode(middle)
        if len(data) <= limit_bytes:
            low, best = middle, (middle, data)
        else:
            high = middle - 1
    return best


def jpeg_file(image: Image.Image, quality: int) -> bytes:
    """Pillow's JPEG, 4:2:0, with optimised tables, without metadata."""
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=quality, optimize=True, subsampling="4:2:0")
    return buffer.getvalue()


def compare(codec: Codec, image: Image.Image, *, quality: float = DEFAULT_QUALITY, tune: str = DEFAULT_TUNE, effort: int | None = None
) -> Comparison:  # fmt: skip
    """Encode a picture with both codecs, without metadata. Raises what `Codec.encode` raises.

    Args:
        codec: The model.
        image: L or RGB.
        quality: 1..100.
        tune: "eye" or "psnr".
        effort: See `chosen_effort`.
    """
    pixels = np.asarray(image)
    effort = chosen_effort(effort)

    def version(name: str, settings: str, data: bytes, decoded: Image.Image, note: str = "") -> Version:
        shown = np.asarray(decoded)
        psnr_db = math.inf if np.array_equal(pixels, shown) else psnr(pixels, shown)
        return Version(name, settings, decoded, len(data), psnr_db, note)

    data = codec.encode(image, quality=quality, tune=tune, effort=effort, strip=True)
    jpeg_quality, jpeg_data = largest_within(lambda q: jpeg_file(image, q), len(data))
    excess = 100 * (len(jpeg_data) / len(data) - 1)
    note = f"its smallest, {excess:.0f} % more" if excess > 0 else ""
    with Image.open(io.BytesIO(jpeg_data)) as opened:
        jpeg_image = opened.convert(image.mode)
    return Comparison(
        image,
        version("vqcodec", f"quality {quality:g}, effort {effort}", data, codec.decode(data)),
        version("JPEG", f"quality {jpeg_quality}, 4:2:0, optimised", jpeg_data, jpeg_image, note),
    )


def where_they_differ(first: Image.Image, second: Image.Image) -> list[Box]:
    """Up to three squares of 160x160 pixels where two pictures of one size differ most, the most first."""
    width, height = first.size
    side = min(CROP_PX, width), min(CROP_PX, height)
    a, b = np.asarray(first), np.asarray(second)
    found = []
    for top in range(0, height - side[1] + 1, side[1]):
        for left in range(0, width - side[0] + 1, side[0]):
            part = np.s_[top : top + side[1], left : left + side[0]]
            error = float(np.square(a[part].astype(np.int32) - b[part]).mean())
            found.append((error, (left, top, left + side[0], top + side[1])))
    return [box for _, box in sorted(found, key=lambda f: -f[0])[:CROPS]]


def page(comparison: Comparison, title: str) -> str:
    """A self-contained HTML page: figures, the pictures behind a divider, and crops."""
    shown = comparison.shown
    width, height = comparison.original.size
    view = _middle(width, height)
    note = "" if view == (0, 0, width, height) else f" Shown is the middle {view[2] - view[0]}×{view[3] - view[1]}."
    whole = [Shown(s.name, s.note, s.image.crop(view)) for s in shown]
    rows = "\n".join(
        f'<tr><th scope="row">{escape(v.name)}</th><td>{escape(v.settings)}</td><td>{v.file_bytes:,}'
        f"{f'<small>{escape(v.note)}</small>' if v.note else ''}</td><td>{v.bpp:.3f}</td><td>{v.psnr_db:.2f}</td></tr>"
        for v in (comparison.ours, comparison.jpeg)
    )
    crops = "\n".join(_crop_row(shown, box) for box in where_they_differ(comparison.ours.image, comparison.jpeg.image))
    return Template((STATIC / "compare.html").read_text()).substitute(
        title=escape(title), size=f"{width}×{height}", note=note, rows=rows, crops=crops,
        style=(STATIC / "compare.css").read_text() + divider.STYLE, script=divider.SCRIPT,
        figure=divider.figure(title, whole, left=1, right=2), ratio=f"{whole[0].image.width / whole[0].image.height:.4f}",
    )  # fmt: skip


def _crop_row(shown: list[Shown], box: Box) -> str:
    left, top, right, bottom = box
    size = f'width="{ZOOM * (right - left)}" height="{ZOOM * (bottom - top)}"'
    cells = [
        f'<figure><img alt="{escape(s.name)}, a part" {size} src="{divider.address(s.image.crop(box))}">'
        f"<figcaption>{escape(s.name)}</figcaption></figure>"
        for s in shown
    ]
    return f'<p class="place">{right - left}×{bottom - top} pixels from {left}, {top}</p><div class="crops">{"".join(cells)}</div>'


def _middle(width: int, height: int) -> Box:
    inner = min(width, PAGE_PX), min(height, PAGE_PX)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    return left, top, left + inner[0], top + inner[1]


def sheet(comparison: Comparison, title: str) -> Image.Image:
    """An RGB picture of three columns (original, ours, JPEG): figures, whole pictures, and crops at three times their size."""
    column = ZOOM * CROP_PX
    rows = [[_fitted(s.image, column) for s in comparison.shown]]
    for box in where_they_differ(comparison.ours.image, comparison.jpeg.image):
        size = ZOOM * (box[2] - box[0]), ZOOM * (box[3] - box[1])
        rows.append([s.image.crop(box).resize(size, Image.Resampling.NEAREST) for s in comparison.shown])
    head = MARGIN_PX + 3 * (TEXT_PX + 6)
    height = head + sum(row[0].height + MARGIN_PX for row in rows)
    out = Image.new("RGB", (3 * column + 4 * MARGIN_PX, height), "white")
    draw, font = ImageDraw.Draw(out), ImageFont.load_default(TEXT_PX)
    texts = [[title, comparison.lines[0].removeprefix("original: ")]]
    texts += [[f"{v.name}, {v.settings}", v.figures] for v in (comparison.ours, comparison.jpeg)]
    for number, lines in enumerate(texts):
        left, top = MARGIN_PX + number * (column + MARGIN_PX), head
        for line, text in enumerate(lines):
            draw.text((left, MARGIN_PX + line * (TEXT_PX + 6)), _shortened(text, font, column), fill="black", font=font)
        for row in rows:
            out.paste(row[number], (left, top))
            top += row[number].height + MARGIN_PX
    return out


def _fitted(image: Image.Image, width: int) -> Image.Image:
    """Scaled to the width, but at most twice that height: reduced smoothly, or enlarged by a whole factor."""
    scale = min(width / image.width, 2 * width / image.height)
    if scale >= 1:
        return image.resize((int(scale) * image.width, int(scale) * image.height), Image.Resampling.NEAREST)
    size = max(round(scale * image.width), 1), max(round(scale * image.height), 1)
    return image.resize(size, Image.Resampling.LANCZOS)


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
