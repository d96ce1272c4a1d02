"""Colours: labels that are no ICC profile, profiles that cannot belong, HDR, more than 8 bits, and what is hidden."""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import numpy as np
import numpy.typing as npt
import pytest
import vqcodec
from PIL import Image
from support.coloured import GREY, LAB_BYTES, LIMITS, P3, PIXELS, SRGB_BYTES, avif, cicp, png, quiet, shown
from vqcodec.pictures import labels, profiles
from vqcodec.pictures.hidden import filled
from vqcodec.pictures.planes import Planes
from vqcodec.pictures.reading import to_planes

SAMPLE = np.array([128, 60, 200]) / 255
P3_TO_SRGB = np.array(
    [[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]]
)  # linear, CSS Color 4


def srgb(light: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    return 255 * np.where(light > 0.0031308, 1.055 * light ** (1 / 2.4) - 0.055, 12.92 * light)


def in_p3() -> npt.NDArray[np.floating]:
    return srgb(P3_TO_SRGB @ np.where(SAMPLE > 0.04045, ((SAMPLE + 0.055) / 1.055) ** 2.4, SAMPLE / 12.92))


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (png(PIXELS, (b"cHRM", struct.pack(">8I", *P3)), (b"gAMA", struct.pack(">I", 45455))), in_p3()),
        (png(PIXELS, cicp(12, 13)), in_p3()),
        (avif(PIXELS, 12, 13), in_p3()),
        (png(PIXELS, cicp(1, 8)), srgb(SAMPLE)),
        (png(PIXELS, (b"gAMA", struct.pack(">I", 100_000))), srgb(SAMPLE)),
        (png(PIXELS, cicp(1, 4)), srgb(SAMPLE**2.2)),
    ],
)
def test_a_label_becomes_a_profile(file: io.BytesIO, expected: npt.NDArray[np.floating]) -> None:
    planes = quiet(file)
    sample = np.rint(255 * SAMPLE).astype(np.uint8)[None, None]
    assert np.abs(shown(sample, planes.metadata["icc"])[0, 0] - expected).max() < 2
    assert profiles.belongs(planes.metadata["icc"], "RGB")


def test_adobe_rgb_by_exif() -> None:
    for entries in ({0xA001: 2}, {0xA001: 0xFFFF, 0xA005: {1: "R03"}}):
        exif = Image.Exif()
        exif[0x8769] = entries
        file = io.BytesIO()
        Image.fromarray(PIXELS).save(file, "JPEG", exif=exif)
        profile = quiet(file).metadata["icc"]
        green = shown(np.array([[[100, 200, 100]]], np.uint8), profile)[0, 0]
        assert green[0] < 30 < 190 < green[1]  # Adobe RGB's green lies outside sRGB's


ORDINARY = [
    png(PIXELS, cicp(1, 13)), png(PIXELS, (b"gAMA", struct.pack(">I", 45455))), png(PIXELS, cicp(2, 2)), avif(PIXELS, 1, 13)
]  # fmt: skip


@pytest.mark.parametrize("file", ORDINARY)
def test_what_is_sRGB_anyway_gets_none(file: io.BytesIO) -> None:
    assert "icc" not in quiet(file).metadata


def test_a_grey_picture_gets_a_grey_profile() -> None:
    profile = quiet(png(GREY, (b"gAMA", struct.pack(">I", 100_000)))).metadata["icc"]
    assert profiles.belongs(profile, "L")
    assert abs(int(shown(np.full((1, 1), 128, np.uint8), profile)[0, 0, 0]) - 188) <= 1


@pytest.mark.parametrize("chunk", [cicp(10, 13), cicp(1, 17), (b"cHRM", bytes(32)), (b"gAMA", bytes([0, 0, 0, 1]))])
def test_a_label_that_is_not_known_is_told(chunk: tuple[bytes, bytes]) -> None:
    with pytest.warns(UserWarning, match="taken as sRGB"):
        planes = to_planes(png(PIXELS, chunk), LIMITS)
    assert "icc" not in planes.metadata


def test_a_profile_rules_over_labels() -> None:
    chunk = (b"iCCP", b"x\0\0" + zlib.compress(SRGB_BYTES))
    planes = quiet(png(PIXELS, cicp(12, 13), (b"gAMA", struct.pack(">I", 100_000)), chunk))
    assert planes.metadata["icc"] == SRGB_BYTES


