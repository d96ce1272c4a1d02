"""The commands `verify` and `estimate`: tools around an archive."""

from __future__ import annotations

import random
from typing import Any

import click

from vqcodec.cli.console import guard, say, tell, tell_json
from vqcodec.cli.names import Naming, plan
from vqcodec.cli.options import several, start
from vqcodec.cli.progress import Bar, Tally, duration, size
from vqcodec.pictures.suffixes import FILE_SUFFIX

QUALITIES = (60, 75, 90)


@click.command()
@click.argument("paths", metavar="FILE...", nargs=-1, required=True)
@click.option("-m", "--model", help="A weights file, where the model is not an installed one.")
@several
def verify(paths: tuple[str, ...], model: str | None, **shared: Any) -> None:
    """Check files: every checksum, and everything in them is decoded up to the pixels' indices.

    Many files, or folders with -r; `-` is stdin. Exit code 1 if a file is damaged.
    """
    from vqcodec.cli.work import Verifying

    start("verified", None, lambda settings: Verifying(model, settings), paths, shared)


@click.command()
@click.argument("paths", metavar="DIR|IMAGE...", nargs=-1, required=True)
@click.option("--samples", type=click.IntRange(1), default=20, show_default=True, help="Pictures to try.")
@click.option(
    "-e", "--effort", type=click.IntRange(1, 9), help="1 fast .. 9 smallest.  [default: 5, or 1 without PyTorch]"
)
@click.option("-m", "--model", default="default", show_default=True, help="A model's name or a weights file.")
@click.option("--threads", type=click.IntRange(1), help="CPU threads; free cores by default.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def estimate(
    paths: tuple[str, ...], samples: int, effort: int | None, model: str, threads: int | None, as_json: bool
) -> None:
    """Estimate what encoding would save, and how long it would take, at quality 60, 75 and 90.

    Encodes a part of some pictures of the folders, and writes nothing.
    """
    todo = plan(paths, Naming(FILE_SUFFIX), recursive=True)

    def work() -> dict[str, Any]:
        from vqcodec.cli.work import Settings
        from vqcodec.coding.quality import chosen_effort

        Settings(threads).apply()
        tally = Tally(todo.jobs)
        chosen = sorted(random.Random(0).sample(todo.jobs, min(samples, len(todo.jobs))))
        return {
            "pictures": len(todo.jobs), "bytes": tally.left_bytes,
            **_estimated([job.source for job in chosen], tally, model, chosen_effort(effort)),
        }  # fmt: skip

    found = guard(work)
    if as_json:
        tell_json(found)
        return
    tell(f"{found['pictures']} pictures, {size(found['bytes'])}; from {found['samples']} of them:")
    for row in found["qualities"]:
        saved = 100 * (1 - row["bytes"] / max(found["bytes"], 1))
        change = f"{abs(saved):.0f} % {'less' if saved >= 0 else 'more'}"
        tell(f"quality {row['quality']}: about {size(row['bytes'])}, {change}, in {duration(row['seconds'])}")


def _estimated(sources: list[str], tally: Tally, model: str, effort: int) -> dict[str, Any]:
    """Encodes parts of the samples, and scales up. Pictures that cannot be read are said, and left out."""
    from PIL import Image
    from vqbitstream.errors import VQCError

    from vqcodec import api
    from vqcodec.cli.estimates import Sample

    codec, taken = api.load_model(model), []
    codec.encode(Image.linear_gradient("L"), effort=effort)  # the first one takes longer
    bar = Bar(Tally(plan(sources, Naming(FILE_SUFFIX)).jobs))
    with bar:
        for number, source in enumerate(sources):
            try:
                taken.append(Sample.of(codec, source, QUALITIES, effort))
            except (VQCError, OSError) as error:
                bar.hide()
                say(str(error))
            bar(number + 1)
    original = sum(sample.input_bytes for sample in taken)
    scale = tally.left_bytes / original if original else 0.0
    rows = [
        {
            "quality": quality,
            "bytes": round(scale * sum(sample.output_bytes[i] for sample in taken)),
            "seconds": round(scale * sum(sample.seconds[i] for sample in taken), 1),
        }
        for i, quality in enumerate(QUALITIES)
    ]
    return {"samples": len(taken), "effort": effort, "qualities": rows}
