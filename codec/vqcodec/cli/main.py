"""The command line. Heavy imports stay inside the commands."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vqcodec.atomic import read
from vqcodec.cli.batch import BatchOptions, plan, run
from vqcodec.cli.compare import compare
from vqcodec.cli.console import Finite, guard, say, stop_politely
from vqcodec.cli.generate import interpolate, sample
from vqcodec.cli.models import models
from vqcodec.cli.train import train
from vqcodec.cli.view import view
from vqcodec.coding.defaults import DEFAULT_QUALITY, DEFAULT_TUNE
from vqcodec.pictures.suffixes import FILE_SUFFIX, PICTURE_SUFFIX

if TYPE_CHECKING:
    from vqcodec.cli.work import Settings
    from vqcodec.cli.workers import Work


class _Program(click.Group):
    """A group whose help and version, too, say in one line that stdout takes nothing."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            say(f"stdout: {error.strerror}")
            sys.exit(1)


@click.group(cls=_Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="vqcodec", message="vqcodec %(version)s")
def main() -> None:
    """A learned image codec: far smaller than JPEG, real files, exact on every machine."""
    stop_politely()


class _Bytes(click.ParamType):  # type: ignore[type-arg]
    """A number of bytes: 50000, 50k, 1.5M (k = 1000)."""

    name = "bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"(\d+\.?\d*|\.\d+)(k|m|)b?", str(value).strip().lower())
        number = round(float(match[1]) * {"": 1, "k": 1000, "m": 1_000_000}[match[2]]) if match else 0
        if number < 1:
            self.fail(f"{value!r} is not a number of bytes, such as 50000, 50k or 1.5M", param, ctx)
        return number


