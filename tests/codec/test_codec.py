"""Pictures to bytes and back, through the tiny model and through the shipped one."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import vqbitstream
import vqcodec
from PIL import Image
from support import FIXTURES, TINY, golden, picture
from vqbitstream.alpha import pack_plane
from vqcodec.codec import Codec
from vqcodec.models.store import find_id, manifest
from vqcodec.models.weights_file import model_id, read_weights, write_weights
from vqcodec.pictures.planes import Planes

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


def big(width: int, height: int) -> np.ndarray:
    """A picture of many tiles, cheap to make."""
    return np.tile(picture(256, 256), (-(-height // 256), -(-width // 256), 1))[:height, :width]


def test_tiles_and_blocks_leave_no_seam(codec: Codec) -> None:
    """Decoded in blocks over tiles, a picture is what its latent gives when it is painted in one piece."""
    pixels = big(1700, 1100)
    data = codec.encode_pixels(pixels, quality=60)
    latent, header = codec.decode_latent(data)
    assert len(header.tiles) == 4
    whole, aim = codec.transforms, (header.step_code, header.tune)
    y = latent * np.float32(2**-14)
    painted = np.rint((whole.runtime.synthesise(y, *aim) + 0.5) * 255).clip(0, 255)[:1100, :1700]
    decoded = codec.decode_pixels(data)
    assert np.abs(painted - decoded).max() <= 1
    channels = latent.shape[2]
    analysed = whole.analyse(pixels, header, channels)
    x = np.pad(pixels.astype(np.float32) / 255 - 0.5, ((0, 4), (0, 12), (0, 0)), "edge").astype(np.float32)
    direct = np.rint(whole.runtime.analyse(x, *aim, channels) * 2**14)
    assert np.abs(analysed - direct).max() <= 2


def test_tiles_differ_from_the_whole_only_as_far_as_the_prior_sees(
    codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same picture in one tile and in six: other means near the seams, so other bits there, and nothing else."""
    pixels = picture(1000, 420)
    whole, header = decoded_latent(codec, pixels)
    one = header.tiles
    monkeypatch.setattr("vqbitstream.geometry.TILE", 24)
    tiled, header = decoded_latent(codec, pixels)
    six = header.tiles
    assert (len(one), len(six)) == (1, 6)
    reach = 6 + 2 * len(
        codec.config.groups
    )  # positions: six through the first group's passes, two through each further group
    near = np.zeros(whole.shape[:2], dtype=bool)
    for tile in six:
        near[max(tile.top - reach, 0) : tile.top + reach] |= tile.top > 0
        near[:, max(tile.left - reach, 0) : tile.left + reach] |= tile.left > 0
    np.testing.assert_array_equal(whole[~near], tiled[~near])
    assert (whole[near] != tiled[near]).any()
    errors = []
    for latent in (whole, tiled):
        decoded = codec.transforms.synthesise(latent, header, pixels.shape).astype(float)
        errors.append(np.square(decoded - pixels).reshape(420, 1000, 3).mean(2))
    pixels_near = near.repeat(16, 0).repeat(16, 1)[:420, :1000]
    assert errors[1][pixels_near].mean() < 1.03 * errors[0][pixels_near].mean()


def decoded_latent(codec: Codec, pixels: np.ndarray) -> tuple[np.ndarray, vqbitstream.Header]:
    """Of the pixels coded at a step of 1/8: decoded latent, and the header."""
    quality = float(np.interp(-(-3.0 + 8) * 4096, -codec.encoder.scale._step_codes[1], np.arange(1, 101)))
    latent, header = codec.decode_latent(codec.encode_pixels(pixels, quality=quality, effort=1))
    assert abs(np.log2(header.step) + 3) < 1e-3
    return latent, header


@pytest.mark.parametrize(
    "region", [(0, 0, 1, 1), (1000, 1000, 60, 50), (3, 777, 1500, 40), (1699, 1099, 1, 1), (0, 0, 1700, 1100)]
)
def test_a_region_is_that_part_of_the_whole(codec: Codec, region: tuple[int, int, int, int]) -> None:
    data = region_file(codec)
    x, y, width, height = region
    part, whole = codec.decode(data, region=region), codec.decode(data)
    assert part.size == (width, height)
    difference = np.asarray(part, dtype=int) - np.asarray(whole, dtype=int)[y : y + height, x : x + width]
    assert np.abs(difference).max() <= 1


