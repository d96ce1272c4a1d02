"""What the commands do with one input, in a form that can be sent to worker processes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import IO, TYPE_CHECKING, Any

from vqbitstream.errors import visible

from vqcodec.atomic import identity, output_path, read, read_stdin, write
from vqcodec.cli.names import stat_of
from vqcodec.cli.workers import Coded, Progress
from vqcodec.pictures.suffixes import FILE_SUFFIX, PICTURE_SUFFIX

if TYPE_CHECKING:
    from vqbitstream.limits import Limits

    from vqcodec.codec import Codec
    from vqcodec.pictures.planes import Planes


@dataclass(frozen=True)
class Settings:
    """Settings of both commands.

    Attributes:
        threads: None is the default; see `limit_threads`.
        max_pixels: None is the default limit.
        force: Replace existing outputs.
        keep_time: Outputs get the modification time of their inputs.
        measure: Decode what was encoded, and measure it.
    """

    threads: int | None = None
    max_pixels: int | None = None
    force: bool = False
    keep_time: bool = True
    measure: bool = False

    def limits(self) -> Limits:
        from vqbitstream.limits import Limits

        return Limits() if self.max_pixels is None else Limits(max_pixels=self.max_pixels)

    def apply(self, pixels: int | None = None) -> None:
        """Set the number of threads of this process, for a picture of so many pixels."""
        from vqcodec.runtimes.threads import limit_threads

        limit_threads(self.threads, pixels)

    def write(self, target: str, fill: Callable[[IO[bytes]], object], read: os.stat_result | None) -> int:
        """Write an output; see `vqcodec.atomic.write`. read: the input's, from before it was read."""
        kept = self.keep_time and read is not None and S_ISREG(read.st_mode)
        modified_ns = read.st_mtime_ns if kept and read else None
        try:
            return write(target, fill, self.force, modified_ns)
        except FileNotFoundError:  # another process that ended took away the folder, which was empty
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            return write(target, fill, self.force, modified_ns)


@dataclass(frozen=True)
class Encoding:
    """Encodes a picture.

    Attributes:
        model: Name or weights file.
        options: Keywords of `Codec.encode`.
        settings: Threads, limits.
        delete_source: Delete the input once its file is written, read back and verified.
    """

    model: str
    options: dict[str, Any]
    settings: Settings
    delete_source: bool = False

    def prepare(self) -> None:
        self.settings.apply()

    def __call__(self, source: str, target: str, progress: Progress) -> Coded:
        import vqbitstream

        from vqcodec import api
        from vqcodec.pictures.hidden import filled
        from vqcodec.pictures.reading import to_planes
        from vqcodec.pictures.resizing import shrunk

        limits = self.settings.limits()
        picture = read_stdin(limits) if source == "-" else source
        stat, before = stat_of(source), identity(source)
        options = dict(self.options)
        reading = {name: options.pop(name, False) for name in ("strip", "force_sdr")}
        planes = to_planes(picture, limits, **reading)
        planes = shrunk(planes, options.pop("max_size", None))
        if not (options.get("keep_hidden") or options.get("lossless")):
            planes = filled(planes)  # what is measured is against this
            options["keep_hidden"] = True
        self.settings.apply(planes.colour.shape[0] * planes.colour.shape[1])
        codec = api.load_model(self.model)
        data = codec.encode(planes, limits=limits, progress=progress, **options)
        size = stat.st_size if stat else picture.getbuffer().nbytes  # type: ignore[union-attr]
        header = vqbitstream.unpack_header(data, limits)
        reached: dict[str, Any] = {"quality": header.quality_centi / 100}
        if self.settings.measure:
            reached |= measured(codec, planes, data, limits)
        self.settings.write(target, lambda file: file.write(data), stat)
        larger = len(data) > size and (stat is None or S_ISREG(stat.st_mode))
        if larger:
            kept = ", and the input is not deleted" if self.delete_source else ""
            warnings.warn(
                f"{source}: its {FILE_SUFFIX} is larger, {len(data)} bytes instead of {size}{kept}", stacklevel=2
            )
        if self.delete_source and not larger:
            codec.verify(vqbitstream.read_bytes(target, limits), limits)
            if Path(source).exists() and identity(source) != before:
                raise ValueError(f"{source}: changed after it was read, so it is kept; {target} is of what it was")
            Path(source).unlink(missing_ok=True)  # another process may have been here
        return Coded(header.width, header.height, size, len(data), reached)

    def differs(self, source: str, target: str) -> str | None:
        """By the header of the existing file: quality, tune, model, and a size above the largest."""
        import vqbitstream
        from vqbitstream.errors import VQCError
        from vqbitstream.header import TUNES

        from vqcodec.models import store

        try:
            with Path(target).open("rb") as file:
                header = vqbitstream.read_head(file, self.settings.limits(), partial=True)[0]
        except (OSError, VQCError):
            return "unreadable"
        options = self.options
        targets = any(options.get(name) is not None for name in options if name.startswith("target"))
        wanted_id = store.id_of(self.model)
        same = (
            (targets or header.quality_centi == (0 if options.get("lossless") else round(100 * options["quality"])))
            and TUNES[header.tune] == options["tune"]
            and (wanted_id is None or header.model_id.hex() == wanted_id)
            and max(header.width, header.height) <= (options.get("max_size") or 1 << 62)
        )
        return None if same else "of other settings"


