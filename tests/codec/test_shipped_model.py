"""What the documents promise of the model that is shipped, on real photographs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest
import skimage.data
from support import TINY, picture
from vqbitstream.geometry import PATCH_PX
from vqcodec.codec import Codec
from vqcodec.models import store
from vqcodec.models.weights_file import model_id, read_weights
from vqcodec.pictures.planes import Planes
from vqcodec.pictures.psnr import psnr

Pixels = np.ndarray


def photographs() -> dict[str, Pixels]:
    """Parts of real photographs, in colour and grey, with odd sides."""
    return {
        "astronaut": skimage.data.astronaut()[20:230, 130:391],
        "chelsea": skimage.data.chelsea()[40:219, 90:350],
        "coffee": skimage.data.coffee()[80:290, 200:420],
        "rocket": skimage.data.rocket()[100:300, 220:430],
        "retina": skimage.data.retina()[500:676, 400:633],
        "camera": skimage.data.camera()[60:260, 150:391],
    }


@pytest.fixture(scope="module")
def shipped() -> Codec:
    return Codec("default")


def test_manifest_names_sound_weights_by_their_id() -> None:
    """Decoders rely on the manifest: they check the SHA-256, and then neither the tensors nor the id."""
    for entry in store.manifest():
        assert model_id(*read_weights(entry.path)).hex() == entry.model_id
        assert store.load(entry.name).model_id.hex() == entry.model_id


@pytest.fixture(scope="module")
def on_torch() -> Codec:
    return Codec("default", runtime="torch")


@pytest.mark.parametrize("name", photographs())
def test_numpy_and_torch_give_the_same_indices_and_pixels_within_a_level(
    name: str, shipped: Codec, on_torch: Codec
) -> None:
    pixels = photographs()[name]
    for quality in (1, 15, 35, 50, 70, 85, 100):
        data = shipped.encode_pixels(pixels, quality=quality, effort=1)
        latents = [codec.decode_latent(data)[0] for codec in (shipped, on_torch)]
        np.testing.assert_array_equal(*latents)
        shown = [codec.decode_pixels(data).astype(int) for codec in (shipped, on_torch)]
        assert np.abs(shown[0] - shown[1]).max() <= 1


@pytest.mark.parametrize("runtime", ["numpy", "torch"])
@pytest.mark.parametrize("shift", [s for s in product((-1, 0, 1), repeat=2) if s != (0, 0)])
def test_the_decoded_picture_lies_where_the_original_does(
    shift: tuple[int, int], runtime: str, shipped: Codec, on_torch: Codec
) -> None:
    """A pixel further in any direction fits far worse; a picture shifted by one would fit there, and not here."""
    codec = shipped if runtime == "numpy" else on_torch
    pixels = photographs()["chelsea"]
    decoded = codec.decode_pixels(shipped.encode_pixels(pixels, quality=90, effort=1)).astype(float)
    inside = decoded[1:-1, 1:-1]
    rows, columns = (slice(1 + s, n - 1 + s) for s, n in zip(shift, pixels.shape[:2], strict=True))
    here = np.square(inside - pixels[1:-1, 1:-1]).mean()
    there = np.square(inside - pixels[rows, columns]).mean()
    assert here < 16  # 36 dB
    assert there > 3 * here


@pytest.mark.parametrize("name", photographs())
@pytest.mark.parametrize("tune", ["eye", "psnr"])
def test_ten_more_quality_never_makes_a_file_smaller_or_a_picture_worse(name: str, tune: str, shipped: Codec) -> None:
    pixels = photographs()[name]
    found = {}
    for quality in (1, *range(5, 101, 5)):
        data = shipped.encode_pixels(pixels, quality=quality, tune=tune, effort=1)
        found[quality] = len(data), psnr(pixels, shipped.decode_pixels(data))
    found[0] = found[1]
    for quality in range(0, 91, 5):
        (smaller, worse), (larger, better) = found[quality], found[quality + 10]
        assert larger >= smaller, (quality, found)
        assert better >= worse, (quality, found)


@pytest.mark.parametrize(
    ("width", "height", "overhead"),
    [
        (1, 1, 49), (16, 16, 49), (100, 100, 49), (255, 257, 49), (1, 1024, 49),  # up to 65535 pixels, no side over 1024
        (256, 256, 114), (768, 512, 114), (64, 1024, 114),  # more
        (1, 1025, 192), (1030, 300, 192), (2049, 8, 270),  # and 78 for each further tile
    ],
)  # fmt: skip
def test_beyond_its_payload_a_file_has_49_bytes_or_13_for_each_layer_of_each_tile(
    width: int, height: int, overhead: int, shipped: Codec
) -> None:
    for grey in (False, True):
        pixels = picture(width, height)[..., 0] if grey else picture(width, height)
        data, stats = shipped.encode_planes(Planes(pixels), quality=100, effort=1, exact="none")  # all layers
        assert len(data) - stats.payload_bytes == overhead


@pytest.mark.parametrize("model", ["default", str(TINY)])
def test_multiply_accumulates_are_those_of_the_weights_files_tensors(model: str) -> None:
    codec = Codec(model)

    def counted() -> Iterator[tuple[str, float]]:
        """Layer by layer, from its weight's size and how many of its outputs there are to a pixel."""
        for name, tensor in codec.weights.tensors.items():
            if not name.endswith(".weight") or name.split(".")[0] not in ("synthesis", "prior"):
                continue
            area = PATCH_PX**2  # pixels of a latent position
            if "step" in name or "start" in name:  # once a picture, once a tile
                continue
            if name.startswith(("synthesis.tail", "synthesis.out")):
                area //= 16  # at stride 4
            elif name.startswith("prior.near"):
                area *= 16 // 2 ** int(name.split(".")[2])  # 1, 2, 4, 8 of 16 positions
            elif name.startswith("prior.refine_half") and "mix" in name:
                area *= 2  # at the positions of the second pass alone
            yield name.split(".")[0], tensor.size / area

    total = sum(macs for _, macs in counted())
    prior = sum(macs for part, macs in counted() if part == "prior")
    said = codec.macs_per_pixel()
    assert said["prior"] == pytest.approx(prior)
    assert sum(said.values()) == pytest.approx(total)
    if model == "default":
        assert total == pytest.approx(11_481, abs=1)  # "11.5 kMAC/px" in the tables
