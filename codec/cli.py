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
from vqcodec.batch import FILE_SUFFIX, PICTURE_SUFFIX, Manner, plan, run
from vqcodec.cli_generate import interpolate, sample
from vqcodec.console import Finite, guard, say, stop_politely
from vqcodec.files import read

if TYPE_CHECKING:
    from .tasks import Settings
    from .workers import Work


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
            self.fail(f"{value!r} is no number of bytes, such as 50000, 50k or 1.5M", param, ctx)
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
            "--json", "as_json", is_flag=True, help="Report on stdout: a line of JSON per input, then the sums."
        ),
        click.option("-v", "--verbose", is_flag=True, help="Say what was written."),
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
            "-r", "--recursive", is_flag=True, help="Take the pictures of folders, too; needs -o, keeps the tree."
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
    from .tasks import Settings

    folder, force, workers, as_json = (shared[name] for name in ("folder", "force", "workers", "as_json"))
    jobs = plan(paths, folder, suffix, recursive=shared["recursive"])
    if as_json and any("-" in (job.target, job.source if job.target is None else "") for job in jobs):
        raise click.UsageError("stdout cannot take both the output and --json")
    threads = shared["threads"] or (1 if min(workers, len(jobs)) > 1 else None)
    work = make(Settings(threads, shared["max_pixels"], force))
    run(jobs, work, Manner(folder, suffix, verb, force, shared["verbose"], workers, as_json))


