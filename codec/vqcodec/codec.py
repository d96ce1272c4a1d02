"""Codec: a loaded model, which turns pictures into bytes and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import vqbitstream
from PIL import Image
from vqbitstream import Contents, File, Header, Limits
from vqbitstream.choice import Chooser
from vqbitstream.entropy import FrequencyTables
from vqbitstream.errors import LimitError, VQCError
from vqbitstream.kernels import library
from vqbitstream.latent import LatentCoder
from vqbitstream.prior import Prior
from vqbitstream.tiles import Progress, TileCoder
from vqbitstream.vectors import Vectors

from vqcodec.arguments import checked_number
from vqcodec.coding import rate_control
from vqcodec.coding.decoder import Decoder, Region, checked_region, preview_factor
from vqcodec.coding.defaults import DEFAULT_QUALITY, DEFAULT_TUNE
from vqcodec.coding.encoder import Encoder, EncodeStats
from vqcodec.coding.quality import QUALITY_MAX, QUALITY_MIN, torch_is_installed, tune_number
from vqcodec.coding.tiny import best_up_to, is_tiny
from vqcodec.models import store
from vqcodec.models.store import ModelFile, Weights
from vqcodec.models.weights_file import ModelError
from vqcodec.pictures.hidden import filled
from vqcodec.pictures.planes import Picture, Pixels, Planes
from vqcodec.pictures.reading import to_planes
from vqcodec.pictures.resizing import shrunk
from vqcodec.pictures.writing import fitted, from_planes
from vqcodec.runtimes.preview import Preview
from vqcodec.runtimes.strips import Latent, Runtime, Transforms

P = ParamSpec("P")
R = TypeVar("R")


def _undisturbed(method: Callable[P, R]) -> Callable[P, R]:
    """Ignores NumPy's error state, and turns running out of memory into a LimitError."""

    @wraps(method)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with np.errstate(all="ignore"):
            try:
                return method(*args, **kwargs)
            except MemoryError:
                raise LimitError("not enough memory for a picture of this size") from None

    return run


