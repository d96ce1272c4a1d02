"""Rate control: finds the quality at which a picture meets a size, a PSNR or an SSIMULACRA2, in at most six encodes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import vqbitstream
from vqbitstream.limits import Limits
from vqbitstream.tiles import Progress

from vqcodec.arguments import checked_number
from vqcodec.coding.decoder import Decoder
from vqcodec.coding.defaults import DEFAULT_TUNE
from vqcodec.coding.encoder import Encoder
from vqcodec.coding.quality import (
    QUALITY_MAX,
    QUALITY_MIN,
    TYPICAL,
    Curve,
    TargetError,
    chosen_effort,
    torch_is_installed,
)
from vqcodec.pictures.planes import Pixels, Planes
from vqcodec.pictures.psnr import psnr

MAX_ENCODES = 6
SIDE_MIN = 8  # pixels that SSIMULACRA2 needs
SIZE_TOLERANCE, PSNR_TOLERANCE_DB, SSIMULACRA2_TOLERANCE = 0.02, 0.1, 1.0
_UNLIMITED = Limits(max_pixels=1 << 62, max_side_px=1 << 32, max_file_bytes=1 << 62, max_metadata_bytes=1 << 32)


@dataclass(frozen=True)
class Kind:
    """A kind of target.

    Attributes:
        tolerance: How far off the goal will do: a share of a size, else in the unit.
        unit: For messages.
        column: Of `TYPICAL`.
    """

    tolerance: float
    unit: str
    column: int


SIZE = Kind(SIZE_TOLERANCE, " bytes", 1)
PSNR = Kind(PSNR_TOLERANCE_DB, " dB", 2)
SSIMULACRA2 = Kind(SSIMULACRA2_TOLERANCE, " SSIMULACRA2", 3)


@dataclass(frozen=True)
class Target:
    """What to reach.

    Attributes:
        value: At most this many bytes; or this PSNR in dB, or SSIMULACRA2, to within its tolerance.
        kind: `SIZE`, `PSNR` or `SSIMULACRA2`.
        pixels: Of the picture.
    """

    value: float
    kind: Kind
    pixels: int

    @classmethod
    def of(
        cls, target_bytes: int | None, target_bpp: float | None, target_psnr: float | None, target_ssimulacra2: float | None,
        shape: tuple[int, ...],
    ) -> Target | None:  # fmt: skip
        """From the keywords of `vqcodec.encode`. Raises ValueError if there is more than one, or one is out of range."""
        named = {
            "target_bytes": target_bytes, "target_bpp": target_bpp, "target_psnr": target_psnr,
            "target_ssimulacra2": target_ssimulacra2,
        }  # fmt: skip
        given = {name: value for name, value in named.items() if value is not None}
        if not given:
            return None
        if len(given) > 1:
            raise ValueError(f"give one target, not {' and '.join(given)}")
        ((name, value),) = given.items()
        pixels = shape[0] * shape[1]
        if name == "target_ssimulacra2":
            checked_number(name, value, -100, 100)
            if not torch_is_installed():
                raise ValueError("target_ssimulacra2 needs PyTorch: pip install 'vqcodec[torch]'")
            if min(shape[:2]) < SIDE_MIN:
                raise ValueError(f"target_ssimulacra2 needs a picture of at least {SIDE_MIN} pixels a side")
            return cls(value, SSIMULACRA2, pixels)
        checked_number(name, value, 0, 1e15, above=True)
        if name == "target_psnr":
            return cls(value, PSNR, pixels)
        return cls(math.floor(value * pixels / 8) if name == "target_bpp" else value, SIZE, pixels)

    def says(self, attempt: Attempt) -> str:
        """What an attempt reached, for a message."""
        if self.kind is not SIZE:
            return f"{attempt.reached:.2f}{self.kind.unit} (quality {attempt.quality:g})"
        bpp = 8 * len(attempt.data) / self.pixels
        return f"{len(attempt.data)} bytes ({bpp:.4f} bpp, quality {attempt.quality:g})"

    def __str__(self) -> str:
        return f"{self.value:.0f} bytes" if self.kind is SIZE else f"{self.value:g}{self.kind.unit}"


@dataclass(frozen=True)
class Attempt:
    """One encode.

    Attributes:
        quality: 1..100.
        data: The file.
        payload_bytes: Of the entropy-coded sections.
        reached: PSNR in dB or SSIMULACRA2; 0 if the target is a size.
    """

    quality: float
    data: bytes
    payload_bytes: int
    reached: float = 0.0


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
        data, stats = encoder.encode(planes, quality=quality, tune=tune, effort=effort, exact="drawn", verify=False)
        if target.kind is SIZE:
            return Attempt(quality, data, stats.payload_bytes)
        decoded = decoder.decode(vqbitstream.unpack(data, _UNLIMITED)).colour
        return Attempt(quality, data, stats.payload_bytes, _measured(target.kind, planes.colour, decoded))

    return search(target, attempt, progress or (lambda _: None), TYPICAL[tune])


def _measured(kind: Kind, original: Pixels, decoded: Pixels) -> float:
    if kind is PSNR:
        return psnr(original, decoded)
    from vqcodec.vqvae.ssimulacra2 import ssimulacra2

    score = ssimulacra2(original, decoded)
    assert score is not None  # `Target.of` has seen the sides
    return score


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
        """How far above the goal: in its unit, or in the logarithm of the payload. The goal of a size is 1 % below it."""
        if target.kind is not SIZE:
            return a.reached - target.value
        fixed = len(a.data) - a.payload_bytes
        goal = max(target.value * (1 - SIZE_TOLERANCE / 2) - fixed, 1)
        return float(np.log((a.payload_bytes + 1) / (goal + 1)))

    def met(a: Attempt) -> bool:
        if target.kind is not SIZE:
            return abs(off(a)) <= target.kind.tolerance
        return (1 - SIZE_TOLERANCE) * target.value <= len(a.data) <= target.value

    qualities = curve[:, 0]
    typical, start = curve[:, target.kind.column], target.value
    if target.kind is SIZE:
        typical = np.log(typical * target.pixels / 8)
        start = np.log(max(target.value * (1 - SIZE_TOLERANCE / 2) - 48, 1))
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
        return abs((len(a.data) if sized else a.reached) - target.value)

    sized = target.kind is SIZE
    fitting = [a for a in tries if len(a.data) <= target.value] if sized else tries
    best = min(fitting or tries, key=miss)
    at_end = best.quality == (QUALITY_MIN if sized else QUALITY_MAX)
    if not fitting or (not sized and at_end and best.reached < target.value):
        possible = "the nearest possible" if at_end else "the nearest found"
        raise TargetError(f"{target} cannot be reached; {possible} is {target.says(best)}")
    warnings.warn(f"the nearest to {target} that was found is {target.says(best)}", stacklevel=5)
    return best.data
