"""PNG files of every kind, made by hand (PNG specification, third edition): Pillow writes only the usual ones.

`png` writes any samples in any colour type, depth and order; `broken` are files that no reader should take for a picture.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6  # colour types
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}
DEPTHS = {GREY: (1, 2, 4, 8, 16), RGB: (8, 16), PALETTE: (1, 2, 4, 8), GREY_ALPHA: (8, 16), RGB_ALPHA: (8, 16)}
KINDS = [(colour, depth) for colour, depths in DEPTHS.items() for depth in depths]
ADAM7 = (
    (0, 0, 8, 8),
    (0, 4, 8, 8),
    (4, 0, 8, 4),
    (0, 2, 4, 4),
    (2, 0, 4, 2),
    (0, 1, 2, 2),
    (1, 0, 2, 1),
)  # row, column, their strides

Samples = npt.NDArray[np.integer]  # [H, W, channels], each in 0 .. 2^depth - 1
Planes = npt.NDArray[np.uint8]


def chunk(tag: bytes, data: bytes, crc: int | None = None) -> bytes:
    """Length, tag, data and checksum; `crc` in place of the right one."""
    right = zlib.crc32(tag + data)
    return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", right if crc is None else crc)


def header(width: int, height: int, depth: int, colour: int, interlaced: bool = False) -> bytes:
    """The chunk IHDR."""
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))


def png(
    samples: Samples, colour: int, depth: int, *, interlaced: bool = False, palette: Planes | None = None, chunks: Sequence[bytes] = (),
    parts: int = 1,
) -> bytes:  # fmt: skip
    """A whole file. palette: uint8 [n, 3]. chunks: that come before the pixels, after the palette. parts: IDAT chunks."""
    height, width = samples.shape[:2]
    images = [samples[r::dr, c::dc] for r, c, dr, dc in ADAM7] if interlaced else [samples]
    raw = b"".join(_filtered(image, depth) for image in images if image.size)
    packed = zlib.compress(raw, 9)
    size = -(-len(packed) // parts)
    out = [SIGNATURE, header(width, height, depth, colour, interlaced)]
    out += [] if palette is None else [chunk(b"PLTE", palette.tobytes())]
    out += [*chunks, *(chunk(b"IDAT", packed[i : i + size]) for i in range(0, len(packed), size)), chunk(b"IEND", b"")]
    return b"".join(out)


def _filtered(image: Samples, depth: int) -> bytes:
    """Rows of one pass, each behind the number of its filter; the filters take turns."""
    step = max(1, image.shape[2] * depth // 8)
    above = b""
    out = bytearray()
    for number, row in enumerate(image):
        flat = row.reshape(-1)
        if depth == 16:
            data = flat.astype(">u2").tobytes()
        elif depth == 8:
            data = flat.astype(np.uint8).tobytes()
        else:
            bits = (flat[:, None] >> np.arange(depth)[::-1]) & 1
            data = np.packbits(bits.astype(np.uint8)).tobytes()
        above = above or bytes(len(data))
        kind = number % 5
        out.append(kind)
        for i, value in enumerate(data):
            left, up = data[i - step] if i >= step else 0, above[i]
            corner = above[i - step] if i >= step else 0
            out.append((value - (0, left, up, (left + up) // 2, _paeth(left, up, corner))[kind]) % 256)
        above = data
    return bytes(out)


def _paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    return min((left, up, corner), key=lambda near: abs(guess - near))


def gradients(width: int, height: int, colour: int, depth: int) -> Samples:
    """Smooth samples that differ in every channel and use the whole range of the depth."""
    y, x = np.mgrid[0:height, 0:width]
    top = 2**depth - 1
    planes = []
    for channel in range(CHANNELS[colour]):
        wave = np.sin(x * (0.07 + 0.02 * channel) + 1.5 * channel) + np.cos(y * (0.09 - 0.02 * channel) + 0.7 * channel)
        planes.append(np.rint((wave + 2) / 4 * top))
    return np.stack(planes, -1).astype(np.int64)


def colours(count: int) -> Planes:
    """A palette whose neighbours are alike. uint8 [count, 3]"""
    at = np.linspace(0, 255, count)
    return np.stack([at, 255 - at * 0.6, np.abs(128 - at)], -1).astype(np.uint8)


def eight_bits(samples: Samples, depth: int) -> npt.NDArray[np.float64]:
    """Samples in 0..255, not rounded."""
    return samples * (255 / (2**depth - 1))


def broken() -> Iterator[tuple[str, bytes]]:
    """Names and files: what PngSuite has of the kind, and more."""
    samples = gradients(30, 20, RGB, 8)
    sound = png(samples, RGB, 8)
    pixels = sound[sound.index(b"IDAT") - 4 : sound.index(b"IEND") - 4]
    start, end = SIGNATURE + header(30, 20, 8, RGB), chunk(b"IEND", b"")
    yield "empty", b""
    yield "only a signature", SIGNATURE
    for position in (0, 1, 3, 7):
        yield (
            f"signature damaged at {position}",
            sound[:position] + bytes([sound[position] ^ 0x40]) + sound[position + 1 :],
        )
    yield "line ends changed", sound.replace(b"\r\n", b"\n", 1)
    yield "the eighth bit lost", bytes([sound[0] & 127]) + sound[1:]
    yield "no header", SIGNATURE + pixels + end
    yield "the header's checksum", SIGNATURE + chunk(b"IHDR", start[16:29], crc=0) + pixels + end
    yield "the header cut", start[:20]
    for colour in (1, 5, 7, 9):
        yield f"colour type {colour}", SIGNATURE + header(30, 20, 8, colour) + pixels + end
    for colour, depth in ((RGB, 0), (RGB, 4), (RGB, 99), (GREY, 3), (PALETTE, 16), (GREY_ALPHA, 4), (RGB_ALPHA, 2)):
        yield f"colour type {colour} in depth {depth}", SIGNATURE + header(30, 20, depth, colour) + pixels + end
    yield "no width", SIGNATURE + header(0, 20, 8, RGB) + pixels + end
    yield "no height", SIGNATURE + header(30, 0, 8, RGB) + pixels + end
    yield "no pixels", start + end
    yield "an empty IDAT", start + chunk(b"IDAT", b"") + end
    yield "pixels that do not inflate", start + chunk(b"IDAT", b"no zlib stream, whatever this is") + end
    yield "an unknown filter", start + chunk(b"IDAT", zlib.compress((b"\x09" + bytes(90)) * 20)) + end
    yield "pixels damaged", start + pixels[:40] + bytes([pixels[40] ^ 255]) + pixels[41:] + end
    for share in (0.4, 0.7, 0.9):
        yield f"cut at {share}", sound[: int(share * len(sound))]
