"""Batches: every input is worked on, what is finished is skipped, and what happened is reported."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from vqcodec.atomic import output_path
from vqcodec.cli.console import Failed, explained, say, tell, tell_json
from vqcodec.cli.names import Job, Plan, finished, ignores_case, same_but_for_case, stat_of
from vqcodec.cli.progress import Bar, Tally, duration, size
from vqcodec.cli.workers import Outcome, Outcomes, Task, Work, alone, spread


@dataclass(frozen=True)
class BatchOptions:
    """How to run a batch.

    Attributes:
        suffix: Of outputs without a name; None where there are no outputs.
        verb: For the summary, such as "encoded".
        force: Replace existing outputs.
        update: Replace existing outputs that are older than their inputs, or of other settings.
        verbose: Report each input, with all that was measured.
        quiet: Report only what is wrong.
        workers: Number of processes.
        as_json: Print a line of JSON for each input, and one with the totals.
    """

    suffix: str | None
    verb: str
    force: bool = False
    update: bool = False
    verbose: bool = False
    quiet: bool = False
    workers: int = 1
    as_json: bool = False


def run(plan: Plan, work: Work, options: BatchOptions) -> None:
    """Work on every input. A bad input is reported, and the rest go on; the exit code is then 1.

    In a plan for many inputs, one is skipped if its output exists and is not empty, unless `force` is set.
    """
    jobs = plan.jobs
    if not options.quiet:
        for remark in plan.remarks(everything=options.verbose):
            say(remark)
    try:
        tally = _Run(plan, work, options).all()
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(130)
    except Failed as error:
        say(str(error))
        sys.exit(1)
    if not jobs:
        say("no inputs found")
    if tally.skipped and not options.quiet:
        say(_skipped(tally, len(jobs)))
    if tally.failed and len(jobs) > 1:
        say(f"{tally.failed} of {len(jobs)} inputs failed")
    if tally.done and len(jobs) > 1 and not options.quiet:
        say(tally.summary(options.verb))
    if options.as_json:
        ignored = {"ignored": sum(map(len, plan.ignored.values()))} if plan.ignored else {}
        tell_json({"summary": tally.facts() | ignored})
    if tally.failed:
        sys.exit(1)


def _skipped(tally: Tally, total: int) -> str:
    count = f"{tally.skipped} of {total} inputs" if total > 1 else "input"
    line = f"{count} skipped: their outputs exist already; -f overwrites them"
    if total == 1:
        line = "skipped: its output exists already; -f overwrites it"
    stale = [f"{number} {why}" for why, number in sorted(tally.stale.items())]
    remarks = [f"{', '.join(stale)}: --update makes these again"] if stale else []
    remarks += [f"another process wrote {tally.overtaken} of them meanwhile"] if tally.overtaken else []
    return f"{line} ({'; '.join(remarks)})" if remarks else line


class _Run:
    """One run of a batch."""

    def __init__(self, plan: Plan, work: Work, options: BatchOptions) -> None:
        self.plan, self.work, self.options = plan, work, options
        self.tally = Tally(plan.jobs)
        self.bar = Bar(self.tally, options.quiet)
        self.made: list[Path] = []  # folders, outer before inner
        counts = Counter(job.target for job in plan.jobs if job.target is not None)
        self.shared = {target for target, count in counts.items() if count > 1 and target != "-"}
        self.alike = same_but_for_case(plan.jobs)

    @cached_property
    def inputs(self) -> set[tuple[int, int]]:
        """Device and inode of every input. Computed only if an output exists already, because it is slow for a million inputs."""
        return {(stat.st_dev, stat.st_ino) for job in self.plan.jobs if (stat := stat_of(job.source))}

    def all(self) -> Tally:
        try:
            with self.bar, closing(self._outcomes()) as outcomes:
                for outcome in outcomes:
                    self._record(outcome)
        finally:
            for folder in reversed(self.made):
                with suppress(OSError):  # not empty
                    folder.rmdir()
        return self.tally

    def _outcomes(self) -> Outcomes:
        workers = min(self.options.workers, len(self.plan.jobs))
        if workers > 1:
            return spread(self.work, self._tasks(), workers, self.bar)
        return alone(self.work, self._tasks(), self.bar)

    def _tasks(self) -> Iterator[Task]:
        """What is to be done. Inputs that are skipped or fail here are recorded at once."""
        for job in self.plan.jobs:
            try:
                with explained(job.source, str(job.target or self.plan.folder or job.source)):
                    stale = self._skipped(job)
                    target = self._place(job) if stale is None else None
            except Failed as error:
                self._record(Outcome(job.source, job.target, error=str(error)))
                continue
            if target is None:
                self._record(Outcome(job.source, job.target, stale=stale))
            else:
                yield job.source, target

    def _skipped(self, job: Job) -> str | None:
        """None if there is something to do; else what is wrong with the existing output, empty if nothing is."""
        target = output_of(job, self.options.suffix)
        if target is None or job.problem or target in self.shared or target == job.source:
            return None
        if self.options.force or not (self.plan.many or self.options.update) or not finished(target):
            return None
        stale = _stale(job.source, target) or self.work.differs(job.source, target)
        return None if self.options.update and stale else stale or ""

    def _place(self, job: Job) -> str:
        """Where to write the output, empty if there is none. Raises ValueError, OSError or Failed."""
        source, target = job.source, job.target
        if job.problem:
            raise Failed(job.problem)
        if target in self.shared:
            raise ValueError(f"{source}: another input has the same output, {target}; --keep-suffix tells them apart")
        if self.plan.many:
            if (stat := stat_of(source)) and not S_ISREG(stat.st_mode) and not S_ISDIR(stat.st_mode):
                raise ValueError(
                    f"{source}: is not an ordinary file; give INPUT OUTPUT instead"
                )  # a pipe might never end
            if self.plan.folder is not None and target is not None:
                self._make(Path(target).parent)
        if self.options.suffix is None:
            return ""
        out = output_path(source, target, self.options.suffix, self.options.force or self.options.update)
        if (stat := stat_of(out)) and (stat.st_dev, stat.st_ino) in self.inputs:
            raise ValueError(f"{source}: its output {out} is an input")
        if out in self.alike and ignores_case(Path(out).parent):
            raise ValueError(f"{source}: another input's output differs from {out} only in case")
        return out

    def _make(self, folder: Path) -> None:
        missing = [place for place in (folder, *folder.parents) if not place.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        self.made += reversed(missing)

    def _record(self, outcome: Outcome) -> None:
        if outcome.overtaken and self.plan.many and not (self.options.force or self.options.update):
            outcome = replace(outcome, error=None, warnings=())  # as if the batch had come to it a little later
        self.tally.add(outcome)
        lines = [f"warning: {warning}" for warning in outcome.warnings]
        lines += [outcome.error] if outcome.error else []
        told = outcome.coded and (self.options.verbose or self._alone_on_a_terminal())
        if lines or told:
            self.bar.hide()
        for line in lines:
            say(line)
        if told:
            tell(report(outcome, verbose=self.options.verbose), err=True)
        if self.options.as_json:
            tell_json(facts(outcome))
        self.bar()

    def _alone_on_a_terminal(self) -> bool:
        """Whether somebody looks on who gets no summary."""
        return len(self.plan.jobs) == 1 and not self.options.quiet and sys.stderr is not None and sys.stderr.isatty()


def output_of(job: Job, suffix: str | None) -> str | None:
    """Path of a job's output; None for stdout, or where there is none."""
    if suffix is None or "-" in (job.target, job.target or job.source) or not Path(job.source).name:
        return None
    return job.target or str(Path(job.source).with_suffix(suffix))


