"""Progress of a batch: totals, and a bar on a terminal or an occasional line elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from vqcodec.cli.console import say
from vqcodec.cli.workers import Outcome

BAR_AFTER_S = 2.0
LINE_EVERY_S = 30.0


class Tally:
    """Totals of the inputs so far. Bytes and pixels count the inputs that were done."""

    def __init__(self, total: int) -> None:
        self.total, self.begun = total, time.monotonic()
        self.done = self.skipped = self.failed = 0
        self.input_bytes = self.output_bytes = self.pixels = 0

    def add(self, outcome: Outcome) -> None:
        if outcome.coded:
            self.done += 1
            self.input_bytes += outcome.coded.input_bytes
            self.output_bytes += outcome.coded.output_bytes
            self.pixels += outcome.coded.width * outcome.coded.height
        elif outcome.error:
            self.failed += 1
        else:
            self.skipped += 1

    @property
    def finished(self) -> int:
        return self.done + self.skipped + self.failed

    def seconds(self) -> float:
        return time.monotonic() - self.begun

    def rates(self) -> str:
        """Such as `45.1 MB to 3.0 MB (6.7 %), 1.9 megapixels/s`."""
        percent = 100 * self.output_bytes / max(self.input_bytes, 1)
        sizes = f"{size(self.input_bytes)} to {size(self.output_bytes)} ({percent:.1f} %)"
        return f"{sizes}, {self.pixels / 1e6 / max(self.seconds(), 1e-9):.2f} megapixels/s"

    def line(self, share: float = 0.0) -> str:
        """How far, how fast, and how long yet. share: of the present input."""
        parts = [f"{self.finished} of {self.total}"] + ([self.rates()] if self.done else [])
        worked = self.done + self.failed + share  # what was skipped took no time
        if worked > 0:
            parts.append(f"{duration((self.total - self.finished - share) * self.seconds() / worked)} left")
        return ", ".join(parts)

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

    def __init__(self, tally: Tally) -> None:
        self.tally, self.said = tally, time.monotonic()
        self.shown: Any = None

    def __enter__(self) -> Bar:
        return self

    def __call__(self, share: float = 0.0) -> None:
        """share: of the present input, 0..1."""
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

            columns = (BarColumn(), TextColumn("{task.description}", markup=False))
            self.shown = Progress(*columns, console=Console(stderr=True), transient=True)
            self.shown.start()
            self.task = self.shown.add_task("", total=self.tally.total)
        self.shown.update(self.task, completed=self.tally.finished + share, description=self.tally.line(share))

    def hide(self) -> None:
        """Clear the line for a message. The next call shows the bar again."""
        if self.shown is not None:
            self.shown.stop()
            self.shown = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hide()