FOREIGN = [b"5byte", SRGB_BYTES[:100], LAB_BYTES, b"\0" * 200, SRGB_BYTES[:16] + b"CMYK" + SRGB_BYTES[20:]]


@pytest.mark.parametrize("profile", FOREIGN)
def test_a_profile_that_cannot_belong_is_left_out(profile: bytes) -> None:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, "PNG", icc_profile=profile)
    with pytest.warns(UserWarning, match="ICC profile cannot belong"):
        assert "icc" not in to_planes(file, LIMITS).metadata


def test_a_profile_of_colours_cannot_belong_to_grey() -> None:
    image = Image.fromarray(GREY)
    image.info["icc_profile"] = SRGB_BYTES
    with pytest.warns(UserWarning, match="ICC profile cannot belong"):
        assert to_planes(image, LIMITS).metadata == {}


def test_profiles_made_here_are_those_of_their_colours() -> None:
    """sRGB made here shows what lcms's own sRGB shows; white stays white."""
    own = profiles.made("sRGB", labels.BT709, labels.SRGB_CURVE, grey=False)
    assert np.abs(shown(PIXELS, own).astype(int) - PIXELS).max() <= 1
    for primaries in (*labels.PRIMARIES.values(), labels.ADOBE_RGB):
        made = profiles.made("other", primaries, labels.SRGB_CURVE, grey=False)
        assert shown(np.full((1, 1, 3), 255, np.uint8), made).min() >= 254


@pytest.mark.parametrize("transfer", [16, 18])
def test_hdr_is_refused_unless_forced(transfer: int) -> None:
    profile = bytearray(profiles.made("HDR", labels.BT709, labels.SRGB_CURVE, grey=False))
    last = 132 + 12 * (struct.unpack_from(">I", profile, 128)[0] - 1)  # its last tag becomes cicp
    profile[last : last + 4] = b"cicp"
    (place,) = struct.unpack_from(">I", profile, last + 4)
    profile[place + 8 : place + 10] = bytes([9, transfer])
    tagged = png(PIXELS, (b"iCCP", b"x\0\0" + zlib.compress(bytes(profile))))
    for file in (png(PIXELS, cicp(9, transfer)), avif(PIXELS, 9, transfer), tagged):
        with pytest.raises(vqcodec.ImageError, match="HDR"):
            to_planes(file, LIMITS)
        file.seek(0)
        with pytest.warns(UserWarning, match="HDR"):
            assert "icc" not in to_planes(file, LIMITS, force_sdr=True).metadata


@pytest.mark.parametrize("damage", [0, 4, 8, 9, 12, 15, 20, 40, 80])
def test_a_cut_head_is_no_label(damage: int) -> None:
    """Boxes and chunks are read as far as they go."""
    for data in (avif(PIXELS, 12, 13).getvalue(), png(PIXELS, cicp(12, 13)).getvalue()):
        image = Image.open(io.BytesIO(data))
        image.fp = io.BytesIO(data[:damage])
        assert labels.label_of(image) is None or damage >= 40
        assert image.fp.tell() == 0


def tiff(
    values: npt.NDArray[np.generic], bits: int, photometric: int = 1, *more: tuple[int, int, int, int]
) -> io.BytesIO:
    height, width = values.shape
    body = values.tobytes()
    tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 1, bits), (259, 3, 1, 1), (262, 3, 1, photometric), (273, 4, 1, 8),
            (277, 3, 1, 1), (278, 3, 1, height), (279, 4, 1, len(body)), *more]  # fmt: skip
    return io.BytesIO(
        b"II*\0" + struct.pack("<I", 8 + len(body)) + body + struct.pack("<H", len(tags))
        + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    )  # fmt: skip


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("photometric", [0, 1])
def test_white_may_be_zero(bits: int, photometric: int) -> None:
    kind = np.uint8 if bits == 8 else np.dtype("<u2")
    values = (GREY.astype(np.uint16) * (257 if bits == 16 else 1)).astype(kind)
    stored = values if photometric else np.array(2**bits - 1, kind) - values
    np.testing.assert_array_equal(quiet(tiff(stored, bits, photometric)).colour, GREY)


