"""The codecs that are compared, behind one protocol: a picture and a quality to the bytes of a whole file, and back.

One thread each. Each list of qualities spans about 25 to 40 dB of PSNR on the Kodak pictures, rates rising.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol
from unittest.mock import patch

import numpy as np
import PIL
import vqbitstream
import vqcodec
from PIL import AvifImagePlugin, Image, features
from vqbitstream.container import LAYER_OVERHEAD_BYTES
from vqbitstream.header import HEADER_BYTES
from vqbitstream.limits import Limits
from vqcodec.codec import Codec
from vqcodec.pictures.reading import to_planes

Options = dict[str, Any]
OUR_QUALITIES = (1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)
CODING = ("coding", "models", "pictures", "runtimes", "vqvae")  # packages of vqcodec
LAYERS_QUALITY = 80  # of the files that "vqcodec layers" cuts


class CodecMissing(Exception):
    """What a codec needs is not here; says what."""


class ImageCodec(Protocol):
    """settings and version: in words, for the record. qualities: in the codec's own unit, the file growing along them."""

    name: str
    settings: str
    version: str
    qualities: Sequence[float]

    def encode(self, image: Image.Image, quality: float) -> bytes: ...

    def decode(self, data: bytes) -> Image.Image: ...


def our_version() -> str:
    """Release, and eight hex digits that change with the sources of encoder and decoder, whose results are then measured anew."""
    ours, bitstream = (Path(str(module.__file__)).parent for module in (vqcodec, vqbitstream))
    folders = [bitstream, *(ours / name for name in CODING)]
    sources = [ours / "codec.py", *(path for folder in folders for path in sorted(folder.glob("*.py")))]
    digest = hashlib.sha256(b"".join(p.read_bytes() for p in sources)).hexdigest()
    return f"vqcodec {vqcodec.__version__}, sources {digest[:8]}"


class Ours:
    """vqcodec with a tune, at an effort."""

    def __init__(self, name: str, codec: Codec, tune: str, effort: int) -> None:
        self.name, self.codec, self.tune, self.effort = name, codec, tune, effort
        macs = sum(codec.macs_per_pixel().values()) / 1000
        self.settings = (
            f"tune {tune}, effort {effort}, verified, up to {macs:.1f} kMAC/px, model {codec.model_id.hex()}"
        )
        self.version = our_version()
        self.qualities: Sequence[float] = {5: OUR_QUALITIES, 9: (35, 50, 65, 82)}.get(effort, OUR_QUALITIES[1:-1])

    def encode(self, image: Image.Image, quality: float) -> bytes:
        planes = to_planes(image, Limits())
        data, self._stats = self.codec.encode_planes(planes, quality=quality, tune=self.tune, effort=self.effort)
        return data

    def decode(self, data: bytes) -> Image.Image:
        return self.codec.decode(data)

    def payload(self) -> dict[str, float]:
        """Bytes that the prior expected the last encode's indices to take, and those that they took."""
        stats = self._stats
        return {"estimated_payload_bytes": stats.estimated_bits / 8, "payload_bytes": stats.payload_bytes}


class LayerPrefixes:
    """The first bytes of a vqcodec file, up to the end of a layer; quality is the number of layers.

    A small picture (below 256x256) has all layers in one section and no prefixes: it is the whole file at every quality.
    """

    name = "vqcodec layers"

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.settings = (
            f"prefixes of files at quality {LAYERS_QUALITY}, effort 5, verified, model {codec.model_id.hex()}"
        )
        self.version = our_version()
        self.qualities: Sequence[float] = range(1, len(codec.config.groups) + 1)

    def encode(self, image: Image.Image, quality: float) -> bytes:
        pixels = np.asarray(image.convert("RGB"))
        data = self.codec.encode_pixels(
            pixels, quality=LAYERS_QUALITY, exact="none"
        )  # with all layers, or the last files would be whole
        contents = vqbitstream.unpack(data, vqbitstream.Limits())
        kept = contents.sections[: contents.header.first_layer_sections * int(quality)]
        return data[: HEADER_BYTES + sum(LAYER_OVERHEAD_BYTES + len(s.payload) for s in kept if s)]

    def decode(self, data: bytes) -> Image.Image:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "incomplete picture")  # it is meant to be
            return self.codec.decode(data, allow_partial=True)


class PillowCodec:
    """A format of Pillow's. options: quality -> what `Image.save` is told."""

    def __init__(
        self, name: str, settings: str, qualities: Sequence[float], feature: str, options: Callable[[float], Options]
    ) -> None:
        if not features.check(feature):
            raise CodecMissing(f"this Pillow was built without {feature}")
        self.name, self.settings, self.qualities, self.options = name, settings, qualities, options
        library = "libjpeg_turbo" if feature == "jpg" and features.check("libjpeg_turbo") else feature
        self.version = f"Pillow {PIL.__version__}, {library} {features.version(library)}"

    def encode(self, image: Image.Image, quality: float) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, **self.options(quality))
        return buffer.getvalue()

    def decode(self, data: bytes) -> Image.Image:
        with patch.object(AvifImagePlugin, "DEFAULT_MAX_THREADS", 1):  # AVIF would take all cores
            return Image.open(io.BytesIO(data)).convert("RGB")


