"""JPEG, WebP and AVIF as Pillow writes them, in a wanted number of bytes."""

from __future__ import annotations

import io
from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from PIL import Image, features

TOLERANCE = 0.01  # of the wanted bytes
CLOSE_ENOUGH = 0.002  # the search ends early
TENTHS = [q / 10 for q in range(10, 1001)]  # qualities 1.0 to 100.0
AVIF_QUALITIES = range(101)  # 64 different quantizers, 4 to 5 % of the bytes apart; the strengths lie between two
AVIF_STRENGTHS = range(50, 151)  # of aom's adaptive quantizer, in percent; 100 is its default
MOST_PX = {"JPEG": 65535, "WebP": 16383, "AVIF": 65536}  # a side


@dataclass(frozen=True)
class Coded:
    """A file of another codec.

    Attributes:
        name: Of the codec.
        settings: Of the encoder.
        data: The file, without metadata.
    """

    name: str
    settings: str
    data: bytes

    def decode(self, mode: str) -> Image.Image:
        """The picture, as L or RGB."""
        with Image.open(io.BytesIO(self.data)) as opened:
            return opened.convert(mode)


def nearest(encode: Callable[[float], bytes], settings: Sequence[float], wanted_bytes: int) -> tuple[float, bytes]:
    """The setting whose file comes nearest to the wanted bytes, and that file, by bisection.

    Args:
        encode: Setting to file. Sizes should rise along `settings`; where they do not, the nearest that was seen counts.
        settings: In order.
        wanted_bytes: At least 1.
    """
    low, high = 0, len(settings) - 1
    seen: list[tuple[float, int, bytes]] = []
    while low <= high:
        middle = (low + high) // 2
        data = encode(settings[middle])
        insort(seen, (abs(len(data) / wanted_bytes - 1), middle, data))
        if seen[0][0] <= CLOSE_ENOUGH:
            break
        low, high = (middle + 1, high) if len(data) < wanted_bytes else (low, middle - 1)
    return settings[seen[0][1]], seen[0][2]


def excess(data: bytes, wanted_bytes: int) -> float:
    """By how much a file is larger than wanted, as a share."""
    return len(data) / wanted_bytes - 1


def jpeg_file(image: Image.Image, quality: float) -> bytes:
    """JPEG, 4:2:0, with optimised tables, without metadata. Quality 1..100; fractions scale the tables as libjpeg would."""
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality
    tables = [[min(max(int((q * scale + 50) // 100), 1), 255) for q in table] for table in _jpeg_tables()]
    return _saved(image, format="JPEG", qtables=tables[: len(image.getbands())], optimize=True, subsampling="4:2:0")


@cache
def _jpeg_tables() -> list[list[int]]:
    """libjpeg's tables of luma and chroma at quality 50."""
    with Image.open(io.BytesIO(_saved(Image.new("RGB", (8, 8)), format="JPEG", quality=50))) as opened:
        return [list(table) for table in opened.quantization.values()]  # type: ignore[attr-defined]


def _jpeg(image: Image.Image, wanted_bytes: int) -> Coded:
    quality, data = nearest(lambda q: jpeg_file(image, q), TENTHS, wanted_bytes)
    return Coded("JPEG", f"quality {quality:g}, 4:2:0, optimised", data)


def _webp(image: Image.Image, wanted_bytes: int) -> Coded:
    quality, data = nearest(lambda q: _saved(image, format="WEBP", quality=q, method=6), [0.0, *TENTHS], wanted_bytes)
    return Coded("WebP", f"quality {quality:g}, method 6", data)


def _avif(image: Image.Image, wanted_bytes: int) -> Coded:
    """The nearest quality and, if it is off by more than the tolerance, the nearest strength of its adaptive quantizer."""
    common: dict[str, Any] = {"format": "AVIF", "speed": 6, "subsampling": "4:4:4"}
    quality, data = nearest(lambda q: _saved(image, quality=int(q), **common), AVIF_QUALITIES, wanted_bytes)
    settings = f"quality {quality}, 4:4:4, speed 6"
    if abs(excess(data, wanted_bytes)) <= TOLERANCE or quality in (0, 100):
        return Coded("AVIF", settings, data)
    common["quality"] = int(quality)
    try:
        strength, finer = nearest(
            lambda s: _saved(image, advanced={"deltaq-strength": str(s)}, **common), AVIF_STRENGTHS, wanted_bytes
        )
    except ValueError:  # an aom that does not have it
        return Coded("AVIF", settings, data)
    if abs(excess(finer, wanted_bytes)) >= abs(excess(data, wanted_bytes)):
        return Coded("AVIF", settings, data)
    return Coded("AVIF", f"{settings}, deltaq-strength {strength}", finer)


def _saved(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


OTHERS: dict[str, Callable[[Image.Image, int], Coded]] = {"JPEG": _jpeg, "WebP": _webp, "AVIF": _avif}


def left_out(name: str, size: tuple[int, int]) -> str | None:
    """Why a codec cannot take part, if so: Pillow was built without it, or the picture is too large for it."""
    if not features.check("jpg" if name == "JPEG" else name.lower()):
        return f"{name} left out: this Pillow was built without it"
    if max(size) > MOST_PX[name]:
        return f"{name} left out: its sides have at most {MOST_PX[name]} pixels"
    return None


def coded(name: str, image: Image.Image, wanted_bytes: int) -> Coded:
    """A picture, L or RGB, as a codec of `OTHERS` writes it in as nearly as possible the wanted bytes."""
    return OTHERS[name](image, wanted_bytes)
