"""Rate control: finds the quality at which a picture meets a size or a PSNR, in at most six encodes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import vqbitstream
from vqbitstream.limits import Limits
from vqbitstream.tiles import Progress

from vqcodec.coding.decoder import Decoder
from vqcodec.coding.defaults import DEFAULT_TUNE
from vqcodec.coding.encoder import Encoder
from vqcodec.coding.quality import QUALITY_MAX, QUALITY_MIN, TYPICAL, Curve, TargetError, chosen_effort
from vqcodec.pictures.planes import Planes
from vqcodec.pictures.psnr import psnr

MAX_ENCODES = 6
SIZE_TOLERANCE, PSNR_TOLERANCE_DB = 0.02, 0.1
_UNLIMITED = Limits(max_pixels=1 << 62, max_side_px=1 << 32, max_file_bytes=1 << 62, max_metadata_bytes=1 << 32)


@dataclass(frozen=True)
class Target:
    """What to reach.

    Attributes:
        value: At most this many bytes, or this PSNR in dB to within 0.1.
        is_psnr: Whether the target is a PSNR.
        pixels: Of the picture.
    """

    value: float
    is_psnr: bool
    pixels: int

    @classmethod
    def of(
        cls, target_bytes: int | None, target_bpp: float | None, target_psnr: float | None, shape: tuple[int, ...]
    ) -> Target | None:
        """From the keywords of `vqcodec.encode`. Raises ValueError if there is more than one, or one is not positive."""
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
        """What an attempt reached, for a message."""
        if self.is_psnr:
            return f"{attempt.psnr_db:.2f} dB (quality {attempt.quality:g})"
        bpp = 8 * len(attempt.data) / self.pixels
        return f"{len(attempt.data)} bytes ({bpp:.4f} bpp, quality {attempt.quality:g})"

    def __str__(self) -> str:
        return f"{self.value:g} dB" if self.is_psnr else f"{self.value:.0f} bytes"


@dataclass(frozen=True)
class Attempt:
    """One encode.

    Attributes:
        quality: 1..100.
        data: The file.
        payload_bytes: Of the entropy-coded sections.
        psnr_db: 0 if the target is a size.
    """

    quality: float
    data: bytes
    payload_bytes: int
    psnr_db: float = 0.0


def reach(
    target: Target, planes: Planes, encoder: Encoder, decoder: Decoder, *, tune: str = DEFAULT_TUNE, effort: int | None = None,
    progress: Progress | None = None,
) -> bytes:  # fmt: skip
    """Encode a picture so that it meets a target. The file is not verified.

    Returns:
        The file that meets the target, or else the nearest one found, with a warning; never one above a size.

    Raises:
        TargetError: The target is out of reach; the message names the nearest value.
    """
    effort = chosen_effort(effort)

    def attempt(quality: float) -> Attempt:
        data, stats = encoder.encode(planes, quality=quality, tune=tune, effort=effort, verify=False)
        if not target.is_psnr:
            return Attempt(quality, data, stats.payload_bytes)
        decoded = decoder.decode(vqbitstream.unpack(data, _UNLIMITED)).colour
        return Attempt(quality, data, stats.payload_bytes, psnr(planes.colour, decoded))

    return search(target, attempt, progress or (lambda _: None), TYPICAL[tune])


def search(
    target: Target, attempt: Callable[[float], Attempt], progress: Callable[[float], None], curve: Curve
) -> bytes:  # fmt: skip
    """Find a file that meets a target, in at most six attempts.

    Args:
        target: What to reach.
        attempt: Encodes at a quality.
        progress: Called with the share done, 0..1.
        curve: Of a typical picture.

    Returns:
        The file that meets the target, or else the nearest one found, with a warning; never one above a size.

    Raises:
        TargetError: The target is out of reach; the message names the nearest value.
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

    qualities = curve[:, 0]
    typical = curve[:, 2] if target.is_psnr else np.log(curve[:, 1] * target.pixels / 8)
    start = target.value if target.is_psnr else np.log(max(target.value * (1 - SIZE_TOLERANCE / 2) - 48, 1))
    quality: float | None = round(float(np.interp(start, typical, qualities)), 4)
    while quality is not None and len(tries) < MAX_ENCODES:
        tries.append(attempt(quality))
        progress(len(tries) / MAX_ENCODES)
        if met(tries[-1]):
            return tries[-1].data
        quality = _next_quality([(a.quality, off(a)) for a in tries], qualities, typical)
    return _nearest(target, tries)


def _next_quality(tries: list[tuple[float, float]], qualities: Curve, typical: Curve) -> float | None:
    """Where the typical curve, shifted or stretched through the tries (quality, off), meets the goal. None: nowhere."""

    def on_typical(quality: float) -> float:
        return float(np.interp(quality, qualities, typical))

    below = max((t for t in tries if t[1] <= 0), default=None)
    above = min((t for t in tries if t[1] > 0), default=None)
    if below and above and below[0] < above[0]:  # a parabola through the nearest tries, as in Brent's method
        others = sorted((t for t in tries if t not in (below, above)), key=lambda t: abs(t[1]))
        wanted = _at_zero([(off, on_typical(quality)) for quality, off in (below, above, *others[:1])])
        quality = float(np.interp(wanted, typical, qualities))
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
        quality = float(np.interp(wanted, typical, qualities))
        if below and (
            quality <= below[0] or len(tries) >= 4
        ):  # the typical curve is no guide: to the end, then between
            quality = QUALITY_MAX
        elif above and (quality >= above[0] or len(tries) >= 4):
            quality = QUALITY_MIN
    quality = round(quality, 4)
    return None if any(quality == t[0] for t in tries) else quality


def _at_zero(points: list[tuple[float, float]]) -> float:
    """The polynomial through some points (x, y), at x = 0."""
    return sum(y * math.prod(x / (x - own) for x, _ in points if x != own) for own, y in points)


def _nearest(target: Target, tries: list[Attempt]) -> bytes:
    """The best attempt when none met the target. Warns, or raises TargetError."""

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