class JpegXL:
    """libjxl by imagecodecs; quality is the distance."""

    name = "JPEG XL"
    settings = "effort 7, by Butteraugli distance, bare codestream"
    qualities: Sequence[float] = (18, 13, 9, 6, 4, 2.7, 1.8, 1.2, 0.8, 0.5)

    def __init__(self) -> None:
        try:
            import imagecodecs
        except ImportError:
            raise CodecMissing("imagecodecs is not installed") from None
        if not imagecodecs.JPEGXL.available:
            raise CodecMissing("this imagecodecs was built without JPEG XL")
        self.library = imagecodecs
        self.version = f"imagecodecs {imagecodecs.__version__}, {imagecodecs.jpegxl_version()}"

    def encode(self, image: Image.Image, quality: float) -> bytes:
        return bytes(self.library.jpegxl_encode(np.asarray(image), distance=quality, effort=7, numthreads=1))

    def decode(self, data: bytes) -> Image.Image:
        return Image.fromarray(self.library.jpegxl_decode(data, numthreads=1))


def _jpeg(quality: float) -> Options:
    return {"format": "JPEG", "quality": int(quality), "subsampling": "4:2:0", "optimize": True}


def _progressive(quality: float) -> Options:
    return _jpeg(quality) | {"subsampling": "4:4:4", "progressive": True}


def _webp(quality: float) -> Options:
    return {"format": "WEBP", "quality": int(quality), "method": 6}


def _avif(quality: float) -> Options:
    return {"format": "AVIF", "quality": int(quality), "subsampling": "4:4:4", "speed": 6, "max_threads": 1}


def _avif_psnr(quality: float) -> Options:
    return _avif(quality) | {"advanced": {"tune": "psnr"}}


def _avif_ssimulacra2(quality: float) -> Options:
    return _avif(quality) | {"advanced": {"tune": "ssimulacra2"}}


def _avif_420(quality: float) -> Options:
    return _avif(quality) | {"subsampling": "4:2:0"}


def _jpeg_2000(quality: float) -> Options:
    # By rate, not by PSNR ("dB"): at equal PSNR on every picture the difficult ones dominate the mean rate, and the mean curve
    # (BD-rate -28 % against JPEG-O on Kodak) falls far behind that of the single pictures (-46 %); by rate it does not (-45 %)
    layers = {"quality_mode": "rates", "quality_layers": [24 / quality]}
    return {"format": "JPEG2000", "irreversible": True, "mct": 1, "no_jp2": True} | layers


_OTHERS: dict[str, Callable[[], ImageCodec]] = {
    "JPEG-O": lambda: PillowCodec(
        "JPEG-O", "4:2:0, optimize", (3, 5, 8, 12, 18, 25, 35, 45, 55, 65, 75, 82, 88, 92, 95, 97), "jpg", _jpeg
    ),
    "JPEG 4:4:4 progressive": lambda: PillowCodec(
        "JPEG 4:4:4 progressive", "4:4:4, progressive, optimize", (5, 8, 12, 18, 27, 40, 60, 75, 85, 92, 95), "jpg",
        _progressive,
    ),
    "WebP": lambda: PillowCodec("WebP", "method 6", (0, 1, 5, 12, 20, 30, 45, 60, 75, 85, 90, 94), "webp", _webp),
    "AVIF": lambda: PillowCodec(
        "AVIF", "4:4:4, speed 6, the library's own tuning", (0, 5, 12, 20, 30, 40, 50, 60, 70, 78, 85), "avif", _avif
    ),
    "AVIF for PSNR": lambda: PillowCodec(
        "AVIF for PSNR", "4:4:4, speed 6, tune=psnr", (0, 5, 12, 20, 30, 40, 50, 60, 70, 78, 85), "avif", _avif_psnr
    ),
    "AVIF for SSIMULACRA2": lambda: PillowCodec(
        "AVIF for SSIMULACRA2", "4:4:4, speed 6, tune=ssimulacra2", (0, 5, 12, 20, 30, 40, 50, 60, 70, 78, 85), "avif",
        _avif_ssimulacra2,
    ),
    "AVIF 4:2:0": lambda: PillowCodec(
        "AVIF 4:2:0", "4:2:0, speed 6", (5, 12, 20, 30, 40, 50, 60, 70, 80, 90), "avif", _avif_420
    ),
    "JPEG XL": JpegXL,
    "JPEG 2000": lambda: PillowCodec(
        "JPEG 2000", "irreversible, colour transform, rates given in bits per pixel, bare codestream",
        (0.04, 0.06, 0.1, 0.17, 0.28, 0.45, 0.7, 1.0, 1.4, 1.9, 2.5), "jpg_2000", _jpeg_2000,
    ),
}  # fmt: skip
_OURS = {  # tune and effort
    "vqcodec": ("eye", 5), "vqcodec for PSNR": ("psnr", 5), "vqcodec effort 1": ("eye", 1), "vqcodec effort 9": ("eye", 9),
}  # fmt: skip
OURS = (*_OURS, LayerPrefixes.name)
NAMES = (*OURS, *_OTHERS)


def build(names: Sequence[str], model: str) -> tuple[dict[str, ImageCodec], list[str]]:
    """The codecs of these names, ours all with one loaded model, and one line for each that cannot be had. Raises ModelError."""
    ours = Codec(model) if set(names) & set(OURS) else None
    built: dict[str, ImageCodec] = {}
    left_out = []
    for name in names:
        if name in _OTHERS:
            try:
                built[name] = _OTHERS[name]()
            except CodecMissing as reason:
                left_out.append(f"{name} left out: {reason}")
        elif ours is not None:
            built[name] = LayerPrefixes(ours) if name == LayerPrefixes.name else Ours(name, ours, *_OURS[name])
    return built, left_out
