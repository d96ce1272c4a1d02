"""What the commands do with one input, in a form that can be sent to worker processes."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqcodec.atomic import output_path, read, read_stdin, write
from vqcodec.cli.workers import Coded, Progress
from vqcodec.pictures.suffixes import PICTURE_SUFFIX

if TYPE_CHECKING:
    from vqbitstream.limits import Limits


@dataclass(frozen=True)
class Settings:
    """Settings of both commands.

    Attributes:
        threads: None is the default; see `limit_threads`.
        max_pixels: None is the default limit.
        force: Replace existing outputs.
    """

    threads: int | None = None
    max_pixels: int | None = None
    force: bool = False

    def limits(self) -> Limits:
        from vqbitstream.limits import Limits

        return Limits() if self.max_pixels is None else Limits(max_pixels=self.max_pixels)

    def apply(self) -> None:
        """Set the number of threads of this process."""
        from vqcodec.runtimes.threads import limit_threads

        limit_threads(self.threads)


@dataclass(frozen=True)
class Encoding:
    """Encodes a picture.

    Attributes:
        model: Name or weights file.
        options: Keywords of `Codec.encode`.
        settings: Threads, limits.
    """

    model: str
    options: dict[str, Any]
    settings: Settings

    def prepare(self) -> None:
        self.settings.apply()

    def __call__(self, source: str, target: str, progress: Progress) -> Coded:
        import vqbitstream

        from vqcodec import api

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
    """Decodes a file.

    Attributes:
        model: Name or weights file; None is the installed model that the file names.
        options: Keywords of `Codec.decode`.
        settings: Threads, limits.
    """

    model: str | None
    options: dict[str, Any]
    settings: Settings

    def prepare(self) -> None:
        self.settings.apply()

    def __call__(self, source: str, target: str, progress: Progress) -> Coded:

        from vqcodec import api
        from vqcodec.pictures.writing import check_suffix, write_picture

        suffix = PICTURE_SUFFIX if target == "-" else Path(target).suffix.lower()
        check_suffix(suffix)
        self.settings.apply()
        limits = self.settings.limits()
        raw = read(source, limits)
        if self.model is None:
            image = api.decode(raw, limits=limits, progress=progress, **self.options)
        else:
            image = api.load_model(self.model).decode(raw, limits=limits, progress=progress, **self.options)
        written = write(target, lambda file: write_picture(image, file, suffix), self.settings.force)
        return Coded(image.width, image.height, len(raw), written)


def compare_files(
    source: str, output: str | None, settings: Settings, *, model: str, quality: float, tune: str, effort: int
) -> list[str]:
    """Compare a picture with JPEG, and write a .html or .png if there is an output. Returns the figures, one line each."""
    from PIL import Image

    from vqcodec import api
    from vqcodec.compare import compare as comparing
    from vqcodec.pictures.reading import to_planes

    target = None if output is None else output_path(source, output, "", settings.force)
    settings.apply()
    limits = settings.limits()
    planes = to_planes(read_stdin(limits) if source == "-" else source, limits, strip=True)
    if planes.alpha is not None:
        warnings.warn(f"{source}: only the colours are compared: JPEG has no transparency", stacklevel=2)
    comparison = comparing.compare(
        api.load_model(model), Image.fromarray(planes.colour), quality=quality, tune=tune, effort=effort
    )
    title = "standard input" if source == "-" else os.fsencode(Path(source).name).decode(errors="replace")
    if target is not None and Path(target).suffix.lower() == ".html":
        html = comparing.page(comparison, title).encode()
        write(target, lambda file: file.write(html), settings.force)
    elif target is not None:
        picture = comparing.sheet(comparison, title)
        write(target, lambda file: picture.save(file, format="PNG"), settings.force)
    return comparison.lines
