"""Pictures of every mode that Pillow opens: what becomes of them, and of their metadata."""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
import vqcodec
from PIL import Image, ImageCms
from support import picture
from vqcodec.codec import Codec
from vqcodec.pictures.planes import Planes
from vqcodec.pictures.reading import to_planes
from vqcodec.pictures.writing import from_planes, write_picture

LIMITS = vqcodec.Limits()
RGB = Image.fromarray(picture(60, 40))
MODES = {
    "1": "L", "L": "L", "LA": "LA", "La": "LA", "P": "RGB", "PA": "RGBA", "RGB": "RGB", "RGBX": "RGB", "RGBA": "RGBA",
    "RGBa": "RGBA", "CMYK": "RGB", "YCbCr": "RGB", "LAB": "RGB", "HSV": "RGB", "I;16": "L", "I;16B": "L", "I;16L": "L", "I;16N": "L",
    "I": "L", "F": "L",
}  # fmt: skip


def in_mode(mode: str) -> Image.Image:
    if mode == "LAB":
        lab = ImageCms.profileToProfile(
            RGB, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
        )
        assert lab is not None
        return lab
    if mode in ("I", "F") or mode.startswith("I;16"):
        values = np.asarray(RGB.convert("L")).astype(np.int32) * 257
        if mode.startswith("I;"):
            return Image.frombytes(mode, RGB.size, values.astype(">u2" if mode == "I;16B" else "<u2").tobytes())
        return Image.fromarray(values.astype(np.float32 if mode == "F" else np.int32))
    if mode in ("La", "PA"):
        return RGB.convert({"La": "LA", "PA": "P"}[mode]).convert(mode)
    return RGB.convert("RGBA").convert(mode) if mode == "RGBa" else RGB.convert(mode)


def test_no_mode_of_pillow_is_left_out() -> None:
    assert set(Image.MODES) <= set(MODES)


@pytest.mark.parametrize("mode", MODES)
def test_every_mode(mode: str, codec: Codec) -> None:
    image = in_mode(mode)
    assert image.mode == mode
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        planes = to_planes(image, LIMITS)
        assert codec.decode(codec.encode(image)).mode == MODES[mode]
    back = from_planes(planes)
    assert back.mode == MODES[mode]
    if mode not in ("P", "PA", "1"):  # their palettes and dither are coarse
        wanted = np.asarray(RGB.convert(MODES[mode]), dtype=int)
        assert np.abs(np.asarray(back, dtype=int) - wanted).max() <= (12 if mode in ("LAB", "YCbCr", "HSV") else 1)


def test_deep_greys_are_rounded() -> None:
    values = np.array([[0, 128, 129, 65535]], dtype=np.uint16)
    assert to_planes(Image.fromarray(values), LIMITS).colour.tolist() == [[0, 0, 1, 255]]
    with pytest.warns(UserWarning, match=r"0\.\.1 "):
        assert (
            to_planes(Image.fromarray(np.array([[0.0, 0.5, 1.0, np.nan]], dtype=np.float32)), LIMITS).colour[0, 1]
            == 128
        )


def test_sixteen_bit_png_with_a_transparent_value(tmp_path: Path) -> None:
    values = np.array([[0, 1000, 65535]], dtype=np.uint16)
    image = Image.fromarray(values)
    image.info["transparency"] = 1000
    planes = to_planes(image, LIMITS)
    assert planes.alpha is not None
    assert planes.alpha.tolist() == [[255, 0, 255]]


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_a_transparent_colour_becomes_alpha(mode: str, tmp_path: Path) -> None:
    image = Image.new("RGB", (6, 4), (200, 200, 200)).convert(mode)
    image.putpixel((1, 2), 0)
    corner = image.getpixel((1, 2))
    image.save(tmp_path / "a.png", transparency=corner)
    planes = to_planes(tmp_path / "a.png", LIMITS)
    assert planes.alpha is not None
    assert planes.alpha[2, 1] == 0
    assert (planes.alpha == 0).sum() == 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["II", "MM"])
