"""Work for worker processes that needs no model: it writes, or dies. Imported by the workers themselves."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from vqcodec.atomic import write
from vqcodec.cli.batch import BatchOptions, run
from vqcodec.cli.console import stop_politely
from vqcodec.cli.names import Job, Plan
from vqcodec.cli.workers import Coded, Progress


@dataclass(frozen=True)
class Copying:
    """Copies; an input with "deadly" in its name kills the worker, one with "bad" is no picture. dies: already at its start."""

    dies: bool = False

    def prepare(self) -> None:
        if self.dies:
            os._exit(3)

    def differs(self, source: str, target: str) -> str | None:
        return None

    def __call__(self, source: str, target: str, progress: Progress) -> Coded:
        if "deadly" in source:
            os.kill(os.getpid(), signal.SIGKILL)
        if "bad" in source:
            raise ValueError("no picture")
        size = Path(target).write_bytes(Path(source).read_bytes())
        return Coded(1, 1, size, size)


@dataclass(frozen=True)
class Slowly:
    """Writes one byte, and takes its time before the file gets its name."""

    def prepare(self) -> None: ...

    def differs(self, source: str, target: str) -> str | None:
        return None

    def __call__(self, source: str, target: str, progress: Progress) -> Coded:
        def fill(file: IO[bytes]) -> None:
            file.write(b"x")
            file.flush()
            time.sleep(0.1)

        return Coded(1, 1, 0, write(target, fill, force=False))


def main() -> None:
    """Many slow writes by two workers, into the folder that is named."""
    out = Path(sys.argv[1])
    stop_politely()
    jobs = [Job(f"{number}.png", str(out / f"{number}.vqc")) for number in range(500)]
    run(Plan(jobs, out, many=True), Slowly(), BatchOptions(".vqc", "written", workers=2))


if __name__ == "__main__":
    main()
