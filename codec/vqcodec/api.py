"""The library in four functions. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import vqbitstream
from PIL import Image
from vqbitstream import File
from vqbitstream.errors import UnsupportedError
from vqbitstream.geometry import tile_count
from vqbitstream.header import TUNES
from vqbitstream.limits import Limits
from vqbitstream.overlay import covers_tile

from vqcodec.coding.defaults import DEFAULT_QUALITY, DEFAULT_TUNE
from vqcodec.models import store
from vqcodec.models.store import ModelFile
from vqcodec.pictures.planes import Picture

if TYPE_CHECKING:
    from vqcodec.codec import Codec
    from vqcodec.runtimes.tensors import Tensor


@dataclass(frozen=True)
class FileInfo:
    """What a file says about itself.

    Attributes:
        width: Pixels.
        height: Pixels.
        mode: "L", "LA", "RGB" or "RGBA".
        quality: What the encoder was asked for, 1..100, or None if it did not say.
        tune: What the encoder aimed at, "eye" or "psnr".
        step: The quantiser's step, in units of 255 pixel levels.
        layers: Layers of the progressive stream; 0 if all pixels are exact.
        tiles: Columns and rows of tiles.
        model_id: 16 hexadecimal digits.
        model: Name of the model, or None if it is not installed.
        format_version: Version of the file format.
        file_bytes: Size of the file.
        layer_bytes: Entropy-coded bytes of each layer, coarse to fine, over all tiles; a single number for a small picture,
            whose layers share a section.
        alpha_bytes: Size of the alpha section's payload.
        metadata: Bytes that "icc", "exif" and "xmp" take in the file, those that are present.
        exact_bytes: Size of the payloads of exact pixels.
        exact_tiles: Tiles of which all pixels are exact, and tiles of which some are.
    """

    width: int
    height: int
    mode: str
    quality: float | None
    tune: str
    step: float
    layers: int
    tiles: tuple[int, int]
    model_id: str
    model: str | None
    format_version: int
    file_bytes: int
    layer_bytes: tuple[int, ...]
    alpha_bytes: int
    metadata: dict[str, int]
    exact_bytes: int
    exact_tiles: tuple[int, int]

    @property
    def bpp(self) -> float:
        """Bits per pixel: 8 * file_bytes / (width * height)."""
        return 8 * self.file_bytes / (self.width * self.height)


@lru_cache(maxsize=4)
def _cached(model: ModelFile, device: str, modified_ns: int) -> Codec:
    from vqcodec.codec import Codec

    return Codec(model, device=device)


def _loaded(model: ModelFile, device: str = "cpu") -> Codec:
    """The model, loaded once; a weights file of the user's is loaded again when it has changed."""
    modified_ns = model.path.stat().st_mtime_ns if model.sha256 is None and model.path.exists() else 0
    return _cached(model, device, modified_ns)


def load_model(name: str | Path = "default", *, device: str = "cpu") -> Codec:
    """Load a model. Loaded models are kept and shared.

    Args:
        name: A model's name, or the path of a weights file.
        device: "cpu", or "cuda" to run the transforms and the search on a GPU (needs PyTorch).

    Raises:
        ModelError: There is no such model, or its file is damaged.
        ValueError: There is no such device.
    """
    return _loaded(store.find(name), device)


def encode(
    image: Picture,
    *,
    quality: float = DEFAULT_QUALITY,
    tune: str = DEFAULT_TUNE,
    effort: int | None = None,
    model: str | Path = "default",
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
    limits: Limits = Limits(),  # noqa: B008  (frozen)
) -> bytes:
    """Encode a picture.

    Args:
        image: A PIL image, a path, an open binary file, or a uint8 array [H, W] (grey), [H, W, 2] (grey and alpha), [H, W, 3]
            (RGB) or [H, W, 4] (RGBA), or a torch.uint8 tensor [C, H, W]. `docs/pictures.md` says how other modes are converted.
        quality: 1 (smallest) to 100 (finest); fractions are allowed. With tune "eye", a quality between 30 and 90 is about the
            SSIMULACRA2 score that the picture gets.
        tune: "eye" for a good look, "psnr" for little squared error.
        effort: 1 (fast) to 9 (smallest). Efforts from 2 on need PyTorch. The default is 5; without PyTorch it is 1, with a
            warning.
        model: A model's name, or the path of a weights file.
        target_bytes: Find the quality for a file of at most this many bytes, and at most 2 % fewer, in at most 6 encodes.
        target_bpp: The same, in bits per pixel.
        target_psnr: Find the quality for this PSNR in dB, to within 0.1, in at most 6 encodes.
        target_ssimulacra2: Find the quality for this SSIMULACRA2 (50 medium, 70 high, 90 visually lossless), to within 1,
            in at most 6 encodes. Needs PyTorch.
        max_size: Scale a larger picture down to this longer side, in pixels.
        lossless: Keep every pixel exactly; quality and effort mean nothing then. Without it, drawings and text are exact where that
            is smaller, and at quality 75 or more also what the model would ruin.
        strip: Leave out ICC profile, EXIF and XMP; the colours become sRGB.
        keep_hidden: Keep the colours where alpha is 0. Otherwise they become what costs least; with `lossless` they are kept anyway.
        force_sdr: Take a picture for HDR screens (PQ, HLG) as if it were an ordinary one, with a warning, instead of refusing it.
        verify: Decode the file's indices before returning it.
        limits: What to accept.

    Returns:
        The bytes of a .vqc file.

    Raises:
        ImageError: The input is not a picture.
        LimitError: The picture is too large.
        ModelError: The model is missing or damaged.
        TargetError: The target cannot be reached.
        ValueError: An argument is out of range, there is more than one target, or the effort needs PyTorch.
        CorruptError: The file does not decode to what was encoded.

    Warns:
        UserWarning: Something was not kept (the other frames of an animation), or no file meets the target; the nearest one is then
            returned.

    Examples:
        >>> import numpy as np
        >>> data = encode(np.full((40, 60, 3), 128, np.uint8), effort=1)
        >>> decode(data).size
        (60, 40)
    """
    return load_model(model).encode(
        image,
        quality=quality,
        tune=tune,
        effort=effort,
        target_bytes=target_bytes,
        target_bpp=target_bpp,
        target_psnr=target_psnr,
        target_ssimulacra2=target_ssimulacra2,
        max_size=max_size,
        lossless=lossless,
        strip=strip,
        keep_hidden=keep_hidden,
        force_sdr=force_sdr,
        verify=verify,
        limits=limits,
    )