def test_orientation_is_applied_and_becomes_one(orientation: int, order: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.endian = "<" if order == "II" else ">"
    exif[0x0112] = orientation
    exif[0x010F] = "Maker"
    xmp = f'<rdf:Description tiff:Orientation="{orientation}"/>'.encode()
    RGB.save(tmp_path / "turned.png", exif=exif)
    image = Image.open(tmp_path / "turned.png")
    image.info["xmp"] = xmp
    planes = to_planes(image, LIMITS)
    raw = Image.open(tmp_path / "turned.png")
    from PIL import ImageOps

    np.testing.assert_array_equal(planes.colour, np.asarray(ImageOps.exif_transpose(raw)))
    back = Image.Exif()
    back.load(planes.metadata["exif"])
    assert back[0x0112] == 1
    assert back[0x010F] == "Maker"
    assert planes.metadata["xmp"] == b'<rdf:Description tiff:Orientation="1"/>'
    assert len(planes.metadata["exif"]) == len(raw.info["exif"].removeprefix(b"Exif\0\0"))


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "avif", "tif"])
def test_metadata_through_files(kind: str, codec: Codec, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif[0x9003] = "2026:11:22 10:00:00"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    source, out = tmp_path / f"in.{kind}", tmp_path / f"out.{kind}"
    RGB.save(source, exif=exif, icc_profile=profile)
    data = codec.encode(source)
    assert set(vqcodec.info(data).metadata) >= {"icc", "exif"}
    assert not vqcodec.info(codec.encode(source, strip=True)).metadata
    image = codec.decode(data)
    assert image.info["icc_profile"] == profile
    with out.open("w+b") as file:
        write_picture(image, file, out.suffix)
    again = Image.open(out)
    assert again.getexif()[0x010F] == "Maker"
    assert again.info["icc_profile"] == profile


@pytest.mark.parametrize("kind", [".png", ".jpg", ".webp"])
def test_xmp_is_written_back(kind: str) -> None:
    xmp = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    buffer = io.BytesIO()
    write_picture(from_planes(Planes(picture(20, 20), None, {"xmp": xmp})), buffer, kind)
    assert Image.open(buffer).info["xmp"] in (xmp, xmp.decode())


def test_cmyk_goes_through_its_profile_which_is_dropped() -> None:
    image = RGB.convert("CMYK")
    image.info["icc_profile"] = b"no profile"
    image.info["exif"] = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x0f\x01\x02\0\x04\0\0\0abc\0"
    with pytest.warns(UserWarning, match="not usable"):
        planes = to_planes(image, LIMITS)
    assert set(planes.metadata) == {"exif"}


def test_of_an_animation_the_first_frame(tmp_path: Path) -> None:
    frames = [Image.fromarray(picture(30, 20, seed)) for seed in (1, 2)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    with pytest.warns(UserWarning, match="has 2 frames"):
        planes = to_planes(tmp_path / "a.webp", LIMITS)
    np.testing.assert_array_equal(planes.colour, np.asarray(frames[0]))


@pytest.mark.parametrize(
    "bad", [np.zeros((4, 4, 5), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8), np.zeros(4, np.uint8)]
)
def test_arrays_that_are_no_pictures(bad: np.ndarray) -> None:
    with pytest.raises(vqcodec.ImageError):
        to_planes(bad, LIMITS)


def test_too_many_pixels_are_refused_before_they_are_read(tmp_path: Path) -> None:
    Image.new("1", (20000, 10000)).save(tmp_path / "bomb.png")
    with pytest.raises(vqcodec.LimitError, match="over the limit"):
        to_planes(tmp_path / "bomb.png", LIMITS)
    limit = Image.MAX_IMAGE_PIXELS
    with pytest.raises(vqcodec.LimitError):
        to_planes(picture(40, 40), vqcodec.Limits(max_pixels=1000))
    assert limit == Image.MAX_IMAGE_PIXELS


def test_formats_that_cannot_hold_the_picture() -> None:
    image = from_planes(Planes(picture(20, 20), np.zeros((20, 20), np.uint8)))
    with pytest.raises(vqcodec.ImageError, match="JPEG cannot hold transparency"):
        write_picture(image, io.BytesIO(), ".jpg")
    with pytest.raises(vqcodec.ImageError, match="suffix"):
        write_picture(image, io.BytesIO(), ".psd")


@pytest.mark.parametrize("kind", [3, 4, 8, 9])
def test_orientation_of_any_whole_type_is_reset(kind: int) -> None:
    exif = b"II*\0\x08\0\0\0\x01\0\x12\x01" + bytes([kind, 0]) + b"\x01\0\0\0\x06\0\0\0\0\0\0\0"
    image = RGB.copy()
    image.info["exif"] = b"Exif\0\0" + exif
    planes = to_planes(image, LIMITS)
    assert planes.colour.shape[:2] == (60, 40)
    back = Image.Exif()
    back.load(planes.metadata["exif"])
    assert back[0x0112] == 1


@pytest.mark.parametrize(
    "text", ["tiff:Orientation='6'", 'tiff:Orientation = "6"', "<tiff:Orientation> 6 </tiff:Orientation>"]
)
def test_orientation_of_xmp_alone_is_applied_and_reset(text: str) -> None:
    image = RGB.copy()
    image.info["xmp"] = text.encode()
    planes = to_planes(image, LIMITS)
    assert planes.colour.shape[:2] == (60, 40)
    assert planes.metadata["xmp"] == text.replace("6", "1").encode()


def test_metadata_that_no_reader_would_take_is_refused_by_the_writer(codec: Codec) -> None:
    image = RGB.copy()
    image.info["xmp"] = b"x" * (1 << 25)
    with pytest.raises(vqcodec.LimitError, match="strip"):
        codec.encode(image)
    assert codec.encode(image, strip=True)


def test_damaged_exif_is_left_out(tmp_path: Path) -> None:
    RGB.save(tmp_path / "a.png", exif=b"garbage that is no TIFF")
    with pytest.warns(UserWarning, match="EXIF is damaged"):
        planes = to_planes(tmp_path / "a.png", LIMITS)
    assert "exif" not in planes.metadata


def test_text_of_tiff_tags_keeps_its_bytes(tmp_path: Path) -> None:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    tags = ImageFileDirectory_v2()
    tags[0x013B] = "Jürgen".encode()
    RGB.save(tmp_path / "a.tif", tiffinfo=tags)
    assert "Jürgen".encode() in to_planes(tmp_path / "a.tif", LIMITS).metadata["exif"]


def test_twelve_bits_and_floats_beyond_numbers(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"0\.\.1 "):
        colour = to_planes(Image.fromarray(np.array([[0.5, np.inf, 1.0]], dtype=np.float32)), LIMITS).colour
    assert colour.tolist() == [[128, 255, 255]]
    (tmp_path / "a.pgm").write_bytes(b"P5 3 1 65535\n" + np.array([0, 200, 65535], dtype=">u2").tobytes())
    assert to_planes(tmp_path / "a.pgm", LIMITS).colour.tolist() == [[0, 1, 255]]


def test_the_callers_picture_stays_as_it_was(tmp_path: Path) -> None:
    frames = [Image.fromarray(picture(30, 20, seed)) for seed in (1, 2)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    image = Image.open(tmp_path / "a.webp")
    image.seek(1)
    with pytest.warns(UserWarning, match="frames"):
        np.testing.assert_array_equal(to_planes(image, LIMITS).colour, np.asarray(frames[1]))
    assert image.tell() == 1


@pytest.mark.parametrize("suffix", [".bmp", ".ppm", ".tga", ".jp2"])
def test_formats_without_metadata_say_so(suffix: str) -> None:
    image = from_planes(Planes(picture(20, 20), None, {"icc": b"profile"}))
    with pytest.warns(UserWarning, match="ICC profile left out"):
        write_picture(image, io.BytesIO(), suffix)


@pytest.mark.parametrize("exif", [b"junkjunk", b"II*\0", b"II+\0\x08\0\0\0"])
@pytest.mark.parametrize("suffix", [".tif", ".avif", ".png", ".jpg", ".webp"])
def test_damaged_exif_never_stops_a_picture_from_being_written(exif: bytes, suffix: str) -> None:
    image = from_planes(Planes(picture(40, 30), None, {"exif": exif}))
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        write_picture(image, file, suffix)
    assert Image.open(file).size == (40, 30)


def test_a_huge_icc_profile_is_left_out_of_png() -> None:
    image = from_planes(Planes(picture(40, 30), None, {"icc": bytes(1_500_000)}))
    file = io.BytesIO()
    with pytest.warns(UserWarning, match="ICC profile left out"):
        write_picture(image, file, ".png")
    Image.open(file).load()


def psd(layers: int) -> bytes:
    """A grey picture of 2x2 pixels and its layers, each of no pixels."""
    layer = struct.pack(">4iH", 0, 0, 0, 0, 0) + b"8BIMnorm" + bytes(4) + struct.pack(">I", 12) + bytes(12)
    records = struct.pack(">h", layers) + layer * layers
    info = struct.pack(">I", len(records)) + records if layers else b""
    head = b"8BPS" + struct.pack(">H6xHIIHH", 1, 1, 2, 2, 8, 1)
    return head + bytes(8) + struct.pack(">I", len(info)) + info + bytes(2) + bytes([9, 8, 7, 6])


@pytest.mark.parametrize("layers", [0, 3])
@pytest.mark.filterwarnings("error")
def test_layers_are_no_frames(layers: int) -> None:
    source = io.BytesIO(psd(layers))
    with Image.open(source) as image:
        assert image.n_frames == layers
    assert to_planes(source, LIMITS).colour.tolist() == [[9, 8], [7, 6]]