@pytest.mark.parametrize("bits", [8, 10, 12])
def test_sixteen_bits_that_use_fewer_are_told_and_scaled(bits: int) -> None:
    values = np.rint(GREY / 255 * (2**bits - 2)).astype(np.uint16)
    for file in (tiff(values, 16), io.BytesIO()):
        if not file.getvalue():
            Image.fromarray(values).save(file, "PNG")
        with pytest.warns(UserWarning, match=f"taken as {bits} bits"):
            planes = to_planes(file, LIMITS)
        assert np.abs(planes.colour.astype(int) - GREY).max() <= 1


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_colours_of_sixteen_bits_in_a_ppm(bits: int) -> None:
    stored = np.rint(PIXELS / 255 * (2**bits - 1)).astype(">u2").tobytes()
    file = io.BytesIO(b"P6 60 40 65535\n" + stored)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        planes = to_planes(file, LIMITS)
    assert np.abs(planes.colour.astype(int) - PIXELS).max() <= 2
    assert [f"taken as {bits} bits" in str(w.message) for w in said] == [True] * (bits < 16)


def test_one_hot_pixel_leaves_the_others_alone() -> None:
    values = (GREY / 255).astype(np.float32)
    values[3, 5] = 1e6
    with pytest.warns(UserWarning, match=r"0..1 \(pixels clipped: 1 above\)"):
        planes = to_planes(Image.fromarray(values), LIMITS)
    expected = GREY.copy()
    expected[3, 5] = 255
    np.testing.assert_array_equal(planes.colour, expected)


def test_a_stated_range_is_taken() -> None:
    values = (GREY / 255 * 40 + 10).astype(np.float32)
    bounds = [
        (339, 3, 1, 3),
        (340, 11, 1, int(np.float32(10).view(np.uint32))),
        (341, 11, 1, int(np.float32(50).view(np.uint32))),
    ]
    assert np.abs(quiet(tiff(values, 32, 1, *bounds)).colour.astype(int) - GREY).max() <= 1


def disc(hidden: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    y, x = np.indices(hidden.shape[:2])
    alpha = np.clip((40 - np.hypot(y - 64, x - 64)) * 64 + 128, 0, 255).astype(np.uint8)
    return np.dstack([np.where((alpha > 0)[..., None], (30, 60, 200), hidden).astype(np.uint8), alpha])


def test_hidden_colours_cost_nothing_and_do_not_bleed() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3)).astype(np.uint8)
    files = [
        vqcodec.encode(disc(h), quality=60, effort=1) for h in (noise, np.full_like(noise, 255), noise[::-1].copy())
    ]
    assert files[0] == files[1] == files[2]
    back = np.asarray(vqcodec.decode(files[0]))
    seen = back[..., 3] > 0
    np.testing.assert_array_equal(back[..., 3], disc(noise)[..., 3])
    assert np.abs(back[seen][:, :3].astype(int) - (30, 60, 200)).mean() < 1
    kept = vqcodec.encode(disc(noise), quality=60, effort=1, keep_hidden=True)
    assert len(kept) > 3 * len(files[0])


def test_lossless_keeps_hidden_colours() -> None:
    pixels = disc(np.random.default_rng(0).integers(0, 256, (128, 128, 3)).astype(np.uint8))
    np.testing.assert_array_equal(np.asarray(vqcodec.decode(vqcodec.encode(pixels, lossless=True))), pixels)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 3), (40, 33)])
@pytest.mark.parametrize("grey", [False, True])
def test_filling_changes_nothing_that_is_seen(shape: tuple[int, int], grey: bool) -> None:
    chance = np.random.default_rng(1)
    colour = chance.integers(0, 256, shape if grey else (*shape, 3)).astype(np.uint8)
    for share in (0, 0.1, 0.9, 1):
        alpha = (chance.random(shape) < share).astype(np.uint8) * 7
        out = filled(Planes(colour, alpha))
        np.testing.assert_array_equal(out.colour[alpha > 0], colour[alpha > 0])
        if (alpha > 0).any() and (alpha == 0).any():
            assert out.colour[alpha == 0].min() >= colour[alpha > 0].min()
            assert out.colour[alpha == 0].max() <= colour[alpha > 0].max()
