"""What people read: a line for each message on stderr, exit codes in place of tracebacks, and signals that end politely."""

from __future__ import annotations

import math
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click


class Failed(Exception):
    """A line for people, raised while one input is worked on."""


class Finite(click.FloatRange):
    """A range that infinity and NaN are outside of."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is no number", param, ctx)
        return number


class Interrupted(KeyboardInterrupt):
    """Ctrl-C. A class of its own: after a plain KeyboardInterrupt inside exec() of a text (torch's import does much of that),
    Python 3.11 ends by SIGINT whatever exit code was asked for."""


def say(message: str) -> None:
    click.echo(f"vqcodec: {' '.join(message.split())}", err=True)


def stop_politely(*, quietly: bool = False) -> None:
    """Let SIGTERM and SIGHUP end the process the way Ctrl-C does: one line (none, with `quietly`), and nothing left behind."""

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
def signals_held() -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP wait until the block is over: what it changes is not left half changed."""
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


@contextmanager
def explained(*names: str, warn: Callable[[str], object] = lambda line: say(f"warning: {line}")) -> Iterator[None]:
    """What goes wrong with files or pictures becomes Failed, with one line; warnings go to `warn`, a line each.

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
                warn(named(message))


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
