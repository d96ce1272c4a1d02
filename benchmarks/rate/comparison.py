"""A part of a picture beside AVIF and JPEG in the same bytes, at three qualities: the README's picture.

    python -m benchmarks.comparison [IMAGE] --out FILE.png [--qualities Q ...] [--beside CODEC ...]

IMAGE: a path, or the name of a photograph of scikit-image (astronaut by default). Shown are 256x256 pixels at full size;
the figures are of the whole picture.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from vqcodec.codec import Codec
from vqcodec.compare.others import OTHERS

from .equal_bytes import JXL, QUALITIES, comparison, sheet
from .images import BUILT_IN, Source


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", nargs="?", default="astronaut")
    parser.add_argument("--qualities", type=float, nargs="+", default=QUALITIES, metavar="Q", help="of ours")
    parser.add_argument("--beside", nargs="+", choices=(*OTHERS, JXL), default=("AVIF", "JPEG"), metavar="CODEC")
    parser.add_argument("--crop", type=int, nargs=2, default=(130, 30), metavar=("X", "Y"))
    parser.add_argument("--model", default="default")
    parser.add_argument("--out", type=Path, default=Path("comparison.png"))
    options = parser.parse_args()
    if options.image not in BUILT_IN and not Path(options.image).exists():
        parser.error(f"{options.image} is no file, and none of {', '.join(BUILT_IN)}")
    source = Source(options.image, None if options.image in BUILT_IN else Path(options.image))
    image, codec = source.read(), Codec(options.model)
    rows = []
    for quality in options.qualities:
        found = comparison(codec, image, quality, options.beside)
        rows.append((f"quality {quality:g}", found))
        print("\n".join(found.lines[1:]))
    sheet(rows, tuple(options.crop)).save(options.out)
    print(f"written: {options.out}")


if __name__ == "__main__":
    main()
