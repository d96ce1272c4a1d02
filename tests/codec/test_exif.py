"""EXIF: what describes the picture stays, what describes how it was stored goes, and nothing damaged stops anybody."""

from __future__ import annotations

import io
import random
import struct
from pathlib import Path

import numpy as np
import pytest
import vqcodec
from PIL import Image
from support import picture
from vqbitstream.limits import Limits
from vqcodec.pictures.exif import DamagedExif, cleaned
from vqcodec.pictures.planes import Planes
from vqcodec.pictures.reading import to_planes
from vqcodec.pictures.writing import from_planes, write_picture

SIZE = (60, 40)
PIXELS = picture(*SIZE)
STORAGE = {
    "size": {256: 1000, 257: 7}, "bits": {258: 16}, "compression": {259: 7}, "photometric": {262: 6}, "fill order": {266: 2},
    "strips": {273: 8, 279: 100}, "samples": {277: 1}, "planar": {284: 2}, "predictor": {317: 2}, "colour map": {320: 5},
    "tiles": {322: 16, 323: 16}, "sub-pictures": {330: 8}, "ink": {332: 1}, "extra samples": {338: 1}, "sample format": {339: 3},
    "JPEG tables": {347: 1}, "JPEG picture": {513: 8, 514: 10}, "positioning": {531: 2}, "DNG": {50706: 1},
}  # fmt: skip


DAMAGED = [
    b"", b"hello world, no exif", b"II*\0", b"II+\0\x08\0\0\0\0\0", b"II*\0\xff\0\0\0\0\0", b"II*\0\x08\0\0\0\xff\xff"
]  # fmt: skip


def ifd(entries: list[tuple[int, int, int, int]], following: int, order: str = "<") -> bytes:
    body = b"".join(struct.pack(order + "HHII", *entry) for entry in entries)
    return struct.pack(order + "H", len(entries)) + body + struct.pack(order + "I", following)


def with_thumbnail(order: str = "<") -> bytes:
    """Turned by a quarter, with dimensions in the Exif IFD, and a thumbnail at the end."""
    small = io.BytesIO()
    Image.fromarray(PIXELS).resize((30, 20)).save(small, "JPEG")
    thumbnail, first = small.getvalue(), 8 + 30 + 30
    short = 6 << 16 if order == ">" else 6
    return (
        struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8)
        + ifd([(0x112, 3, 1, short), (0x8769, 4, 1, 38)], first, order)
        + ifd([(0xA002, 4, 1, 60), (0xA003, 4, 1, 40)], 0, order)
        + ifd([(0x201, 4, 1, first + 30), (0x202, 4, 1, len(thumbnail))], 0, order)
        + thumbnail
    )


def tags_of(exif: bytes) -> Image.Exif:
    tags = Image.Exif()
    tags.load(exif)
    return tags


@pytest.mark.parametrize("name", STORAGE)
@pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg", ".webp", ".avif"])
@pytest.mark.filterwarnings("ignore")
def test_storage_tags_reach_no_writer(name: str, suffix: str) -> None:
    """Neither those of a picture that is encoded, nor those that another encoder put into a file."""
    tags = Image.Exif()
    tags[0x010F] = "Maker"
    for tag, value in STORAGE[name].items():
        tags[tag] = value
    exif = tags.tobytes().removeprefix(b"Exif\0\0")
    source = io.BytesIO()
    Image.fromarray(PIXELS).save(source, "PNG", exif=exif)
    read = to_planes(source, Limits())
    assert set(tags_of(read.metadata["exif"])) == {0x010F}
    for metadata in (read.metadata, {"exif": exif}):
        file = io.BytesIO()
        write_picture(from_planes(Planes(PIXELS, None, metadata)), file, suffix)
        with Image.open(file) as back:
            assert (back.size, back.mode) == (SIZE, "RGB")
            assert back.getexif()[0x010F] == "Maker"
            if suffix in (".tif", ".png"):
                np.testing.assert_array_equal(np.asarray(back), PIXELS)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_turned_picture_has_its_own_dimensions_and_no_thumbnail(order: str) -> None:
    source = io.BytesIO()
    Image.fromarray(PIXELS).save(source, "JPEG", exif=b"Exif\0\0" + with_thumbnail(order))
    planes = to_planes(source, Limits())
    exif = planes.metadata["exif"]
    assert planes.colour.shape[:2] == (60, 40)
    assert len(exif) == 8 + 30 + 30
    tags = tags_of(exif)
    assert tags[0x112] == 1
    assert tags.get_ifd(0x8769) == {0xA002: 40, 0xA003: 60}
    assert not tags.get_ifd(1)


def test_a_preview_says_its_own_dimensions() -> None:
    exif = b"Exif\0\0" + with_thumbnail()
    source = io.BytesIO()
    Image.fromarray(PIXELS).save(source, "JPEG", exif=exif)
    small = vqcodec.decode(vqcodec.encode(source, effort=1), max_size=20)
    assert small.getexif().get_ifd(0x8769) == {0xA002: small.width, 0xA003: small.height}


