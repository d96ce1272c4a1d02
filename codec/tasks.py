"""What the commands encode and decode do to one input, in a form that can be sent to worker processes."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .batch import PICTURE_SUFFIX
from .files import output_path, read, read_stdin, write
from .workers import Coded, Progress

if TYPE_CHECKING:
    from vqbitstream.limits import Limits


@dataclass(frozen=True)
class Settings:
    """Of both commands. threads: of torch, None its own choice. max_pixels: None the default limit. force: overwrite."""

    threads: int | None = None
    max_pixels: int | None = None
    force: bool = False

    def limits(self) -> Limits:
        from vqbitstream.limits import Limits

        return Limits() if self.max_pixels is None else Limits(max_pixels=self.max_pixels)

    def apply(self) -> None:
        """Load torch, and set its threads."""
        import torch

        if self.threads is not None:
            torch.set_num_threads(self.threads)


@dataclass(frozen=True)
class Encoding:
    """A picture to a file. options: keywords of `Codec.encode`."""

    model: str
    options: dict[str, Any]
    settings: Settings

    def prepare(self) -> None:
        self.settings.apply()

    def __call__(self, source: str, target: str, progress: Progress) -> Coded:
        import vqbitstream

        from . import api

        self.settings.apply()
        limits = self.settings.limits()
        picture = read_stdin(limits) if source == "-" else source
        size = Path(picture).stat().st_size if isinstance(picture, str) else picture.getbuffer().nbytes
        data = api.load_model(self.model).encode(picture, limits=limits, progress=progress, **self.options)
        header = vqbitstream.unpack_header(data, limits)
        write(target, lambda file: file.write(data), self.settings.force)
        return Coded(header.width, header.height, size, len(data))


@dataclass(frozen=True)
class Decoding:
    """A file to a picture. model: None the installed one that the file names. options: keywords of `Codec.decode`."""

    model: str | None
    options: dict[str, Any]
    settings: Settings

    def prepare(self) -> None:
        self.settings.apply()

    def __call__(self, source: str, target: str, progress: Progress) -> Coded:
        import vqbitstream

        from . import api, registry
        from .image import check_suffix, write_picture

        suffix = PICTURE_SUFFIX if target == "-" else Path(target).suffix.lower()
        check_suffix(suffix)
        self.settings.apply()
        limits = self.settings.limits()
        raw = read(source, limits)
        name = self.model or registry.find_id(vqbitstream.unpack_header(raw, limits).model_id)
        image = api.load_model(name).decode(raw, limits=limits, progress=progress, **self.options)
        written = write(target, lambda file: write_picture(image, file, suffix), self.settings.force)
        return Coded(image.width, image.height, len(raw), written)


def compare_files(
    source: str, output: str | None, settings: Settings, *, model: str, quality: float, effort: int
) -> list[str]:
    """Compare a picture with its JPEG, and write a .html or .png if there is an output. -> the figures, in lines"""
    from PIL import Image

    from . import api
    from . import compare as comparing
    from .image import to_planes

    target = None if output is None else output_path(source, output, "", settings.force)
    settings.apply()
    limits = settings.limits()
    planes = to_planes(read_stdin(limits) if source == "-" else source, limits, strip=True)
    if planes.alpha is not None:
        warnings.warn(f"{source}: only the colours are compared: JPEG has no transparency", stacklevel=2)
    comparison = comparing.compare(
        api.load_model(model), Image.fromarray(planes.colour), quality=quality, effort=effort
    )
    title = "standard input" if source == "-" else os.fsencode(Path(source).name).decode(errors="replace")
    if target is not None and Path(target).suffix.lower() == ".html":
        html = comparing.page(comparison, title).encode()
        write(target, lambda file: file.write(html), settings.force)
    elif target is not None:
        picture = comparing.sheet(comparison, title)
        write(target, lambda file: picture.save(file, format="PNG"), settings.force)
    return comparison.lines