class Codec:
    """A loaded model. Get one from `vqcodec.load_model`. It pickles as its name and options.

    Args:
        model: A model's name, or the path of a weights file.
        device: "cpu", or "cuda" to run the transforms and the search on a GPU.
        runtime: What computes the transforms, "numpy" or "torch". The default is NumPy on the CPU.
        reference: Compute the prior in int64, which is slow.

    Raises:
        ModelError: The model is missing or damaged.
        ValueError: Another argument is out of range.
    """

    def __init__(
        self, model: str | Path | ModelFile = "default", *, device: str = "cpu", runtime: str | None = None, reference: bool = False
    ) -> None:  # fmt: skip
        runtime = runtime or ("numpy" if device == "cpu" else "torch")
        if runtime not in ("numpy", "torch") or (runtime == "numpy" and device != "cpu"):
            raise ValueError(f"no runtime {runtime!r} for the device {device!r}; there are numpy (cpu) and torch")
        if runtime == "torch":
            if not torch_is_installed():
                raise ValueError(f"the torch runtime, device {device!r}, needs PyTorch: pip install 'vqcodec[torch]'")
            from vqcodec.runtimes.torch_runtime import check_device

            check_device(device)
        self.device, self.runtime, self.reference = device, runtime, reference
        weights = store.load(model)
        self.name, self.config, self.model_id = weights.file.name, weights.config, weights.model_id
        try:
            painter = Preview(weights.tensors, weights.config)
            self.transforms = Transforms(_make_runtime(weights, runtime, device), painter)
            self.tables = FrequencyTables(weights.tensors["quantizer.counts"])
            parts = {k.removeprefix("prior."): v for k, v in weights.tensors.items() if k.startswith("prior.")}
            self.prior = Prior(parts, self.config.groups, reference=reference)
            chooser = Chooser(Vectors(weights.tensors["quantizer.codebooks"]), self.tables.bits)
            self.tile_coder = TileCoder(LatentCoder(self.prior, chooser), self.tables)
            self.encoder = Encoder(weights, self.transforms, self.tile_coder, device)
        except (KeyError, ValueError, RuntimeError, TypeError, IndexError, AttributeError) as error:
            raise ModelError(f"{weights.file.name}: not a sound weights file ({str(error).splitlines()[0]})") from None
        self.decoder = Decoder(self.model_id, self.transforms, self.tile_coder)

    def __reduce__(self) -> Any:
        return _make, (self.name, {"device": self.device, "runtime": self.runtime, "reference": self.reference})

    @property
    def weights(self) -> Weights:
        """The model's tensors and sizes."""
        return self.encoder.weights

    def step_code(self, quality: float, tune: str = DEFAULT_TUNE) -> int:
        """The step code of a quality in 1..100 (FORMAT.md, "Header"). Raises ValueError for another quality or tune."""
        return self.encoder.scale.step_code(quality, tune_number(tune))

    @_undisturbed
    def encode(
        self,
        image: Picture,
        *,
        quality: float = DEFAULT_QUALITY,
        tune: str = DEFAULT_TUNE,
        effort: int | None = None,
        target_bytes: int | None = None,
        target_bpp: float | None = None,
        target_psnr: float | None = None,
        target_ssimulacra2: float | None = None,
        max_size: int | None = None,
        lossless: bool = False,
        strip: bool = False,
        keep_hidden: bool = False,
        force_sdr: bool = False,
        verify: bool = True,
        limits: Limits = Limits(),  # noqa: B008
        progress: Progress | None = None,
    ) -> bytes:
        """Encode a picture; see `vqcodec.encode`. `progress` is called with the share done, 0..1."""
        checked_number("quality", quality, QUALITY_MIN, QUALITY_MAX)
        tune_number(tune)
        planes = shrunk(to_planes(image, limits, strip=strip, force_sdr=force_sdr), max_size)
        if not (keep_hidden or lossless):
            planes = filled(planes)
        target = rate_control.Target.of(target_bytes, target_bpp, target_psnr, target_ssimulacra2, planes.colour.shape)
        if target is not None and lossless:
            raise ValueError("a lossless file has no target")
        if target is None:

            def at(quality: float) -> bytes:
                return self.encoder.encode(
                    planes,
                    quality=quality,
                    tune=tune,
                    effort=effort,
                    exact="all" if lossless else "auto",
                    verify=verify,
                    progress=progress,
                )[0]

            if not lossless and is_tiny(planes.colour, quality):
                return best_up_to(quality, at, self.decode_pixels, planes.colour)
            return at(quality)
        data = rate_control.reach(
            target, planes, self.encoder, self.decoder, tune=tune, effort=effort, progress=progress
        )
        if verify:
            self.verify(data, limits)
        return data

    def decode(
        self,
        data: File,
        *,
        layers: int | None = None,
        region: Region | None = None,
        scale: float = 1,
        max_size: int | None = None,
        allow_partial: bool = False,
        limits: Limits = Limits(),  # noqa: B008
        progress: Progress | None = None,
    ) -> Image.Image:
        """Decode a file of this model; see `vqcodec.decode`."""
        contents = vqbitstream.unpack(vqbitstream.read_bytes(data, limits), limits, partial=allow_partial)
        return self.decode_contents(
            contents, layers=layers, region=region, scale=scale, max_size=max_size, allow_partial=allow_partial, progress=progress
        )  # fmt: skip

    @_undisturbed
    def decode_contents(
        self, contents: Contents, *, scale: float = 1, max_size: int | None = None, **options: Any
    ) -> Image.Image:
        """Decode what `vqbitstream.unpack` returned. See `vqcodec.decode`; the options are keywords of `Decoder.decode`."""
        height, width = checked_region(contents.header, options.get("region")).shape
        factor = preview_factor(scale, max_size, max(width, height))
        image = from_planes(self.decoder.decode(contents, factor=factor, **options))
        return image if max_size is None else fitted(image, (width, height), max_size)

    def encode_batch(self, images: Iterable[Picture], **options: Any) -> list[bytes | VQCError]:
        """Encode pictures one after the other.

        They do not share calls of the networks, so that each file has the same bytes as from `encode` (docs/batches.md has the
        measurement).

        Args:
            images: Pictures, as `encode` takes them.
            **options: Keywords of `encode`.

        Returns:
            For each picture its file, or the VQCError that it raised.

        Raises:
            ValueError: An option is out of range.
        """
        return [_result(self.encode, image, options) for image in images]

    def decode_batch(self, files: Iterable[File], **options: Any) -> list[Image.Image | VQCError]:
        """Decode files one after the other.

        Args:
            files: Bytes, paths, or open files.
            **options: Keywords of `decode`.

        Returns:
            For each file its picture, or the VQCError that it raised.

        Raises:
            ValueError: An option is out of range.
        """
        return [_result(self.decode, file, options) for file in files]

    @_undisturbed
    def encode_planes(
        self, planes: Planes, *, quality: float = DEFAULT_QUALITY, **options: Any
    ) -> tuple[bytes, EncodeStats]:
        """Planes to the bytes of a file, and what they cost. The options are keywords of `Encoder.encode`."""
        return self.encoder.encode(planes, quality=quality, **options)

    @_undisturbed
    def decode_planes(
        self,
        data: bytes,
        *,
        limits: Limits = Limits(),  # noqa: B008
        allow_partial: bool = False,
        **options: Any,
    ) -> Planes:
        """The bytes of a file to planes. The options are keywords of `Decoder.decode`. Raises a VQCError."""
        contents = vqbitstream.unpack(data, limits, partial=allow_partial)
        return self.decoder.decode(contents, allow_partial=allow_partial, **options)

    def encode_pixels(self, pixels: Pixels, **options: Any) -> bytes:
        """uint8 [H, W, 3] or [H, W] to the bytes of a file. The options are keywords of `Encoder.encode`."""
        return self.encode_planes(Planes(pixels), **options)[0]

    def decode_pixels(self, data: bytes, **options: Any) -> Pixels:
        """The bytes of a file to uint8 [H, W, 3] or [H, W], without alpha. The options are keywords of `Decoder.decode`."""
        return self.decode_planes(data, **options).colour

    @_undisturbed
    def verify(self, data: bytes, limits: Limits = Limits()) -> None:  # noqa: B008
        """Decode the indices and the alpha plane of a file. Raises a VQCError unless their checksums are right."""
        self.decoder.verify(vqbitstream.unpack(data, limits))

    @_undisturbed
    def decode_latent(self, data: bytes, limits: Limits = Limits()) -> tuple[Latent, Header]:  # noqa: B008
        """The bytes of a file to its latent, int32 [h, w, C] in 2^-14 of the unit of pixels, and its header. Raises a VQCError."""
        contents = vqbitstream.unpack(data, limits)
        return self.decoder.latent(contents), contents.header

    def macs_per_pixel(self) -> dict[str, float]:
        """Multiply-accumulates per pixel to decode, by part: linear synthesis, its correction, the prior."""
        return self.config.synthesis_macs_per_pixel() | {"prior": self.prior.macs_per_pixel()}


def _make_runtime(weights: Weights, runtime: str, device: str) -> Runtime:
    if runtime == "numpy":
        if kernels := library():
            from vqcodec.runtimes.compiled_runtime import CompiledRuntime

            return CompiledRuntime(weights.tensors, weights.config, kernels)
        from vqcodec.runtimes.numpy_runtime import NumpyRuntime

        return NumpyRuntime(weights.tensors, weights.config)
    from vqcodec.runtimes.torch_runtime import TorchRuntime

    return TorchRuntime(weights.tensors, weights.config, device)


def _result(method: Callable[..., R], given: Any, options: dict[str, Any]) -> R | VQCError:
    """What a method returns for a picture or a file, or the VQCError that it raises."""
    try:
        return method(given, **options)
    except VQCError as error:
        return error


def _make(name: str, options: dict[str, Any]) -> Codec:
    return Codec(name, **options)
