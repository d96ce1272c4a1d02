"""Peak signal-to-noise ratio."""

from __future__ import annotations

import numpy as np

from vqcodec.pictures.planes import Pixels


def psnr(a: Pixels, b: Pixels) -> float:
    """PSNR in dB of two uint8 pictures of one shape; 10 log10(255^2 / mean squared error) over all pixels and colours."""
    total = sum(int(np.square(x.astype(np.int32) - y).sum(dtype=np.int64)) for x, y in zip(a, b, strict=True))
    return float(10 * np.log10(255**2 * a.size / max(total, 1e-3)))
