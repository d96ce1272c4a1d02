"""The conformance files with exact pixels (FORMAT.md, "Exact pixels"); `make.py` writes them."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import vqbitstream
from fuzz.cases import File, Piece
from PIL import Image, ImageDraw
from support import picture
from vqbitstream import Limits
from vqbitstream.geometry import PATCH_PX
from vqcodec.codec import Codec
from vqcodec.pictures.overlay import pack_overlay
from vqcodec.pictures.planes import Planes

Pixels = Any  # uint8 [h, w, 3]


def drawing(width: int, height: int) -> Pixels:
    """Text and shapes in few colours."""
    image = Image.new("RGB", (width, height), "#fffbe6")
    pen = ImageDraw.Draw(image)
    pen.ellipse((width // 8, height // 8, width // 2, height // 2), "#d81b60")
    for line in range(0, height, 11):
        pen.text((3, line), "Sphinx of black quartz, judge my vow. 0123456789", "#10243e")
    return np.asarray(image)


def some_blocks(width: int, height: int) -> Any:
    """A mask of the right half, and a few single pixels of the left."""
    mask = np.zeros((height, width), dtype=bool)
    mask[:, width // 2 :] = True
    mask[::7, ::5] = True
    return mask


def over(data: bytes, pixels: Pixels, masks: Any = None, *, tiles: tuple[int, ...] | None = None) -> bytes:
    """A file with exact pixels laid over it: where `masks` says so (everywhere by default), in some `tiles` (all by default)."""
    contents = vqbitstream.unpack(data, Limits())
    exact = []
    for number, tile in enumerate(contents.header.tiles):
        rect = tile.scale(PATCH_PX)
        place = slice(rect.top, rect.bottom), slice(rect.left, rect.right)
        mask = None if masks is None else masks[place]
        exact.append(pack_overlay(pixels[place], mask) if tiles is None or number in tiles else b"")
    return vqbitstream.pack(replace(contents, header=replace(contents.header, exact=True), exact=tuple(exact)))


def sound(codec: Codec, encoded: Callable[..., bytes], metadata: dict[str, bytes]) -> dict[str, bytes]:
    """Files by name. encoded: see make.py."""

    def lossless(pixels: Pixels, alpha: Any = None) -> bytes:
        return codec.encode_planes(Planes(pixels, alpha, dict(metadata) if alpha is not None else {}), exact="all")[0]

    ramp = np.add.outer(np.arange(37) * 5, np.arange(45) * 3).astype(np.uint8)
    y, x = np.mgrid[:50, :70]
    out = {
        "rgb": lossless(picture(60, 44)), "grey": lossless(picture(33, 20)[..., 0]), "alpha": lossless(picture(45, 37), ramp),
        "grey-alpha": lossless(picture(45, 37)[..., 1], ramp), "1x1": lossless(picture(1, 1)), "1x40": lossless(picture(1, 40)),
        "text": lossless(drawing(300, 100)), "two-colours": lossless(((x + y) % 2 * 255).astype(np.uint8)),
        "four-colours": lossless(np.array([[255, 0, 0], [0, 9, 0], [0, 0, 99], [7, 7, 7]], np.uint8)[(x // 3 + y // 2) % 4]),
        "noise": lossless(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)),
        "tiles": lossless(drawing(1040, 40)), "tall-tiles": lossless(picture(20, 1040)),
        "found": codec.encode_pixels(np.hstack([picture(130, 160), drawing(160, 160)]), quality=80, effort=1),
    }  # fmt: skip
    out["drawing-in-photograph"] = over(encoded(codec, 130, 90, 60), drawing(130, 90), some_blocks(130, 90))
    grey = encoded(codec, 65, 63, 60, grey=True)
    out["drawing-in-grey"] = over(grey, np.repeat(drawing(65, 63)[..., :1], 3, axis=2), some_blocks(65, 63))
    everything = encoded(codec, 90, 70, 85, alpha=3, metadata=list(metadata), layered=True)
    out["everything"] = over(everything, drawing(90, 70), some_blocks(90, 70))
    out["whole-tile"] = over(encoded(codec, 40, 40, 30), drawing(40, 40))
    out["one-of-two-tiles"] = over(encoded(codec, 1040, 40, 60), drawing(1040, 40), some_blocks(1040, 40), tiles=(1,))
    return out


def _webp(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "WEBP", **options)
    return file.getvalue()


def _damaged(payload: bytes) -> bytes:
    """With the last bit changed that makes the library refuse it."""
    for bit in reversed(range(8 * 26, 8 * len(payload))):
        spoiled = bytearray(payload)
        spoiled[bit // 8] ^= 1 << bit % 8
        try:
            Image.open(io.BytesIO(bytes(spoiled))).load()
        except OSError:
            return bytes(spoiled)
    raise AssertionError("no bit matters")


def _shortened(payload: bytes, count: int) -> bytes:
    """Without its last bytes, every length being right."""
    chunk = payload[20 : len(payload) - count]
    chunk += b"\0" * (len(chunk) % 2)
    length = len(payload) - count - 20
    return struct.pack("<4sI4s4sI", b"RIFF", len(chunk) + 12, b"WEBP", b"VP8L", length) + chunk


def refused(codec: Codec, encoded: Callable[..., bytes], metadata: dict[str, bytes]) -> dict[str, bytes]:
    """Files with one fault each."""
    image = Image.fromarray(drawing(60, 44))
    clear = image.convert("RGBA")
    clear.putpixel((7, 9), (1, 2, 3, 0))
    half = image.convert("RGBA")
    half.putpixel((7, 9), (1, 2, 3, 128))
    whole = codec.encode_pixels(np.asarray(image), exact="all")
    payload = File.parse(whole).pieces[0].payload
    png = io.BytesIO()
    image.save(png, "PNG")
    payloads = {
        "lossy": _webp(image), "png": png.getvalue(), "extended": _webp(image, lossless=True, icc_profile=b"x" * 200),
        "another-size": _webp(image.resize((61, 44)), lossless=True), "clear-without-layers": _webp(clear, lossless=True, exact=True),
        "half-clear": _webp(half, lossless=True, exact=True), "empty-without-layers": b"", "cut-head": payload[:24],
        "cut": _shortened(payload, len(payload) // 3), "cut-byte": _shortened(payload, 2), "damaged": _damaged(payload),
        "longer": payload + b"\0\0", "riff-length": payload[:4] + struct.pack("<I", len(payload)) + payload[8:],
        "chunk-length": payload[:16] + struct.pack("<I", len(payload)) + payload[20:],
        "version": payload[:24] + bytes([payload[24] | 32]) + payload[25:], "signature": payload[:20] + b"\x2e" + payload[21:],
    }  # fmt: skip
    out = {}
    for name, wrong in payloads.items():
        file = File.parse(whole)
        file.pieces = [replace(file.pieces[0], payload=wrong)]
        out[name] = file.pack()
    everything = over(encoded(codec, 90, 70, 85, alpha=3, metadata=list(metadata), layered=True), drawing(90, 70))

    def changed(name: str, data: bytes, change: Callable[[File, list[Piece]], object]) -> None:
        file = File.parse(data)
        change(file, file.pieces)
        out[name] = file.pack()

    place = [piece.tag for piece in File.parse(everything).pieces].index(b"P")
    changed("missing", whole, lambda _, p: p.clear())
    changed("missing-between", everything, lambda _, p: p.pop(place))
    changed("twice", everything, lambda _, p: p.insert(place, p[place]))
    changed("before-alpha", everything, lambda _, p: p.insert(place - 1, p.pop(place)))
    changed("after-layers", everything, lambda _, p: p.append(p.pop(place)))
    changed("checksum", everything, lambda _, p: p.__setitem__(place, replace(p[place], crc=1)))
    fog = Image.fromarray(np.dstack([drawing(90, 70), np.full((70, 90), 254, np.uint8)]))
    foggy = _webp(fog, lossless=True, exact=True)
    changed("half-clear-over-layers", everything, lambda _, p: p.__setitem__(place, replace(p[place], payload=foggy)))
    changed("without-flag", everything, lambda f, _: f.header.update(flags=int(f.header["flags"]) & ~8))
    changed("single-without-layers", whole, lambda f, _: f.header.update(flags=int(f.header["flags"]) | 2))
    changed("more-pixels", whole, lambda f, _: f.header.update(width=61))
    changed("layers-without-sections", whole, lambda f, _: f.header.update(layers=1, model_id=codec.model_id))
    return out
