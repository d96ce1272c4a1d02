"""Previews look like the whole picture scaled down with a box filter, decode no more than they need, and have the right size."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import vqcodec
from PIL import Image, ImageCms
from support import picture
from vqbitstream.latent import LatentCoder
from vqcodec.codec import Codec
from vqcodec.coding.decoder import preview_factor

FACTORS = (2, 4, 8, 16)


def photograph(width: int, height: int) -> Image.Image:
    """A picture of details and shades."""
    return Image.fromarray(picture(width, height)).resize((width, height))


def seen(image: Image.Image) -> np.ndarray:
    """What an image looks like on white. Floats."""
    white = Image.new("RGBA", image.size, "white")
    return np.asarray(Image.alpha_composite(white, image.convert("RGBA")), dtype=float)


@pytest.fixture(scope="module")
def shipped() -> Codec:
    return vqcodec.load_model()


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
@pytest.mark.parametrize("factor", FACTORS)
def test_a_preview_is_the_picture_in_small(shipped: Codec, mode: str, factor: int) -> None:
    image = photograph(403, 299).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    data = shipped.encode(image, quality=75, effort=1)
    found, whole = shipped.decode(data, scale=1 / factor), shipped.decode(data).reduce(factor)
    assert (found.mode, found.size) == (mode, whole.size)
    error = np.square(seen(found) - seen(whole)).mean()
    assert 10 * np.log10(255**2 / error) > 35


@pytest.mark.parametrize("region", [(0, 0, 1, 1), (17, 5, 100, 90), (390, 280, 13, 19)])
@pytest.mark.parametrize("factor", FACTORS)
def test_a_region_of_a_preview_is_a_part_of_it(codec: Codec, region: tuple[int, int, int, int], factor: int) -> None:
    image = photograph(403, 299).convert("RGBA")
    data = codec.encode(image, quality=75, effort=1)
    x, y, width, height = region
    box = x // factor, y // factor, -(-(x + width) // factor), -(-(y + height) // factor)
    part = codec.decode(data, region=region, scale=1 / factor)
    np.testing.assert_array_equal(part, codec.decode(data, scale=1 / factor).crop(box))


def test_seams_do_not_show(codec: Codec) -> None:
    """Strips and tiles paint what one strip would."""
    data = codec.encode_pixels(picture(1700, 40), effort=1)
    for factor in FACTORS:
        whole = np.asarray(codec.decode(data, scale=1 / factor), dtype=int)
        for x in range(0, 1700 - 64, 160):
            part = codec.decode(data, scale=1 / factor, region=(x, 0, 64, 40))
            assert np.abs(whole[:, x // factor : (x + 64) // factor] - np.asarray(part)).max() <= 1


def test_only_the_layers_that_are_needed_are_decoded(shipped: Codec, monkeypatch: Any) -> None:
    data = shipped.encode_pixels(picture(300, 257), quality=90, effort=1)
    counts = []
    decode = LatentCoder.decode

    def counting(self: Any, shape: Any, step_code: int, tune: int, sources: Any) -> Any:
        counts.append(len(sources))
        return decode(self, shape, step_code, tune, sources)

    monkeypatch.setattr(LatentCoder, "decode", counting)
    for factor in (16, 8, 4, 2, 1):
        shipped.decode(data, scale=1 / factor)
    assert counts == sorted(counts)
    assert counts[0] < counts[1] < counts[2] < counts[-1]
    counts.clear()
    shipped.decode(data, scale=1 / 2, layers=1)
    assert counts == [1]


@pytest.mark.parametrize(
    ("asked", "size"), [(1, (1, 1)), (20, (20, 15)), (101, (101, 75)), (403, (403, 299)), (9999, (403, 299))]
)
def test_largest_side(codec: Codec, asked: int, size: tuple[int, int]) -> None:
    data = codec.encode(photograph(403, 299), effort=1)
    assert codec.decode(data, max_size=asked).size == size
    narrow = codec.decode(data, max_size=asked, region=(3, 4, 299, 2)).size
    assert narrow == (min(asked, 299), max(1, round(2 * min(asked, 299) / 299)))


def test_a_picture_that_is_scaled_down_keeps_its_metadata(codec: Codec) -> None:
    image = photograph(64, 48)
    image.info["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert codec.decode(codec.encode(image, effort=1), max_size=20).info["icc_profile"] == image.info["icc_profile"]


def test_the_picture_painted_is_never_smaller_than_asked_for() -> None:
    for longest in (1, 15, 16, 17, 255, 256, 6000):
        for asked in range(1, 400):
            factor = preview_factor(1, asked, longest)
            assert factor == 1 or -(-longest // factor) >= asked
            assert factor == 16 or -(-longest // (2 * factor)) < asked


@pytest.mark.parametrize("scale", [0, 2, 0.3, -0.5, "1/2", None, float("nan")])
def test_other_scales_are_refused(codec: Codec, scale: Any) -> None:
    data = codec.encode_pixels(picture(20, 20), effort=1)
    with pytest.raises(ValueError, match="scale must be 1, 1/2, 1/4, 1/8 or 1/16"):
        codec.decode(data, scale=scale)
    assert codec.decode(data, scale=Fraction(1, 2)).size == (10, 10)


def test_scale_and_size_together_are_refused(codec: Codec) -> None:
    data = codec.encode_pixels(picture(20, 20), effort=1)
    with pytest.raises(ValueError, match="one of scale and max_size"):
        codec.decode(data, scale=0.5, max_size=9)
    with pytest.raises(ValueError, match="max_size must be a whole number of at least 1"):
        codec.decode(data, max_size=0)


def test_a_cut_file_gives_a_preview_of_what_it_holds(codec: Codec, tmp_path: Path) -> None:
    data = codec.encode_pixels(picture(300, 257), quality=90, effort=1)
    path = tmp_path / "cut.vqc"
    path.write_bytes(data[: len(data) * 2 // 3])
    with pytest.warns(UserWarning, match="incomplete"):
        assert codec.decode(path, scale=1 / 4, allow_partial=True).size == (75, 65)
    with pytest.raises(vqcodec.VQCError):
        codec.decode(path, scale=1 / 4)
