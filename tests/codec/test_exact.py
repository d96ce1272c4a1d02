"""No picture is lost: drawings, text and pixels at the grid are exact where that is smaller, or where the model would ruin them."""

from __future__ import annotations

import dataclasses
import io
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import skimage.data
import vqbitstream
import vqcodec
from PIL import Image, ImageDraw
from vqbitstream.geometry import latent_shape
from vqcodec.codec import Codec
from vqcodec.coding.exact import drawn, filled, lost
from vqcodec.coding.guard import Guard
from vqcodec.pictures.psnr import psnr

Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def shipped() -> Codec:
    return Codec("default")


def webp(pixels: Pixels) -> int:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", lossless=True, method=6, quality=75)
    return len(file.getvalue())


def text(ink: str, paper: str) -> Pixels:
    image = Image.new("RGB", (400, 240), paper)
    for line in range(16):
        ImageDraw.Draw(image).text((6, 15 * line), "Sphinx of black quartz, judge my vow. 0123456789 " * 2, ink)
    return np.array(image)


def grid(height: int, width: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    y, x = np.mgrid[:height, :width]
    return y, x


def checkerboard() -> Pixels:
    y, x = grid(96, 128)
    return ((x + y) % 2 * 255).astype(np.uint8)


def stripes() -> Pixels:
    _, x = grid(96, 128)
    even = x % 2 * 255
    return np.dstack([even, 255 - even, even]).astype(np.uint8)


def dithered() -> Pixels:
    return np.array(Image.fromarray(skimage.data.camera()[:256, :256]).convert("1").convert("L"))


def pixel_art() -> Pixels:
    small = np.random.default_rng(0).integers(0, 8, (20, 30))
    palette = np.random.default_rng(1).integers(0, 256, (8, 3), dtype=np.uint8)
    return palette[small].repeat(8, axis=0).repeat(8, axis=1)


def interface() -> Pixels:
    image = Image.new("RGB", (320, 200), "#eeeeee")
    draw = ImageDraw.Draw(image)
    for n in range(12):
        box = (10 + 78 * (n % 4), 12 + 62 * (n // 4))
        draw.rounded_rectangle((*box, box[0] + 64, box[1] + 40), 6, fill="#3366cc", outline="#113377")
        draw.text((box[0] + 8, box[1] + 14), f"Button {n}", "white")
    return np.array(image)


DRAWINGS = {
    "checkerboard": checkerboard(), "stripes": stripes(), "dither": dithered(), "black text": text("black", "white"),
    "saturated text": text("yellow", "magenta"), "red on blue": text("red", "blue"), "pixel art": pixel_art(), "interface": interface(),
}  # fmt: skip


@pytest.mark.parametrize("name", DRAWINGS)
@pytest.mark.parametrize("quality", [30, 75, 100])
def test_drawings_are_exact_and_as_small_as_lossless_webp(shipped: Codec, name: str, quality: float) -> None:
    pixels = DRAWINGS[name]
    data = shipped.encode_pixels(pixels, quality=quality, effort=1)
    np.testing.assert_array_equal(shipped.decode_pixels(data), pixels)
    assert len(data) <= 1.15 * webp(pixels) + 60


def test_nothing_comes_back_ruined_at_the_default_quality(shipped: Codec, codec: Codec) -> None:
    """Noise is no drawing. The shipped model keeps its structure from quality 75 on; an untrained one loses it, and is corrected."""
    pixels = np.random.default_rng(0).integers(0, 256, (96, 80, 3), dtype=np.uint8)
    for quality in (75, 90):
        shown = shipped.decode_pixels(shipped.encode_pixels(pixels, effort=1, quality=quality))
        assert not lost(pixels, shown, quality, "eye").any()
    poor = shipped.decode_pixels(shipped.encode_pixels(pixels, effort=1, quality=60))
    assert lost(pixels, poor, 75, "eye").mean() > 0.5
    ruined = codec.decode_pixels(codec.encode_pixels(pixels, effort=1, quality=75, exact="none"))
    assert lost(pixels, ruined, 75, "eye").all()
    np.testing.assert_array_equal(codec.decode_pixels(codec.encode_pixels(pixels, effort=1, quality=75)), pixels)


def test_a_page_with_a_photograph_gets_both(shipped: Codec) -> None:
    page = np.full((320, 480, 3), 255, dtype=np.uint8)
    page[:240, :400] = text("black", "white")
    photo = skimage.data.astronaut()[:208, 150:358]
    page[96:304, 256:464] = photo
    data = shipped.encode_pixels(page, effort=1, quality=75)
    facts = vqcodec.info(data)
    assert facts.layers
    assert facts.exact_tiles == (0, 1)
    shown = shipped.decode_pixels(data)
    np.testing.assert_array_equal(shown[:240, :240], page[:240, :240])
    error = np.square(shown[96:304, 256:464].astype(float) - photo).mean()
    assert 4 < error < 100  # coded by the model, and well
    assert len(data) < 0.6 * len(shipped.encode_pixels(page, effort=1, quality=75, exact="none"))
    assert len(data) < 0.6 * webp(page)


@pytest.mark.parametrize("quality", [30, 75, 90])
def test_photographs_have_no_exact_pixels(shipped: Codec, quality: float) -> None:
    for pixels in (
        skimage.data.chelsea()[:240, :320],
        skimage.data.coffee()[100:340, 100:420],
        skimage.data.camera()[200:400, :200],
    ):
        data = shipped.encode_pixels(pixels, effort=1, quality=quality)
        assert data == shipped.encode_pixels(pixels, effort=1, quality=quality, exact="none")


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 3), (15, 15)])
def test_tiny_pictures_are_never_worse_at_more_quality(shipped: Codec, size: tuple[int, int]) -> None:
    colour = np.full((*size, 3), (200, 30, 90), dtype=np.uint8)
    np.testing.assert_array_equal(shipped.decode_pixels(shipped.encode_pixels(colour, quality=1, effort=1)), colour)
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    errors = []
    for quality in (1, 10, 30, 50, 75, 90, 100):
        shown = shipped.decode_pixels(shipped.encode_pixels(pixels, quality=quality, effort=1))
        errors.append(np.square(shown.astype(float) - pixels).mean())
    assert errors == sorted(errors, reverse=True)
    assert errors[4] == 0


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA"])
def test_lossless_files_are_exact_and_need_no_model(codec: Codec, mode: str) -> None:
    rgb = Image.fromarray(skimage.data.astronaut()[:90, : 1100 // 16])
    wide = Image.new("RGB", (1100, 50))
    wide.paste(rgb, (1010, 0))  # over the edge of two tiles
    image = wide.convert(mode)
    if mode.endswith("A"):
        image.putalpha(Image.linear_gradient("L").resize(wide.size))
    data = codec.encode(image, lossless=True)
    for shown in (codec.decode(data), vqcodec.decode(data), Codec("default").decode(data)):
        assert shown.mode == mode
        np.testing.assert_array_equal(np.asarray(shown), np.asarray(image))
    codec.verify(data)
    crop = vqcodec.decode(data, region=(1000, 7, 60, 31))
    np.testing.assert_array_equal(np.asarray(crop), np.asarray(image.crop((1000, 7, 1060, 38))))
    facts = vqcodec.info(data)
    assert (facts.layers, facts.layer_bytes, facts.exact_tiles, facts.quality) == (0, (), (2, 0), None)
    assert facts.exact_bytes < facts.file_bytes
    with pytest.raises(vqcodec.UnsupportedError, match="no latent"):
        codec.decode_latent(data)
    with pytest.raises(ValueError, match="has no target"):
        codec.encode(image, lossless=True, target_bytes=1000)


@pytest.mark.parametrize("factor", [2, 4, 16])
def test_previews_show_means_of_exact_pixels(shipped: Codec, factor: int) -> None:
    page = np.full((200, 1070, 3), 255, dtype=np.uint8)
    page[:150, :400] = text("black", "white")[:150]
    page[40:190, 700:1050] = skimage.data.astronaut()[100:250, 80:430]
    data = shipped.encode_pixels(page, effort=1, quality=75)
    assert sum(vqcodec.info(data).exact_tiles)
    shown = np.asarray(vqcodec.decode(data, scale=1 / factor), dtype=float)
    reduced = np.asarray(Image.fromarray(shipped.decode_pixels(data)).reduce(factor), dtype=float)
    assert shown.shape == reduced.shape
    drawing = np.s_[: 144 // factor, : 384 // factor]
    assert np.abs(shown[drawing] - reduced[drawing]).max() <= 1
    assert np.square(shown - reduced).mean() < 40


def test_damaged_exact_pixels_are_left_out_when_asked(shipped: Codec) -> None:
    page = np.full((200, 1070, 3), 255, dtype=np.uint8)
    page[:150, :400] = text("black", "white")[:150]
    page[40:190, 700:1050] = skimage.data.astronaut()[100:250, 80:430]
    for data, blank in (
        (shipped.encode_pixels(page, effort=1, quality=60), False),
        (shipped.encode_pixels(page, exact="all"), True),
    ):
        contents = vqbitstream.unpack(data, vqcodec.Limits())
        at = data.index(b"RIFF")
        damaged = data[: at + 40] + bytes([data[at + 40] ^ 1]) + data[at + 41 :]
        with pytest.raises(vqcodec.CorruptError, match="exact pixels of tile 1"):
            shipped.decode(damaged)
        with pytest.warns(UserWarning, match="tile 1 of 2 lacks exact pixels"):
            shown = np.asarray(shipped.decode(damaged, allow_partial=True))
        first = contents.header.tiles[0].right * 16
        assert (shown[:, first:] == shipped.decode_pixels(data)[:, first:]).all()
        if blank:
            assert not shown[:, :first].any()
            gone = dataclasses.replace(contents, exact=[b"", b""])
            with pytest.raises(vqcodec.TruncatedError, match="nothing to show"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                shipped.decode(vqbitstream.pack(gone), allow_partial=True)


def test_what_the_model_codes_instead_of_exact_blocks_is_smooth() -> None:
    page = text("black", "white")
    page[80:176, 96:208] = skimage.data.astronaut()[:96, 200:312]
    mask = drawn(page)
    assert mask is not None
    rest = filled(page, mask)
    kept = ~mask.repeat(16, axis=0).repeat(16, axis=1)[: page.shape[0], : page.shape[1]]
    np.testing.assert_array_equal(rest[kept], page[kept])
    assert np.abs(np.diff(rest[:64].astype(int), axis=0)).max() < 40


def test_pillow_saves_without_loss_when_asked(tmp_path: Path) -> None:
    import vqcodec.pillow_plugin  # noqa: F401

    image = Image.fromarray(skimage.data.astronaut()[:60, :70])
    image.save(tmp_path / "a.vqc", lossless=True)
    with Image.open(tmp_path / "a.vqc") as shown:
        np.testing.assert_array_equal(np.asarray(shown), np.asarray(image))


def flat_stripes() -> Pixels:
    """Edges lie between blocks alone."""
    return (
        np.array([[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0]], np.uint8)
        .repeat(32, axis=0)[:, None]
        .repeat(256, axis=1)
    )


@pytest.mark.parametrize("quality", [50, 100])
def test_stripes_at_the_edges_of_blocks_are_exact(shipped: Codec, quality: int) -> None:
    data = shipped.encode(flat_stripes(), quality=quality, effort=1)
    assert np.array_equal(np.asarray(shipped.decode(data)), flat_stripes())
    assert len(data) < webp(flat_stripes()) + 60


@pytest.mark.parametrize("wide", [False, True])
def test_noise_is_exact_where_that_is_smaller(shipped: Codec, wide: bool) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 2048 if wide else 128), dtype=np.uint8)
    if wide:  # two tiles, of which one is flat
        noise[:, 1024:] = 90
    data = shipped.encode(noise, quality=100, effort=1)
    assert (np.asarray(shipped.decode(data)).astype(int) - noise)[:, :1024].any() == 0
    assert len(data) < 1.1 * webp(noise) + 200


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("size", [(700, 300), (1100, 1100), (2060, 1040), (30, 20)])
def test_the_guard_sees_across_tiles_what_the_whole_picture_shows(
    codec: Codec, size: tuple[int, int], grey: bool
) -> None:
    """Tile by tile, from the last rows and columns of those before, as from the whole latent at once."""
    width, height = size
    header = codec.encoder.header(width, height, 80, "eye", grey=grey)
    rows, columns = latent_shape(width, height)
    random = np.random.default_rng(0)
    latent = random.integers(-3000, 3000, (rows, columns, codec.prior.channels(header.layers)), dtype=np.int32)
    shape = (height, width) if grey else (height, width, 3)
    shown = codec.transforms.synthesise(latent, header, shape)
    pixels = shown.copy()
    blocks = random.random((rows, columns)) < 0.1
    where = blocks.repeat(16, 0).repeat(16, 1)[:height, :width]
    pixels[where] = np.where(pixels[where] < 128, 255, 0)
    guard = Guard(codec.transforms, pixels, header, 80, "eye")
    for tile in header.tiles:
        guard(tile, latent[tile.top : tile.bottom, tile.left : tile.right])
    np.testing.assert_array_equal(guard.lost, lost(pixels, shown, 80, "eye"))
    assert guard.lost.any() == blocks.any()
    assert not guard.lost[~blocks].any()


@pytest.mark.parametrize("size", [(8, 8), (15, 15), (40, 12), (5, 9)])
@pytest.mark.parametrize("place", [(100, 200), (30, 300), (250, 130)])
def test_of_a_tiny_picture_more_quality_is_never_worse(
    shipped: Codec, size: tuple[int, int], place: tuple[int, int]
) -> None:
    top, left = place
    pixels = np.ascontiguousarray(skimage.data.astronaut()[top : top + size[1], left : left + size[0]])
    found = [
        psnr(pixels, np.asarray(shipped.decode(shipped.encode(pixels, quality=q, effort=1)))) for q in range(10, 90, 10)
    ]
    assert found == sorted(found)
