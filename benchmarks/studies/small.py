"""Small pictures of one kind: held-out glyphs of 64x64 pixels in bytes, whole files, at equal PSNR.

    python -m benchmarks.studies.small --model glyphs

Mean bytes over pictures against mean PSNR, PCHIP over log bytes. Every codec gets the grey picture; PNG is lossless.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image
from rich.progress import track
from scipy.interpolate import PchipInterpolator
from vqcodec.models.weights_file import ModelError
from vqcodec.pictures.psnr import psnr

from benchmarks.pictures.fonts import font_files
from benchmarks.pictures.glyphs import glyphs
from benchmarks.rate.codecs import ImageCodec, build

NAMES = ("vqcodec", "JPEG-O", "WebP", "AVIF")
TARGETS_DB = (25, 30, 35, 40)


def curve(codec: ImageCodec, images: Sequence[Image.Image]) -> tuple[np.ndarray, np.ndarray]:
    """Mean bytes and mean PSNR in dB, by quality."""
    points = []
    for quality in track(codec.qualities, codec.name):
        files = [codec.encode(image, quality) for image in images]
        shown = [np.asarray(codec.decode(data).convert("L")) for data in files]
        values = [psnr(np.asarray(image), picture) for image, picture in zip(images, shown, strict=True)]
        points.append((float(np.mean([len(data) for data in files])), float(np.mean(values))))
    size, quality_db = np.array(sorted(points)).T
    return size, quality_db


def bytes_at(target_db: float, size: np.ndarray, quality_db: np.ndarray) -> str:
    """Mean bytes at a PSNR, or a dash where the codec does not reach it."""
    rising = np.r_[True, np.diff(np.maximum.accumulate(quality_db)) > 0]
    if not quality_db[0] <= target_db <= quality_db[rising][-1]:
        return "-"
    return f"{np.exp(PchipInterpolator(quality_db[rising], np.log(size[rising]))(target_db)):.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default", help="name or weights file")
    parser.add_argument("--every", type=int, default=8, help="take only every n-th of the held-out glyphs")
    options = parser.parse_args()
    try:
        images = [image.convert("L") for _, image in glyphs(font_files(True), None, 0)][:: options.every]
        codecs, left_out = build(NAMES, options.model)
    except (ModelError, FileNotFoundError) as error:
        raise SystemExit(str(error)) from None
    rows = {codec.name: curve(codec, images) for codec in codecs.values()}
    png = []
    for image in images:
        buffer = io.BytesIO()
        image.save(buffer, format="PNG", optimize=True)
        png.append(len(buffer.getvalue()))
    print("\n".join(left_out))
    print(f"{len(images)} glyphs, mean bytes at a PSNR of: {', '.join(f'{t} dB' for t in TARGETS_DB)}; smallest file")
    for name, points in rows.items():
        print(f"{name}: {', '.join(bytes_at(t, *points) for t in TARGETS_DB)}; {points[0].min():.0f}")
    print(f"PNG, lossless: {np.mean(png):.0f}")


if __name__ == "__main__":
    main()
