"""Where the bits go: share of each layer, and how much of the codebooks is used.

    python -m benchmarks.studies.latents --images DIR [--quality Q ...] [--every N] [--model NAME]

Perplexity is 2 to the entropy of the codewords of one stage, over all codebooks, and again without the zero vector.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from rich.progress import track
from vqbitstream.vectors import CODEWORDS, ZERO, single_table_book
from vqcodec.codec import Codec

from benchmarks.rate.images import load_images

from .generative import codewords, indices


def perplexity(counts: np.ndarray) -> float:
    """Of a histogram. [n] -> 1..n"""
    p = counts[counts > 0] / counts.sum()
    return float(2 ** -(p * np.log2(p)).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="folder of pictures of 65536 to a million pixels")
    parser.add_argument("--quality", type=float, nargs="+", default=[20, 50, 80])
    parser.add_argument("--every", type=int, default=1, help="take only every n-th picture")
    parser.add_argument("--model", default="default", help="name or weights file")
    options = parser.parse_args()
    codec = Codec(options.model)
    images = [image for _, image in load_images(options.images)][:: options.every]
    books = int(single_table_book().max()) + 1
    for quality in options.quality:
        bits = np.zeros(len(codec.config.groups))
        counts = np.zeros((books, CODEWORDS), dtype=np.int64)
        for image in track(images, f"quality {quality:g}", transient=True):
            sections = indices(codec, codec.encode(image, quality=quality, verify=False))
            bits[: len(sections)] += [codec.tables.bits[tables, symbols].sum() for tables, symbols in sections]
            for tables, symbols in sections:
                counts += np.bincount(codewords(tables, symbols), minlength=counts.size).reshape(counts.shape)
        rest = counts.copy()
        rest[:, ZERO] = 0
        shares = " / ".join(f"{share:.0%}" for share in bits / bits.sum())
        print(f"quality {quality:g}: layers {shares} of the bits; perplexity {perplexity(counts.reshape(-1)):.1f}, without "
              f"zeros {perplexity(rest.reshape(-1)):.0f} of {rest.size - books}; zeros {counts[:, ZERO].sum() / counts.sum():.1%}; "
              f"used {np.count_nonzero(counts) / counts.size:.0%}")  # fmt: skip


if __name__ == "__main__":
    main()
