"""Pages of text, and layouts like those of screenshots: windows, lists, buttons, tables."""

from __future__ import annotations

import pydoc_data.topics
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

WIDTH_PX, HEIGHT_PX = 768, 576
Color = tuple[int, int, int]
Box = tuple[float, float, float, float]  # left, top, right, bottom


def words(held_out: bool) -> list[str]:
    """Words of Python's own help texts, in order; every fifth topic is held out."""
    topics = sorted(pydoc_data.topics.topics.items())
    texts = [text for number, (_, text) in enumerate(topics) if (number % 5 == 0) == held_out]
    return re.findall(r"(?=\S*[A-Za-z0-9])[\x21-\x7e]{1,18}", " ".join(texts))


class Painter:
    """Draws one page with random fonts, words and colours."""

    def __init__(self, fonts: Sequence[Path], text: Sequence[str], rng: np.random.Generator) -> None:
        self.fonts, self.text, self.rng = fonts, text, rng
        self.dark = bool(rng.random() < 0.25)
        paper, ink = int(rng.integers(238, 256)), int(rng.integers(0, 50))
        self.paper, self.ink = (self.grey(ink), self.grey(paper)) if self.dark else (self.grey(paper), self.grey(ink))
        self.accent = self.color()
        self.image = Image.new("RGB", (WIDTH_PX, HEIGHT_PX), self.paper)
        self.draw = ImageDraw.Draw(self.image)

    @staticmethod
    def grey(level: int) -> Color:
        return level, level, level

    def color(self) -> Color:
        red, green, blue = (int(v) for v in self.rng.integers(20, 220, 3))
        return red, green, blue

    def blend(self, share: float) -> Color:
        """Ink mixed into paper."""
        red, green, blue = (round(p + share * (i - p)) for p, i in zip(self.paper, self.ink, strict=True))
        return red, green, blue

    def font(self, size_px: float) -> ImageFont.FreeTypeFont:
        return ImageFont.truetype(self.fonts[self.rng.integers(len(self.fonts))], size_px)

    def words(self, count: int) -> list[str]:
        begin = int(self.rng.integers(len(self.text) - count))
        return list(self.text[begin : begin + count])

    def paragraph(self, box: Box, font: ImageFont.FreeTypeFont, fill: Color, leading: float = 1.3) -> None:
        """Fill a box with lines of words."""
        left, top, right, bottom = box
        space = font.getlength(" ")
        x, y = left, top
        for word in self.words(600):
            width = font.getlength(word)
            if x + width > right:
                x, y = left, y + leading * font.size
            if y + font.size > bottom:
                return
            self.draw.text((x, y), word, fill=fill, font=font)
            x += width + space

    def line(self, place: tuple[float, float], width: float, font: ImageFont.FreeTypeFont, fill: Color) -> None:
        """As many words as fit."""
        text = ""
        for word in self.words(20):
            longer = f"{text} {word}".strip()
            if font.getlength(longer) > width:
                break
            text = longer
        self.draw.text(place, text, fill=fill, font=font)


def document(painter: Painter) -> None:
    """A heading, columns of text, perhaps a table."""
    rng = painter.rng
    margin = float(rng.uniform(20, 60))
    heading, body = painter.font(float(rng.uniform(22, 40))), painter.font(float(rng.uniform(10, 20)))
    painter.line((margin, margin), WIDTH_PX - 2 * margin, heading, painter.ink)
    top = margin + 1.8 * heading.size
    bottom = HEIGHT_PX - margin
    if rng.random() < 0.4:
        table(painter, (margin, 0.7 * HEIGHT_PX, WIDTH_PX - margin, bottom))
        bottom = 0.67 * HEIGHT_PX
    columns = int(rng.integers(1, 4))
    width = (WIDTH_PX - 2 * margin) / columns
    for column in range(columns):
        left = margin + column * width
        painter.paragraph((left, top, left + width - 12, bottom), body, painter.ink)


def table(painter: Painter, box: Box) -> None:
    """Ruled rows of words and numbers."""
    left, top, right, bottom = box
    rng, font = painter.rng, painter.font(float(painter.rng.uniform(10, 15)))
    columns = int(rng.integers(3, 7))
    for row, y in enumerate(np.arange(top, bottom - 20, 22.0)):
        if row % 2:
            painter.draw.rectangle((left, y, right, y + 22), fill=painter.blend(0.06))
        painter.draw.line((left, y, right, y), fill=painter.blend(0.25))
        for column in range(columns):
            place = (left + 4 + column * (right - left) / columns, y + 3)
            if column and row:
                painter.draw.text(place, f"{rng.normal() * 1000:.1f}", fill=painter.ink, font=font)
            else:
                painter.line(place, (right - left) / columns - 10, font, painter.ink)


def screenshot(painter: Painter) -> None:
    """A window: title bar, menu, a list at the side, panels with text, buttons, a chart."""
    rng, draw = painter.rng, painter.draw
    small, body = painter.font(float(rng.uniform(10, 14))), painter.font(float(rng.uniform(11, 17)))
    draw.rectangle((0, 0, WIDTH_PX, 32), fill=painter.accent)
    painter.line((14, 7), 400, small, painter.grey(250))
    for number in range(3):
        draw.ellipse((WIDTH_PX - 30 - 24 * number, 9, WIDTH_PX - 16 - 24 * number, 23), fill=painter.color())
    side = float(rng.uniform(130, 240))
    draw.rectangle((0, 33, side, HEIGHT_PX), fill=painter.blend(0.08))
    for row, y in enumerate(np.arange(44.0, HEIGHT_PX - 20, 24)):
        if row == 3:
            draw.rectangle((4, y - 3, side - 4, y + 19), fill=painter.accent)
        draw.rectangle((12, y + 2, 24, y + 14), fill=painter.color() if row % 2 else painter.blend(0.5))
        painter.line((32, y), side - 44, small, painter.ink)
    middle = float(rng.uniform(0.4, 0.7)) * HEIGHT_PX
    painter.paragraph((side + 16, 48, WIDTH_PX - 16, middle), body, painter.ink)
    left = side + 16
    for _ in range(3):
        right = left + float(rng.uniform(70, 130))
        draw.rounded_rectangle((left, middle + 8, right, middle + 34), 5, fill=painter.accent)
        painter.line((left + 8, middle + 13), right - left - 14, small, painter.grey(250))
        left = right + 10
    lower = (side + 16, middle + 46, WIDTH_PX - 16, float(HEIGHT_PX - 14))
    if rng.random() < 0.5:
        table(painter, lower)
    else:
        chart(painter, lower)


def chart(painter: Painter, box: Box) -> None:
    """Bars on an axis."""
    left, top, right, bottom = box
    painter.draw.rectangle(box, outline=painter.blend(0.3))
    count = int(painter.rng.integers(6, 20))
    width = (right - left - 12) / count
    for number in range(count):
        height = float(painter.rng.uniform(0.1, 0.95)) * (bottom - top)
        x = left + 8 + number * width
        painter.draw.rectangle((x, bottom - height, x + 0.7 * width, bottom), fill=painter.accent)


def pages(fonts: Sequence[Path], text: Sequence[str], count: int, seed: int) -> Iterator[tuple[str, Image.Image]]:
    """Names and pictures, documents and screenshots in turn: RGB, 768x576 pixels."""
    for number in range(count):
        kind = (document, screenshot)[number % 2]
        painter = Painter(fonts, text, np.random.default_rng((seed, number)))
        kind(painter)
        yield f"{number:05}-{kind.__name__}", painter.image
