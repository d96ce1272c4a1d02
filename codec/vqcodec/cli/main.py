"""The command line. Heavy imports stay inside the commands."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from vqcodec.atomic import read
from vqcodec.cli.archive import estimate, verify
from vqcodec.cli.compare import compare
from vqcodec.cli.console import Finite, guard, say, shown_usage_errors, silence_pillow, stop_politely, tell, tell_json
from vqcodec.cli.desktop import desktop
from vqcodec.cli.generate import interpolate, sample
from vqcodec.cli.models import models
from vqcodec.cli.options import PRESETS, Bytes, Crop, outputs, preset_help, several, start, use_preset
from vqcodec.cli.train import train
from vqcodec.cli.view import view
from vqcodec.coding.defaults import DEFAULT_QUALITY, DEFAULT_TUNE
from vqcodec.pictures.suffixes import FILE_SUFFIX, PICTURE_SUFFIX
from vqcodec.runtimes.threads import wait_without_spinning

if TYPE_CHECKING:
    from vqcodec.cli.work import Settings
    from vqcodec.cli.workers import Work


class _Program(click.Group):
    """A group whose help and version, too, say in one line that stdout takes nothing; its usage errors show control characters."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with shown_usage_errors():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with shown_usage_errors():
            return super().invoke(ctx)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().main(*args, **kwargs)
        except OSError as error:
            say(f"stdout: {error.strerror}")
            sys.exit(1)