def test_values_that_stay_keep_their_place() -> None:
    """Makers' notes count from the start of the structure."""
    exif = b"II*\0\x08\0\0\0" + ifd([(256, 4, 1, 9), (0x010F, 2, 6, 50), (259, 3, 1, 7)], 0) + b"Maker\0"
    exif = exif[:8] + exif[8:].replace(struct.pack("<I", 50), struct.pack("<I", 8 + 2 + 36 + 4))
    out = cleaned(exif, SIZE)
    assert len(out) == len(exif)
    assert out[50:] == exif[50:] == b"Maker\0"
    assert tags_of(out)[0x010F] == "Maker"


def test_tags_whose_values_lie_outside_go() -> None:
    exif = b"II*\0\x08\0\0\0" + ifd([(0x010F, 2, 60, 5000), (0x0110, 2, 4, 0x434241), (0x0131, 99, 1, 1)], 0)
    assert set(tags_of(cleaned(exif, SIZE))) == {0x0110}


@pytest.mark.parametrize("exif", DAMAGED)
def test_damage_is_told_and_left_out(exif: bytes, tmp_path: Path) -> None:
    with pytest.raises(DamagedExif):
        cleaned(exif, SIZE)
    if not exif:
        return
    source = io.BytesIO()
    Image.fromarray(PIXELS).save(source, "JPEG", exif=b"Exif\0\0" + exif)  # no JFIF density, as cameras write
    with pytest.warns(UserWarning, match="EXIF is damaged"):
        data = vqcodec.encode(source, effort=1)
    assert vqcodec.info(data).metadata == {}
    with pytest.warns(UserWarning, match="EXIF is damaged"):
        image = from_planes(Planes(PIXELS, None, {"exif": exif}))
    assert "exif" not in image.info


def test_any_bytes_are_cleaned_or_refused() -> None:
    """What comes out is no longer, is clean, and Pillow reads it."""
    chance = random.Random(5)
    refused = 0
    for _ in range(3000):
        exif = bytearray(with_thumbnail(chance.choice("<>")))
        for _ in range(chance.randrange(1, 6)):
            exif[chance.randrange(98)] = chance.choice([0, 1, 2, 8, 255, chance.randrange(256)])
        try:
            out = cleaned(bytes(exif), SIZE)
        except DamagedExif:
            refused += 1
            continue
        assert len(out) <= len(exif)
        assert not out or cleaned(out, SIZE) == out
    assert 0 < refused < 2500


def test_a_doubled_header_is_one() -> None:
    source = io.BytesIO()
    Image.fromarray(PIXELS).save(source, "JPEG", exif=b"Exif\0\0" * 2 + with_thumbnail())
    planes = to_planes(source, Limits())
    assert planes.colour.shape[:2] == (60, 40)
    assert tags_of(planes.metadata["exif"])[0x112] == 1


def test_xmp_says_the_dimensions_and_has_no_thumbnail() -> None:
    xmp = """<x:xmpmeta><rdf:Description tiff:Orientation="6" tiff:ImageWidth="60" exif:PixelYDimension = '40'>
<exif:PixelXDimension>60</exif:PixelXDimension><tiff:ImageLength>40</tiff:ImageLength><dc:title>60</dc:title>{}
</rdf:Description></x:xmpmeta>"""
    thumbnails = "<xmp:Thumbnails><rdf:Alt><rdf:li>/9j/4AAQ</rdf:li>\n</rdf:Alt></xmp:Thumbnails>"
    image = Image.fromarray(PIXELS)
    image.info["xmp"] = xmp.format(thumbnails).encode()
    found = to_planes(image, Limits()).metadata["xmp"].decode()
    turned = xmp.format("").replace('"6"', '"1"').replace('"60"', '"40"').replace("'40'", "'60'")
    turned = turned.replace(">40</tiff", ">60</tiff").replace(">60</exif", ">40</exif")
    assert found == turned


def test_tiff_takes_exif_and_xmp() -> None:
    tags = Image.Exif()
    tags[0x010F], tags[0x8769], tags[0x8825] = "Maker", {0x9003: "2026:11:27 03:00:00"}, {1: "N"}
    exif, xmp = tags.tobytes().removeprefix(b"Exif\0\0"), b"<x:xmpmeta/>"
    for metadata in ({"exif": exif, "xmp": xmp}, {"xmp": xmp}, {"exif": exif}):
        file = io.BytesIO()
        write_picture(from_planes(Planes(PIXELS, None, metadata)), file, ".tif")
        with Image.open(file) as back:
            found = back.getexif()
            assert back.info.get("xmp") == metadata.get("xmp")
            assert found.get(0x010F) == ("Maker" if "exif" in metadata else None)
            assert len(found.get_ifd(0x8769)) == len(found.get_ifd(0x8825)) == ("exif" in metadata)
