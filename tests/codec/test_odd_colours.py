"""Colours of rarer files: damaged profiles, JPEG 2000, primaries, HDR by name, HEIF; and what is hidden, in bands and in Pillow."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import vqcodec
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from support.coloured import GREY, LIMITS, P3, PIXELS, SRGB_BYTES, png, quiet, shown
from vqcodec.pictures import labels, profiles
from vqcodec.pictures.hidden import filled
from vqcodec.pictures.planes import Planes
from vqcodec.pictures.reading import to_planes
from vqcodec.pictures.writing import from_planes, write_picture


@pytest.mark.parametrize("length", [150, 300, 400])
def test_a_cut_profile_is_left_out(length: int) -> None:
    """lcms opens it, and then cannot convert anything with it."""
    with pytest.warns(UserWarning, match="ICC profile cannot belong"):
        assert (
            "icc"
            not in to_planes(png(PIXELS, (b"iCCP", b"x\0\0" + zlib.compress(SRGB_BYTES[:length]))), LIMITS).metadata
        )


def test_a_profile_that_pillow_cannot_unpack_is_told() -> None:
    jpeg = io.BytesIO()
    Image.fromarray(PIXELS).save(jpeg, "JPEG", icc_profile=SRGB_BYTES)
    data = jpeg.getvalue()
    count = data.index(b"ICC_PROFILE\0") + 13
    for file in (io.BytesIO(data[:count] + b"\2" + data[count + 1 :]), png(PIXELS, (b"iCCP", b"x\0\0no zlib stream"))):
        with pytest.warns(UserWarning, match="ICC profile is damaged"):
            assert "icc" not in to_planes(file, LIMITS).metadata


def jp2(body: bytes) -> io.BytesIO:
    """A JPEG 2000 with another colr box."""
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "JPEG2000")
    data = file.getvalue()
    outer, old = data.index(b"jp2h") - 4, data.index(b"colr") - 4
    size, old_size = (struct.unpack_from(">I", data, at)[0] for at in (outer, old))
    box = struct.pack(">I", 8 + len(body)) + b"colr" + body
    head = struct.pack(">I", size - old_size + len(box)) + data[outer + 4 : old]
    return io.BytesIO(data[:outer] + head + box + data[old + old_size :])


def test_the_profile_of_a_jpeg_2000_is_kept() -> None:
    profile = profiles.made("P3", labels.PRIMARIES[12], labels.SRGB_CURVE, grey=False)
    assert quiet(jp2(b"\2\0\0" + profile)).metadata == {"icc": profile}
    assert quiet(jp2(struct.pack(">BBBI", 1, 0, 0, 16))).metadata == {}
    with pytest.warns(UserWarning, match=r"colours \(space 21\) are not known"):
        assert to_planes(jp2(struct.pack(">BBBI", 1, 0, 0, 21)), LIMITS).metadata == {}


@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_primaries_of_tiff_and_exif(kind: str) -> None:
    """A JPEG says them in its EXIF."""
    for primaries, said in ((labels.ADOBE_RGB, True), (labels.BT709, False)):
        tags: Image.Exif | ImageFileDirectory_v2 = Image.Exif() if kind == "JPEG" else ImageFileDirectory_v2()
        tags[318], tags[319] = primaries[:2], primaries[2:]
        file = io.BytesIO()
        Image.fromarray(PIXELS).save(file, kind, **{"exif" if kind == "JPEG" else "tiffinfo": tags})
        metadata = quiet(file).metadata
        assert ("icc" in metadata) == said
        if said:
            expected = shown(PIXELS, profiles.made("", labels.ADOBE_RGB, (2.2,), grey=False))
            assert np.abs(shown(PIXELS, metadata["icc"]).astype(int) - expected).max() <= 1


def test_samples_of_less_than_the_full_range_are_told() -> None:
    with pytest.warns(UserWarning, match="cICP"):
        to_planes(png(PIXELS, (b"cICP", bytes([1, 13, 0, 0]))), LIMITS)


def test_nclx_by_the_plugin_for_heif() -> None:
    image = Image.fromarray(PIXELS)
    image.info["nclx_profile"] = {"color_primaries": 12, "transfer_characteristics": 13}
    assert profiles.belongs(to_planes(image, LIMITS).metadata["icc"], "RGB")
    image.info["nclx_profile"] = {"color_primaries": 9, "transfer_characteristics": 16}
    with pytest.raises(vqcodec.ImageError, match="HDR"):
        to_planes(image, LIMITS)


@pytest.mark.parametrize(
    ("name", "hdr"), [("ITUR_2100_PQ_FULL", "PQ"), ("Rec. ITU-R BT.2100 HLG", "HLG"), ("Rec2100PQ", "PQ"), ("SPQR", "")]
)
def test_hdr_by_the_name_of_a_profile(name: str, hdr: str) -> None:
    assert profiles.hdr_of(profiles.made(name, labels.BT709, labels.SRGB_CURVE, grey=False)) == hdr


@pytest.mark.filterwarnings("error")
def test_primaries_mean_nothing_to_grey() -> None:
    assert to_planes(png(GREY, (b"cHRM", struct.pack(">8I", *P3))), LIMITS).metadata == {}


def test_hidden_colours_of_pictures_that_pillow_saves(tmp_path: Path) -> None:
    vqcodec.register_pillow_plugin()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    alpha = np.zeros((64, 64), np.uint8)
    alpha[20:40, 20:40] = 255
    image = Image.fromarray(np.dstack([noise, alpha]))
    sizes = {}
    for kept in (False, True):
        image.save(tmp_path / "a.vqc", effort=1, keep_hidden=kept)
        sizes[kept] = (tmp_path / "a.vqc").stat().st_size
    assert sizes[False] < sizes[True] / 2


def test_filling_in_bands_is_filling_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(3)
    planes = Planes(
        chance.integers(0, 256, (70, 31, 3)).astype(np.uint8), (chance.random((70, 31)) < 0.05).astype(np.uint8)
    )
    whole = filled(planes).colour
    monkeypatch.setattr("vqcodec.pictures.hidden._BAND", 16)
    np.testing.assert_array_equal(filled(planes).colour, whole)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".avif"])
@pytest.mark.parametrize("alpha", [None, np.full(GREY.shape, 99, np.uint8)], ids=["opaque", "clear"])
def test_a_profile_of_grey_never_gets_into_colours(suffix: str, alpha: npt.NDArray[np.uint8] | None) -> None:
    """WebP has no grey, AVIF none with alpha: the pixels become sRGB, and look the same."""
    if suffix == ".jpg" and alpha is not None:
        return
    profile = profiles.made("linear", labels.BT709, (1.0,), grey=True)
    file = io.BytesIO()
    write_picture(from_planes(Planes(GREY, alpha, {"icc": profile})), file, suffix, quality=100)
    with Image.open(file) as back:
        found = back.info.get("icc_profile")
        colours = back.getchannel(0)
        looks = np.asarray(colours) if found is None else shown(np.asarray(colours), found)[..., 0]
        assert (found is None) == back.mode.startswith("RGB")
    assert np.abs(looks.astype(int) - shown(GREY, profile)[..., 0]).mean() < 2


P3_PROFILE = profiles.made("P3", labels.PRIMARIES[12], labels.SRGB_CURVE, grey=False)


@pytest.mark.parametrize("alpha", [False, True])
def test_stripped_colours_look_the_same(alpha: bool) -> None:
    image = Image.fromarray(PIXELS)
    image.info["icc_profile"] = P3_PROFILE
    if alpha:
        image.putalpha(99)
    planes = to_planes(image, LIMITS, strip=True)
    assert planes.metadata == {}
    np.testing.assert_array_equal(planes.colour, shown(PIXELS, P3_PROFILE))
    assert (planes.alpha is not None) == alpha
    assert planes.alpha is None or (planes.alpha == 99).all()


def test_stripped_grey_looks_the_same() -> None:
    planes = to_planes(png(GREY, (b"gAMA", struct.pack(">I", 100_000))), LIMITS, strip=True)
    expected = shown(GREY, profiles.made("", labels.BT709, (1.0,), grey=True))[..., 1]
    np.testing.assert_array_equal(planes.colour, expected)


def test_what_is_sRGB_is_stripped_without_a_change() -> None:
    image = Image.fromarray(PIXELS)
    image.info["icc_profile"] = SRGB_BYTES
    np.testing.assert_array_equal(to_planes(image, LIMITS, strip=True).colour, PIXELS)
