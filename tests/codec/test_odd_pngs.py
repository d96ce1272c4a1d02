"""PNG files of every colour type, depth and order, made by code: the right picture comes back, or one line says what is wrong."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import vqcodec
from click.testing import CliRunner
from PIL import Image, ImageCms
from support import odd_pngs as odd
from support.odd_pngs import GREY, GREY_ALPHA, KINDS, PALETTE, RGB, RGB_ALPHA, chunk
from vqcodec.cli.main import main
from vqcodec.codec import Codec
from vqcodec.pictures.planes import ImageError, Planes
from vqcodec.pictures.reading import to_planes

NAMES = {GREY: "grey", RGB: "rgb", PALETTE: "palette", GREY_ALPHA: "grey and alpha", RGB_ALPHA: "rgb and alpha"}


@pytest.fixture(scope="module")
def shipped() -> Codec:
    return Codec("default")


def read(data: bytes) -> Planes:
    """The planes that are encoded; no warning is given."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return to_planes(io.BytesIO(data), vqcodec.Limits())


def right(samples: odd.Samples, colour: int, depth: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Colours [H, W] or [H, W, 3] and alpha [H, W] of samples, from the specification: in 0..255, not rounded."""
    if colour == PALETTE:
        return odd.colours(2**depth)[samples[..., 0]].astype(float), None
    values = odd.eight_bits(samples, depth)
    if (colour, depth) == (GREY_ALPHA, 16):  # Pillow has no mode for it but RGBA
        values = values[..., [0, 0, 0, 1]]
    alpha = values[..., -1] if colour in (GREY_ALPHA, RGB_ALPHA) else None
    return (values[..., 0] if values.shape[-1] < 3 else values[..., :3]), alpha


def check(planes: Planes, colour: np.ndarray, alpha: np.ndarray | None, depth: int) -> None:
    off = 0.51 if depth < 16 else 1.0  # Pillow takes the upper byte of some kinds
    assert planes.colour.shape == colour.shape
    assert np.abs(planes.colour - colour).max() <= off
    assert (planes.alpha is None) == (alpha is None)
    if alpha is not None:
        assert planes.alpha is not None
        assert np.abs(planes.alpha - alpha).max() <= off


def made(
    width: int, height: int, colour: int, depth: int, interlaced: bool = False, **more: object
) -> tuple[bytes, odd.Samples]:
    samples = odd.gradients(width, height, colour, depth)
    palette = odd.colours(2**depth) if colour == PALETTE else None
    return odd.png(samples, colour, depth, interlaced=interlaced, palette=palette, **more), samples  # type: ignore[arg-type]


@pytest.mark.parametrize("interlaced", [False, True], ids=["in order", "interlaced"])
@pytest.mark.parametrize(("colour", "depth"), KINDS, ids=[f"{NAMES[c]} {d}" for c, d in KINDS])
def test_every_kind_is_encoded_and_decoded_to_the_right_picture(
    colour: int, depth: int, interlaced: bool, shipped: Codec
) -> None:
    data, samples = made(61, 45, colour, depth, interlaced)
    expected, alpha = right(samples, colour, depth)
    planes = read(data)
    check(planes, expected, alpha, depth)
    decoded = shipped.decode_planes(shipped.encode(io.BytesIO(data), quality=100, effort=1, keep_hidden=True))
    direct = shipped.decode_pixels(shipped.encode_pixels(planes.colour, quality=100, effort=1))
    np.testing.assert_array_equal(decoded.colour, direct)
    if depth >= 8:  # of fewer grey levels each is an edge to the next
        assert np.square(decoded.colour.astype(float) - expected).mean() < 5  # 41 dB
    if alpha is None:
        assert decoded.alpha is None
    else:
        np.testing.assert_array_equal(decoded.alpha, planes.alpha)


@pytest.mark.parametrize("interlaced", [False, True], ids=["in order", "interlaced"])
@pytest.mark.parametrize(("colour", "depth"), [(GREY, 1), (PALETTE, 4), (RGB, 8), (GREY_ALPHA, 16)])
def test_every_size_is_read(colour: int, depth: int, interlaced: bool) -> None:
    for side in range(1, 41):
        for width, height in {(side, side), (side, 1), (1, side), (side, 41 - side)}:
            data, samples = made(width, height, colour, depth, interlaced)
            check(read(data), *right(samples, colour, depth), depth)


@pytest.mark.parametrize("side", [1, 2, 3, 7, 8, 9, 15, 17, 31, 33, 40])
def test_small_sizes_come_back(side: int, codec: Codec) -> None:
    data, samples = made(side, 41 - side, RGB, 8, interlaced=True)
    direct = codec.encode(samples.astype(np.uint8), quality=100)
    assert codec.encode(io.BytesIO(data), quality=100) == direct
    assert codec.decode(direct).size == (side, 41 - side)


@pytest.mark.parametrize(("colour", "depth"), [k for k in KINDS if k[0] in (GREY, RGB, PALETTE)])
@pytest.mark.parametrize("interlaced", [False, True], ids=["in order", "interlaced"])
def test_transparency_by_colour_is_exact(colour: int, depth: int, interlaced: bool, codec: Codec) -> None:
    samples = odd.gradients(40, 30, colour, depth)
    if colour == PALETTE:
        opacity = np.linspace(0, 255, 2**depth).astype(np.uint8)
        transparent, expected = opacity.tobytes(), opacity[samples[..., 0]]
    else:
        hidden = samples[7, 9]
        transparent = struct.pack(f">{len(hidden)}H", *hidden)
        expected = np.where((samples == hidden).all(-1), 0, 255)
    palette = odd.colours(2**depth) if colour == PALETTE else None
    data = odd.png(samples, colour, depth, interlaced=interlaced, palette=palette, chunks=[chunk(b"tRNS", transparent)])
    planes = read(data)
    assert expected.min() < 128
    assert planes.alpha is not None
    if colour == RGB and depth == 16:  # Pillow has 8 bits of each colour: its neighbours are hidden with it
        expected = np.where((samples >> 8 == hidden >> 8).all(-1), 0, 255)
    np.testing.assert_array_equal(planes.alpha, expected)
    np.testing.assert_array_equal(np.asarray(codec.decode(codec.encode(io.BytesIO(data))))[..., -1], planes.alpha)


ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
EXIF = b"II*\0\x08\0\0\0\x01\0\x0f\x01\x02\0\x04\0\0\0abc\0\0\0\0\0"
ANCILLARY = {
    "gamma": chunk(b"gAMA", struct.pack(">I", 45_455)),
    "chromaticities": chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)),
    "sRGB": chunk(b"sRGB", b"\0"),
    "significant bits": chunk(b"sBIT", b"\x05\x06\x05"),
    "background": chunk(b"bKGD", struct.pack(">3H", 1, 2, 3)),
    "pixels that are not square": chunk(b"pHYs", struct.pack(">IIB", 1, 4, 0)),
    "time": chunk(b"tIME", struct.pack(">H5B", 1999, 2, 30, 25, 61, 61)),
    "text": chunk(b"tEXt", b"Title\0PngSuite-like \xe9"),
    "compressed text": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"long " * 1000)),
    "international text": chunk(b"iTXt", b"Author\0\0\0fr\0Auteur\0" + "é".encode()),
    "suggested palette": chunk(b"sPLT", b"six\0\x08" + bytes(6)),
    "a chunk of nobody's": chunk(b"vqCd", b"whatever"),
    "ICC profile": chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(ICC)),
    "EXIF": chunk(b"eXIf", EXIF),
}


@pytest.mark.parametrize("name", ANCILLARY)
def test_what_stands_beside_the_pixels_does_not_change_them(name: str, codec: Codec) -> None:
    data, samples = made(33, 21, RGB, 8, chunks=[ANCILLARY[name]])
    planes = read(data)
    np.testing.assert_array_equal(planes.colour, samples)
    kept = codec.decode(codec.encode(io.BytesIO(data))).info
    assert kept.get("icc_profile") == (ICC if name == "ICC profile" else None)
    assert kept.get("exif", b"").removeprefix(b"Exif\0\0") == (EXIF if name == "EXIF" else b"")


@pytest.mark.parametrize("parts", [2, 7, 10_000])
def test_pixels_may_come_in_parts(parts: int) -> None:
    data, samples = made(33, 21, RGB, 8, parts=parts)
    np.testing.assert_array_equal(read(data).colour, samples)


@pytest.mark.parametrize(("name", "data"), list(odd.broken()), ids=[name for name, _ in odd.broken()])
def test_broken_files_are_refused_in_one_line(name: str, data: bytes, codec: Codec, tmp_path: Path) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(data)
    with pytest.raises(ImageError) as refusal:
        codec.encode(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert "\n" not in str(refusal.value)
    done = CliRunner().invoke(main, ["encode", "-e", "1", str(path)])
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["broken.png"]


def test_what_pillow_forgives_is_still_the_right_picture() -> None:
    """A wrong checksum of the pixels, whose zlib stream has one of its own, and an end that is missing."""
    data, samples = made(33, 21, RGB, 8)
    at = data.index(b"IEND") - 8
    wrong = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    for forgiven in (wrong, data[: at + 4]):
        np.testing.assert_array_equal(read(forgiven).colour, samples)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("colour", "depth"), KINDS, ids=[f"{NAMES[c]} {d}" for c, d in KINDS])
def test_the_maker_of_these_files_agrees_with_pillow(colour: int, depth: int, interlaced: bool) -> None:
    """Or the tests above would test nothing: the file is a PNG of that kind to another reader."""
    data, _ = made(10, 10, colour, depth, interlaced)
    with Image.open(io.BytesIO(data)) as image:
        assert image.format == "PNG"
        assert bool(image.info.get("interlace")) == interlaced
        image.verify()
