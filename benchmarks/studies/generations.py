"""Decodes and encodes a picture again and again: how far it drifts.

    python -m benchmarks.studies.generations [PICTURE ...] [--quality 75] [--times 20]

Without pictures, three photographs of scikit-image. For each, after 1, 2, 5, 10 and 20 generations: bytes, PSNR and SSIMULACRA2
against the original, and PSNR against the generation before.
"""

from __future__ import annotations

import argparse

import numpy as np
import skimage.data
import vqcodec
from PIL import Image
from vqcodec.pictures.planes import Pixels
from vqcodec.pictures.psnr import psnr
from vqcodec.vqvae.ssimulacra2 import ssimulacra2

SHOWN = (1, 2, 5, 10, 20)
PHOTOGRAPHS = ("astronaut", "chelsea", "coffee")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="*")
    parser.add_argument("--quality", type=float, default=75)
    parser.add_argument("--times", type=int, default=20)
    options = parser.parse_args()
    codec = vqcodec.load_model()
    originals: dict[str, Pixels] = {path: np.asarray(Image.open(path).convert("RGB")) for path in options.pictures} or {
        name: getattr(skimage.data, name)() for name in PHOTOGRAPHS
    }
    print("| picture | generation | bytes | PSNR | SSIMULACRA2 | PSNR to the one before |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, original in originals.items():
        before = original
        for generation in range(1, options.times + 1):
            data = codec.encode_pixels(before, quality=options.quality)
            after = codec.decode_pixels(data)
            if generation in SHOWN:
                step = "same" if (after == before).all() else f"{psnr(before, after):.1f} dB"
                cells = (
                    name,
                    generation,
                    len(data),
                    f"{psnr(original, after):.1f} dB",
                    f"{ssimulacra2(original, after):.1f}",
                    step,
                )
                print(f"| {' | '.join(map(str, cells))} |", flush=True)
            before = after


if __name__ == "__main__":
    main()
