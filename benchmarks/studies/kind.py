"""A model for one kind of picture against another model: BD-rate on held-out pictures, whole files.

python -m benchmarks.studies.kind --images DIR --model mine [--against default]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track
from vqcodec.codec import Codec
from vqcodec.models.weights_file import ModelError
from vqcodec.pictures.psnr import psnr

from benchmarks.rate.bd_rate import WINDOW_DB, Curve, bd_rate, overlap
from benchmarks.rate.images import load_images

QUALITIES = (1, 8, 15, 22, 29, 36, 43, 50, 57, 64, 71, 78, 85, 92, 100)


def curve(codec: Codec, images: Sequence[Image.Image], effort: int) -> Curve:
    """Mean bits per pixel and mean PSNR at every quality."""
    points = []
    for quality in track(QUALITIES, codec.model_id.hex()):
        rows = []
        for image in images:
            data = codec.encode(image, quality=quality, effort=effort)
            shown = np.asarray(codec.decode(data).convert("RGB"))
            rows.append((8 * len(data) / (image.width * image.height), psnr(np.asarray(image), shown)))
        rate, quality_db = np.mean(rows, axis=0)
        points.append((float(rate), float(quality_db)))
    return points


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="folder of held-out pictures")
    parser.add_argument("--model", required=True, help="name or weights file")
    parser.add_argument("--against", default="default", help="name or weights file")
    parser.add_argument("--effort", type=int, default=1)
    parser.add_argument("--every", type=int, default=1, help="take only every n-th picture")
    options = parser.parse_args()
    images = [image for _, image in load_images(options.images)][:: options.every]
    try:
        curves = [curve(Codec(name), images, options.effort) for name in (options.against, options.model)]
    except ModelError as error:
        raise SystemExit(str(error)) from None
    for name, points in zip((options.against, options.model), curves, strict=True):
        print(name, "  ".join(f"{rate:.4f} bpp {db:.2f} dB" for rate, db in points))
    window = WINDOW_DB if bd_rate(*curves) is not None else overlap(*curves)
    delta = bd_rate(*curves, window)
    said = "not defined" if delta is None else f"{delta:+.1f} %"
    print(f"{len(images)} pictures, {window[0]:.1f} to {window[1]:.1f} dB: BD-rate {said}")


if __name__ == "__main__":
    main()
