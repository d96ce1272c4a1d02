"""Rate control: the quality at which a picture meets a size or a PSNR, in at most six encodes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from vqbitstream.errors import VQCError

MAX_ENCODES = 6
SIZE_TOLERANCE, PSNR_TOLERANCE_DB = 0.02, 0.1
QUALITY_MIN, QUALITY_MAX = 1.0, 100.0
# A typical picture, on which the search starts: (quality, bits per pixel, PSNR); every curve is near to one of this shape
_TYPICAL = np.array(
    [
        (1, 0.023, 22.3), (10, 0.033, 23.3), (20, 0.058, 24.7), (30, 0.106, 26.3), (40, 0.200, 28.2), (50, 0.357, 30.2),
        (60, 0.598, 32.4), (70, 0.945, 34.8), (80, 1.423, 37.3), (90, 2.083, 39.8), (100, 3.005, 41.9),
    ]
)  # fmt: skip


class TargetError(VQCError):
    """The picture cannot be as small, or as good, as was asked."""


@dataclass(frozen=True)
class Target:
    """What to reach: at most `value` bytes, or with `is_psnr` a PSNR of `value` dB to within 0.1. pixels: of the picture."""

    value: float
    is_psnr: bool
    pixels: int

    @classmethod
    def of(
        cls, target_bytes: int | None, target_bpp: float | None, target_psnr: float | None, shape: tuple[int, ...]
    ) -> Target | None:
        """From the keywords of `vqcodec.encode`, of which at most one may be given. Raises ValueError."""
        given = [t for t in (target_bytes, target_bpp, target_psnr) if t is not None]
        if not given:
            return None
        if len(given) > 1:
            raise ValueError("give one target: bytes, bpp or psnr")
        if not 0 < given[0] < 1e15:
            raise ValueError(f"a target must be a positive number, not {given[0]}")
        pixels = shape[0] * shape[1]
        value = math.floor(target_bpp * pixels / 8) if target_bpp is not None else given[0]
        return cls(value, target_psnr is not None, pixels)

    def says(self, attempt: Attempt) -> str:
        """What an attempt reached, for people."""
        if self.is_psnr:
            return f"{attempt.psnr_db:.2f} dB (quality {attempt.quality:g})"
        bpp = 8 * len(attempt.data) / self.pixels
        return f"{len(attempt.data)} bytes ({bpp:.4f} bpp, quality {attempt.quality:g})"

    def __str__(self) -> str:
        return f"{self.value:g} dB" if self.is_psnr else f"{self.value:.0f} bytes"


@dataclass(frozen=True)
class Attempt:
    """One encode: its file, the bytes of its entropy payload, and its PSNR in dB (0 where a size is the target)."""

    quality: float
    data: bytes
    payload_bytes: int
    psnr_db: float = 0.0


def psnr(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> float:
    """PSNR in dB of two uint8 pictures of one shape."""
    total = sum(int(np.square(x.astype(np.int32) - y).sum(dtype=np.int64)) for x, y in zip(a, b, strict=True))
    return float(10 * np.log10(255**2 * a.size / max(total, 1e-3)))


def search(target: Target, attempt: Callable[[float], Attempt], progress: Callable[[float], None]) -> bytes:
    """The file that meets the target, or the nearest that six encodes find (never above a size), with a warning.

    Raises TargetError, which names the nearest value, where a size or a PSNR is out of reach.
    """
    tries: list[Attempt] = []

    def off(a: Attempt) -> float:
        """How far above the goal: in dB, or in the logarithm of the payload. The goal of a size is 1 % below it."""
        if target.is_psnr:
            return a.psnr_db - target.value
        fixed = len(a.data) - a.payload_bytes
        goal = max(target.value * (1 - SIZE_TOLERANCE / 2) - fixed, 1)
        return float(np.log((a.payload_bytes + 1) / (goal + 1)))

    def met(a: Attempt) -> bool:
        if target.is_psnr:
            return abs(off(a)) <= PSNR_TOLERANCE_DB
        return (1 - SIZE_TOLERANCE) * target.value <= len(a.data) <= target.value

    typical = _TYPICAL[:, 2] if target.is_psnr else np.log(_TYPICAL[:, 1] * target.pixels / 8)
    start = target.value if target.is_psnr else np.log(max(target.value * (1 - SIZE_TOLERANCE / 2) - 48, 1))
    quality: float | None = round(float(np.interp(start, typical, _TYPICAL[:, 0])), 4)
    while quality is not None and len(tries) < MAX_ENCODES:
        tries.append(attempt(quality))
        progress(len(tries) / MAX_ENCODES)
        if met(tries[-1]):
            return tries[-1].data
        quality = _next_quality([(a.quality, off(a)) for a in tries], typical)
    return _nearest(target, tries)


def _next_quality(tries: list[tuple[float, float]], typical: npt.NDArray[np.float64]) -> float | None:
    """Where the typical curve, shifted or stretched through the tries (quality, off), meets the goal. None: nowhere."""

    def on_typical(quality: float) -> float:
        return float(np.interp(quality, _TYPICAL[:, 0], typical))

    below = max((t for t in tries if t[1] <= 0), default=None)
    above = min((t for t in tries if t[1] > 0), default=None)
    if below and above and below[0] < above[0]:  # regula falsi; an end that has stayed counts half (Illinois)
        short, over = -below[1], above[1]
        same = [t[1] <= 0 for t in tries[-2:]]
        if len(tries) > 2 and same[0] == same[1]:
            short, over = (short, over / 2) if same[0] else (short / 2, over)
        share = short / (short + over)
        wanted = on_typical(below[0]) + share * (on_typical(above[0]) - on_typical(below[0]))
        quality = float(np.interp(wanted, typical, _TYPICAL[:, 0]))
        margin = 0.05 * (above[0] - below[0])
        quality = min(max(quality, below[0] + margin), above[0] - margin)
    elif below and above:  # rough at the scale of a few bytes
        return None
    else:
        nearest, *others = sorted(tries, key=lambda t: abs(t[1]))
        stretch = 1.0
        if others and others[0][1] != nearest[1]:
            stretch = (on_typical(others[0][0]) - on_typical(nearest[0])) / (others[0][1] - nearest[1])
        wanted = on_typical(nearest[0]) - min(max(stretch, 0.2), 5.0) * nearest[1]
        quality = float(np.interp(wanted, typical, _TYPICAL[:, 0]))
        if below and (
            quality <= below[0] or len(tries) >= 4
        ):  # the typical curve is no guide: to the end, then between
            quality = QUALITY_MAX
        elif above and (quality >= above[0] or len(tries) >= 4):
            quality = QUALITY_MIN
    quality = round(quality, 4)
    return None if any(quality == t[0] for t in tries) else quality


def _nearest(target: Target, tries: list[Attempt]) -> bytes:
    """The best of the tries, none of which met the target. Raises TargetError, or warns."""

    def miss(a: Attempt) -> float:
        return abs((a.psnr_db if target.is_psnr else len(a.data)) - target.value)

    fitting = tries if target.is_psnr else [a for a in tries if len(a.data) <= target.value]
    best = min(fitting or tries, key=miss)
    at_end = best.quality == (QUALITY_MAX if target.is_psnr else QUALITY_MIN)
    if not fitting or (target.is_psnr and at_end and best.psnr_db < target.value):
        possible = "the nearest possible" if at_end else "the nearest found"
        raise TargetError(f"{target} cannot be reached; {possible} is {target.says(best)}")
    warnings.warn(f"the nearest to {target} that was found is {target.says(best)}", stacklevel=5)
    return best.data