def facts(outcome: Outcome) -> dict[str, object]:
    """An outcome for a report in JSON."""
    out: dict[str, object] = {"input": outcome.source, "output": outcome.target or None, "status": outcome.status}
    if outcome.coded:
        out |= {k: v for k, v in asdict(outcome.coded).items() if v is not None and k != "reached"}
        out |= {k: v for k, v in outcome.coded.reached.items() if v is not None}
        out["seconds"] = round(outcome.seconds, 3)
    if outcome.error:
        out["error"] = outcome.error
    if outcome.stale:
        out["stale"] = outcome.stale
    if outcome.overtaken and not outcome.error:
        out["overtaken"] = True
    if outcome.warnings:
        out["warnings"] = outcome.warnings
    return out


def report(outcome: Outcome, *, verbose: bool) -> str:
    """What was done with an input, in one line."""
    coded = outcome.coded
    assert coded is not None
    if not outcome.target:
        return f"{outcome.source}: {coded.width}x{coded.height}, {size(coded.input_bytes)}, sound, {duration(outcome.seconds)}"
    percent = f"{size(coded.input_bytes)} to {size(coded.output_bytes)}"
    if coded.input_bytes:
        percent += f" ({100 * coded.output_bytes / coded.input_bytes:.1f} %)"
    reached = coded.reached
    parts = [f"{outcome.source} -> {outcome.target}: {percent}"]
    parts += [f"quality {reached['quality']:g}"] if "quality" in reached else []
    if verbose:
        parts += [f"{reached['bpp']:.3f} bpp"] if "bpp" in reached else []
        parts += [f"PSNR {reached['psnr']:.2f} dB"] if reached.get("psnr") is not None else []
        parts += [f"SSIMULACRA2 {reached['ssimulacra2']:.1f}"] if reached.get("ssimulacra2") is not None else []
        parts += [f"model {reached['model']}"] if "model" in reached else []
    return ", ".join([*parts, duration(outcome.seconds)])


def _stale(source: str, target: str) -> str | None:
    """Whether an output is older than its input; outputs have the times of their inputs, so to the second."""
    old, new = stat_of(target), stat_of(source)
    return "older than their inputs" if old and new and int(old.st_mtime) < int(new.st_mtime) else None
