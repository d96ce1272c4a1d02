"""Bjøntegaard deltas: mean difference of log rate over a window of quality, or of quality over a window of log rate.

Curves are interpolated by PCHIP. Quality is PSNR in dB unless a caller says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.interpolate import PchipInterpolator

WINDOW_DB = (27.0, 36.0)
LOW_RATES_BPP = (0.05, 0.25)
Window = tuple[float, float]
Curve = Sequence[tuple[float, float]]  # (bits per pixel, PSNR in dB)


def bd_rate(anchor: Curve, test: Curve, window: Window = WINDOW_DB) -> float | None:
    """Percent by which `test` needs more bits than `anchor` at equal PSNR (negative: fewer).

    None where either curve does not cover the window, or its PSNR does not rise with its rate.
    """
    means = []
    for curve in (anchor, test):
        rate, psnr = (np.array(v) for v in zip(*sorted(map(tuple, curve)), strict=True))
        if psnr[0] > window[0] or psnr[-1] < window[1] or window[0] >= window[1] or (np.diff(psnr) <= 0).any():
            return None
        means.append(PchipInterpolator(psnr, np.log(rate)).integrate(*window) / (window[1] - window[0]))
    return float(100 * (np.exp(means[1] - means[0]) - 1))


def overlap(anchor: Curve, test: Curve) -> Window:
    """The range of PSNR that both curves cover; empty (low >= high) where there is none."""
    values = [[value for _, value in curve] for curve in (anchor, test)]
    return float(max(map(min, values))), float(min(map(max, values)))


def mean_psnr(curve: Curve, window: Window = LOW_RATES_BPP) -> float | None:
    """Mean PSNR over log rate. None where the curve does not cover the window of bits per pixel."""
    rate, psnr = (np.array(v) for v in zip(*sorted(map(tuple, curve)), strict=True))
    if rate[0] > window[0] or rate[-1] < window[1] or window[0] >= window[1] or (np.diff(rate) <= 0).any():
        return None
    low, high = np.log(window)
    return float(PchipInterpolator(np.log(rate), psnr).integrate(low, high) / (high - low))


def common_rates(anchor: Curve, test: Curve, window: Window = LOW_RATES_BPP) -> Window:
    """The part of a window of bits per pixel that both curves cover; empty (low >= high) where there is none."""
    rates = [[rate for rate, _ in curve] for curve in (anchor, test)]
    return max(window[0], *map(min, rates)), min(window[1], *map(max, rates))


def bd_psnr(anchor: Curve, test: Curve, window: Window = LOW_RATES_BPP) -> float | None:
    """dB by which the PSNR of `test` is higher at equal rate, mean over log rate, in the part of the window that both cover."""
    window = common_rates(anchor, test, window)
    means = [mean_psnr(curve, window) for curve in (anchor, test)]
    return None if means[0] is None or means[1] is None else means[1] - means[0]


def bootstrap(
    anchor: Any, test: Any, delta: Callable[[Any, Any], float | None], resamples: int = 1000, seed: int = 0
) -> Window | None:
    """The 95 % interval of delta(mean curve of anchor, of test) when the images are drawn again, with replacement.

    anchor, test: points [images, qualities, 2] of the same images. None with fewer than two images, or where more than one
    in twenty of the draws has no delta.
    """
    images = len(anchor)
    if images < 2:
        return None
    drawn = np.random.default_rng(seed).integers(images, size=(resamples, images))
    deltas = [delta(anchor[own].mean(axis=0), test[own].mean(axis=0)) for own in drawn]
    found = [d for d in deltas if d is not None]
    if len(found) < 0.95 * resamples:
        return None
    low, high = np.quantile(found, (0.025, 0.975))
    return float(low), float(high)
