"""The command `train`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from vqcodec.cli.console import Finite, guard, tell


@click.command()
@click.argument("data", metavar="DATA...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--minutes", type=Finite(min=0), help="How long to train, 0 only exports; with --resume, a new plan of that length."
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of the run.  [default: runs/NAME, runs/model without a name]"
)
@click.option("--from", "start", metavar="MODEL", help="Start from this model: a name, a weights file or a checkpoint.")
@click.option("--name", help="Register the result among your models, for `-m NAME`.")
@click.option(
    "--bottleneck",
    type=click.Choice(["vq", "gaussian"]),
    default="vq",
    show_default=True,
    help="gaussian: a VAE bottleneck inside the model of --from, for interpolation and sampling.",
)
@click.option("--resume", type=click.Path(path_type=Path), help="A checkpoint to continue.")
@click.option("--phase", "phases", multiple=True, type=click.Choice(["noise", "vector"]), help="Only these phases.")
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
    `vqcodec encode -m` takes. Ctrl-C saves; --resume continues. For one kind of picture: --from default --name mine.
    On many GPUs or machines: torchrun --nproc-per-node N -m vqcodec.cli train ...
    """

    def work() -> None:
        from vqcodec.training.run import RunOptions, train_model

        train_model(list(data), RunOptions(**options), validate, lambda line: tell(line, err=True))

    guard(work)
