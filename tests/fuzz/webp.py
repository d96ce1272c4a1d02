"""`python -m tests.fuzz.webp --files 200000`: exact pixels that a stranger made, straight to their decoder.

Damaged WebP files, false sizes, other pictures than the tile's, mostly in a frame that is right. Only a CorruptError may come out.
"""

from __future__ import annotations

import argparse
import collections
import struct
import time
from collections.abc import Callable
from io import BytesIO

import numpy as np
from PIL import Image
from vqbitstream.errors import CorruptError
from vqcodec.pictures.overlay import pack_overlay, unpack_overlay

from .promises import Growth

Generator = np.random.Generator
HEAD = struct.Struct("<4sI4s4sIBI")
STREAM = HEAD.size - 4  # where the bits of VP8L's header begin


def spoil(data: bytes, rng: Generator) -> bytes:
    """Bits, bytes and stretches changed."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        place = int(rng.integers(0, len(out) + 1))
        kind = rng.integers(0, 5)
        if kind == 0 and place < len(out):
            out[place] ^= 1 << int(rng.integers(8))
        elif kind == 1 and place < len(out):
            out[place] = int(rng.choice([0, 1, 127, 128, 255, rng.integers(256)]))
        elif kind == 2:
            out[place:place] = rng.bytes(int(rng.integers(1, 9)))
        elif kind == 3:
            del out[place : place + int(rng.integers(1, 9))]
        elif kind == 4:
            begin = int(rng.integers(0, len(out) + 1))
            out[place : place + 16] = out[begin : begin + 16]
    return bytes(out)


def framed(bits: int, stream: bytes) -> bytes:
    """A RIFF container with one chunk VP8L, its lengths right. bits: size, alpha hint and version."""
    body = struct.pack("<BI", 0x2F, bits) + stream
    return (
        struct.pack("<4sI4s4sI", b"RIFF", 12 + len(body) + len(body) % 2, b"WEBP", b"VP8L", len(body))
        + body
        + b"\0" * (len(body) % 2)
    )


def saved(image: Image.Image, **options: object) -> bytes:
    """As Pillow writes it."""
    file = BytesIO()
    image.save(file, "WEBP", **options)
    return file.getvalue()


def _size(bits: int) -> tuple[int, int]:
    """Width and height; no larger than a tile is, however large the file says."""
    return min((bits & 0x3FFF) + 1, 1024), min((bits >> 14 & 0x3FFF) + 1, 1024)


def _inside(bits: int, stream: bytes, rng: Generator) -> bytes:
    return framed(bits, spoil(stream, rng))


def _first(bits: int, stream: bytes, rng: Generator) -> bytes:
    """Transforms, colour cache and codes: they stand first."""
    count = int(rng.integers(1, 9))
    at = int(rng.integers(0, 24))
    return framed(bits, stream[:at] + rng.bytes(count) + stream[at + count :])


def _cut(bits: int, stream: bytes, rng: Generator) -> bytes:
    return framed(bits, stream[: int(rng.integers(0, len(stream) + 1))])


def _longer(bits: int, stream: bytes, rng: Generator) -> bytes:
    return framed(bits, stream + bytes(int(rng.integers(1, 3000))))


def _noise(bits: int, stream: bytes, rng: Generator) -> bytes:
    return framed(bits, rng.bytes(int(rng.integers(0, 300))))


def _head(bits: int, stream: bytes, rng: Generator) -> bytes:
    """Sizes, the alpha hint or the version."""
    return framed(bits ^ 1 << int(rng.integers(32)), stream)


def _lengths(bits: int, stream: bytes, rng: Generator) -> bytes:
    data = bytearray(framed(bits, stream))
    value = int(
        rng.choice([0, 1, len(data) - 8, len(data), len(data) + 1, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1])
    )
    struct.pack_into("<I", data, int(rng.choice([4, 16])), value)
    return bytes(data)


def _another(bits: int, stream: bytes, rng: Generator) -> bytes:
    """A sound picture of the same size: flat, few colours, or noise; with alpha that is 0, 255 or in between."""
    width, height = _size(bits)
    colours = rng.integers(0, int(rng.choice([1, 2, 256])), (height, width, 4), dtype=np.uint8)
    colours[..., 3] = rng.choice([[255, 255], [0, 255], [0, 0], [0, 254]][int(rng.integers(4))], (height, width))
    return saved(Image.fromarray(colours), lossless=True, exact=True, method=0)


def _other_webp(bits: int, stream: bytes, rng: Generator) -> bytes:
    """Lossy, animated, or with chunks that may not be there."""
    image = Image.new("RGB", _size(bits), "red")
    kinds: tuple[dict[str, object], ...] = (
        {"quality": 50},
        {"lossless": True, "icc_profile": b"x" * 30},
        {"lossless": True, "exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"},
        {"lossless": True, "save_all": True, "append_images": [Image.new("RGB", image.size, "blue")]},
    )
    return saved(image, method=0, **kinds[int(rng.integers(len(kinds)))])


Change = Callable[[int, bytes, Generator], bytes]
CHANGES: tuple[Change, ...] = (
    _inside, _inside, _inside, _first, _first, _first, _cut, _longer, _noise, _head, _lengths, _another, _another, _other_webp,
)  # fmt: skip


def spoiled(payload: bytes, rng: Generator) -> bytes:
    """Another payload for a tile's exact pixels, mostly in a frame that passes its checks; sometimes none at all."""
    if len(payload) < HEAD.size or rng.random() < 0.05:
        return spoil(payload, rng) if rng.random() < 0.5 else b""
    bits = int(struct.unpack_from("<I", payload, STREAM)[0])
    return CHANGES[int(rng.integers(len(CHANGES)))](bits, payload[HEAD.size :], rng)


def payloads() -> list[tuple[int, int, bytes]]:
    """Height, width and payload of sound ones: noise, few colours, a gradient, one colour, holes, a tile's whole width."""
    rng, out = np.random.default_rng(0), []
    for height, width, levels in ((40, 50, 256), (20, 33, 4), (16, 16, 1), (3, 1024, 8)):
        out.append((height, width, pack_overlay(rng.integers(0, levels, (height, width, 3), dtype=np.uint8))))
    y, x = np.mgrid[:60, :80]
    smooth = np.dstack([3 * x, 4 * y, x + y]).astype(np.uint8)
    return [*out, (60, 80, pack_overlay(smooth)), (60, 80, pack_overlay(smooth, rng.random((60, 80)) < 0.5))]


def check(begin: int, end: int) -> collections.Counter[str]:
    """Decode the spoiled payloads of these numbers. Returns how often each outcome came; lets all but a CorruptError through."""
    outcomes: collections.Counter[str] = collections.Counter()
    sound = payloads()
    for number in range(begin, end):
        height, width, payload = sound[number % len(sound)]
        try:
            pixels, exact = unpack_overlay(spoiled(payload, np.random.default_rng((9, number))), height, width)
        except CorruptError as error:
            outcomes[str(error)] += 1
        else:
            assert pixels.shape == (height, width, 3)
            assert exact.shape == (height, width)
            outcomes["decoded"] += 1
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--files", type=int, default=20_000)
    options = parser.parse_args()
    growth, begun = Growth(), time.process_time()
    outcomes = check(0, options.files)
    print(
        f"{options.files} payloads, {time.process_time() - begun:.0f} s of processor time, growth {growth.megabytes():.0f} MB"
    )
    print(", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common()))


if __name__ == "__main__":
    main()
