"""Pictures to bytes and back, through the tiny model and through the shipped one."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import vqcodec
from PIL import Image
from support import FIXTURES, TINY, golden, picture
from vqcodec.codec import Codec
from vqcodec.image import to_pixels
from vqcodec.registry import find_id, manifest, model_id, read_weights, write_weights

SIZES = [(1, 1), (1, 50), (50, 1), (15, 17), (16, 16), (64, 64), (65, 130), (200, 129), (330, 240)]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_every_size_comes_back(codec: Codec, width: int, height: int) -> None:
    pixels = picture(width, height)
    decoded = codec.decode_pixels(codec.encode_pixels(pixels, quality=80))
    assert decoded.shape == pixels.shape
    assert decoded.dtype == np.uint8


def test_grey_comes_back_grey(codec: Codec) -> None:
    pixels = picture(100, 60)[..., 0]
    image = codec.decode(codec.encode(pixels))
    assert image.mode == "L"
    assert image.size == (100, 60)


def test_quality_buys_fidelity(codec: Codec) -> None:
    pixels = picture(256, 256)
    sizes, errors = [], []
    for quality in (10, 40, 70, 100):
        data = codec.encode_pixels(pixels, quality=quality)
        sizes.append(len(data))
        errors.append(np.square(codec.decode_pixels(data).astype(float) - pixels).mean())
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)


def test_layers_are_previews(codec: Codec) -> None:
    pixels = picture(300, 260)
    for side in (300, 120):  # many sections, and one
        part = pixels[:side, :side]
        data = codec.encode_pixels(part, quality=90)
        errors = [np.square(codec.decode_pixels(data, layers=n).astype(float) - part).mean() for n in (1, 2, 3)]
        assert errors[0] > errors[2]
        with pytest.raises(ValueError, match="layers"):
            codec.decode_pixels(data, layers=4)


def test_ambient_autocast_and_default_dtype_change_nothing(codec: Codec) -> None:
    pixels = picture(90, 80)
    data, decoded = codec.encode_pixels(pixels), codec.decode_pixels(codec.encode_pixels(pixels))
    for dtype in (torch.float16, torch.bfloat16):
        with torch.autocast("cpu", dtype=dtype):
            assert codec.encode_pixels(pixels) == data
            np.testing.assert_array_equal(codec.decode_pixels(data), decoded)
    torch.set_default_dtype(torch.float64)
    try:
        np.testing.assert_array_equal(Codec(TINY).decode_pixels(data), decoded)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("backend", ["torch", "numpy"])
def test_golden_files_decode_to_the_same_latent(backend: str) -> None:
    import hashlib

    codec = Codec(TINY, backend=backend)
    for name, facts in golden().items():
        latent, _ = codec.decode_latent((FIXTURES / f"{name}.vqc").read_bytes())
        assert hashlib.sha256(latent.astype("<i4").tobytes()).hexdigest() == facts["latent_sha256"]


def test_a_codec_pickles_as_its_name(codec: Codec) -> None:
    data = codec.encode_pixels(picture(40, 40))
    other = pickle.loads(pickle.dumps(codec))
    np.testing.assert_array_equal(other.decode_pixels(data), codec.decode_pixels(data))


def test_estimate_matches_bytes(codec: Codec) -> None:
    codec.encode_pixels(picture(640, 480), quality=100)
    assert codec.stats is not None
    assert abs(8 * codec.stats.payload_bytes - codec.stats.estimated_bits) < 0.01 * codec.stats.estimated_bits + 32 * 3


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((4, 4, 3), dtype=np.float32),
        np.zeros((4, 4, 4), dtype=np.uint8),
        np.zeros((0, 4, 3), dtype=np.uint8),
        Image.new("RGBA", (4, 4)),
        Image.new("I;16", (4, 4)),
        Image.new("CMYK", (4, 4)),
    ],
)
def test_what_cannot_be_kept_whole_is_refused(bad: object) -> None:
    with pytest.raises(vqcodec.ImageError):
        to_pixels(bad, vqcodec.Limits())  # type: ignore[arg-type]


def test_palette_with_transparency_is_refused_and_orientation_applied(tmp_path: Path) -> None:
    palette = Image.new("RGBA", (8, 8), (1, 2, 3, 9)).quantize(4)
    palette.info["transparency"] = 0
    with pytest.raises(vqcodec.ImageError, match="transparency"):
        to_pixels(palette, vqcodec.Limits())
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(40, 30)).save(tmp_path / "turned.jpg", exif=exif)
    assert to_pixels(tmp_path / "turned.jpg", vqcodec.Limits()).shape == (40, 30, 3)


@pytest.mark.parametrize(
    "damage",
    [
        lambda t: t.pop("prior.heads.0.hidden.weight"),
        lambda t: t.update({"prior.sigma_log2": t["prior.sigma_log2"][:3]}),
        lambda t: t.update({"prior.heads.0.hidden.bias": t["prior.heads.0.hidden.bias"][:1]}),
        lambda t: t.update({"encoder.step_codes": t["encoder.step_codes"][:5]}),
        lambda t: t.update({"quantizer.counts": t["quantizer.counts"] * 0}),
    ],
)
def test_unsound_weights_are_refused_at_load(damage: Callable[[dict[str, object]], object], tmp_path: Path) -> None:
    tensors, config = read_weights(TINY)
    damage(tensors)  # type: ignore[arg-type]
    write_weights(tmp_path / "bad.safetensors", tensors, config)
    with pytest.raises(vqcodec.ModelError, match="not a sound weights file"):
        Codec(tmp_path / "bad.safetensors")


@pytest.mark.parametrize("options", [{"device": "nonsense"}, {"backend": "nonsense"}])
def test_unknown_device_or_backend(options: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="nonsense"):
        Codec(TINY, **options)  # type: ignore[arg-type]


def test_the_encoder_may_change_under_a_model_id() -> None:
    tensors, config = read_weights(TINY)
    wider = config | {"analysis_fine": 77}
    assert model_id(tensors, wider) == model_id(tensors, config)
    tensors["synthesis.out.bias"] = tensors["synthesis.out.bias"] + 1
    assert model_id(tensors, config) != model_id(read_weights(TINY)[0], config)


def test_too_many_pixels_are_refused() -> None:
    with pytest.raises(vqcodec.LimitError):
        to_pixels(picture(40, 40), vqcodec.Limits(max_pixels=1000))


def test_a_file_of_another_model_is_refused(codec: Codec) -> None:
    data = codec.encode_pixels(picture(20, 20))
    with pytest.raises(vqcodec.UnsupportedError, match=codec.model_id.hex()):
        vqcodec.decode(data)


@pytest.mark.parametrize(("keyword", "value"), [("quality", 0), ("quality", 101), ("effort", 0), ("effort", 10)])
def test_options_out_of_range(codec: Codec, keyword: str, value: int) -> None:
    with pytest.raises(ValueError, match=keyword):
        codec.encode(picture(20, 20), **{keyword: value})  # type: ignore[arg-type]


def test_shipped_model_beats_jpeg_on_a_photograph() -> None:
    """At equal bytes the shipped weights are at least 1 dB above JPEG on a real photograph."""
    import io

    import skimage.data

    photo = Image.fromarray(skimage.data.astronaut())
    data = vqcodec.encode(photo, quality=50)
    assert vqcodec.info(data).model == manifest()[0].name
    assert find_id(bytes.fromhex(manifest()[0].model_id)) == manifest()[0].name

    def psnr(image: Image.Image) -> float:
        error = np.square(np.asarray(image, dtype=float) - np.asarray(photo, dtype=float)).mean()
        return float(10 * np.log10(255**2 / error))

    best = 0.0
    for quality in range(1, 96):
        buffer = io.BytesIO()
        photo.save(buffer, format="JPEG", quality=quality, optimize=True)
        if buffer.tell() <= len(data):
            best = max(best, psnr(Image.open(buffer)))
    assert psnr(vqcodec.decode(data)) > best + 1


def test_shipped_weights_are_within_their_budget() -> None:
    from importlib.resources import files

    total = sum(len(files("vqcodec.weights").joinpath(e.file).read_bytes()) for e in manifest())
    assert total <= 20 << 20
