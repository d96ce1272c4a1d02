"""Rate control: the quality at which a picture meets a size or a PSNR, in at most six encodes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from vqbitstream.errors import VQCError

MAX_ENCODES = 6
SIZE_TOLERANCE, PSNR_TOLERANCE_DB = 0.02, 0.1
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
    """What to reach: at most `file_bytes`, or `psnr_db` to within 0.1 dB."""

    file_bytes: int | None
    psnr_db: float | None
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
        if not given[0] > 0:
            raise ValueError(f"a target must be positive, not {given[0]}")
        pixels = shape[0] * shape[1]
        if target_bpp is not None:
            target_bytes = int(target_bpp * pixels / 8)
        return cls(target_bytes, target_psnr, pixels)

    @property
    def needs_psnr(self) -> bool:
        return self.psnr_db is not None


@dataclass(frozen=True)
class Attempt:
    """One encode: its file, the bytes of its entropy payload, and its PSNR in dB where that is the target."""

    quality: float
    data: bytes
    payload_bytes: int
    psnr_db: float | None = None


def psnr(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> float:
    """PSNR in dB of two uint8 pictures of one shape."""
    total = sum(float(np.square(x.astype(np.int32) - y).sum(dtype=np.int64)) for x, y in zip(a, b, strict=True))
    return float(10 * np.log10(255**2 * a.size / max(total, 1e-3)))


def search(target: Target, attempt: Callable[[float], Attempt], progress: Callable[[float], None]) -> bytes:
    """The file that meets the target. Warns where the picture is smaller, or better, than asked at the end of the range.

    Raises TargetError, which names the nearest value, where a size or a PSNR is out of reach.
    """
    tries: list[Attempt] = []

    def value(a: Attempt) -> float:
        return a.psnr_db if target.needs_psnr and a.psnr_db is not None else float(np.log(a.payload_bytes + 1))

    def goal() -> float:
        if target.psnr_db is not None:
            return target.psnr_db
        assert target.file_bytes is not None
        fixed = len(tries[-1].data) - tries[-1].payload_bytes if tries else 48
        return float(np.log(max(target.file_bytes * (1 - SIZE_TOLERANCE / 2) - fixed, 1)))

    def met(a: Attempt) -> bool:
        if target.psnr_db is not None:
            return abs(value(a) - target.psnr_db) <= PSNR_TOLERANCE_DB
        assert target.file_bytes is not None
        return (1 - SIZE_TOLERANCE) * target.file_bytes <= len(a.data) <= target.file_bytes

    typical = _TYPICAL[:, 2] if target.needs_psnr else np.log(_TYPICAL[:, 1] * target.pixels / 8)
    qualities = _TYPICAL[:, 0]
    while len(tries) < MAX_ENCODES and not any(met(a) for a in tries):
        quality = _next_quality(tries, value, goal(), qualities, typical)
        if any(a.quality == quality for a in tries):
            break
        tries.append(attempt(quality))
        progress(len(tries) / MAX_ENCODES)
    return _best(target, tries, met)


def _next_quality(
    tries: list[Attempt],
    value: Callable[[Attempt], float],
    goal: float,
    qualities: npt.NDArray[np.float64],
    typical: npt.NDArray[np.float64],
) -> float:
    """Where the typical curve, stretched through the two nearest attempts (shifted, if there is one), meets the goal."""

    def on_typical(a: Attempt) -> float:
        return float(np.interp(a.quality, qualities, typical))

    if not tries:
        return round(float(np.interp(goal, typical, qualities)), 4)
    below = max((a for a in tries if value(a) <= goal), key=value, default=None)
    above = min((a for a in tries if value(a) > goal), key=value, default=None)
    if below and above:  # regula falsi; an end that has stayed counts half (Illinois)
        short, over = goal - value(below), value(above) - goal
        stuck = [value(a) <= goal for a in tries[-2:]]
        if len(tries) > 2 and stuck[0] == stuck[1]:
            short, over = (short, over / 2) if stuck[0] else (short / 2, over)
        wanted = on_typical(below) + short / (short + over) * (on_typical(above) - on_typical(below))
    else:
        nearest, *others = sorted(tries, key=lambda a: abs(value(a) - goal))
        stretch = 1.0
        if others and value(others[0]) != value(nearest):
            stretch = (on_typical(others[0]) - on_typical(nearest)) / (value(others[0]) - value(nearest))
        wanted = on_typical(nearest) + min(max(stretch, 0.2), 5.0) * (goal - value(nearest))
    quality = float(np.interp(wanted, typical, qualities))
    low, high = (below.quality if below else 1.0), (above.quality if above else 100.0)
    if below and above:  # never the same again
        quality = min(max(quality, low + 0.05 * (high - low)), high - 0.05 * (high - low))
    elif not low < quality < high:
        quality = high if below else low
    return round(quality, 4)


def _best(target: Target, tries: list[Attempt], met: Callable[[Attempt], bool]) -> bytes:
    if hits := [a for a in tries if met(a)]:
        return hits[-1].data
    if target.psnr_db is not None:
        best = min(tries, key=lambda a: abs((a.psnr_db or 0) - target.psnr_db))  # type: ignore[operator]
        reached = f"{best.psnr_db:.2f} dB (quality {best.quality:g})"
        if (best.psnr_db or 0) < target.psnr_db:
            raise TargetError(f"{target.psnr_db:g} dB is out of reach; the nearest possible is {reached}")
        warnings.warn(
            f"{target.psnr_db:g} dB is less than this picture can have; the nearest is {reached}", stacklevel=5
        )
        return best.data
    assert target.file_bytes is not None
    fitting = [a for a in tries if len(a.data) <= target.file_bytes]
    if not fitting:
        least = min(tries, key=lambda a: len(a.data))
        raise TargetError(
            f"{target.file_bytes} bytes are out of reach; the nearest possible is {len(least.data)} bytes "
            f"({8 * len(least.data) / target.pixels:.4f} bpp, quality {least.quality:g})"
        )
    best = max(fitting, key=lambda a: len(a.data))
    warnings.warn(
        f"the nearest to {target.file_bytes} bytes that this picture can have is {len(best.data)} bytes "
        f"({8 * len(best.data) / target.pixels:.4f} bpp, quality {best.quality:g})",
        stacklevel=5,
    )
    return best.data
