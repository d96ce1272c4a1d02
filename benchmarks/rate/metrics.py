"""How near a decoded picture is to the original, each measure from a library or a program that others wrote."""

from __future__ import annotations

import importlib.util
import io
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
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


def butteraugli(a: Image.Image, b: Image.Image) -> float:
    """Butteraugli's 3-norm by libjxl's `butteraugli_main`; 0 for identical pictures, higher is worse."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("a.ppm", "b.ppm")]
        for image, path in zip((a, b), paths, strict=True):
            image.save(path, format="PPM")
        found = subprocess.run(["butteraugli_main", *paths, "--pnorm", "3"], capture_output=True, text=True, check=True)
    said = re.search(r"3-norm: *([-+.\deE]+)", found.stdout + found.stderr)
    assert said is not None, found.stdout
    return float(said[1])


@lru_cache(maxsize=1)
def _viewer() -> Any:
    from pycvvdp import cvvdp as viewer

    return viewer(display_name="standard_fhd", quiet=True, device=torch.device("cpu"))


def cvvdp(a: Image.Image, b: Image.Image) -> float:
    """ColorVideoVDP in just-objectionable differences (JOD), on an office display; 10 for identical pictures."""
    with torch.no_grad():
        jod, _ = _viewer().predict(np.array(b), np.array(a), dim_order="HWC")
    return float(jod)


METRICS: dict[str, Callable[[Image.Image, Image.Image], float | None]] = {
    "psnr_db": psnr,
    "psnr_y_db": psnr_y,
    "ms_ssim": ms_ssim,
    "ssimulacra2": ssimulacra2,
    "butteraugli": butteraugli,
    "cvvdp": cvvdp,
}
DEFAULT_METRICS = ("psnr_db", "psnr_y_db", "ms_ssim", "ssimulacra2")  # the others must be asked for: they are slow
LOWER_IS_BETTER = {"butteraugli"}
_MODULES = {
    "psnr_db": "skimage", "psnr_y_db": "skimage", "ms_ssim": "pytorch_msssim", "ssimulacra2": "ssimulacra2", "cvvdp": "pycvvdp",
}  # fmt: skip
_PROGRAMS = {"butteraugli": "butteraugli_main"}


def available(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Those of the metrics whose library or program is here, and one line for each of the others."""
    here = [
        n for n in names if (shutil.which(_PROGRAMS[n]) if n in _PROGRAMS else importlib.util.find_spec(_MODULES[n]))
    ]
    return here, [f"{n} left out: {(_PROGRAMS | _MODULES)[n]} is not installed" for n in names if n not in here]
