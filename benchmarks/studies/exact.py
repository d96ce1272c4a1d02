"""Drawings, text and pixels at the grid: our files beside PNG, lossless WebP, and JPEG and AVIF of about as many bytes.

    python -m benchmarks.studies.exact [PICTURE ...] [--quality 75]
    python -m benchmarks.studies.exact PICTURE --guard

Without pictures, those of tests/codec/test_exact.py. For each: bytes of our file, and what it would be without exact pixels (bytes and
PSNR); bytes of PNG and lossless WebP; PSNR of the best JPEG 4:4:4 and AVIF 4:4:4 that are no larger than ours, or "-".
With --guard, what the guard takes of an encode.
"""

from __future__ import annotations

import argparse
import time
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import vqcodec
from PIL import Image
from vqcodec.codec import Codec
from vqcodec.coding.guard import Guard
from vqcodec.pictures.planes import Pixels
from vqcodec.pictures.psnr import psnr

from tests.codec.test_exact import DRAWINGS


def saved(pixels: Pixels, **options: Any) -> bytes:
    file = BytesIO()
    Image.fromarray(pixels).save(file, **options)
    return file.getvalue()


def fidelity(pixels: Pixels, decoded: Pixels) -> str:
    """ "exact", or the PSNR and the share of pixels that are exact."""
    if (decoded == pixels).all():
        return "exact"
    same = (decoded == pixels).reshape(*pixels.shape[:2], -1).all(-1).mean()
    return f"{psnr(pixels, decoded):.1f} dB, {same:.0%} exact"


def best_within(pixels: Pixels, limit: int, **options: Any) -> str:
    """PSNR of the best file of a format that is no larger than a limit."""
    low, high = 0, 100
    while low < high:  # the largest quality that fits
        middle = (low + high + 1) // 2
        fits = len(saved(pixels, quality=middle, **options)) <= limit
        low, high = (middle, high) if fits else (low, middle - 1)
    if low:
        shown = Image.open(BytesIO(saved(pixels, quality=low, **options)))
        return f"{psnr(pixels, np.asarray(shown.convert('L' if pixels.ndim == 2 else 'RGB'))):.1f} dB"
    return "-"


def guard_seconds(codec: Codec, pixels: Pixels, quality: float, effort: int, runs: int = 3) -> tuple[float, float]:
    """Processor time of an encode, and of its guard; of the fastest of some runs."""
    spent, call = [0.0], Guard.__call__

    def timed(guard: Guard, *tile: Any) -> None:
        begun = time.process_time()
        call(guard, *tile)
        spent[0] += time.process_time() - begun

    found = []
    with mock.patch.object(Guard, "__call__", timed):
        for _ in range(runs):
            spent[0], begun = 0.0, time.process_time()
            codec.encode_pixels(pixels, quality=quality, effort=effort)
            found.append((time.process_time() - begun, spent[0]))
    return min(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="*", type=Path)
    parser.add_argument("--guard", action="store_true")
    parser.add_argument("--quality", type=float, default=75)
    options = parser.parse_args()
    codec = vqcodec.load_model()
    if options.guard:
        for path in options.pictures:
            for effort in (1, 5):
                whole, own = guard_seconds(codec, np.asarray(Image.open(path).convert("RGB")), options.quality, effort)
                share = f"{own / (whole - own):.1%} of the rest"
                print(f"{path.name}, effort {effort}: {whole:.3f} s, of which the guard {own:.3f} s ({share})")
        return
    print("| picture | vqcodec | without exact pixels | PNG | WebP lossless | JPEG 4:4:4 | AVIF 4:4:4 |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    given = {path.stem: np.asarray(Image.open(path).convert("RGB")) for path in options.pictures}
    for name, pixels in (given or DRAWINGS).items():
        data = codec.encode_pixels(pixels, quality=options.quality)
        plain = codec.encode_pixels(pixels, quality=options.quality, exact="none")
        cells = [
            name, f"{len(data)} ({fidelity(pixels, codec.decode_pixels(data))})",
            f"{len(plain)} ({psnr(pixels, codec.decode_pixels(plain)):.1f} dB)", len(saved(pixels, format="PNG", optimize=True)),
            len(saved(pixels, format="WEBP", lossless=True, method=6)),
            best_within(pixels, len(data), format="JPEG", subsampling=0),
            best_within(pixels, len(data), format="AVIF", subsampling="4:4:4"),
        ]  # fmt: skip
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
