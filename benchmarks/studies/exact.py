"""Drawings, text and pixels at the grid: our files beside PNG, lossless WebP, and JPEG and AVIF of about as many bytes.

    python -m benchmarks.studies.exact [--quality 75]

The pictures are those of tests/codec/test_exact.py. For each: bytes of our file, and what it would be without exact pixels (bytes and
PSNR); bytes of PNG and lossless WebP; PSNR of the best JPEG 4:4:4 and AVIF 4:4:4 that are no larger than ours, or "-".
"""

from __future__ import annotations

import argparse
from io import BytesIO
from typing import Any

import numpy as np
import vqcodec
from PIL import Image
from vqcodec.pictures.planes import Pixels
from vqcodec.pictures.psnr import psnr

from tests.codec.test_exact import DRAWINGS


def saved(pixels: Pixels, **options: Any) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, **options)
    return file.getvalue()


def best_within(pixels: Pixels, limit: int, **options: Any) -> str:
    """PSNR of the best file of a format that is no larger than a limit."""
    for quality in range(100, 0, -1):
        data = saved(pixels, quality=quality, **options)
        if len(data) <= limit:
            shown = np.asarray(Image.open(BytesIO(data)).convert("L" if pixels.ndim == 2 else "RGB"))
            return f"{psnr(pixels, shown):.1f} dB"
    return "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quality", type=float, default=75)
    options = parser.parse_args()
    codec = vqcodec.load_model()
    print("| picture | vqcodec | without exact pixels | PNG | WebP lossless | JPEG 4:4:4 | AVIF 4:4:4 |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name, pixels in DRAWINGS.items():
        data = codec.encode_pixels(pixels, quality=options.quality)
        plain = codec.encode_pixels(pixels, quality=options.quality, exact="none")
        cells = [
            name, f"{len(data)} ({'exact' if (codec.decode_pixels(data) == pixels).all() else 'not exact'})",
            f"{len(plain)} ({psnr(pixels, codec.decode_pixels(plain)):.1f} dB)", len(saved(pixels, format="PNG", optimize=True)),
            len(saved(pixels, format="WEBP", lossless=True, method=6)),
            best_within(pixels, len(data), format="JPEG", subsampling=0),
            best_within(pixels, len(data), format="AVIF", subsampling="4:4:4"),
        ]  # fmt: skip
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