class _Crop(click.ParamType):  # type: ignore[type-arg]
    """X,Y,WIDTH,HEIGHT in pixels."""

    name = "x,y,width,height"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int, int, int]:
        if isinstance(value, tuple):
            return value
        try:
            x, y, width, height = (int(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not X,Y,WIDTH,HEIGHT", param, ctx)
        if min(x, y) < 0 or min(width, height) < 1:
            self.fail(f"{value!r} lies outside every picture", param, ctx)
        return x, y, width, height


def _shared(command: Callable[..., None]) -> Callable[..., None]:
    """Options of both encode and decode."""
    for option in (
        click.option(
            "--json", "as_json", is_flag=True, help="Report on stdout: a line of JSON per input, then the totals."
        ),
        click.option("-v", "--verbose", is_flag=True, help="Report what was written."),
        click.option("--threads", type=click.IntRange(1), help="CPU threads; all cores by default, one with --jobs."),
        click.option(
            "-j",
            "--jobs",
            "workers",
            type=click.IntRange(1),
            default=1,
            show_default=True,
            help="Worker processes; each loads the model once.",
        ),
        click.option(
            "-r", "--recursive", is_flag=True, help="Include the pictures in folders; needs -o, keeps the tree."
        ),
        click.option("--max-pixels", type=click.IntRange(1), help="Refuse larger pictures.  [default: 128000000]"),
        click.option("-f", "--force", is_flag=True, help="Overwrite outputs."),
        click.option(
            "-o",
            "--output-dir",
            "folder",
            type=click.Path(path_type=Path, file_okay=False),
            help="Folder for the outputs.",
        ),
    ):
        command = option(command)
    return command


def _start(
    verb: str, suffix: str, make: Callable[[Settings], Work], paths: tuple[str, ...], shared: dict[str, Any]
) -> None:
    """Plan and run a batch. suffix: of the outputs. make: the work. shared: the values of `_shared`."""
    from vqcodec.cli.work import Settings

    folder, force, workers, as_json = (shared[name] for name in ("folder", "force", "workers", "as_json"))
    jobs = plan(paths, folder, suffix, recursive=shared["recursive"])
    if as_json and any("-" in (job.target, job.source if job.target is None else "") for job in jobs):
        raise click.UsageError("stdout cannot take both the output and --json")
    threads = shared["threads"] or (1 if min(workers, len(jobs)) > 1 else None)
    work = make(Settings(threads, shared["max_pixels"], force))
    run(jobs, work, BatchOptions(folder, suffix, verb, force, shared["verbose"], workers, as_json))


@main.command()
@click.argument("paths", metavar="INPUT [OUTPUT] | INPUT...", nargs=-1, required=True)
@click.option(
    "-q", "--quality", type=Finite(1, 100), default=DEFAULT_QUALITY, show_default=True, help="1 smallest, 100 finest."
)
@click.option(
    "--tune",
    type=click.Choice(["eye", "psnr"]),
    default=DEFAULT_TUNE,
    show_default=True,
    help="What to aim at: a good look, or PSNR.",
)
@click.option(
    "--target-size", type=_Bytes(), help="Find the quality for a file of at most so many bytes: 50000, 50k, 1.5M."
)
@click.option("--target-bpp", type=Finite(0, min_open=True), help="The same, in bits per pixel.")
@click.option("--target-psnr", type=Finite(0, min_open=True), help="Find the quality for this PSNR in dB.")
@click.option(
    "-e",
    "--effort",
    type=click.IntRange(1, 9),
    help="1 fast .. 9 smallest.  [default: 5, or 1 without PyTorch]",
)
@click.option("-m", "--model", default="default", show_default=True, help="A model's name or a weights file.")
@click.option("--strip", is_flag=True, help="Drop ICC profile, EXIF and XMP.")
@click.option("--no-verify", is_flag=True, help="Do not decode the file's indices before writing it.")
@_shared
def encode(
    paths: tuple[str, ...],
    quality: float,
    tune: str,
    target_size: int | None,
    target_bpp: float | None,
    target_psnr: float | None,
    effort: int | None,
    model: str,
    strip: bool,
    no_verify: bool,
    **shared: Any,
) -> None:
    """Encode pictures: photo.png -> photo.vqc.

    INPUT [OUTPUT], or many inputs with -o DIR, or folders with -r, too. `-` is stdin or stdout.
    """
    if sum(t is not None for t in (target_size, target_bpp, target_psnr)) > 1:
        raise click.UsageError("give one of --target-size, --target-bpp and --target-psnr")
    options = {
        "quality": quality, "tune": tune, "target_bytes": target_size, "target_bpp": target_bpp, "target_psnr": target_psnr,
        "strip": strip, "verify": not no_verify,
    }  # fmt: skip

    def make(settings: Settings) -> Work:
        from vqcodec.cli.work import Encoding
        from vqcodec.coding.quality import chosen_effort

        # once for all inputs: where PyTorch is missing, it is said once
        return Encoding(model, options | {"effort": guard(lambda: chosen_effort(effort))}, settings)

    _start("encoded", FILE_SUFFIX, make, paths, shared)


@main.command()
@click.argument("paths", metavar="INPUT [OUTPUT] | INPUT...", nargs=-1, required=True)
@click.option("--layers", type=click.IntRange(1), help="Decode only the first N layers, a preview.")
@click.option("--crop", type=_Crop(), metavar="X,Y,WIDTH,HEIGHT", help="Decode only this part, in pixels.")
@click.option(
    "--scale",
    type=click.Choice(["1/2", "1/4", "1/8", "1/16"]),
    help="Decode a preview, so many times smaller, in less time.",
)
@click.option(
    "--max-size", type=click.IntRange(1), metavar="PX", help="Scale down to a longest side of PX pixels, in less time."
)
@click.option("--allow-partial", is_flag=True, help="Show the intact part of a cut or damaged file.")
@click.option("-m", "--model", help="A weights file, where the model is not an installed one.")
@_shared
def decode(
    paths: tuple[str, ...],
    layers: int | None,
    crop: tuple[int, int, int, int] | None,
    scale: str | None,
    max_size: int | None,
    allow_partial: bool,
    model: str | None,
    **shared: Any,
) -> None:
    """Decode files: photo.vqc -> photo.png.

    INPUT [OUTPUT], or many inputs with -o DIR, or folders with -r, too. The output's suffix chooses its format; `-` is stdin, or
    PNG on stdout.
    """
    from vqcodec.cli.work import Decoding

    if scale and max_size:
        raise click.UsageError("give one of --scale and --max-size")
    options = {
        "layers": layers, "region": crop, "scale": 1 / int(scale[2:]) if scale else 1, "max_size": max_size,
        "allow_partial": allow_partial,
    }  # fmt: skip
    _start("decoded", PICTURE_SUFFIX, lambda settings: Decoding(model, options, settings), paths, shared)


@main.command()
@click.argument("source", metavar="FILE")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def info(source: str, as_json: bool) -> None:
    """Show what a .vqc file holds, without decoding it."""

    def work() -> None:
        from vqbitstream.limits import Limits

        from vqcodec import api

        facts = api.info(read(source, Limits()))
        if as_json:
            click.echo(json.dumps(asdict(facts) | {"bpp": facts.bpp}))
            return
        quality = "" if facts.quality is None else f", quality {facts.quality:g}"
        quality += f", tune {facts.tune}"
        tiles = "" if facts.tiles == (1, 1) else f", {facts.tiles[0]}x{facts.tiles[1]} tiles"
        parts = [f"layers {'+'.join(map(str, facts.layer_bytes))}"]
        parts += [f"alpha {facts.alpha_bytes}"] if facts.alpha_bytes else []
        parts += [f"{name.upper()} {size}" for name, size in facts.metadata.items()]
        click.echo(
            f"{click.format_filename(source)}: {facts.width}x{facts.height} {facts.mode}, {facts.file_bytes} bytes, "
            f"{facts.bpp:.3f} bpp{quality}, "
            f"step {facts.step:.4f}, {facts.layers} layers{tiles}, model {facts.model or 'not installed'} ({facts.model_id}), "
            f"bytes: {', '.join(parts)}"
        )

    guard(work, source)


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell: `eval "$(vqcodec completion bash)"`."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(main, {}, "vqcodec", "_VQCODEC_COMPLETE").source())


for command in (compare, view, models, train, sample, interpolate):
    main.add_command(command)


if __name__ == "__main__":
    main()