@click.group(cls=_Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(None, "-V", "--version", package_name="vqcodec", message="vqcodec %(version)s")
def main() -> None:
    """A learned image codec: far smaller than JPEG, real files, exact on every machine."""
    stop_politely()
    silence_pillow()
    wait_without_spinning()


@main.command()
@click.argument("paths", metavar="INPUT [OUTPUT] | INPUT...", nargs=-1, required=True)
@click.option(
    "-q", "--quality", type=Finite(1, 100), default=DEFAULT_QUALITY, show_default=True, help="1 smallest, 100 finest."
)
@click.option(
    "-p", "--preset", type=click.Choice(list(PRESETS)), is_eager=True, callback=use_preset, help=preset_help()
)
@click.option(
    "--tune",
    type=click.Choice(["eye", "psnr"]),
    default=DEFAULT_TUNE,
    show_default=True,
    help="What to aim at: a good look, or PSNR.",
)
@click.option(
    "--target-ssimulacra2",
    type=Finite(max=100),
    help="Find the quality for this SSIMULACRA2: 50 medium, 70 high, 90 visually lossless.",
)
@click.option(
    "--target-size", "target_bytes", type=Bytes(), help="For a file of at most so many bytes: 50000, 50k, 1.5M."
)
@click.option("--target-bpp", type=Finite(0, min_open=True), help="The same, in bits per pixel.")
@click.option("--target-psnr", type=Finite(0, min_open=True), help="For this PSNR in dB.")
@click.option(
    "--max-size", type=click.IntRange(1), metavar="PX", help="Scale larger pictures down to this longer side."
)
@click.option(
    "-e",
    "--effort",
    type=click.IntRange(1, 9),
    help="1 fast .. 9 smallest.  [default: 5, or 1 without PyTorch]",
)
@click.option("-m", "--model", default="default", show_default=True, help="A model's name or a weights file.")
@click.option("--lossless", is_flag=True, help="Keep every pixel exactly; quality and effort mean nothing then.")
@click.option("--strip", is_flag=True, help="Drop ICC profile (colours become sRGB), EXIF and XMP.")
@click.option("--keep-hidden", is_flag=True, help="Keep the colours under full transparency, which nobody sees.")
@click.option("--force-sdr", is_flag=True, help="Take HDR pictures as if they were ordinary ones.")
@click.option("--no-verify", is_flag=True, help="Do not decode the file's indices before writing it.")
@click.option(
    "--delete-source",
    is_flag=True,
    help="Delete inputs once their files are written, read back and verified, unless the file is larger.",
)
@outputs
@several
def encode(
    paths: tuple[str, ...],
    preset: str | None,
    model: str,
    no_verify: bool,
    delete_source: bool,
    **options: Any,
) -> None:
    """Encode pictures: photo.png -> photo.vqc.

    INPUT [OUTPUT], or many inputs, or folders with -r; outputs go beside their inputs, or to -o DIR. `-` is stdin or stdout.
    """
    coding = (
        "quality",
        "tune",
        "target_ssimulacra2",
        "target_bytes",
        "target_bpp",
        "target_psnr",
        "max_size",
        "lossless",
        "strip",
        "keep_hidden",
        "force_sdr",
    )
    given = {name: options.pop(name) for name in coding} | {"verify": not no_verify}
    if sum(given[name] is not None for name in coding if name.startswith("target")) > 1:
        raise click.UsageError("give one of --target-ssimulacra2, --target-size, --target-bpp and --target-psnr")
    if given["lossless"] and any(given[name] is not None for name in coding if name.startswith("target")):
        raise click.UsageError("--lossless has no target")
    if delete_source and no_verify:
        raise click.UsageError("--delete-source needs the verification that --no-verify leaves out")
    if delete_source and "-" in (*paths, options["output"]):
        raise click.UsageError("--delete-source needs files, not stdin or stdout")
    effort = options.pop("effort")

    def make(settings: Settings) -> Work:
        from vqcodec.cli.work import Encoding
        from vqcodec.coding.quality import chosen_effort

        # once for all inputs: where PyTorch is missing, it is said once
        return Encoding(model, given | {"effort": guard(lambda: chosen_effort(effort))}, settings, delete_source)

    start("encoded", FILE_SUFFIX, make, paths, options)


@main.command()
@click.argument("paths", metavar="INPUT [OUTPUT] | INPUT...", nargs=-1, required=True)
@click.option(
    "--to", type=click.Choice(["png", "jpg", "webp", "avif"]), help="Format of outputs without a name.  [default: png]"
)
@click.option("--to-quality", type=click.IntRange(1, 100), help="Of JPEG, WebP and AVIF.  [default: 95]")
@click.option("--layers", type=click.IntRange(1), help="Decode only the first N layers, a preview.")
@click.option("--crop", type=Crop(), metavar="X,Y,WIDTH,HEIGHT", help="Decode only this part, in pixels.")
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
@outputs
@several
def decode(
    paths: tuple[str, ...],
    to: str | None,
    to_quality: int | None,
    layers: int | None,
    crop: tuple[int, int, int, int] | None,
    scale: str | None,
    max_size: int | None,
    allow_partial: bool,
    model: str | None,
    **shared: Any,
) -> None:
    """Decode files: photo.vqc -> photo.png.

    INPUT [OUTPUT], or many inputs, or folders with -r; outputs go beside their inputs, or to -o DIR. The output's suffix, or
    --to, chooses its format; `-` is stdin or stdout.
    """
    from vqcodec.cli.work import Decoding

    if scale and max_size:
        raise click.UsageError("give one of --scale and --max-size")
    options = {
        "layers": layers, "region": crop, "scale": 1 / int(scale[2:]) if scale else 1, "max_size": max_size,
        "allow_partial": allow_partial,
    }  # fmt: skip
    suffix = f".{to}" if to else PICTURE_SUFFIX
    start("decoded", suffix, lambda settings: Decoding(model, options, settings, suffix, to_quality), paths, shared)


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
            tell_json(asdict(facts) | {"bpp": facts.bpp})
            return
        columns, rows = facts.tiles
        tiles = "" if columns * rows == 1 else f", {columns}x{rows} tiles"
        whole, some = facts.exact_tiles
        if facts.layers:
            quality = "" if facts.quality is None else f"quality {facts.quality:g}, "
            coded = f"{quality}tune {facts.tune}, step {facts.step:.4f}, {facts.layers} layers{tiles}"
            coded += f", {whole} tiles exact, {some} in part" if whole + some else ""
            coded += f", model {facts.model or 'not installed'} ({facts.model_id})"
        else:
            coded = f"all pixels exact{tiles}"
        parts = [f"layers {'+'.join(map(str, facts.layer_bytes))}"] if facts.layers else []
        parts += [f"exact pixels {facts.exact_bytes}"] if facts.exact_bytes else []
        parts += [f"alpha {facts.alpha_bytes}"] if facts.alpha_bytes else []
        parts += [f"{name.upper()} {size}" for name, size in facts.metadata.items()]
        tell(
            f"{source}: {facts.width}x{facts.height} {facts.mode}, {facts.file_bytes} bytes, "
            f"{facts.bpp:.3f} bpp, {coded}, bytes: {', '.join(parts)}"
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


@main.command()
def man() -> None:
    """Print the manual page: `vqcodec man > vqcodec.1`."""
    from vqcodec.cli.manual import page

    click.echo(page(main, "vqcodec"), nl=False)


for command in (verify, estimate, compare, view, desktop, models, train, sample, interpolate):
    main.add_command(command)


if __name__ == "__main__":
    main()
