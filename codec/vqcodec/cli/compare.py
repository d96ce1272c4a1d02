"""The command `compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vqcodec.cli.console import Finite, guard, tell
from vqcodec.coding.defaults import DEFAULT_QUALITY, DEFAULT_TUNE


@click.command()
@click.argument("source", metavar="IMAGE")
@click.option("-o", "--output", type=click.Path(), help="A page (.html) or a picture (.png) to look at.")
@click.option("-q", "--quality", type=Finite(1, 100), default=DEFAULT_QUALITY, show_default=True, help="Of our file.")
@click.option(
    "--tune", type=click.Choice(["eye", "psnr"]), default=DEFAULT_TUNE, show_default=True, help="Of our file."
)
@click.option(
    "-e", "--effort", type=click.IntRange(1, 9), help="1 fast .. 9 smallest.  [default: 5, or 1 without PyTorch]"
)
@click.option("-m", "--model", default="default", show_default=True, help="A model's name or a weights file.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads; all cores by default.")
@click.option("--max-pixels", type=click.IntRange(1), help="Refuse larger pictures.  [default: 128000000]")
@click.option("-f", "--force", is_flag=True, help="Overwrite the output.")
def compare(
    source: str, output: str | None, effort: int | None, threads: int | None, max_pixels: int | None, **options: Any
) -> None:
    """Compare with JPEG, WebP and AVIF at the same bytes: figures, and with -o a page or a picture.

    Their files are within 1 % of ours, where they can be. SSIMULACRA2 needs PyTorch. `-` is stdin.
    """
    if output is not None and Path(output).suffix.lower() not in (".html", ".png"):
        raise click.UsageError(f"{output} is neither .html nor .png")

    def chosen() -> int:
        from vqcodec.coding.quality import chosen_effort

        return chosen_effort(effort)

    def work() -> None:
        from vqcodec.cli.work import Settings, compare_files

        settings = Settings(threads, max_pixels, options.pop("force"))
        for line in compare_files(source, output, settings, effort=number, **options):
            tell(line)

    number = guard(chosen)
    guard(work, source, output or source)
