"""The library in four functions. Nothing here imports torch before it is needed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import vqbitstream
from PIL import Image
from vqbitstream.errors import UnsupportedError
from vqbitstream.limits import Limits

from . import registry
from .image import Picture

if TYPE_CHECKING:
    from .codec import Codec


@dataclass(frozen=True)
class FileInfo:
    """What a file says of itself.

    width, height: pixels. mode: "RGB" or "L". quality: what the encoder was asked for, 1..100, None if it did not say.
    step: of the quantiser, in pixel levels / 255. layers: of the progressive stream. model_id: hex. model: its name if it is
    installed, else None. section_bytes: entropy payload of each section. bpp: 8 * file_bytes / (width * height).
    """

    width: int
    height: int
    mode: str
    quality: float | None
    step: float
    layers: int
    model_id: str
    model: str | None
    format_version: int
    file_bytes: int
    section_bytes: tuple[int, ...]

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
    path, _ = registry.find(name)
    own = path == Path(name)
    modified_ns = path.stat().st_mtime_ns if own and path.exists() else 0
    return _cached(str(path.resolve()) if own else str(name), device, modified_ns)


def encode(
    image: Picture,
    *,
    quality: float = 50,
    effort: int = 5,
    model: str | Path = "default",
    verify: bool = True,
    limits: Limits = Limits(),  # noqa: B008  (frozen)
) -> bytes:
    """A picture -> the bytes of a .vqc file.

    image: a PIL image, a path, an open binary file, or a uint8 array [H, W, 3] or [H, W]. quality: 1 (smallest) to 100
    (finest), fractions allowed. effort: 1 (nearest codeword) to 9; above 5 it buys nothing yet.
    verify: decode the indices of the file before returning it.

    Raises ImageError for what is no picture or cannot be kept whole, LimitError for its size, ModelError for the model,
    ValueError for quality or effort out of range.

    >>> import numpy as np
    >>> data = encode(np.full((40, 60, 3), 128, np.uint8))
    >>> decode(data).size
    (60, 40)
    """
    return load_model(model).encode(image, quality=quality, effort=effort, verify=verify, limits=limits)


def decode(
    data: bytes | str | Path,
    *,
    layers: int | None = None,
    limits: Limits = Limits(),  # noqa: B008
) -> Image.Image:
    """A .vqc file (bytes, or a path) -> RGB or L image of the size that went in. The file names its model.

    layers: decode only the first few layers, a coarser preview. Raises a VQCError for anything wrong with the file.
    """
    raw = vqbitstream.read_bytes(data, limits)
    header = vqbitstream.unpack_header(raw, limits)
    name = registry.find_id(header.model_id)
    return load_model(name).decode(raw, layers=layers, limits=limits)


def info(data: bytes | str | Path) -> FileInfo:
    """What a file holds, from its header and section lengths: no torch, no weights. Checksums are verified. Raises a VQCError."""
    raw = vqbitstream.read_bytes(data, Limits())
    header, sections = vqbitstream.unpack(raw, Limits(max_pixels=1 << 62, max_side_px=1 << 32))
    try:
        model: str | None = registry.find_id(header.model_id)
    except UnsupportedError:
        model = None
    return FileInfo(
        width=header.width,
        height=header.height,
        mode="L" if header.grey else "RGB",
        quality=header.quality_centi / 100 or None,
        step=header.step,
        layers=header.layers,
        model_id=header.model_id.hex(),
        model=model,
        format_version=vqbitstream.FORMAT_VERSION,
        file_bytes=len(raw),
        section_bytes=tuple(len(s.payload) for s in sections),
    )
