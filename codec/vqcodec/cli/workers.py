"""One input after the other, in this process or spread over worker processes. Each result is an Outcome.

Workers are spawned, never forked, because torch's threads do not survive a fork. Each takes one input at a time: if a worker is killed,
its current input has failed, and another worker takes the next one.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from vqcodec.atomic import OutputExists
from vqcodec.cli.console import Failed, explained, silence_pillow, stop_politely
from vqcodec.cli.names import finished

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

TICK_S = 0.5  # how often `tick` is called while all workers are busy
PATIENCE_S = 10.0  # for a worker to clean up after itself before it is killed
Progress = Callable[[float], None]
Task = tuple[str, str]  # input, output


@dataclass(frozen=True)
class Coded:
    """What was read and written.

    Attributes:
        width: Pixels.
        height: Pixels.
        input_bytes: Size of the input.
        output_bytes: Size of the output.
        reached: What is known of the result: quality, bpp, psnr (dB), ssimulacra2, model.
    """

    width: int
    height: int
    input_bytes: int
    output_bytes: int
    reached: dict[str, Any] = field(default_factory=dict)


class Work(Protocol):
    """What is done with an input. It is pickled for the workers."""

    def prepare(self) -> None:
        """Do what is slow and needed once, such as setting the threads."""

    def __call__(self, source: str, target: str, progress: Progress) -> Coded:
        """Work on one input. `progress` is called with the share done, 0..1. Raises what `explained` explains."""

    def differs(self, source: str, target: str) -> str | None:
        """Such as "of other settings": why an existing output is not what would be made now. None if it is, or nobody knows."""


@dataclass(frozen=True)
class Outcome:
    """The result of one input.

    Attributes:
        source: The input.
        target: The output.
        coded: None unless it was done.
        error: One line if it failed, else None.
        warnings: One line each.
        seconds: Spent on it.
        stale: Why an output that exists already is not what would be made now.
        overtaken: Another process wrote the output meanwhile.
    """

    source: str
    target: str | None
    coded: Coded | None = None
    error: str | None = None
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    stale: str | None = None
    overtaken: bool = False

    @property
    def status(self) -> str:
        return "done" if self.coded else "failed" if self.error else "skipped"


Outcomes = Generator[Outcome, None, None]


def attempt(work: Work, task: Task, progress: Progress) -> Outcome:
    """Do one task. Nothing that is wrong with its files is raised."""
    source, target = task
    warnings: list[str] = []
    coded, problem, overtaken = None, None, False
    begun = time.monotonic()
    try:
        with explained(*filter(None, task), warn=warnings.append):
            try:
                coded = work(source, target, progress)
            except OutputExists:
                overtaken = True  # it did not when the batch looked
                raise
    except Failed as error:
        problem = str(error)
        overtaken = overtaken or (finished(target) and not Path(source).exists())  # and deleted the input
    return Outcome(source, target, coded, problem, tuple(warnings), time.monotonic() - begun, overtaken=overtaken)


def alone(work: Work, tasks: Iterable[Task], progress: Progress) -> Outcomes:
    """Do the tasks in this process."""
    for task in tasks:
        yield attempt(work, task, progress)


def spread(work: Work, tasks: Iterable[Task], count: int, tick: Progress) -> Outcomes:
    """Do the tasks in `count` processes; outcomes come as they are ready. Closing the generator ends the processes.

    tick is called now and then with the inputs in work, as a sum of shares. Raises Failed where workers cannot be started.
    """
    from multiprocessing.connection import wait

    queue = iter(tasks)
    workers: list[_Worker] = []
    try:
        for task in islice(queue, count):
            workers.append(_Worker(work, task))
        while workers:
            ready = wait([worker.pipe for worker in workers], TICK_S)
            tick(sum(worker.share for worker in workers))
            for worker in [w for w in workers if w.pipe in ready]:
                outcome = worker.receive()
                if outcome is None:
                    continue
                following = next(queue, None)
                if following is None or worker.dead:
                    workers.remove(worker)
                    worker.end()
                if following is not None and worker.dead:
                    workers.append(_Worker(work, following))
                elif following is not None:
                    worker.give(following)
                yield outcome
    finally:
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.end()


class _Worker:
    """A process, the pipe to it, and the task that it is at."""

    def __init__(self, work: Work, task: Task) -> None:
        import multiprocessing
        from multiprocessing import resource_tracker

        context = multiprocessing.get_context("spawn")
        try:
            resource_tracker.ensure_running()  # its start would lift the block on signals
            self.pipe, theirs = context.Pipe()
            self.process = context.Process(target=_serve, args=(theirs, work), daemon=True)
            with _interrupts_blocked():
                self.process.start()
        except OSError as error:
            raise Failed(f"no worker process can be started: {error.strerror or error}") from None
        theirs.close()  # or its end would not be seen
        self.started = self.dead = False
        self.give(task)

    def give(self, task: Task) -> None:
        self.task, self.share = task, 0.0
        with suppress(OSError):  # it has died: `receive` says so
            self.pipe.send(task)

    def receive(self) -> Outcome | None:
        """The outcome of its task; None where it has started, or says how far it is. Raises Failed where it never started."""
        try:
            said: Outcome | float | None = self.pipe.recv()
            self.started = True
            if isinstance(said, Outcome):
                return said
            self.share = said or 0.0
            return None
        except (EOFError, OSError):
            self.dead = True
        self.end()
        code = self.process.exitcode or 0
        how = f"was killed (signal {-code})" if code < 0 else f"ended (exit code {code})"
        if not self.started:
            raise Failed(f"a worker process {how} before it could begin; fewer --jobs need less memory")
        return Outcome(*self.task, error=f"{self.task[0]}: its worker process {how}; was there enough memory?")

    def end(self) -> None:
        """Let it end: it reads that the pipe is closed."""
        self.pipe.close()
        self.process.join(PATIENCE_S)
        if self.process.exitcode is None:
            self.process.kill()
            self.process.join()


def _serve(pipe: Connection[Any, Any], work: Work) -> None:
    """A worker: tasks in, outcomes out, until the pipe is closed."""
    stop_politely(quietly=True)
    silence_pillow()
    with suppress(Exception):  # whatever it is, every task will tell
        work.prepare()
    with suppress(EOFError, OSError, KeyboardInterrupt):
        pipe.send(None)
        while True:
            pipe.send(attempt(work, pipe.recv(), _now_and_then(pipe.send)))


def _now_and_then(send: Callable[[float], object]) -> Progress:
    """Passes the share on, at most every half second."""
    said = time.monotonic()

    def progress(share: float) -> None:
        nonlocal said
        if time.monotonic() - said > TICK_S:
            said = time.monotonic()
            send(share)

    return progress


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """A process started meanwhile never sees Ctrl-C, which the terminal sends to all: the first process tells the others to end."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