@functools.cache
def region_file(codec: Codec) -> bytes:
    pixels = big(1700, 1100)
    return codec.encode(np.dstack([pixels, pixels[..., 0]]), quality=30)


@pytest.mark.parametrize("region", [(-1, 0, 5, 5), (0, 0, 0, 5), (1690, 0, 11, 5), (0, 1100, 1, 1)])
def test_a_region_outside_is_refused(codec: Codec, region: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="not inside 1700x1100"):
        codec.decode(region_file(codec), region=region)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_planes_come_back(codec: Codec, channels: int) -> None:
    pixels = np.dstack([picture(70, 50), 255 - picture(70, 50)[..., :1]])[..., -channels:]
    image = codec.decode(codec.encode(pixels[..., 0] if channels == 1 else pixels))
    assert image.mode == {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
    if channels in (2, 4):
        np.testing.assert_array_equal(np.asarray(image)[..., -1], pixels[..., -1])


def test_metadata_comes_back_byte_for_byte(codec: Codec) -> None:
    metadata = {"icc": b"profile", "exif": b"II*\0\x08\0\0\0\0\0", "xmp": b"<x:xmpmeta/>"}
    data = codec.encode_planes(Planes(picture(40, 30), None, metadata))[0]
    assert codec.decode_planes(data).metadata == metadata


def test_a_cut_file_shows_its_layers_when_asked(codec: Codec) -> None:
    pixels = big(1100, 260)
    data = codec.encode_pixels(pixels, quality=90, exact="none")
    contents = vqbitstream.unpack(data, vqcodec.Limits())
    tiles = len(contents.header.tiles)
    tails = [sum(17 - 4 + len(s.payload) for s in contents.sections[tiles * n :] if s) for n in range(4)]
    errors = []
    for keep in (1, 2, 3):
        cut = data[: len(data) - tails[keep]]
        if keep < 3:
            with pytest.raises(vqcodec.TruncatedError):
                codec.decode(cut)
            with pytest.warns(UserWarning, match="the file ends before layer section"):
                image = codec.decode(cut, allow_partial=True)
            np.testing.assert_array_equal(np.asarray(image), codec.decode_pixels(data, layers=keep))
        else:
            image = codec.decode(cut, allow_partial=True)
        errors.append(np.square(np.asarray(image, dtype=float) - pixels).mean())
    assert errors == sorted(errors, reverse=True)
    with pytest.raises(vqcodec.TruncatedError, match="nothing to show"):
        codec.decode(data[: len(data) - tails[0] + 9], allow_partial=True)


@pytest.mark.parametrize("width", [300, 1100])
def test_whatever_is_cut_off_after_the_first_layer_the_rest_is_shown(codec: Codec, width: int) -> None:
    pixels = big(width, 260)
    alpha = np.tile(np.arange(width, dtype=np.uint8), (260, 1))
    data = codec.encode(np.dstack([pixels, alpha]), quality=40)
    contents = vqbitstream.unpack(data, vqcodec.Limits())
    tiles = len(contents.header.tiles)
    sizes = [17 - 4 + len(s.payload) for s in contents.sections if s]
    assert contents.alpha is not None
    with_first = vqbitstream.header.HEADER_BYTES + sum(sizes[:tiles])
    with_alpha = with_first + 9 + len(contents.alpha)
    ends = with_alpha + np.cumsum(sizes[tiles:])
    previews = [np.asarray(codec.decode(data, layers=n)) for n in (1, 2, 3)]
    for length in {*range(with_first, len(data), 37), with_first, with_alpha - 1, with_alpha, *(ends - 1), *ends[:-1]}:
        with pytest.warns(UserWarning, match=r"incomplete picture: .*the file ends (before|inside) (the alpha|layer)"):
            shown = np.asarray(codec.decode(data[:length], allow_partial=True))
        assert (shown[..., 3] == (255 if length < with_alpha else alpha)).all()
        for number, tile in enumerate(contents.header.tiles):
            whole = 1 + sum(end <= length for end in ends[number::tiles])
            inside = (slice(None), slice(16 * tile.left + 48, 16 * tile.right - 48), slice(3))
            np.testing.assert_array_equal(shown[inside], previews[whole - 1][inside])


def test_a_few_bytes_never_become_a_huge_blank_picture(codec: Codec) -> None:
    contents = vqbitstream.unpack(codec.encode_pixels(big(8192, 16)), vqcodec.Limits())
    sound = vqbitstream.Section(b"", 1)  # its own checksum holds; what it decodes to has another
    for first in (8, 5, 4):  # of eight tiles
        sections = [s if n % 8 < first else sound for n, s in enumerate(contents.sections)]
        data = vqbitstream.pack(dataclasses.replace(contents, sections=sections))
        with pytest.warns(UserWarning, match="is blank") if first < 8 else contextlib.nullcontext():
            assert codec.decode(data, allow_partial=True).size == (8192, 16)
    for first in (3, 1, 0):
        sections = [s if n % 8 < first else sound for n, s in enumerate(contents.sections)]
        data = vqbitstream.pack(dataclasses.replace(contents, sections=sections))
        with pytest.raises(vqcodec.TruncatedError, match="nothing to show"):
            codec.decode(data, allow_partial=True)
    head = dataclasses.replace(contents.header, width=60_000, height=2_000).pack()
    with pytest.raises(vqcodec.TruncatedError, match="nothing to show"):
        codec.decode(head + vqbitstream.pack(contents)[len(head) :], allow_partial=True)


def test_one_damaged_tile_leaves_the_others(codec: Codec) -> None:
    pixels = big(1100, 260)
    data = bytearray(codec.encode_pixels(pixels, quality=60))
    data[vqbitstream.header.HEADER_BYTES + 14] ^= 1  # in the first section: first layer, first tile
    with pytest.warns(UserWarning, match="tile 1 of 2 is blank"):
        image = np.asarray(codec.decode(bytes(data), allow_partial=True))
    sound = codec.decode_pixels(codec.encode_pixels(pixels, quality=60))
    np.testing.assert_array_equal(image[:, 600:], sound[:, 600:])


@pytest.mark.parametrize("size", [(1, 1), (70, 45), (130, 200)])
def test_alpha_of_a_part_and_of_a_preview_is_that_of_the_whole(
    codec: Codec, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vqbitstream.alpha, "_BAND_PIXELS", 1)  # bands of 16 rows
    (width, height), rng = size, np.random.default_rng(0)
    plane = rng.integers(0, 256, (height, width), dtype=np.uint8)
    data = codec.encode_planes(Planes(picture(width, height), plane), quality=20, effort=1)[0]
    for _ in range(20):
        left, top = int(rng.integers(width)), int(rng.integers(height))
        part = (left, top, int(rng.integers(1, width - left + 1)), int(rng.integers(1, height - top + 1)))
        shown = np.asarray(codec.decode(data, region=part))[..., 3]
        np.testing.assert_array_equal(shown, plane[top : top + part[3], left : left + part[2]])
    for factor in (2, 4, 8, 16):
        small = np.asarray(codec.decode(data, scale=1 / factor))[..., 3]
        np.testing.assert_array_equal(small, np.asarray(Image.fromarray(plane).reduce(factor)))


def test_a_damaged_alpha_is_shown_opaque_when_asked(codec: Codec) -> None:
    data = codec.encode(np.dstack([picture(60, 50), picture(60, 50)[..., 0]]))
    contents = vqbitstream.unpack(data, vqcodec.Limits())
    broken = vqbitstream.pack(dataclasses.replace(contents, alpha=b"\x00no zlib"))
    with pytest.raises(vqcodec.CorruptError, match="alpha"):
        codec.decode(broken)
    with pytest.warns(UserWarning, match="opaque"):
        image = codec.decode(broken, allow_partial=True)
    assert (np.asarray(image)[..., 3] == 255).all()


def test_a_damaged_layer_is_left_out_when_asked(codec: Codec) -> None:
    data = bytearray(codec.encode_pixels(big(300, 260), quality=90))
    data[-10] ^= 1
    with pytest.warns(UserWarning, match="layer section 3 of 3 is damaged"):
        image = codec.decode(bytes(data), allow_partial=True)
    np.testing.assert_array_equal(
        np.asarray(image), codec.decode_pixels(codec.encode_pixels(big(300, 260), quality=90), layers=2)
    )


def test_verification_finds_a_prior_that_went_astray(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    data = codec.encode_pixels(picture(200, 300))
    codec.verify(data)
    honest = codec.prior.predict

    def astray(group: int, *rest: Any) -> Any:
        said = honest(group, *rest)
        return dataclasses.replace(said, log2_scale=np.clip(said.log2_scale + 40 * (group > 0), -192, 288))

    monkeypatch.setattr(codec.prior, "predict", astray)
    with pytest.raises(vqcodec.CorruptError):
        codec.verify(data)


def test_verification_finds_an_alpha_that_went_astray(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.dstack([picture(60, 50), picture(60, 50)[..., 0]])
    sound = codec.encode(pixels)
    codec.verify(sound)
    contents = vqbitstream.unpack(sound, vqcodec.Limits())
    with pytest.raises(vqcodec.CorruptError, match="alpha"):
        codec.verify(vqbitstream.pack(dataclasses.replace(contents, alpha=b"\x00no zlib")))
    honest = pack_plane
    monkeypatch.setattr("vqcodec.pictures.planes.pack_plane", lambda plane: honest(plane ^ 1))
    with pytest.raises(vqcodec.CorruptError, match="alpha"):
        codec.encode(pixels)


def test_a_file_of_more_layers_than_its_model_is_refused(codec: Codec) -> None:
    contents = vqbitstream.unpack(codec.encode_pixels(picture(60, 50)), vqcodec.Limits())
    header = dataclasses.replace(contents.header, layers=4)
    forged = vqbitstream.pack(dataclasses.replace(contents, header=header))
    for read in (codec.decode, codec.verify):
        with pytest.raises(vqcodec.CorruptError, match="4 layers in the file, 3 in the model"):
            read(forged)


def test_a_file_may_have_fewer_layers_than_its_model(codec: Codec) -> None:
    """Latents of the layers that it lacks are zero; what it shows is the preview of a file that has them."""
    pixels = picture(300, 260)
    whole = codec.encode_pixels(pixels, quality=90, effort=1)
    contents = vqbitstream.unpack(whole, vqcodec.Limits())
    assert contents.header.layers == 3
    for layers in (1, 2):
        header = dataclasses.replace(contents.header, layers=layers)
        short = vqbitstream.pack(dataclasses.replace(contents, header=header, sections=contents.sections[:layers]))
        codec.verify(short)
        np.testing.assert_array_equal(codec.decode_pixels(short), codec.decode_pixels(whole, layers=layers))
        latent, _ = codec.decode_latent(short)
        assert latent.shape[2] == sum(codec.config.groups[:layers])


def test_a_low_quality_leaves_the_finest_layer_out(codec: Codec) -> None:
    sizes = [codec.encoder.header(300, 260, quality, "eye").layers for quality in (1, 50, 100)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1] == len(codec.config.groups)
    for side in (120, 300):
        pixels = picture(side, side)
        data = codec.encode_pixels(pixels, quality=1)
        assert vqcodec.info(data).layers == sizes[0]
        assert codec.decode_pixels(data).shape == pixels.shape


@pytest.mark.parametrize("tune", ["eye", "psnr"])
def test_a_file_says_its_tune(codec: Codec, tune: str) -> None:
    data = codec.encode_pixels(picture(90, 70), quality=60, tune=tune)
    assert vqcodec.info(data).tune == tune
    codec.verify(data)
    other = codec.encode_pixels(picture(90, 70), quality=60, tune="eye" if tune == "psnr" else "psnr")
    assert data != other


def test_an_unknown_tune_is_refused(codec: Codec) -> None:
    with pytest.raises(ValueError, match="tune must be one of eye, psnr, not 'ear'"):
        codec.encode(picture(20, 20), tune="ear")


def test_threads_that_share_a_codec_find_the_same_targets(codec: Codec) -> None:
    pictures = [picture(160, 120), 255 - picture(120, 110)]
    alone = [codec.encode(p, target_bytes=250) for p in pictures]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda p: codec.encode(p, target_bytes=250), pictures * 4))
    assert together == alone * 4


def test_overhead_of_a_small_picture(codec: Codec) -> None:
    data, stats = codec.encode_planes(Planes(picture(100, 100)))
    assert len(data) - stats.payload_bytes == 49


def test_progress_runs_from_nothing_to_all(codec: Codec) -> None:
    seen: list[float] = []
    data = codec.encode(big(1100, 200), progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1)
    seen.clear()
    codec.decode(data, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1)


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


@pytest.mark.parametrize("options", [{}, {"reference": True}, {"runtime": "torch"}])
def test_golden_files_decode_to_the_same_latent(options: dict[str, Any]) -> None:
    import hashlib

    codec = Codec(TINY, **options)
    for name, facts in golden().items():
        latent, _ = codec.decode_latent((FIXTURES / f"{name}.vqc").read_bytes())
        assert hashlib.sha256(latent.astype("<i4").tobytes()).hexdigest() == facts["latent_sha256"]


def test_a_codec_pickles_as_its_name(codec: Codec) -> None:
    data = codec.encode_pixels(picture(40, 40))
    other = pickle.loads(pickle.dumps(codec))
    np.testing.assert_array_equal(other.decode_pixels(data), codec.decode_pixels(data))


def test_estimate_matches_bytes(codec: Codec) -> None:
    _, stats = codec.encode_planes(Planes(picture(640, 480)), quality=100)
    assert abs(8 * stats.payload_bytes - stats.estimated_bits) < 0.01 * stats.estimated_bits + 32 * 3


@pytest.mark.parametrize(
    "damage",
    [
        lambda t: t.pop("prior.heads.0.hidden.weight"),
        lambda t: t.update({"prior.sigma_log2": t["prior.sigma_log2"][:3]}),
        lambda t: t.update({"prior.heads.0.hidden.bias": t["prior.heads.0.hidden.bias"][:1]}),
        lambda t: t.update({"encoder.step_codes": t["encoder.step_codes"][:, :5]}),
        lambda t: t.update({"encoder.step_codes": t["encoder.step_codes"] * 0}),
        lambda t: t.update({"encoder.layers": t["encoder.layers"] * 0}),
        lambda t: t.pop("encoder.layers"),
        lambda t: t.update({"prior.channel_gain": t["prior.channel_gain"] * 0 + 129}),
        lambda t: t.pop("synthesis.tail.0.space.bias"),
        lambda t: t.update({"quantizer.counts": t["quantizer.counts"] * 0}),
    ],
)
def test_unsound_weights_are_refused_at_load(damage: Callable[[dict[str, object]], object], tmp_path: Path) -> None:
    tensors, config = read_weights(TINY)
    damage(tensors)  # type: ignore[arg-type]
    write_weights(tmp_path / "bad.safetensors", tensors, config)
    with pytest.raises(vqcodec.ModelError, match="not a sound weights file"):
        Codec(tmp_path / "bad.safetensors")


@pytest.mark.parametrize("options", [{"device": "nonsense"}, {"runtime": "nonsense"}])
def test_unknown_device_or_runtime(options: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="nonsense"):
        Codec(TINY, **options)  # type: ignore[arg-type]


def test_the_encoder_may_change_under_a_model_id() -> None:
    tensors, config = read_weights(TINY)
    wider = config | {"analysis_width": 77}
    assert model_id(tensors, wider) == model_id(tensors, config)
    tensors["synthesis.out.bias"] = tensors["synthesis.out.bias"] + 1
    assert model_id(tensors, config) != model_id(read_weights(TINY)[0], config)


def test_a_file_of_another_model_is_refused(codec: Codec) -> None:
    data = codec.encode_pixels(picture(20, 20))
    with pytest.raises(vqcodec.UnsupportedError, match=codec.model_id.hex()):
        vqcodec.decode(data)


@pytest.mark.parametrize(("keyword", "value"), [("quality", 0), ("quality", 101), ("effort", 0), ("effort", 10)])
def test_options_out_of_range(codec: Codec, keyword: str, value: int) -> None:
    with pytest.raises(ValueError, match=keyword):
        codec.encode(picture(20, 20), **{keyword: value})  # type: ignore[arg-type]


def test_shipped_model_beats_jpeg_on_a_photograph() -> None:
    """At equal bytes the shipped weights are at least 1 dB above JPEG on a real photograph, with the tune that aims at PSNR."""
    import io

    import skimage.data

    photo = Image.fromarray(skimage.data.astronaut())
    data = vqcodec.encode(photo, quality=50, tune="psnr")
    assert vqcodec.info(data).tune == "psnr"
    assert vqcodec.info(data).model == manifest()[0].name
    assert find_id(bytes.fromhex(manifest()[0].model_id)).name == manifest()[0].name

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
