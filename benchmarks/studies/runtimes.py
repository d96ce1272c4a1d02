"""Whether the NumPy and the torch runtime make equally good files, and decode each other's.

    python -m benchmarks.studies.runtimes [--images DIR ...] [--every N] [--quality Q ...] [--model NAME|FILE]

Each picture is encoded at effort 1 by both runtimes, at each quality. Then both decode the file of the NumPy runtime. A row per
quality: the NumPy runtime's bytes and PSNR against torch's (mean, and the largest difference of one picture), files with the same
bytes, files that decode to the same indices on both, and the largest difference of one pixel, in levels. Default: every other
picture, ten each, of Kodak and of the folder `dev` beside it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import track
from vqcodec.codec import Codec
from vqcodec.pictures.planes import Pixels
from vqcodec.pictures.psnr import psnr
from vqcodec.runtimes.threads import limit_threads

from benchmarks.rate.images import Source, kodak_sources, sources

QUALITIES = (20.0, 50.0, 80.0)
EFFORT, PICTURES = 1, 10
HEADS = ("quality", "files", "bytes", "PSNR", "same bytes", "same indices", "levels")


@dataclass(frozen=True)
class Agreement:
    """One picture at one quality; differences are NumPy's minus torch's."""

    bytes_share: float
    psnr_db: float
    same_file: bool
    same_indices: bool
    levels: int


def agreement(ours: Codec, other: Codec, pixels: Pixels, quality: float) -> Agreement:
    """ours: on the NumPy runtime. other: on torch."""
    files = [c.encode_pixels(pixels, quality=quality, effort=EFFORT, verify=False) for c in (ours, other)]
    shown = ours.decode_pixels(files[0])
    indices = [c.decode_latent(files[0])[0] for c in (ours, other)]
    return Agreement(
        bytes_share=len(files[0]) / len(files[1]) - 1,
        psnr_db=psnr(pixels, shown) - psnr(pixels, other.decode_pixels(files[1])),
        same_file=files[0] == files[1],
        same_indices=np.array_equal(*indices),
        levels=int(np.abs(shown.astype(np.int16) - other.decode_pixels(files[0])).max()),
    )


def default_sources() -> list[Source]:
    """Of Kodak, and of the development pictures if they are beside it."""
    kodak = kodak_sources(None)
    assert kodak[0].path is not None
    dev = kodak[0].path.parent.with_name("dev")
    sets = [kodak, sources(dev)] if dev.is_dir() else [kodak]
    return [source for pictures in sets for source in pictures[::2][:PICTURES]]


def row(quality: str, found: Sequence[Agreement]) -> list[str]:
    shares, decibels = ([getattr(a, name) for a in found] for name in ("bytes_share", "psnr_db"))
    return [
        quality,
        f"{len(found)}",
        f"{100 * np.mean(shares):+.4f} % ({100 * np.abs(shares).max():.4f} %)",
        f"{np.mean(decibels):+.5f} dB ({np.abs(decibels).max():.5f} dB)",
        f"{sum(a.same_file for a in found)}",
        f"{sum(a.same_indices for a in found)}",
        f"{max(a.levels for a in found)}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, nargs="+", metavar="DIR")
    parser.add_argument("--every", type=int, default=1, help="take only every n-th of these pictures")
    parser.add_argument("--quality", type=float, nargs="+", default=QUALITIES)
    parser.add_argument("--model", default="default", help="name or weights file")
    options = parser.parse_args()
    limit_threads(1)
    chosen = [s for folder in options.images for s in sources(folder)] if options.images else default_sources()
    ours, other = Codec(options.model, runtime="numpy"), Codec(options.model, runtime="torch")
    found: dict[float, list[Agreement]] = {quality: [] for quality in options.quality}
    for source in track(chosen[:: options.every], "measuring", transient=True):
        pixels = np.asarray(source.read())
        for quality in options.quality:
            found[quality].append(agreement(ours, other, pixels, quality))
    rows = [row(f"{quality:g}", own) for quality, own in found.items()]
    rows.append(row("all", [one for own in found.values() for one in own]))
    widths = [max(map(len, column)) for column in zip(HEADS, *rows, strict=True)]
    for cells in (HEADS, *rows):
        print("  ".join(map(str.rjust, cells, widths)))


if __name__ == "__main__":
    main()
