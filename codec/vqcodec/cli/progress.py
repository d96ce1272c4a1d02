"""Progress of a batch: totals, and a bar on a terminal or an occasional line elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from vqbitstream.errors import visible

from vqcodec.cli.console import say
from vqcodec.cli.names import Job, stat_of
from vqcodec.cli.workers import Outcome

BAR_AFTER_S = 2.0
LINE_EVERY_S = 30.0
NAME_LENGTH = 40


class Tally:
    """Totals of the inputs so far. Bytes and pixels count the inputs that were done.

    Args:
        jobs: All inputs. Their sizes say how much is left.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.total, self.begun = len(jobs), time.monotonic()
        self.name = visible(Path(jobs[0].source).name) if len(jobs) == 1 else ""
        self.sizes = {job.source: stat.st_size for job in jobs if (stat := stat_of(job.source))}
        self.left_bytes, self.worked_bytes = sum(self.sizes.values()), 0
        self.done = self.skipped = self.failed = 0
        self.input_bytes = self.output_bytes = self.pixels = 0
        self.stale: Counter[str] = Counter()
        self.overtaken = 0

    def add(self, outcome: Outcome) -> None:
        size = self.sizes.get(outcome.source, 0)
        self.left_bytes -= size
        if outcome.coded:
            self.done += 1
            self.input_bytes += outcome.coded.input_bytes
            self.output_bytes += outcome.coded.output_bytes
            self.pixels += outcome.coded.width * outcome.coded.height
            self.worked_bytes += size
        elif outcome.error:
            self.failed += 1  # in no time, mostly
        else:
            self.skipped += 1
            self.overtaken += outcome.overtaken
            self.stale.update([outcome.stale] if outcome.stale else [])

    @property
    def finished(self) -> int:
        return self.done + self.skipped + self.failed

    def seconds(self) -> float:
        return time.monotonic() - self.begun

    def compared(self) -> str:
        """Such as `45.1 MB to 3.0 MB (6.7 %)`."""
        percent = 100 * self.output_bytes / max(self.input_bytes, 1)
        return f"{size(self.input_bytes)} to {size(self.output_bytes)} ({percent:.1f} %)"

    def rates(self) -> str:
        """Such as `45.1 MB to 3.0 MB (6.7 %), 1.9 megapixels/s`."""
        rate = f"{self.pixels / 1e6 / max(self.seconds(), 1e-9):.2f} megapixels/s"
        return f"{self.compared()}, {rate}" if self.output_bytes else f"{size(self.input_bytes)}, {rate}"

    def left(self, share: float) -> str:
        """The time that the rest takes, by its bytes. share: of inputs in work, as a sum."""
        waiting = self.total - self.finished
        if not self.worked_bytes + self.left_bytes:  # stdin
            worked, left = self.done + share, waiting - share
        else:
            now = share * self.left_bytes / max(waiting, 1)
            worked, left = self.worked_bytes + now, self.left_bytes - now
        return f"{duration(left * self.seconds() / worked)} left" if worked > 0 else ""

    def line(self, share: float = 0.0, *, short: bool = False) -> str:
        """How far, how fast, and how long yet. share: of inputs in work, as a sum. short: for a terminal of 80 columns."""
        if self.total == 1:
            name = self.name if len(self.name) <= NAME_LENGTH else self.name[: NAME_LENGTH - 3] + "..."
            parts = [name, f"{100 * share:.0f} %"]
        else:
            parts = [f"{self.finished} of {self.total}"]
            if self.done:
                parts.append(self.compared() if short and self.output_bytes else self.rates())
        return ", ".join(part for part in (*parts, self.left(share)) if part)

    def summary(self, verb: str) -> str:
        return f"{self.done} of {self.total} inputs {verb} in {duration(self.seconds())}: {self.rates()}"

    def facts(self) -> dict[str, float]:
        """The sums, for a report."""
        return {
            "inputs": self.total, "done": self.done, "skipped": self.skipped, "failed": self.failed,
            "input_bytes": self.input_bytes, "output_bytes": self.output_bytes, "pixels": self.pixels,
            "seconds": round(self.seconds(), 3),
        }  # fmt: skip


def size(count: int) -> str:
    """Bytes for people: 999 bytes, 1.2 kB, 3.4 MB."""
    if count < 1000:
        return f"{count} bytes"
    for unit in ("kB", "MB", "GB", "TB"):
        value = count / 1000
        if value < 999.95 or unit == "TB":
            break
        count = round(value)
    return f"{value:.1f} {unit}"


def duration(seconds: float) -> str:
    """Seconds for people: 4.2 s, 2 min 10 s, 3 h 5 min."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes = round(seconds) // 60
    return f"{minutes} min {round(seconds) % 60} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class Bar:
    """Shows a tally: a bar on a terminal for anything over two seconds, a line every half minute elsewhere."""

    def __init__(self, tally: Tally, quiet: bool = False) -> None:
        self.tally, self.quiet, self.said = tally, quiet, time.monotonic()
        self.shown: Any = None

    def __enter__(self) -> Bar:
        return self

    def __call__(self, share: float = 0.0) -> None:
        """share: of inputs in work, as a sum."""
        if self.quiet:
            return
        now = time.monotonic()
        if sys.stderr is not None and sys.stderr.isatty():
            if now - self.tally.begun > BAR_AFTER_S:
                self._draw(share)
        elif self.tally.total > 1 and now - self.said > LINE_EVERY_S:
            self.said = now
            say(self.tally.line(share))

    def _draw(self, share: float) -> None:
        if self.shown is None:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            columns = (BarColumn(None), TextColumn("{task.description}", markup=False))
            console = Console(stderr=True)
            # stderr stays what it is: the stand-in of older versions of rich says that it is no terminal
            self.shown = Progress(*columns, console=console, transient=True, expand=True, redirect_stderr=False)
            self.shown.start()
            self.task = self.shown.add_task("", total=self.tally.total)
        self.shown.update(
            self.task, completed=self.tally.finished + share, description=self.tally.line(share, short=True)
        )

    def hide(self) -> None:
        """Clear the line for a message. The next call shows the bar again."""
        if self.shown is not None:
            self.shown.stop()
            self.shown = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hide()