def decode(
    data: File,
    *,
    layers: int | None = None,
    region: tuple[int, int, int, int] | None = None,
    scale: float = 1,
    max_size: int | None = None,
    allow_partial: bool = False,
    limits: Limits = Limits(),  # noqa: B008
    progress: Callable[[float], None] | None = None,
) -> Image.Image:
    """Decode a .vqc file. The file names its model.

    Args:
        data: The bytes of a file, its path, or an open binary file.
        layers: Decode only the first few layers, a coarser preview.
        region: (x, y, width, height) in pixels; only what it needs is decoded.
        scale: 1/2, 1/4, 1/8 or 1/16 for a preview, which takes time and memory for the pixels that it has.
        max_size: Longest side of the result in pixels: a preview, scaled down to it. A picture is never enlarged.
        allow_partial: Show the intact part of a cut or damaged file, with a warning that lists what is missing.
        limits: What to accept.
        progress: Called with the share done, 0..1.

    Returns:
        An image of mode L, LA, RGB or RGBA. Its `info` has icc_profile, exif and xmp, those that are present.

    Raises:
        VQCError: Anything is wrong with the file.
        ValueError: The picture does not have these layers or this region, or there is no such scale.
    """
    raw = vqbitstream.read_bytes(data, limits)
    contents = vqbitstream.unpack(raw, limits, partial=allow_partial)
    header = contents.header  # without layers any model will do
    codec = _loaded(store.find_id(header.model_id) if header.layers else store.find("default"))
    return codec.decode_contents(
        contents, layers=layers, region=region, scale=scale, max_size=max_size, allow_partial=allow_partial, progress=progress
    )  # fmt: skip


def decode_tensor(data: File, **options: Any) -> Tensor:
    """Decode a .vqc file to a torch tensor. Needs PyTorch.

    Args:
        data: The bytes of a file, its path, or an open binary file.
        **options: Keywords of `decode`.

    Returns:
        torch.uint8 [C, H, W], with 1 (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGBA) channels.

    Raises:
        VQCError: Anything is wrong with the file.
        ValueError: An argument is out of range.
    """
    from vqcodec.runtimes.tensors import tensor_of

    return tensor_of(decode(data, **options))


def info(data: File) -> FileInfo:
    """What a file says about itself: header, sections and checksums, without decoding it.

    Args:
        data: The bytes of a file, its path, or an open binary file.

    Raises:
        VQCError: Anything is wrong with the file.
    """
    raw = vqbitstream.read_bytes(data, Limits())
    contents = vqbitstream.unpack(raw, Limits(max_pixels=1 << 62, max_side_px=1 << 32))
    header = contents.header
    columns, rows = tile_count(header.width), tile_count(header.height)
    try:
        model: str | None = store.find_id(header.model_id).name
    except UnsupportedError:
        model = None
    payloads = [len(s.payload) for s in contents.sections if s is not None]
    whole = sum(covers_tile(data) for data in contents.exact if data)
    return FileInfo(
        width=header.width,
        height=header.height,
        mode=header.mode,
        quality=header.quality_centi / 100 or None,
        tune=TUNES[header.tune],
        step=header.step,
        layers=header.layers,
        tiles=(columns, rows),
        model_id=header.model_id.hex(),
        model=model,
        format_version=vqbitstream.FORMAT_VERSION,
        file_bytes=len(raw),
        layer_bytes=tuple(sum(payloads[i : i + columns * rows]) for i in range(0, len(payloads), columns * rows)),
        alpha_bytes=len(contents.alpha or b""),
        metadata=dict(contents.metadata_bytes),
        exact_bytes=sum(len(data or b"") for data in contents.exact),
        exact_tiles=(whole, sum(map(bool, contents.exact)) - whole),
    )
