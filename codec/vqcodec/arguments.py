"""Arguments of the library that are wrong are named in the error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any


def checked_number(name: str, value: Any, low: float, high: float, *, above: bool = False) -> float:
    """A number in low..high; above: low itself is not allowed. Raises ValueError that names the argument."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError(f"{name} must be a number, not {_shown(value)}")
    given: Any = value  # mypy knows no comparisons of Real
    number = float(given) if -(2**1023) < given < 2**1023 else math.inf
    if not low <= number <= high or (above and number == low):
        inside = f"above {low:g}" if above else f"in {low:g}..{high:g}"
        raise ValueError(f"{name} must be a number {inside}, not {_shown(value)}")
    return number


def checked_whole(name: str, value: Any, low: int) -> int:
    """A whole number from low on. Raises ValueError that names the argument."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < low:
        raise ValueError(f"{name} must be a whole number of at least {low}, not {_shown(value)}")
    return int(value)


def checked_choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """One of some words. Raises ValueError that names the argument."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(sorted(choices))}, not {_shown(value)}")
    return value


def region_numbers(value: Any) -> tuple[int, int, int, int]:
    """Four whole numbers. Raises ValueError."""
    numbers = list(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else []
    if len(numbers) != 4 or not all(isinstance(n, Integral) for n in numbers):
        raise ValueError(f"region must be four whole numbers, x, y, width and height, not {_shown(value)}")
    return int(numbers[0]), int(numbers[1]), int(numbers[2]), int(numbers[3])


def _shown(value: Any) -> str:
    """A value for a message: short."""
    text = repr(value) if isinstance(value, str | Real | list | tuple | type(None)) else type(value).__name__
    return text if len(text) <= 60 else f"{text[:57]}..."
