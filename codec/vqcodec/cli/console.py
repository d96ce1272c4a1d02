"""Messages to the user: one line each on stderr, exit codes instead of tracebacks, and signals that end the program cleanly."""

from __future__ import annotations

import math
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

T = TypeVar("T")


class Failed(Exception):
    """Why an input failed, in one line."""


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


def say(message: str) -> None:
    click.echo(f"vqcodec: {' '.join(message.split())}", err=True)


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
            if isinstance(error, ModuleNotFoundError) and error.name == "torch":
                raise Failed(named("this needs PyTorch: pip install 'vqcodec[torch]'")) from None
            raise Failed(named(f"unexpected {type(error).__name__}: {error}; please report this")) from None
        finally:
            for message in dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, UserWarning)):
                warn(named(message))


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