@dataclass(frozen=True)
class Decoding:
    """Decodes a file.

    Attributes:
        model: Name or weights file; None is the installed model that the file names.
        options: Keywords of `Codec.decode`.
        settings: Threads, limits.
        suffix: Chooses the format on stdout.
        to_quality: Of lossy formats.
    """

    model: str | None
    options: dict[str, Any]
    settings: Settings
    suffix: str = PICTURE_SUFFIX
    to_quality: int | None = None

    def prepare(self) -> None:
        self.settings.apply()

    def __call__(self, source: str, target: str, progress: Progress) -> Coded:

        from vqcodec import api
        from vqcodec.pictures.writing import check_suffix, write_picture

        suffix = self.suffix if target == "-" else Path(target).suffix.lower()
        check_suffix(suffix)
        self.settings.apply()
        limits = self.settings.limits()
        stat = stat_of(source)
        raw = read(source, limits)
        if self.model is None:
            image = api.decode(raw, limits=limits, progress=progress, **self.options)
        else:
            image = api.load_model(self.model).decode(raw, limits=limits, progress=progress, **self.options)
        written = self.settings.write(
            target, lambda file: write_picture(image, file, suffix, quality=self.to_quality), stat
        )
        return Coded(image.width, image.height, len(raw), written)

    def differs(self, source: str, target: str) -> str | None:
        return None  # a picture does not say how it was decoded


@dataclass(frozen=True)
class Verifying:
    """Checks a file: every checksum, and its indices and alpha are decoded.

    Attributes:
        model: Name or weights file; None is the installed model that the file names.
        settings: Threads, limits.
    """

    model: str | None
    settings: Settings

    def prepare(self) -> None:
        self.settings.apply()

    def __call__(self, source: str, target: str, progress: Progress) -> Coded:
        import vqbitstream

        from vqcodec import api
        from vqcodec.models import store

        self.settings.apply()
        limits = self.settings.limits()
        raw = read(source, limits)
        header = vqbitstream.unpack(raw, limits).header
        name = self.model if self.model is not None else store.find_id(header.model_id).name
        api.load_model(name).verify(raw, limits)
        return Coded(header.width, header.height, len(raw), 0)

    def differs(self, source: str, target: str) -> str | None:
        return None


def measured(codec: Codec, planes: Planes, data: bytes, limits: Limits) -> dict[str, Any]:
    """What an encode reached: bpp, psnr in dB (None if nothing was lost), ssimulacra2 (None without PyTorch), model."""
    from vqcodec.coding.quality import torch_is_installed
    from vqcodec.pictures.psnr import psnr

    decoded = codec.decode_planes(data, limits=limits).colour
    height, width = decoded.shape[:2]
    same = (decoded == planes.colour).all()
    score = None
    if torch_is_installed():
        from vqcodec.vqvae.ssimulacra2 import ssimulacra2

        score = ssimulacra2(planes.colour, decoded)
    return {
        "bpp": round(8 * len(data) / (height * width), 4),
        "psnr": None if same else round(psnr(planes.colour, decoded), 2),
        "ssimulacra2": None if score is None else round(score, 2),
        "model": Path(codec.name).stem,
    }


def compare_files(
    source: str, output: str | None, settings: Settings, *, model: str, quality: float, tune: str, effort: int
) -> list[str]:
    """Compare a picture with other codecs, and write a .html or .png if there is an output. Returns the figures, one line each."""
    from PIL import Image
    from rich.console import Console

    from vqcodec import api
    from vqcodec.compare import compare as comparing
    from vqcodec.pictures.reading import to_planes

    target = None if output is None else output_path(source, output, "", settings.force)
    settings.apply()
    limits = settings.limits()
    planes = to_planes(read_stdin(limits) if source == "-" else source, limits, strip=True)
    if planes.alpha is not None:
        warnings.warn(f"{source}: only the colours are compared, not the transparency", stacklevel=2)
    title = "standard input" if source == "-" else visible(Path(source).name)
    codec, image = api.load_model(model), Image.fromarray(planes.colour)
    with Console(stderr=True).status("vqcodec") as status:
        comparison = comparing.compare(
            codec, image, quality=quality, tune=tune, effort=effort, progress=lambda name: status.update(name)
        )
    if target is not None and Path(target).suffix.lower() == ".html":
        html = comparing.page(comparison, title).encode()
        write(target, lambda file: file.write(html), settings.force)
    elif target is not None:
        picture = comparing.sheet(comparison, title)
        write(target, lambda file: picture.save(file, format="PNG"), settings.force)
    return comparison.lines
