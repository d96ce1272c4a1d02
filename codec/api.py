"""The library in four functions. Nothing here imports torch before it is needed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import vqbitstream
from PIL import Image
from vqbitstream.errors import UnsupportedError
from vqbitstream.header import tile_count
from vqbitstream.limits import Limits

from . import registry
from .image import Picture

if TYPE_CHECKING:
    from .codec import Codec


@dataclass(frozen=True)
class FileInfo:
    """What a file says of itself.

    width, height: pixels. mode: "L", "LA", "RGB" or "RGBA". quality: what the encoder was asked for, 1..100, None if it did not
    say. step: of the quantiser, in pixel levels / 255. layers: of the progressive stream. tiles: columns and rows. model_id: hex.
    model: its name if it is installed, else None. layer_bytes: entropy payload of each layer, coarse to fine, over all tiles (one
    number where the layers of a small picture share a section). alpha_bytes: of its section's payload. metadata: those of icc, exif
    and xmp that there are, with their bytes in the file. bpp: 8 * file_bytes / (width * height).
    """

    width: int
    height: int
    mode: str
    quality: float | None
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

    @property
    def bpp(self) -> float:
        return 8 * self.file_bytes / (self.width * self.height)


@lru_cache(maxsize=4)
def _cached(name: str, device: str, modified_ns: int) -> Codec:
    from .codec import Codec

    return Codec(name, device=device)


def load_model(name: str | Path = "default", *, device: str = "cpu") -> Codec:
    """Load a model by name or from a weights file; loaded models are kept.

    Raises ModelError if there is no such model or its file is damaged.
    """
    if name == "default" and registry.manifest():
        name = registry.manifest()[0].name
    path, shipped = registry.find(name)
    own = shipped is None
    modified_ns = path.stat().st_mtime_ns if own and path.exists() else 0
    return _cached(str(path.resolve()) if own else str(name), device, modified_ns)


def encode(
    image: Picture,
    *,
    quality: float = 50,
    effort: int = 5,
    model: str | Path = "default",
    target_bytes: int | None = None,
    target_bpp: float | None = None,
    target_psnr: float | None = None,
    strip: bool = False,
    verify: bool = True,
    limits: Limits = Limits(),  # noqa: B008  (frozen)
) -> bytes:
    """A picture -> the bytes of a .vqc file.

    image: a PIL image, a path, an open binary file, or a uint8 array [H, W] (grey), [H, W, 2] (grey and alpha), [H, W, 3] (RGB)
    or [H, W, 4] (RGBA). What becomes of other modes: `docs/pictures.md`.
    quality: 1 (smallest) to 100 (finest), fractions allowed. effort: 1 (fast) to 9 (smallest).
    target_bytes, target_bpp, target_psnr: find the quality instead, in at most 6 encodes: a file that is never larger than so many
    bytes (or 8 * bytes / pixels) and at most 2 % smaller, or whose PSNR in dB is within 0.1. At most one of them.
    strip: leave out ICC profile, EXIF and XMP. verify: decode the indices of the file before returning it.

    Raises ImageError for what is no picture, LimitError for its size, ModelError for the model, TargetError for a target that is
    out of reach, ValueError for an argument out of range, CorruptError if the file does not decode to what was encoded. Warns
    of what was not kept (an animation's other frames), and of a target that lies beyond the end of the range or between two files
    that there are: the nearest file is then returned.

    >>> import numpy as np
    >>> data = encode(np.full((40, 60, 3), 128, np.uint8))
    >>> decode(data).size
    (60, 40)
    """
    return load_model(model).encode(
        image,
        quality=quality,
        effort=effort,
        target_bytes=target_bytes,
        target_bpp=target_bpp,
        target_psnr=target_psnr,
        strip=strip,
        verify=verify,
        limits=limits,
    )


def decode(
    data: bytes | str | Path,
    *,
    layers: int | None = None,
    region: tuple[int, int, int, int] | None = None,
    allow_partial: bool = False,
    limits: Limits = Limits(),  # noqa: B008
) -> Image.Image:
    """A .vqc file (bytes, or a path) -> an L, LA, RGB or RGBA image of the size that went in. The file names its model.

    Metadata is in the image's `info`: icc_profile, exif, xmp. layers: decode only the first few layers, a coarser preview.
    region: (x, y, width, height) in pixels; decodes only what it needs. allow_partial: of a cut or damaged file show what is
    sound, with a warning that says what is missing. Raises a VQCError for anything wrong with the file, ValueError for layers
    or a region that the picture does not have.
    """
    raw = vqbitstream.read_bytes(data, limits)
    header = vqbitstream.unpack_header(raw, limits)
    codec = load_model(registry.find_id(header.model_id))
    return codec.decode(raw, layers=layers, region=region, allow_partial=allow_partial, limits=limits)


def info(data: bytes | str | Path) -> FileInfo:
    """What a file holds, from its header and sections: no torch, no weights. Checksums are verified. Raises a VQCError."""
    raw = vqbitstream.read_bytes(data, Limits())
    contents = vqbitstream.unpack(raw, Limits(max_pixels=1 << 62, max_side_px=1 << 32))
    header = contents.header
    columns, rows = tile_count(header.width), tile_count(header.height)
    try:
        model: str | None = registry.find_id(header.model_id)
    except UnsupportedError:
        model = None
    payloads = [len(s.payload) for s in contents.sections if s is not None]
    return FileInfo(
        width=header.width,
        height=header.height,
        mode=header.mode,
        quality=header.quality_centi / 100 or None,
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
    )
