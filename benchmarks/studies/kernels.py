"""How fast the kernels are: decode, encode at effort 1, and a thumbnail, on one thread, beside NumPy alone and Pillow's AVIF.

    python -m benchmarks.studies.kernels [IMAGE] [--quality Q] [--repeats N] [--megapixels N]

Seconds of processor time, the least of several repeats in one process per row, each with a warm model. The thumbnail is one of
256 pixels, of the picture repeated to some megapixels. The last row is Pillow's AVIF, 4:4:4, speed 6, on one thread, at the quality
that gives about the same bytes. Default: kodim05 of Kodak.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

HEADS = ("kernels", "decode", "encode, effort 1", "thumbnail")
THUMBNAIL_PX = 256


def least(work: Callable[[], object], repeats: int) -> float:
    """Seconds of processor time of the quickest repeat."""
    found = []
    for _ in range(repeats):
        begun = time.process_time()
        work()
        found.append(time.process_time() - begun)
    return min(found)


def repeated(image: Image.Image, megapixels: float) -> Image.Image:
    """The picture side by side and below itself, until it has about so many megapixels."""
    times = max(1, math.ceil(math.sqrt(megapixels * 1e6 / (image.width * image.height))))
    return Image.fromarray(np.tile(np.asarray(image), (times, times, 1)))


def thumbnail(data: bytes) -> None:
    with Image.open(io.BytesIO(data)) as image:
        image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))


def own_row(path: Path, folder: Path, quality: float, repeats: int) -> list[float]:
    """Of vqcodec, with the kernels that the environment chooses."""
    import vqcodec
    from vqcodec.runtimes.threads import limit_threads

    limit_threads(1)
    vqcodec.register_pillow_plugin()
    image = Image.open(path).convert("RGB")
    data, large = ((folder / name).read_bytes() for name in ("small.vqc", "large.vqc"))
    return [
        least(lambda: vqcodec.decode(data), repeats),
        least(lambda: vqcodec.encode(image, quality=quality, effort=1), max(2, repeats // 3)),
        least(lambda: thumbnail(large), 2),
    ]


def avif(image: Image.Image, quality: int) -> bytes:
    out = io.BytesIO()
    image.save(out, "AVIF", quality=quality, subsampling="4:4:4", speed=6, max_threads=1)
    return out.getvalue()


def avif_row(path: Path, wanted_bytes: int, repeats: int, megapixels: float) -> list[float]:
    image = Image.open(path).convert("RGB")
    quality = min(range(10, 100, 3), key=lambda q: abs(len(avif(image, q)) - wanted_bytes))
    data, large = avif(image, quality), avif(repeated(image, megapixels), quality)
    return [
        least(lambda: Image.open(io.BytesIO(data)).load(), repeats),
        least(lambda: avif(image, quality), max(2, repeats // 5)),
        least(lambda: thumbnail(large), 2),
    ]


def default_picture() -> Path:
    from benchmarks.rate.images import kodak_sources

    path = kodak_sources(None)[4].path
    assert path is not None
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path, nargs="?")
    parser.add_argument("--quality", type=float, default=75)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--megapixels", type=float, default=24, help="of the picture that the thumbnail is of")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    path = options.image or default_picture()
    if options.worker:
        print(json.dumps(own_row(path, options.worker, options.quality, options.repeats)))
        return
    import vqcodec
    from vqbitstream.kernels import VARIABLE, usable

    image, rows = Image.open(path).convert("RGB"), []
    small = vqcodec.encode(image, quality=options.quality, effort=1)
    large = vqcodec.encode(repeated(image, options.megapixels), quality=options.quality, effort=1, verify=False)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "small.vqc").write_bytes(small)
        Path(folder, "large.vqc").write_bytes(large)
        for level in ("numpy", *usable()):
            command = [sys.executable, "-m", "benchmarks.studies.kernels", str(path), "--worker", folder]
            command += ["--quality", str(options.quality), "--repeats", str(options.repeats)]
            environment = os.environ | {VARIABLE: level}
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            rows.append([level, *json.loads(done.stdout)])
    rows.append(["AVIF", *avif_row(path, len(small), options.repeats, options.megapixels)])
    print("  ".join(f"{head:>16}" for head in HEADS))
    for name, *seconds in rows:
        print("  ".join([f"{name:>16}", *(f"{s:>14.3f} s" for s in seconds)]))


if __name__ == "__main__":
    main()
