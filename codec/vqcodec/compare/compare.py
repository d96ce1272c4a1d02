"""A picture beside JPEG, WebP and AVIF in the same number of bytes: figures, a page with a divider, a sheet of pictures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from string import Template
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vqcodec.coding.defaults import DEFAULT_QUALITY, DEFAULT_TUNE
from vqcodec.coding.quality import chosen_effort, torch_is_installed
from vqcodec.compare import divider, others
from vqcodec.compare.divider import STATIC, Shown
from vqcodec.pictures.psnr import psnr

if TYPE_CHECKING:
    from vqcodec.codec import Codec
    from vqcodec.pictures.planes import Pixels

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
        ssimulacra2: None without PyTorch, and for a side under 8 pixels.
        note: A remark on the bytes.
    """

    name: str
    settings: str
    image: Image.Image
    file_bytes: int
    psnr_db: float
    ssimulacra2: float | None = None
    note: str = ""

    @property
    def bpp(self) -> float:
        """Bits per pixel."""
        return 8 * self.file_bytes / (self.image.width * self.image.height)

    @property
    def figures(self) -> str:
        """Such as `12,345 bytes, 0.251 bpp, SSIMULACRA2 61.2, 30.12 dB`."""
        note = f" ({self.note})" if self.note else ""
        score = "" if self.ssimulacra2 is None else f"SSIMULACRA2 {self.ssimulacra2:.1f}, "
        return f"{self.file_bytes:,} bytes{note}, {self.bpp:.3f} bpp, {score}{self.psnr_db:.2f} dB"


@dataclass(frozen=True)
class Comparison:
    """A picture, our version, and those of other codecs in as nearly as possible the same bytes.

    Attributes:
        original: L or RGB.
        ours: Our version.
        others: JPEG, WebP and AVIF, as far as they can take part.
        left_out: A line for each of them that cannot.
    """

    original: Image.Image
    ours: Version
    others: Sequence[Version]
    left_out: Sequence[str] = ()

    @property
    def versions(self) -> list[Version]:
        return [self.ours, *self.others]

    @property
    def lines(self) -> list[str]:
        """The figures, one line per version."""
        width, height = self.original.size
        coded = [f"{v.name}, {v.settings}: {v.figures}" for v in self.versions]
        return [f"original: {width}x{height} {self.original.mode}", *coded, *self.left_out]

    @property
    def shown(self) -> list[Shown]:
        return [Shown("original", f"{self.original.width}×{self.original.height}", self.original)] + [
            Shown(v.name, v.figures, v.image) for v in self.versions
        ]


def compare(codec: Codec, image: Image.Image, *, quality: float = DEFAULT_QUALITY, tune: str = DEFAULT_TUNE, effort: int | None = None,
    names: Sequence[str] = tuple(others.OTHERS), progress: Callable[[str], None] = lambda name: None,
) -> Comparison:  # fmt: skip
    """Encode a picture with every codec, without metadata. Raises what `Codec.encode` raises.

    Args:
        codec: The model.
        image: L or RGB.
        quality: 1..100.
        tune: "eye" or "psnr".
        effort: See `chosen_effort`.
        names: Of `others.OTHERS`.
        progress: Called with the name of each codec before its turn.
    """
    effort = chosen_effort(effort)
    progress("vqcodec")
    data = codec.encode(image, quality=quality, tune=tune, effort=effort, strip=True)
    ours = version("vqcodec", f"quality {quality:g}, effort {effort}", image, codec.decode(data), len(data))
    left_out = {name: reason for name in names if (reason := others.left_out(name, image.size))}
    found = []
    for name in (name for name in names if name not in left_out):
        progress(name)
        coded = others.coded(name, image, len(data))
        found.append(version(name, coded.settings, image, coded.decode(image.mode), len(coded.data), len(data)))
    return Comparison(image, ours, found, list(left_out.values()))


def version(
    name: str,
    settings: str,
    original: Image.Image,
    decoded: Image.Image,
    file_bytes: int,
    wanted_bytes: int | None = None,
) -> Version:
    """A decoded picture with its figures.

    Args:
        name: Of the codec.
        settings: Of the codec.
        original: L or RGB.
        decoded: Of the same size and mode.
        file_bytes: Size of its file.
        wanted_bytes: A file that is off by more than 1 % gets a note.
    """
    pixels, shown = np.asarray(original), np.asarray(decoded)
    same = np.array_equal(pixels, shown)
    psnr_db = math.inf if same else psnr(pixels, shown)
    off = 0.0 if wanted_bytes is None else file_bytes / wanted_bytes - 1
    note = f"{100 * off:+.1f} %, its nearest" if abs(off) > others.TOLERANCE else ""
    return Version(name, settings, decoded, file_bytes, psnr_db, _ssimulacra2(pixels, shown, same), note)


def _ssimulacra2(original: Pixels, decoded: Pixels, same: bool) -> float | None:
    """The score, 100 exactly where nothing was lost."""
    if not torch_is_installed():
        return None
    from vqcodec.vqvae.ssimulacra2 import ssimulacra2

    score = ssimulacra2(original, decoded)
    return 100.0 if same and score is not None else score


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
    rows = "\n".join(_row(v) for v in comparison.versions)
    crops = "\n".join(
        _crop_row(shown, box) for box in where_they_differ(comparison.ours.image, rival(comparison).image)
    )
    other = rival(comparison).name
    left_out = "".join(f"<p>{escape(line)}.</p>" for line in comparison.left_out)
    return Template((STATIC / "compare.html").read_text()).substitute(
        title=escape(title), size=f"{width}×{height}", note=note, rows=rows, crops=crops, left_out=left_out,
        style=(STATIC / "compare.css").read_text() + divider.STYLE, script=divider.SCRIPT, rival=escape(other), count=len(shown),
        figure=divider.figure(title, whole, left=1, right=len(whole) - 1),
        ratio=f"{whole[0].image.width / whole[0].image.height:.4f}",
    )  # fmt: skip


def rival(comparison: Comparison) -> Version:
    """The version that ours is set against first: AVIF's where there is one."""
    return comparison.versions[-1]


def _row(v: Version) -> str:
    note = f"<small>{escape(v.note)}</small>" if v.note else ""
    score = "–" if v.ssimulacra2 is None else f"{v.ssimulacra2:.1f}"
    return (
        f'<tr><th scope="row">{escape(v.name)}<small>{escape(v.settings)}</small></th><td>{score}</td><td>{v.psnr_db:.2f}</td>'
        f"<td>{v.file_bytes:,}{note}</td><td>{v.bpp:.3f}</td></tr>"
    )


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
    """An RGB picture with a column per version: figures, whole pictures, and crops at three times their size."""
    column = ZOOM * CROP_PX
    rows = [[_fitted(s.image, column) for s in comparison.shown]]
    for box in where_they_differ(comparison.ours.image, rival(comparison).image):
        size = ZOOM * (box[2] - box[0]), ZOOM * (box[3] - box[1])
        rows.append([s.image.crop(box).resize(size, Image.Resampling.NEAREST) for s in comparison.shown])
    head = MARGIN_PX + 3 * (TEXT_PX + 6)
    height = head + sum(row[0].height + MARGIN_PX for row in rows)
    columns = len(comparison.shown)
    out = Image.new("RGB", (columns * (column + MARGIN_PX) + MARGIN_PX, height), "white")
    draw, font = ImageDraw.Draw(out), ImageFont.load_default(TEXT_PX)
    texts = [[title, comparison.lines[0].removeprefix("original: ")]]
    texts += [[f"{v.name}, {v.settings}", v.figures] for v in comparison.versions]
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
