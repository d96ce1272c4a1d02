"""The commands `sample` and `interpolate`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from vqcodec.atomic import output_path, write
from vqcodec.cli.console import Finite, guard
from vqcodec.coding.defaults import DEFAULT_QUALITY

FRAME_MS = 120


class _Size(click.ParamType):  # type: ignore[type-arg]
    """WIDTHxHEIGHT in pixels."""

    name = "wxh"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", str(value))
        if not match:
            self.fail(f"{value!r} is not WIDTHxHEIGHT, such as 256x256", param, ctx)
        return int(match[1]), int(match[2])


def _shared(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("-f", "--force", is_flag=True, help="Overwrite the output."),
        click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="File to write."),
        click.option(
            "-q", "--quality", type=Finite(1, 100), default=DEFAULT_QUALITY, show_default=True, help="The step."
        ),
        click.option("-m", "--model", default="default", show_default=True, help="A model's name or a weights file."),
    ):
        command = option(command)
    return command


def _output(path: Path, suffixes: tuple[str, ...], force: bool, inputs: Sequence[str] = ()) -> str:
    """Where to write, which is none of the inputs. Raises ValueError."""
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"{path}: must end in {' or '.join(suffixes)}")
    for source in inputs:
        output_path(source, str(path), "", force)
    return output_path("-", str(path), "", force)


@click.command()
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--temperature", type=Finite(0.1, 4), default=1, show_default=True, help="Lower: likelier.")
@click.option("--size", type=_Size(), default="256x256", show_default=True, help="Pixels.")
@click.option("--gaussian", is_flag=True, help="From the Normal prior of the model's Gaussian bottleneck instead.")
@_shared
def sample(
    seed: int,
    temperature: float,
    size: tuple[int, int],
    gaussian: bool,
    model: str,
    quality: float,
    output: Path,
    force: bool,
) -> None:
    """Draw a picture from the prior: indices layer by layer, then decoded. OUTPUT is a .png, or the .vqc file itself.

    The indices are the same for a seed on every machine.
    """

    def work() -> None:
        target = _output(output, (".png", ".vqc"), force)
        from vqcodec import api
        from vqcodec.generate import sampling
        from vqcodec.pictures.writing import write_picture

        codec = api.load_model(model)
        options: dict[str, Any] = {"seed": seed, "temperature": temperature, "quality": quality}
        if gaussian:
            from vqcodec.generate.interpolation import sample_gaussian

            data = sample_gaussian(codec, *size, **options)
        else:
            data = sampling.sample(codec, *size, **options)
        if output.suffix.lower() == ".vqc":
            write(target, lambda file: file.write(data), force)
        else:
            image = codec.decode(data)
            write(target, lambda file: write_picture(image, file, ".png"), force)

    guard(work, str(output))


@click.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.option("--steps", type=click.IntRange(2, 240), default=9, show_default=True, help="Frames, both ends included.")
@click.option("--files", type=click.Path(path_type=Path, file_okay=False), help="Keep every frame as a .vqc in here.")
@_shared
def interpolate(
    first: str, second: str, steps: int, files: Path | None, model: str, quality: float, output: Path, force: bool
) -> None:
    """Walk from picture A to picture B through the latent, every frame quantised. OUTPUT: .gif, or .png, a strip.

    B is scaled to A's size. Through the model's Gaussian bottleneck if it has one, else a cross-fade.
    """

    def work() -> None:
        target = _output(output, (".gif", ".png"), force, (first, second))
        import numpy as np
        from PIL import Image
        from vqbitstream.limits import Limits

        from vqcodec import api
        from vqcodec.generate import interpolation
        from vqcodec.pictures.reading import to_planes
        from vqcodec.pictures.writing import from_planes

        ends = [from_planes(to_planes(path, Limits(), strip=True)).convert("RGB") for path in (first, second)]
        width, height = ends[0].size
        if output.suffix.lower() == ".png":
            Limits().check_size(steps * width, height)
        ends[1] = ends[1].resize((width, height), Image.Resampling.LANCZOS)
        codec = api.load_model(model)
        frames = interpolation.interpolate(codec, np.asarray(ends[0]), np.asarray(ends[1]), steps, quality=quality)
        if files is not None:
            files.mkdir(parents=True, exist_ok=True)
            for number, data in enumerate(frames):
                place = output_path("-", str(files / f"{number:03}.vqc"), "", force)
                write(place, lambda file, data=data: file.write(data), force)  # type: ignore[misc]
        images = (codec.decode(data) for data in frames)  # one at a time: a walk of photographs is large
        if output.suffix.lower() == ".gif":
            options: dict[str, Any] = {"save_all": True, "append_images": images, "duration": FRAME_MS, "loop": 0}
            write(target, lambda file: next(images).save(file, format="GIF", **options), force)
            return
        strip = Image.new("RGB", (width * steps, height))
        for number, image in enumerate(images):
            strip.paste(image, (number * width, 0))
        write(target, lambda file: strip.save(file, format="PNG"), force)

    guard(work, str(output), first, second, *([str(files)] if files else []))
