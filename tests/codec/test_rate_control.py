"""Rate control on made-up curves, and on the tiny model."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import vqcodec
from PIL import Image
from support import picture
from vqcodec.codec import Codec
from vqcodec.coding.rate_control import MAX_ENCODES, PSNR, SIZE, TYPICAL, Attempt, Target, search
from vqcodec.pictures.psnr import psnr

PIXELS = 768 * 512


def curve(offset: float, slope: float, bend: float) -> tuple[list[float], object]:
    """A picture whose log payload is a bent line over quality, with a little roughness."""
    seen: list[float] = []

    def attempt(quality: float) -> Attempt:
        seen.append(quality)
        x = quality / 100
        payload = int(np.exp(offset + slope * x + bend * x * (1 - x) + 0.001 * np.sin(900 * x)))
        return Attempt(quality, bytes(48 + payload), payload, 20 + 25 * x + 4 * bend * x * (1 - x))

    return seen, attempt


@pytest.mark.parametrize("offset", [6.0, 7.5, 9.0])
@pytest.mark.parametrize("slope", [4.0, 5.0, 7.0])
@pytest.mark.parametrize("bend", [-2.0, 0.0, 2.5])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.8, 0.99])
def test_sizes_are_met_in_six_encodes(offset: float, slope: float, bend: float, share: float) -> None:
    seen, attempt = curve(offset, slope, bend)
    sizes = [len(attempt(q).data) for q in np.linspace(1, 100, 400)]  # type: ignore[operator]
    goal = int(min(sizes) ** (1 - share) * max(sizes) ** share)
    seen.clear()
    found = search(Target(goal, SIZE, PIXELS), attempt, lambda _: None, TYPICAL["psnr"])  # type: ignore[arg-type]
    assert len(seen) <= MAX_ENCODES
    assert 0.98 * goal <= len(found) <= goal


@pytest.mark.parametrize("bend", [-1.5, 0.0, 1.5])
@pytest.mark.parametrize("goal", [21.0, 30.0, 37.0, 44.0])
def test_psnrs_are_met_in_six_encodes(bend: float, goal: float) -> None:
    seen, attempt = curve(7, 5, bend)
    search(Target(goal, PSNR, PIXELS), attempt, lambda _: None, TYPICAL["psnr"])  # type: ignore[arg-type]
    assert len(seen) <= MAX_ENCODES
    assert abs(attempt(seen[-1]).reached - goal) <= 0.1  # type: ignore[operator]


def test_out_of_reach_names_the_nearest() -> None:
    _, attempt = curve(7, 5, 0)
    with pytest.raises(vqcodec.TargetError, match=r"100 bytes cannot be reached; the nearest possible is \d+ bytes"):
        search(Target(100, SIZE, PIXELS), attempt, lambda _: None, TYPICAL["psnr"])  # type: ignore[arg-type]
    with pytest.raises(vqcodec.TargetError, match=r"60 dB cannot be reached; the nearest possible is 45"):
        search(Target(60.0, PSNR, PIXELS), attempt, lambda _: None, TYPICAL["psnr"])  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="nearest to 9000000 bytes"):
        search(Target(9_000_000, SIZE, PIXELS), attempt, lambda _: None, TYPICAL["psnr"])  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="nearest to 5 dB"):
        search(Target(5.0, PSNR, PIXELS), attempt, lambda _: None, TYPICAL["psnr"])  # type: ignore[arg-type]


CURVES = {
    "plateau": (lambda q: 1000 + q / 10, 1049),
    "cliff": (lambda q: 300 + 1e5 * (q / 100) ** 8, 358),
    "saturating": (lambda q: 4000 * (1 - np.exp(-(q - 1) / 3)) + 200, 3197),
}


@pytest.mark.parametrize("name", CURVES)
def test_curves_unlike_any_picture(name: str) -> None:
    payload, goal = CURVES[name]
    seen: list[float] = []

    def attempt(quality: float) -> Attempt:
        seen.append(quality)
        return Attempt(quality, bytes(48 + int(payload(quality))), int(payload(quality)))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = search(Target(goal, SIZE, PIXELS), attempt, lambda _: None, TYPICAL["psnr"])
    assert len(seen) <= MAX_ENCODES
    assert len(found) <= goal
    assert len(found) > (0 if name == "saturating" else 0.85) * goal


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 10**400])
def test_targets_that_are_no_numbers(value: float, codec: Codec) -> None:
    with pytest.raises(ValueError, match="target"):
        codec.encode(picture(20, 20), target_bpp=value)


@pytest.mark.parametrize("model", ["tiny", "shipped"])
def test_through_the_codec(model: str, request: pytest.FixtureRequest) -> None:
    if model == "shipped":
        codec, pixels, effort = Codec("default"), skimage.data.chelsea()[:160, 100:292], 5
    else:  # untrained, its sizes jump about when the encoder searches
        codec, pixels, effort = request.getfixturevalue("codec"), picture(300, 280), 1
    options: dict[str, Any] = {"effort": effort, "exact": "none"}  # the untrained model ruins everything
    sizes = [len(codec.encode_pixels(pixels, quality=q, **options)) for q in (1, 100)]
    goal = round(float(np.sqrt(sizes[0] * sizes[1])))
    data = codec.encode(pixels, target_bytes=goal, effort=effort)
    assert 0.98 * goal <= len(data) <= goal
    bpp = 8 * goal / pixels[..., 0].size
    assert 0.97 * goal <= len(codec.encode(pixels, target_bpp=bpp, effort=effort)) <= goal
    options["tune"] = "psnr"
    ends = [psnr(pixels, codec.decode_pixels(codec.encode_pixels(pixels, quality=q, **options))) for q in (1, 100)]
    middle = sum(ends) / 2
    data = codec.encode(pixels, target_psnr=middle, effort=effort, tune="psnr")
    assert abs(psnr(pixels, np.asarray(codec.decode(data))) - middle) <= 0.1


def test_a_visual_target_is_met_by_the_package_of_that_name(tmp_path: Path) -> None:
    metric = pytest.importorskip("ssimulacra2")
    codec, original = Codec("default"), Image.fromarray(skimage.data.chelsea()[:200, 100:340])
    original.save(tmp_path / "a.png")
    for tune in ("eye", "psnr"):
        data = codec.encode(original, target_ssimulacra2=70, tune=tune, effort=1)
        codec.decode(data).save(tmp_path / "b.png")
        assert abs(metric.compute_ssimulacra2(str(tmp_path / "a.png"), str(tmp_path / "b.png")) - 70) <= 1.01
    with pytest.raises(vqcodec.TargetError, match=r"99 SSIMULACRA2 cannot be reached; the nearest possible is \d"):
        codec.encode(original, target_ssimulacra2=99, effort=1)
    with pytest.raises(ValueError, match="at least 8 pixels"):
        codec.encode(picture(20, 7), target_ssimulacra2=70)


@pytest.mark.parametrize(
    "targets", [{"target_bytes": 10, "target_bpp": 1.0}, {"target_psnr": 0.0}, {"target_bytes": -5}]
)
def test_targets_that_make_no_sense(targets: dict[str, float], codec: Codec) -> None:
    with pytest.raises(ValueError, match="target"):
        codec.encode(picture(20, 20), **targets)  # type: ignore[arg-type]
