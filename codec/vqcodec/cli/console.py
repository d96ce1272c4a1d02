"""What the user is told: one line each, exit codes instead of tracebacks, and signals that end the program cleanly.

Texts from outside (names of files, models and tensors, values in files) pass through `tell`, `say` or `tell_json`, never straight to
`click.echo`: control characters in them must not reach the terminal.
"""

from __future__ import annotations

import base64
import json
import logging
import math
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import click
from vqbitstream.errors import VQCError, visible

T = TypeVar("T")


class Failed(Exception):
    """Why an input failed, in one line; see `visible`."""

    def __init__(self, message: str) -> None:
        super().__init__(visible(message))


class Finite(click.FloatRange):
    """A range without infinity and NaN."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a number", param, ctx)
        return number


class Interrupted(KeyboardInterrupt):
    """Ctrl-C.

    A class of its own, because after a plain KeyboardInterrupt inside exec() of a text (torch's import does much of that) Python 3.11
    ends by SIGINT, whatever the exit code.
    """


def tell(line: str, *, err: bool = False) -> None:
    """Print a line on stdout, or on stderr. Control characters are shown as escapes, and so is what the encoding lacks."""
    encoding = getattr(sys.stderr if err else sys.stdout, "encoding", None) or "utf-8"
    _echo(visible(line).encode(encoding, "backslashreplace").decode(encoding), err=err)


def say(message: str) -> None:
    """Print a message of the program on stderr, in one line."""
    tell(f"vqcodec: {message}", err=True)


def tell_json(value: object) -> None:
    """Print a value as a line of JSON on stdout.

    JSON holds Unicode only. In a name that is not UTF-8, U+FFFD stands for each byte that is not; beside KEY, KEY_base64 has the bytes.
    """
    _echo(json.dumps(_unicode(value)))


def _echo(line: str, *, err: bool = False) -> None:
    try:
        click.echo(line, err=err)
    except OSError as error:  # not about the file that the line is about
        raise OSError(error.errno, error.strerror, "stderr" if err else "stdout") from None


def _unicode(value: object) -> object:
    if isinstance(value, Mapping):
        exact = {f"{k}_base64": base64.b64encode(os.fsencode(v)).decode() for k, v in value.items() if _is_undecoded(v)}
        return {key: _unicode(item) for key, item in value.items()} | exact
    if isinstance(value, list | tuple):
        return [_unicode(item) for item in value]
    return os.fsencode(value).decode(errors="replace") if _is_undecoded(value) else value  # type: ignore[arg-type]


def _is_undecoded(value: object) -> bool:
    """Whether a value is a name with bytes that are not UTF-8."""
    return isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value)


@contextmanager
def shown_usage_errors() -> Iterator[None]:
    """Make the control characters in a usage error visible: it quotes arguments, which may be names of files."""
    try:
        yield
    except click.ClickException as error:
        error.message = visible(error.message)  # type: ignore[misc]
        raise


def silence_pillow() -> None:
    """Keep what Pillow's readers log off stderr: a bad picture is one line, ours."""
    logging.getLogger("PIL").addHandler(logging.NullHandler())


def stop_politely(*, quietly: bool = False) -> None:
    """Let SIGTERM and SIGHUP end the process as Ctrl-C does: with one line (none if `quietly`), and no half-written file."""

    def stop(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_IGN)  # a second one must not interrupt the cleaning up
        if not quietly:
            say("terminated")
        raise SystemExit(128 + number)

    def interrupt(_: int, __: object) -> None:
        raise Interrupted

    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            number = getattr(signal, name)
            if signal.getsignal(number) is signal.SIG_DFL:  # not where nohup, or a program around us, says otherwise
                signal.signal(number, stop)


@contextmanager
def explained(*names: str, warn: Callable[[str], object] = lambda line: say(f"warning: {line}")) -> Iterator[None]:
    """Turn errors about files or pictures into Failed with one line; pass warnings to `warn`, one line each.

    Args:
        *names: Of the input and the output. A line that starts with none of them is prefixed with the first.
        warn: Called with each warning.
    """

    shown = tuple(map(visible, names))

    def named(message: str) -> str:
        message = visible(message)
        return message if not shown or message.startswith(shown) else f"{shown[0]}: {message}"

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
            if isinstance(error, ModuleNotFoundError) and error.name == "torch":
                raise Failed(named("this needs PyTorch: pip install 'vqcodec[torch]'")) from None
            raise Failed(named(f"unexpected {type(error).__name__}: {_flat(error)}; please report this")) from None
        finally:
            for message in dict.fromkeys(_flat(w.message) for w in caught if issubclass(w.category, UserWarning)):
                warn(named(message))


def _flat(message: object) -> str:
    """A message of another library, which may have several lines, in one."""
    return " ".join(str(message).split())


def guard(work: Callable[[], T], *names: str) -> T:
    """Run `work`. Errors become one line on stderr and exit code 1."""
    try:
        with explained(*names):
            return work()
    except Failed as error:
        say(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        say("interrupted")
        sys.exit(130)
