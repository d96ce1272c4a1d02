"""Bjøntegaard delta rate: mean difference of log rate over a PSNR window, PCHIP-interpolated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.interpolate import PchipInterpolator

WINDOW_DB = (27.0, 36.0)
Curve = Sequence[tuple[float, float]]  # (bits per pixel, PSNR in dB)


def bd_rate(anchor: Curve, test: Curve, window: tuple[float, float] = WINDOW_DB) -> float | None:
    """Percent by which `test` needs more bits than `anchor` at equal PSNR (negative: fewer).

    None where either curve does not cover the window, or its PSNR does not rise with its rate.
    """
    means = []
    for curve in (anchor, test):
        rate, psnr = (np.array(v) for v in zip(*sorted(curve), strict=True))
        if psnr[0] > window[0] or psnr[-1] < window[1] or (np.diff(psnr) <= 0).any():
            return None
        means.append(PchipInterpolator(psnr, np.log(rate)).integrate(*window) / (window[1] - window[0]))
    return float(100 * (np.exp(means[1] - means[0]) - 1))
