"""How near a decoded picture is to the original, each measure from a library; higher is better."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

IDENTICAL_DB = 100.0  # the PSNR of identical pictures here, so that every value is a number that JSON knows
MS_SSIM_MIN_PX = 161  # five scales of an 11-pixel window
SSIMULACRA2_MIN_PX = 8  # the package calls smaller ones identical, whatever they are
BT601 = np.array([0.299, 0.587, 0.114])


def psnr(a: Image.Image, b: Image.Image) -> float:
    """PSNR in dB over the 8-bit RGB samples of two pictures."""
    return _psnr(np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64))


def psnr_y(a: Image.Image, b: Image.Image) -> float:
    """PSNR in dB of full-range luma (BT.601), which is not rounded to integers."""
    return _psnr(np.asarray(a) @ BT601, np.asarray(b) @ BT601)


def _psnr(a: Any, b: Any) -> float:
    from skimage.metrics import peak_signal_noise_ratio

    with np.errstate(divide="ignore"):
        return min(float(peak_signal_noise_ratio(a, b, data_range=255)), IDENTICAL_DB)


def ms_ssim(a: Image.Image, b: Image.Image) -> float | None:
    """MS-SSIM over RGB (pytorch-msssim), 0..1; None where a side is too short for its five scales."""
    from pytorch_msssim import ms_ssim as measure

    if min(a.size) < MS_SSIM_MIN_PX:
        return None
    first, second = (torch.from_numpy(np.array(i, dtype=np.float32)).permute(2, 0, 1)[None] for i in (a, b))
    return float(measure(first, second, data_range=255))


def ssimulacra2(a: Image.Image, b: Image.Image) -> float | None:
    """SSIMULACRA2 (the package of that name), 100 for identical pictures, below 0 for very bad ones; None below 8 pixels a side."""
    from ssimulacra2 import compute_ssimulacra2

    if min(a.size) < SSIMULACRA2_MIN_PX:
        return None
    files = []
    for image in (a, b):
        files.append(io.BytesIO())
        image.save(files[-1], format="PPM")  # the package opens what Pillow opens
    return float(compute_ssimulacra2(*files))


METRICS: dict[str, Callable[[Image.Image, Image.Image], float | None]] = {
    "psnr_db": psnr,
    "psnr_y_db": psnr_y,
    "ms_ssim": ms_ssim,
    "ssimulacra2": ssimulacra2,
}
_MODULES = {"psnr_db": "skimage", "psnr_y_db": "skimage", "ms_ssim": "pytorch_msssim", "ssimulacra2": "ssimulacra2"}


def available(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Those of the metrics whose library is here, and one line for each of the others."""
    here = [n for n in names if importlib.util.find_spec(_MODULES[n])]
    return here, [f"{n} left out: {_MODULES[n]} is not installed" for n in names if n not in here]
