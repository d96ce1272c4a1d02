"""All or nothing: files that appear whole or not at all, and blocks that no signal interrupts. `-` is stdin and stdout."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path
from stat import S_ISREG
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from vqbitstream.limits import Limits


class OutputExists(ValueError):
    """An output exists already, and must not be overwritten."""

    def __init__(self, target: str) -> None:
        super().__init__(f"{target}: exists already; -f overwrites it")


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
        raise ValueError(f"{target}: is not an ordinary file; write to stdout with - instead")
    if source != "-" and path.exists() and Path(source).exists() and path.samefile(source):
        raise ValueError(f"{target}: output and input are the same file")
    if path.is_dir():
        raise ValueError(f"{target}: is a folder")
    if path.is_symlink() and not path.exists():
        if not force:
            raise ValueError(f"{target}: is a symbolic link to a file that does not exist; -f makes that file")
        if not _resolved(path).parent.is_dir():
            raise ValueError(f"{target}: is a symbolic link into a folder that does not exist")
    if path.exists() and not force:
        raise OutputExists(target)
    return target


def write(target: str, fill: Callable[[IO[bytes]], object], force: bool, modified_ns: int | None = None) -> int:
    """Write a file through a temporary one beside it, so that a half-written file never has its name.

    Args:
        target: Path, or `-` for stdout.
        fill: Writes the contents.
        force: Replace an existing file; otherwise it is an error, and the file stays.
        modified_ns: The file's time of modification; None is now.

    Returns:
        Number of bytes written.

    Raises:
        OutputExists: There is such a file already, and no `force`.
        ValueError: stdout is closed or a terminal.
        OSError: The file cannot be written.
    """
    if target == "-":
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
        return buffer.getbuffer().nbytes
    # a link stays: what it points to is replaced
    path = _resolved(Path(target)) if force else _resolved(Path(target).parent) / Path(target).name
    mode = path.stat().st_mode & 0o7777 if force and path.exists() else None
    name = path.with_name(f".vqc-{secrets.token_hex(8)}")
    try:
        with _new_file(name, 0o666 if mode is None else mode & 0o666) as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())  # the bytes before the name: a power cut leaves the old file or the new one
            size = os.fstat(file.fileno()).st_size
        if mode is not None:
            name.chmod(mode)
        if modified_ns is not None:
            os.utime(name, ns=(time.time_ns(), modified_ns))
        if force:
            name.replace(path)
        else:
            _publish(name, path)
    except FileExistsError:
        raise OutputExists(target) from None
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), target) from None
    finally:
        with suppress(OSError):  # it has its name, or was never made
            name.unlink()
    return size


def _resolved(path: Path) -> Path:
    """Where a path leads, through all links. Raises ValueError where that is nowhere."""
    try:
        resolved = path.resolve()
    except RuntimeError:  # up to Python 3.12
        resolved = path
    if resolved.is_symlink():
        raise ValueError(f"{path}: is a loop of links")
    return resolved


def _new_file(path: Path, mode: int) -> IO[bytes]:
    """A file that did not exist. The system takes the umask off its mode: asking for the umask would set it, for all threads."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode), "w+b")


def _publish(name: Path, path: Path) -> None:
    """Rename a file unless the name is taken, be it by a link to nothing. Raises FileExistsError."""
    try:
        os.link(name, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(path):
            raise FileExistsError from None
        name.replace(path)


def identity(source: str | Path) -> tuple[int, ...] | None:
    """What differs once a file was changed or replaced. None where that cannot be known: for pipes, devices, and what is not there."""
    try:
        stat = Path(source).stat()
    except (OSError, ValueError):
        return None
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns) if S_ISREG(stat.st_mode) else None


def read(source: str, limits: Limits) -> bytes:
    """All of a .vqc file or of stdin, up to the limit on a file's bytes. Raises a VQCError."""
    import vqbitstream

    return vqbitstream.read_bytes(_stdin() if source == "-" else source, limits)


def read_stdin(limits: Limits) -> BytesIO:
    """All of stdin, a picture of any format, as a file, named for messages. Raises a VQCError."""
    data = _stdin().read(limits.max_file_bytes + 1)
    limits.check_file(len(data))
    file = BytesIO(data)
    file.name = "standard input"
    return file


def _stdin() -> IO[bytes]:
    if sys.stdin is None:
        raise ValueError("stdin is closed")
    return sys.stdin.buffer


@contextmanager
def signals_held() -> Iterator[None]:
    """Delays Ctrl-C, SIGTERM and SIGHUP until the block is over, so that nothing is left half changed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    handlers = {n: handler for n in numbers if callable(handler := signal.getsignal(n))}
    held: list[int] = []
    for number in handlers:
        signal.signal(number, lambda number, _: held.append(number))
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in held[:1]:
            signal.raise_signal(number)
