"""Inputs one after another: where outputs go, messages, the progress bar, reading, and writing without a trace of what failed."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from vqbitstream.limits import Limits

BAR_AFTER_SECONDS = 2.0
Job = tuple[str, str | None]  # input, output (None: the input with its suffix swapped)


class Failed(Exception):
    """A line for people, raised while one input is worked on."""


def say(message: str) -> None:
    click.echo(f"vqcodec: {' '.join(message.split())}", err=True)


def stop_politely() -> None:
    """Let SIGTERM and SIGHUP end the process the way Ctrl-C does: one line, and nothing left behind."""

    def stop(number: int, _: object) -> None:
        say("terminated")
        raise SystemExit(128 + number)

    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name) and threading.current_thread() is threading.main_thread():
            number = getattr(signal, name)
            if (
                signal.getsignal(number) is signal.SIG_DFL
            ):  # not where nohup, or a program around us, has said otherwise
                signal.signal(number, stop)


@contextmanager
def explained(*names: str) -> Iterator[None]:
    """What goes wrong with files or pictures becomes Failed, with one line; warnings become lines on stderr.

    names: of the input and output at work; a line that starts with none of them gets the first in front.
    """

    def named(message: str) -> str:
        return message if not names or message.startswith(names) else f"{names[0]}: {message}"

    from vqbitstream.errors import VQCError

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            yield
        except (VQCError, ValueError) as error:
            raise Failed(named(str(error))) from None
        except OSError as error:
            raise Failed(f"{error.filename or (names or ['stdout'])[0]}: {error.strerror or error}") from None
        except MemoryError:
            raise Failed(named("not enough memory")) from None
        except Exception as error:  # nobody should meet a traceback
            raise Failed(named(f"unexpected {type(error).__name__}: {error}; please report this")) from None
        finally:
            for message in dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, UserWarning)):
                say(f"warning: {named(message)}")


def guard(work: Callable[[], None], *names: str) -> None:
    """Run; what goes wrong is one line on stderr and exit code 1."""
    try:
        with explained(*names):
            work()
    except Failed as error:
        say(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(130)


class Bar:
    """A progress bar on a terminal, for what takes longer than two seconds; nothing elsewhere."""

    def __init__(self, total: int) -> None:
        self.total, self.begun, self.done = total, time.monotonic(), 0
        self.shown: Any = None

    def __enter__(self) -> Bar:
        return self

    def __call__(self, share: float) -> None:
        """share: of the present input, 0..1."""
        if (
            self.shown is None
            and sys.stderr is not None
            and sys.stderr.isatty()
            and time.monotonic() - self.begun > BAR_AFTER_SECONDS
        ):
            from rich.console import Console
            from rich.progress import Progress

            self.shown = Progress(console=Console(stderr=True), transient=True)
            self.shown.start()
            self.task = self.shown.add_task("", total=self.total)
        if self.shown is not None:
            self.shown.update(self.task, completed=self.done + share)

    def step(self) -> None:
        self.done += 1
        self(0.0)

    def hide(self) -> None:
        """Clear the line for a message; the next call shows the bar again."""
        if self.shown is not None:
            self.shown.stop()
            self.shown = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.hide()


def plan(paths: Sequence[str], folder: Path | None, is_output: Callable[[str], bool]) -> list[Job]:
    """Inputs and outputs. Raises click.UsageError."""
    if folder is not None:
        if "-" in paths:
            raise click.UsageError("stdin has no name for a file in -o DIR; give INPUT OUTPUT instead")
        return [(p, None) for p in paths]
    if len(paths) > 2:
        raise click.UsageError("several inputs need -o DIR")
    if len(paths) == 2 and paths[1] != "-" and not is_output(paths[1]):
        raise click.UsageError(f"{paths[1]} does not have an output's suffix; several inputs need -o DIR")
    return [(paths[0], paths[1] if len(paths) == 2 else None)]


def run(
    jobs: list[Job],
    folder: Path | None,
    suffix: str,
    force: bool,
    verbose: bool,
    work: Callable[[str, str, Bar], None],
) -> None:
    """Work on every input; a bad one is reported and the rest go on. Exits with 1 if there was one.

    With a folder, inputs whose outputs are there already are skipped (a batch that was killed goes on), unless `force`.
    """
    failures, skipped = 0, 0
    written: set[str] = set()
    targets = [
        str(folder / Path(source).with_suffix(suffix).name) if folder and Path(source).name else ""
        for source, _ in jobs
    ]
    shared = {target for target in targets if target and targets.count(target) > 1}
    made = folder is not None and not folder.exists()
    inputs = {(stat.st_dev, stat.st_ino) for source, _ in jobs if (stat := _stat(source))}
    try:
        with Bar(len(jobs)) as bar:
            for source, target in jobs:
                try:
                    with explained(source, str(target or folder or source)):
                        if folder is not None:
                            folder.mkdir(parents=True, exist_ok=True)
                            target = str(folder / Path(source).with_suffix(suffix).name)
                        if target in shared:
                            raise ValueError(f"{source}: its output {target} would be that of another input, too")
                        if folder is not None and not force and _finished(str(target)) and source != target:
                            skipped += 1
                            bar.step()
                            continue
                        out = output_path(source, target, suffix, force)
                        if (stat := _stat(out)) and (stat.st_dev, stat.st_ino) in inputs:
                            raise ValueError(f"{source}: its output {out} is an input")
                        begun = time.monotonic()
                        try:
                            work(source, out, bar)
                        finally:
                            bar.hide()
                        written.add(out)
                        if verbose:
                            report(source, out, time.monotonic() - begun)
                except Failed as error:
                    failures += 1
                    say(str(error))
                bar.step()
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(130)
    if made and folder is not None and not written and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    if skipped:
        say(f"{skipped} of {len(jobs)} inputs skipped: their outputs exist already; -f overwrites them")
    if failures:
        if len(jobs) > 1:
            say(f"{failures} of {len(jobs)} inputs failed")
        sys.exit(1)


def _finished(target: str) -> bool:
    """Whether an output is there, and not empty."""
    return Path(target).is_file() and Path(target).stat().st_size > 0


def _stat(path: str) -> os.stat_result | None:
    try:
        return None if path == "-" else Path(path).stat()
    except (OSError, ValueError):
        return None


def report(source: str, target: str, seconds: float) -> None:
    sizes = [f"{p} ({Path(p).stat().st_size} bytes)" if p != "-" else p for p in (source, target)]
    click.echo(f"{sizes[0]} -> {sizes[1]}, {seconds:.2f} s", err=True)


def output_path(source: str, target: str | None, suffix: str, force: bool) -> str:
    """Where to write: the target, or the source with its suffix swapped. Raises ValueError."""
    if target is None:
        if source == "-":
            return "-"
        if not Path(source).name:
            raise ValueError(f"{source}: is a folder")
        target = str(Path(source).with_suffix(suffix))
    if target == "-":
        return target
    path = Path(target)
    if not path.parent.is_dir():
        raise ValueError(f"{path.parent}: no such folder")
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ValueError(f"{target}: is no ordinary file; write to stdout with - instead")
    if source != "-" and path.exists() and Path(source).exists() and path.samefile(source):
        raise ValueError(f"{target}: output and input are the same file")
    if path.is_dir():
        raise ValueError(f"{target}: is a folder")
    if path.exists() and not force:
        raise ValueError(f"{target}: exists already; -f overwrites it")
    return target


def write(target: str, fill: Callable[[IO[bytes]], object], force: bool) -> None:
    """Write through a temporary file beside the target, so that a half-written file never bears its name.

    Without `force`, a file that has appeared there meanwhile is an error, and stays.
    """
    if target == "-":
        from io import BytesIO

        if sys.stdout is None:
            raise ValueError("stdout is closed")
        if sys.stdout.isatty():
            raise ValueError("stdout is a terminal; send it to a file or a pipe")
        buffer = BytesIO()
        fill(buffer)
        try:
            sys.stdout.buffer.write(buffer.getbuffer())
            sys.stdout.buffer.flush()
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python would try again at its exit
            raise OSError(error.errno, error.strerror, "stdout") from None
        return
    try:
        path = Path(target).resolve()  # a link stays a link: what it points to is replaced
        handle, name = tempfile.mkstemp(prefix=".vqc-", dir=path.parent)
    except RuntimeError:
        raise ValueError(f"{target}: is a loop of links") from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, target) from None
    try:
        with os.fdopen(handle, "w+b") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())  # the bytes before the name: a power cut leaves the old file or the new one
        mask = os.umask(0)
        os.umask(mask)
        Path(name).chmod(path.stat().st_mode & 0o7777 if path.exists() else 0o666 & ~mask)
        if force:
            Path(name).replace(path)
        else:
            _publish(name, path)
    except FileExistsError:
        raise ValueError(f"{target}: exists already; -f overwrites it") from None
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), target) from None
    finally:
        Path(name).unlink(missing_ok=True)


def _publish(name: str, path: Path) -> None:
    """Give a file its name unless another has it. Raises FileExistsError."""
    try:
        os.link(name, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if path.exists():
            raise FileExistsError from None
        Path(name).replace(path)


def read(source: str, limits: Limits) -> bytes:
    """The whole of a file or of stdin, up to the limit of a file's bytes. Raises a VQCError."""
    import vqbitstream

    if source != "-":
        return vqbitstream.read_bytes(source, limits)
    data = _stdin().read(limits.max_file_bytes + 1)
    limits.check_file(len(data))
    return data


def _stdin() -> IO[bytes]:
    if sys.stdin is None:
        raise ValueError("stdin is closed")
    return sys.stdin.buffer
