"""Batches: what the inputs are, where their outputs go, what is skipped, and what is reported."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import NamedTuple

import click

from vqcodec.atomic import output_path
from vqcodec.cli.console import Failed, explained, say
from vqcodec.cli.progress import Bar, Tally
from vqcodec.cli.workers import Outcome, Task, Work, alone, spread
from vqcodec.pictures.suffixes import FILE_SUFFIX, PICTURE_SUFFIXES

LISTED_SUFFIXES = 6  # of what was skipped


class Job(NamedTuple):
    """An input and its output.

    Attributes:
        source: Path, or `-`.
        target: Path or `-`; None is the input with its suffix swapped.
        problem: What is wrong with the input, if that is known already.
    """

    source: str
    target: str | None = None
    problem: str | None = None


def plan(paths: Sequence[str], folder: Path | None, suffix: str, *, recursive: bool = False) -> list[Job]:
    """The jobs of a command.

    Args:
        paths: Arguments of the command.
        folder: Of the outputs, if there is one.
        suffix: Of the outputs.
        recursive: Replace folders by the files in them.

    Raises:
        click.UsageError: The arguments do not make sense together.
    """
    if folder is not None:
        if "-" in paths:
            raise click.UsageError("stdin has no name for a file in -o DIR; give INPUT OUTPUT instead")
        jobs: list[Job] = []
        for path in paths:
            if recursive and (stat := _stat(path)) and S_ISDIR(stat.st_mode):
                jobs += _walk(Path(path), folder, suffix)
            else:
                jobs.append(Job(path, _swapped(folder / Path(path).name, suffix) if Path(path).name else None))
        return list(dict.fromkeys(jobs))  # an input that is named twice is done once
    if recursive:
        raise click.UsageError("-r needs -o DIR, a folder for the outputs")
    if len(paths) > 2:
        raise click.UsageError("several inputs need -o DIR")
    if len(paths) == 2 and paths[1] != "-" and not _is_output(paths[1], suffix):
        raise click.UsageError(f"{paths[1]} does not have an output's suffix; several inputs need -o DIR")
    return [Job(paths[0], paths[1] if len(paths) == 2 else None)]


def _is_output(path: str, suffix: str) -> bool:
    given = Path(path).suffix.lower()
    return given == FILE_SUFFIX if suffix == FILE_SUFFIX else given not in ("", FILE_SUFFIX)


def _swapped(path: Path, suffix: str) -> str:
    return str(path.with_suffix(suffix))


def _walk(top: Path, folder: Path, suffix: str) -> Iterator[Job]:
    """The files in a folder and below, in order, without hidden ones. Outputs keep the tree below `top`."""
    wanted = PICTURE_SUFFIXES if suffix == FILE_SUFFIX else {FILE_SUFFIX}
    problems: list[Job] = []

    def unreadable(error: OSError) -> None:
        problems.append(Job(str(error.filename), problem=f"{error.filename}: {error.strerror}"))

    others: Counter[str] = Counter()
    for place, folders, names in os.walk(top, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in names if not name.startswith(".")):
            if Path(name).suffix.lower() in wanted:
                source = Path(place, name)
                yield Job(str(source), _swapped(folder / source.relative_to(top), suffix))
            else:
                others[Path(name).suffix] += 1
    yield from problems
    if others:
        say(f"{top}: {_skipped(others, 'picture' if suffix == FILE_SUFFIX else f'{FILE_SUFFIX} file')}")


def _skipped(others: Counter[str], kind: str) -> str:
    """Such as `skipped 2 files that are not pictures by suffix (.CR2 1, .txt 1)`."""
    count = others.total()
    what = f"1 file that is not a {kind}" if count == 1 else f"{count} files that are not {kind}s"
    common = sorted(others.items(), key=lambda item: (-item[1], item[0]))
    listed = [f"{suffix or 'no suffix'} {number}" for suffix, number in common[:LISTED_SUFFIXES]]
    if rest := sum(number for _, number in common[LISTED_SUFFIXES:]):
        listed.append(f"others {rest}")
    return f"skipped {what} by suffix ({', '.join(listed)})"


@dataclass(frozen=True)
class BatchOptions:
    """How to run a batch.

    Attributes:
        folder: Of the outputs, if there is one.
        suffix: Of outputs without a name.
        verb: For the summary, such as "encoded".
        force: Replace existing outputs.
        verbose: Report each file that was written.
        workers: Number of processes.
        as_json: Print a line of JSON for each input, and one with the totals.
    """

    folder: Path | None
    suffix: str
    verb: str
    force: bool = False
    verbose: bool = False
    workers: int = 1
    as_json: bool = False


def run(jobs: Sequence[Job], work: Work, options: BatchOptions) -> None:
    """Work on every input. A bad input is reported, and the rest go on; the exit code is then 1.

    With a folder for the outputs, an input is skipped if its output exists and is not empty, unless `force` is set.
    """
    try:
        tally = _Run(jobs, work, options).all()
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(130)
    except Failed as error:
        say(str(error))
        sys.exit(1)
    if not jobs:
        say("no inputs found")
    if tally.skipped:
        say(f"{tally.skipped} of {len(jobs)} inputs skipped: their outputs exist already; -f overwrites them")
    if tally.failed and len(jobs) > 1:
        say(f"{tally.failed} of {len(jobs)} inputs failed")
    if tally.done and len(jobs) > 1:
        say(tally.summary(options.verb))
    if options.as_json:
        click.echo(json.dumps({"summary": tally.facts()}))
    if tally.failed:
        sys.exit(1)


class _Run:
    """One run of a batch."""

    def __init__(self, jobs: Sequence[Job], work: Work, options: BatchOptions) -> None:
        self.jobs, self.work, self.options = jobs, work, options
        self.tally = Tally(len(jobs))
        self.bar = Bar(self.tally)
        self.made: list[Path] = []  # folders, outer before inner
        counts = Counter(job.target for job in jobs if options.folder is not None)
        self.shared = {target for target, count in counts.items() if target is not None and count > 1}

    @cached_property
    def inputs(self) -> set[tuple[int, int]]:
        """Device and inode of every input. Computed only if an output exists already, because it is slow for a million inputs."""
        return {(stat.st_dev, stat.st_ino) for job in self.jobs if (stat := _stat(job.source))}

    def all(self) -> Tally:
        several = self.options.workers > 1 and len(self.jobs) > 1
        how = (
            partial(spread, count=self.options.workers, tick=self.bar) if several else partial(alone, progress=self.bar)
        )
        try:
            with self.bar, closing(how(self.work, self._tasks())) as outcomes:
                for outcome in outcomes:
                    self._record(outcome)
        finally:
            for folder in reversed(self.made):
                with suppress(OSError):  # not empty
                    folder.rmdir()
        return self.tally

    def _tasks(self) -> Iterator[Task]:
        """What is to be done. Inputs that are skipped or fail here are recorded at once."""
        for job in self.jobs:
            try:
                with explained(job.source, str(job.target or self.options.folder or job.source)):
                    target = self._place(job)
            except Failed as error:
                self._record(Outcome(job.source, job.target, error=str(error)))
                continue
            if target is None:
                self._record(Outcome(job.source, job.target))
            else:
                yield job.source, target

    def _place(self, job: Job) -> str | None:
        """Where to write the output, or None if it exists already. Raises ValueError, OSError or Failed."""
        source, target, folder = job.source, job.target, self.options.folder
        if job.problem:
            raise Failed(job.problem)
        if target in self.shared:
            raise ValueError(f"{source}: another input has the same output, {target}")
        if folder is not None and target is not None:
            if not self.options.force and source != target and _finished(target):
                return None
            if (stat := _stat(source)) and not S_ISREG(stat.st_mode) and not S_ISDIR(stat.st_mode):
                raise ValueError(
                    f"{source}: is not an ordinary file; give INPUT OUTPUT instead"
                )  # a pipe might never end
            self._make(Path(target).parent)
        out = output_path(source, target, self.options.suffix, self.options.force)
        if (stat := _stat(out)) and (stat.st_dev, stat.st_ino) in self.inputs:
            raise ValueError(f"{source}: its output {out} is an input")
        return out

    def _make(self, folder: Path) -> None:
        missing = [place for place in (folder, *folder.parents) if not place.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        self.made += reversed(missing)

    def _record(self, outcome: Outcome) -> None:
        self.tally.add(outcome)
        lines = [f"warning: {warning}" for warning in outcome.warnings]
        lines += [outcome.error] if outcome.error else []
        if lines or (self.options.verbose and outcome.coded):
            self.bar.hide()
        for line in lines:
            say(line)
        if self.options.verbose and outcome.coded:
            _report(outcome)
        if self.options.as_json:
            click.echo(json.dumps(_facts(outcome)))
        self.bar()


def _facts(outcome: Outcome) -> dict[str, object]:
    """An outcome for a report in JSON."""
    facts: dict[str, object] = {"input": outcome.source, "output": outcome.target, "status": outcome.status}
    if outcome.coded:
        facts |= asdict(outcome.coded) | {"seconds": round(outcome.seconds, 3)}
    if outcome.error:
        facts["error"] = outcome.error
    if outcome.warnings:
        facts["warnings"] = outcome.warnings
    return facts


def _report(outcome: Outcome) -> None:
    assert outcome.coded is not None
    sizes = (outcome.source, outcome.coded.input_bytes), (outcome.target, outcome.coded.output_bytes)
    source, target = (f"{name} ({count} bytes)" if name != "-" else name for name, count in sizes)
    click.echo(f"{source} -> {target}, {outcome.seconds:.2f} s", err=True)


def _finished(target: str) -> bool:
    """Whether an output exists and is not empty."""
    return Path(target).is_file() and Path(target).stat().st_size > 0


def _stat(path: str) -> os.stat_result | None:
    try:
        return None if path == "-" else Path(path).stat()
    except (OSError, ValueError):
        return None
