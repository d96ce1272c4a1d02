"""Exact pixels of a tile: lossless WebP, and nothing else."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from fuzz.promises import Growth
from fuzz.webp import check
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from vqbitstream.errors import CorruptError
from vqbitstream.overlay import covers_tile
from vqcodec.pictures.overlay import pack_overlay, unpack_overlay


@given(
    height=st.integers(1, 40), width=st.integers(1, 40), grey=st.booleans(), share=st.sampled_from([0.0, 0.1, 0.9, 1.0]),
    seed=st.integers(0, 9),
)  # fmt: skip
def test_exact_pixels_come_back(height: int, width: int, grey: bool, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width) if grey else (height, width, 3), dtype=np.uint8)
    mask = rng.random((height, width)) < share
    data = pack_overlay(pixels, mask)
    if not mask.any():
        assert data == b""
        return
    assert covers_tile(data) == mask.all()
    found, exact = unpack_overlay(data, height, width)
    np.testing.assert_array_equal(exact, mask)
    np.testing.assert_array_equal((found[..., 1] if grey else found)[mask], pixels[mask])


def saved(**options: object) -> bytes:
    file = BytesIO()
    Image.new("RGB", (20, 10), "red").save(file, **options)
    return file.getvalue()


def test_other_pictures_are_refused_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = pack_overlay(np.zeros((10, 20, 3), dtype=np.uint8))
    assert unpack_overlay(sound, 10, 20)[1].all()
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("decoded"))
    cases = [sound[:n] for n in range(len(sound))] + [sound + b"\0\0"]
    cases += [saved(format="WEBP"), saved(format="PNG"), saved(format="WEBP", lossless=True, icc_profile=b"x" * 30)]
    cases += [saved(format="WEBP", lossless=True, save_all=True, append_images=[Image.new("RGB", (20, 10), "blue")])]
    for data in cases:
        with pytest.raises(CorruptError):
            unpack_overlay(data, 10, 20)
    for height, width in ((20, 10), (10, 21), (9, 20), (1024, 1024)):  # a picture that is not of the tile's size
        with pytest.raises(CorruptError, match="size"):
            unpack_overlay(sound, height, width)


def test_pixels_that_are_half_clear_are_refused() -> None:
    for alpha, refused in ((0, False), (1, True), (254, True), (255, False)):
        file = BytesIO()
        shown = Image.new("RGBA", (20, 10), (9, 8, 7, 255))
        shown.putpixel((3, 4), (1, 2, 3, alpha))
        shown.save(file, "WEBP", lossless=True, exact=True)
        if refused:
            with pytest.raises(CorruptError, match="neither opaque nor clear"):
                unpack_overlay(file.getvalue(), 10, 20)
        else:
            assert unpack_overlay(file.getvalue(), 10, 20)[1].sum() == 199 + alpha // 255


def test_damaged_pictures_are_refused_or_give_other_pixels_but_nothing_else() -> None:
    rng = np.random.default_rng(0)
    data = pack_overlay(rng.integers(0, 4, (30, 20, 3), dtype=np.uint8), rng.random((30, 20)) < 0.5)
    refused = 0
    for _ in range(300):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] ^= 1 << rng.integers(8)
        try:
            assert unpack_overlay(bytes(damaged), 30, 20)[0].shape == (30, 20, 3)
        except CorruptError:
            refused += 1
    assert refused > 10


def test_spoiled_exact_pixels_decode_or_are_refused() -> None:
    growth = Growth()
    outcomes = check(0, 3000)
    assert growth.megabytes() < 20
    assert outcomes["decoded"] > 300
    assert outcomes["the exact pixels do not decode"] > 300
    assert len(outcomes) > 5