@main.command()
@click.argument("paths", metavar="INPUT [OUTPUT] | INPUT...", nargs=-1, required=True)
@click.option("-q", "--quality", type=Finite(1, 100), default=50, show_default=True, help="1 smallest, 100 finest.")
@click.option(
    "--target-size", type=_Bytes(), help="Find the quality for a file of at most so many bytes: 50000, 50k, 1.5M."
)
@click.option("--target-bpp", type=Finite(0, min_open=True), help="The same, in bits per pixel.")
@click.option("--target-psnr", type=Finite(0, min_open=True), help="Find the quality for this PSNR in dB.")
@click.option(
    "-e",
    "--effort",
    type=click.IntRange(1, 9),
    default=5,
    show_default=True,
    help="1 fast .. 9 smallest.",
)
@click.option("-m", "--model", default="default", show_default=True, help="A model's name or a weights file.")
@click.option("--strip", is_flag=True, help="Drop ICC profile, EXIF and XMP.")
@click.option("--no-verify", is_flag=True, help="Do not decode the file's indices before writing it.")
@_shared
def encode(
    paths: tuple[str, ...],
    quality: float,
    target_size: int | None,
    target_bpp: float | None,
    target_psnr: float | None,
    effort: int,
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
    from .tasks import Encoding

    options = {
        "quality": quality, "effort": effort, "target_bytes": target_size, "target_bpp": target_bpp, "target_psnr": target_psnr,
        "strip": strip, "verify": not no_verify,
    }  # fmt: skip
    _start("encoded", FILE_SUFFIX, lambda settings: Encoding(model, options, settings), paths, shared)


@main.command()
@click.argument("paths", metavar="INPUT [OUTPUT] | INPUT...", nargs=-1, required=True)
@click.option("--layers", type=click.IntRange(1), help="Decode only the first N layers, a preview.")
@click.option("--crop", type=_Crop(), metavar="X,Y,WIDTH,HEIGHT", help="Decode only this part, in pixels.")
@click.option("--allow-partial", is_flag=True, help="Of a cut or damaged file show what is sound.")
@click.option("-m", "--model", help="A weights file, where the model is not an installed one.")
@_shared
def decode(
    paths: tuple[str, ...],
    layers: int | None,
    crop: tuple[int, int, int, int] | None,
    allow_partial: bool,
    model: str | None,
    **shared: Any,
) -> None:
    """Decode files: photo.vqc -> photo.png.

    INPUT [OUTPUT], or many inputs with -o DIR, or folders with -r, too. The output's suffix chooses its format; `-` is stdin, or
    PNG on stdout.
    """
    from .tasks import Decoding

    options = {"layers": layers, "region": crop, "allow_partial": allow_partial}
    _start("decoded", PICTURE_SUFFIX, lambda settings: Decoding(model, options, settings), paths, shared)


@main.command()
@click.argument("source", metavar="IMAGE")
@click.option("-o", "--output", type=click.Path(), help="A page (.html) or a picture (.png) to look at.")
@click.option("-q", "--quality", type=Finite(1, 100), default=50, show_default=True, help="Of our file.")
@click.option("-e", "--effort", type=click.IntRange(1, 9), default=5, show_default=True, help="1 fast .. 9 smallest.")
@click.option("-m", "--model", default="default", show_default=True, help="A model's name or a weights file.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads; all cores by default.")
@click.option("--max-pixels", type=click.IntRange(1), help="Refuse larger pictures.  [default: 128000000]")
@click.option("-f", "--force", is_flag=True, help="Overwrite the output.")
def compare(source: str, output: str | None, threads: int | None, max_pixels: int | None, **options: Any) -> None:
    """Compare with JPEG at the same bytes: figures, and with -o a page or a picture.

    JPEG's quality is the highest whose file is not larger than ours. `-` is stdin.
    """
    if output is not None and Path(output).suffix.lower() not in (".html", ".png"):
        raise click.UsageError(f"{output} is neither .html nor .png")

    def work() -> None:
        from .tasks import Settings, compare_files

        settings = Settings(threads, max_pixels, options.pop("force"))
        for line in compare_files(source, output, settings, **options):
            click.echo(line)

    guard(work, source, output or source)


@main.command()
@click.argument("source", metavar="FILE")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def info(source: str, as_json: bool) -> None:
    """Say what a .vqc file holds, without decoding it."""

    def work() -> None:
        from vqbitstream.limits import Limits

        from . import api

        facts = api.info(read(source, Limits()))
        if as_json:
            click.echo(json.dumps(asdict(facts) | {"bpp": facts.bpp}))
            return
        quality = "" if facts.quality is None else f", quality {facts.quality:g}"
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


@main.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.pass_context
def models(context: click.Context, as_json: bool) -> None:
    """List the installed models; the first is the default. Yours are in $VQCODEC_MODELS or the platform's data folder."""
    if context.invoked_subcommand is not None:
        return

    def work() -> None:
        from . import registry

        entries, own = registry.manifest(), registry.user_models()
        if as_json:
            listed = [asdict(e) | {"bytes": e.file_bytes} for e in entries]
            listed += [
                {"name": m.name, "file": str(m.path), "model_id": m.model_id, "bytes": m.path.stat().st_size}
                for m in own
            ]
            click.echo(json.dumps(listed))
            return
        for entry in entries:
            click.echo(
                f"{entry.name}: {entry.model_id}, {entry.license}, {entry.file_bytes / 1e6:.1f} MB, SHA-256 {entry.sha256}"
            )
        for model in own:
            click.echo(f"{model.name}: {model.model_id}, yours, {model.path.stat().st_size / 1e6:.1f} MB, {model.path}")

    guard(work)


@models.command("add")
@click.argument("source", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--name", help="What to call it; by default the file's name.")
def models_add(source: Path, name: str | None) -> None:
    """Add a weights file to your models, so that its files open and `-m NAME` finds it."""

    def work() -> None:
        from . import registry
        from .codec import Codec

        Codec(source)  # proves that it is sound
        added = registry.add(source, name or re.sub(r"-[0-9a-f]{16}$", "", source.stem))
        click.echo(f"{added.name}: {added.model_id}, {added.path}")

    guard(work)


@models.command("remove")
@click.argument("name")
def models_remove(name: str) -> None:
    """Delete one of your models. Files made with it open again once it is added again."""

    def work() -> None:
        from . import registry

        removed = registry.remove(name)
        click.echo(f"removed {removed.name} ({removed.model_id})")

    guard(work)


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a shell: `eval "$(vqcodec completion bash)"`."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(main, {}, "vqcodec", "_VQCODEC_COMPLETE").source())


@main.command()
@click.argument("data", metavar="DATA...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--minutes", type=Finite(min=0), help="How long to train; with --resume, a new plan of that length.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of the run.  [default: runs/NAME, runs/model without a name]"
)
@click.option("--from", "start", metavar="MODEL", help="Fine-tune this model (a name or a weights file).")
@click.option("--name", help="Register the result among your models, for `-m NAME`.")
@click.option(
    "--bottleneck",
    type=click.Choice(["vq", "gaussian"]),
    default="vq",
    show_default=True,
    help="gaussian: a VAE bottleneck inside the model of --from, for interpolation and sampling.",
)
@click.option("--resume", type=click.Path(path_type=Path), help="A checkpoint to go on from.")
@click.option(
    "--phase", "phases", multiple=True, type=click.Choice(["prior", "joint", "vector"]), help="Only these phases."
)
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda.")
@click.option("--batch", type=click.IntRange(1), help="Crops per step, on each rank.  [default: 8 of 192 pixels]")
@click.option(
    "--crop",
    type=click.IntRange(64),
    help="Side of a crop in pixels, a multiple of 64.  [default: 192, less where most pictures are smaller]",
)
@click.option("--threads", type=click.IntRange(1), help="CPU threads.")
@click.option("--validate", type=click.Path(path_type=Path), help="Pictures to measure at the end.")
@click.option("--seed", type=int, default=0, show_default=True)
def train(data: tuple[Path, ...], validate: Path | None, **options: Any) -> None:
    """Train a model on pictures: files, folders and tar shards.

    Writes checkpoint.safetensors and log.jsonl into the run's folder, at the end model.safetensors, which
    `vqcodec encode -m` takes. Ctrl-C saves; --resume goes on. For one kind of picture: --from default --name mine.
    On many GPUs or machines: torchrun --nproc-per-node N -m vqcodec.cli train ...
    """

    def work() -> None:
        from .training.run import RunOptions, train_model

        train_model(list(data), RunOptions(**options), validate, lambda line: click.echo(line, err=True))

    guard(work)


main.add_command(sample)
main.add_command(interpolate)


if __name__ == "__main__":
    main()
