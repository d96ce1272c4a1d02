"""What the commands' options have in common: their types, presets, and how a batch is started."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from vqcodec.cli.batch import BatchOptions, run
from vqcodec.cli.names import Naming, plan
from vqcodec.runtimes.threads import default_workers

if TYPE_CHECKING:
    from vqcodec.cli.work import Settings
    from vqcodec.cli.workers import Work

PRESETS: dict[str, dict[str, Any]] = {
    "web": {"quality": 65.0},
    "archive": {"quality": 90.0, "effort": 7},
    "preview": {"quality": 45.0, "max_size": 1024, "strip": True},
}


class Bytes(click.ParamType):  # type: ignore[type-arg]
    """A number of bytes: 50000, 50k, 1.5M (k = 1000)."""

    name = "bytes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"(\d+\.?\d*|\.\d+)(k|m|)b?", str(value).strip().lower())
        number = round(float(match[1]) * {"": 1, "k": 1000, "m": 1_000_000}[match[2]]) if match else 0
        if number < 1:
            self.fail(f"{value!r} is not a number of bytes, such as 50000, 50k or 1.5M", param, ctx)
        return number


class Crop(click.ParamType):  # type: ignore[type-arg]
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


def use_preset(context: click.Context, _: click.Parameter, name: str | None) -> str | None:
    """Let a preset replace the defaults of other options; what is given beside it still counts."""
    if name is not None:
        context.default_map = {**(context.default_map or {}), **PRESETS[name]}
    return name


def preset_help() -> str:
    """Such as `web: -q 65; archive: -q 90 -e 7`."""
    words = {"quality": "-q {:g}", "effort": "-e {}", "max_size": "--max-size {}", "strip": "--strip"}
    lines = [
        f"{name}: " + " ".join(words[k].format(v) for k, v in options.items()) for name, options in PRESETS.items()
    ]
    return "Settings by name. " + "; ".join(lines) + "."


def several(command: Callable[..., None]) -> Callable[..., None]:
    """Options of all commands that take many inputs."""
    for option in (
        click.option(
            "--json", "as_json", is_flag=True, help="Report on stdout: a line of JSON per input, then the totals."
        ),
        click.option("-v", "--verbose", is_flag=True, help="A line per input, with all that can be measured."),
        click.option("--quiet", is_flag=True, help="Only warnings and errors."),
        click.option("--threads", type=click.IntRange(1), help="CPU threads; free cores by default, one with --jobs."),
        click.option(
            "-j",
            "--jobs",
            "workers",
            type=click.IntRange(1),
            help="Worker processes.  [default: free cores, at most 4, for 8 inputs or more, else 1]",
        ),
        click.option("-r", "--recursive", is_flag=True, help="Take what folders hold; with -o DIR, keep their tree."),
        click.option("--max-pixels", type=click.IntRange(1), help="Refuse larger pictures.  [default: 128000000]"),
    ):
        command = option(command)
    return command


def outputs(command: Callable[..., None]) -> Callable[..., None]:
    """Options of the commands that write files."""
    for option in (
        click.option("--no-mtime", is_flag=True, help="Date outputs now, not as their inputs."),
        click.option("--keep-suffix", is_flag=True, help="Append the new suffix: a.jpg and a.jpg.vqc."),
        click.option(
            "-u",
            "--update",
            is_flag=True,
            help="Make outputs again that are older than their input, or of other settings.",
        ),
        click.option("-f", "--force", is_flag=True, help="Overwrite outputs."),
        click.option("-o", "--output", metavar="PATH", help="The output, or a folder for the outputs."),
    ):
        command = option(command)
    return command


def start(
    verb: str, suffix: str | None, make: Callable[[Settings], Work], paths: tuple[str, ...], shared: dict[str, Any]
) -> None:
    """Plan and run a batch. suffix: of the outputs. make: the work. shared: the values of `several` and `outputs`."""
    from vqcodec.cli.work import Settings

    force, update, as_json = shared.get("force", False), shared.get("update", False), shared["as_json"]
    workers, verbose, quiet = shared["workers"], shared["verbose"], shared["quiet"]
    if verbose and quiet:
        raise click.UsageError("give one of --verbose and --quiet")
    if force and update:
        raise click.UsageError("give one of --force, which overwrites all outputs, and --update")
    naming = Naming(suffix, shared.get("output"), shared.get("keep_suffix", False))
    todo = plan(paths, naming, recursive=shared["recursive"])
    if suffix is not None and any("-" in (job.target, job.source if job.target is None else "") for job in todo.jobs):
        if as_json:
            raise click.UsageError("stdout cannot take both the output and --json")
        if sys.stdout is not None and sys.stdout.isatty():
            raise click.UsageError("stdout is a terminal; send it to a file or a pipe")
    workers = workers or default_workers(len(todo.jobs))
    threads = shared["threads"] or (1 if min(workers, len(todo.jobs)) > 1 else None)
    settings = Settings(
        threads, shared["max_pixels"], force or update, not shared.get("no_mtime", False), verbose or as_json
    )
    run(todo, make(settings), BatchOptions(suffix, verb, force, update, verbose, quiet, workers, as_json))
