"""What a glyph model's samples and Gaussian bottleneck are worth, in figures.

    python -m benchmarks.studies.generative samples --model glyphs    bits per index, nearest training neighbour, codebook usage
    python -m benchmarks.studies.generative gaussian --model glyphs   moments of the aggregate posterior, and decoded averages

Held-out glyphs are drawn from the typefaces of `benchmarks.pictures` that no training picture shows.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import vqbitstream
from rich.progress import track
from vqbitstream.entropy import SectionReader
from vqbitstream.vectors import CODEWORDS, SINGLE_TABLES, ZERO, single_table_book
from vqcodec.codec import Codec
from vqcodec.generate import interpolation, sampling
from vqcodec.models.weights_file import ModelError
from vqcodec.runtimes.strips import UNIT
from vqcodec.vqvae.vae import kl_to_normal

from benchmarks.pictures.fonts import font_files
from benchmarks.pictures.glyphs import CHARACTERS, SIDE_PX, SIZES_PX, glyph, glyphs

Pixels = npt.NDArray[np.uint8]
ACTIVE_NATS = 0.01  # a dimension whose mean KL is above is in use


class Recorder:
    """A section's reader that writes down what it reads."""

    def __init__(self, reader: SectionReader) -> None:
        self.reader, self.close = reader, reader.close
        self.batches: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []

    def read(self, tables: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        self.batches.append((tables, self.reader.read(tables)))
        return self.batches[-1][1]


def indices(codec: Codec, data: bytes) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Tables and symbols of each section of a file of one tile, in coding order."""
    contents = vqbitstream.unpack(data, vqbitstream.Limits())
    header = contents.header
    sections = [section for section in contents.sections if section is not None]
    recorders = [Recorder(SectionReader(s.payload, codec.tables, s.index_crc)) for s in sections]
    spread = recorders * header.layers if header.single_section else recorders
    codec.tile_coder.latent_coder.decode(header.tiles[0].shape, header.step_code, header.tune, spread)
    return [
        (np.concatenate([t for t, _ in recorder.batches]), np.concatenate([s for _, s in recorder.batches]))
        for recorder in recorders
    ]


def codewords(tables: npt.NDArray[np.int64], symbols: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Numbers of the codewords of one stage, over all codebooks; escapes and other tables are left out."""
    single = (tables < SINGLE_TABLES) & (symbols < CODEWORDS)
    return np.asarray(single_table_book()[tables[single]] * CODEWORDS + symbols[single], dtype=np.int64)


def index_figures(codec: Codec, files: list[bytes]) -> str:
    """Bits per index and codebook usage of many files."""
    sections = [section for data in files for section in indices(codec, data)]
    tables, symbols = (np.concatenate(part) for part in zip(*sections, strict=True))
    bits = codec.tables.bits[tables, symbols].mean()
    used = len(np.unique(codewords(tables, symbols))) / (CODEWORDS * (single_table_book().max() + 1))
    return f"{bits:.4f} bits per index, {(symbols != ZERO).mean():.2%} not zero, {used:.1%} of the codewords used"


def nearest(pictures: list[Pixels], among: list[Pixels]) -> npt.NDArray[np.float64]:
    """Root mean square distance of each picture to the nearest of many, in levels of 255."""
    rows, others = (np.stack(p).reshape(len(p), -1).astype(np.float32) for p in (pictures, among))
    distance = torch.cdist(torch.from_numpy(rows), torch.from_numpy(others)).min(1).values.numpy()
    return np.asarray(distance / np.sqrt(rows.shape[1]), dtype=np.float64)


def grey(codec: Codec, data: bytes) -> Pixels:
    return np.asarray(codec.decode(data).convert("L"))


def samples(codec: Codec, count: int, quality: float) -> None:
    """Samples of the prior beside real, held-out glyphs."""
    real = [image for _, image in glyphs(font_files(True), count, 1)]
    training = [np.asarray(i.convert("L")) for _, i in glyphs(font_files(False), 4000, 0)]
    files = [codec.encode(image, quality=quality, effort=1) for image in track(real, "real")]
    drawn = [
        sampling.sample(codec, SIDE_PX, SIDE_PX, seed=seed, quality=quality) for seed in track(range(count), "samples")
    ]
    for name, found in (("held-out glyphs", files), ("samples", drawn)):
        near = nearest([grey(codec, f) for f in found], training)
        print(f"{name}: {index_figures(codec, found)}; nearest of {len(training)} training glyphs: mean "
              f"{near.mean():.1f}, least {near.min():.1f} levels")  # fmt: skip


@torch.inference_mode()
def gaussian(codec: Codec, count: int, quality: float) -> None:
    """Moments of the aggregate posterior, and averages of two letters."""
    bottleneck = interpolation.require_vae(codec)
    fonts = font_files(True)
    posteriors = []
    for _, image in glyphs(fonts, None, 0):
        header = codec.encoder.header(*image.size, quality)
        latent = codec.transforms.analyse(np.asarray(image), header, codec.config.channels) / UNIT
        x = torch.from_numpy(latent.astype(np.float32))[None]
        posteriors.append(torch.stack(bottleneck.encode(x)).flatten(1))
    mean, log_variance = torch.stack(posteriors, 1)
    kl = kl_to_normal(mean, log_variance).mean(0)
    variance = log_variance.exp().mean(0) + mean.var(0)
    active = kl > ACTIVE_NATS
    print(f"{len(mean)} held-out glyphs: KL {kl.sum():.1f} nats, {int(active.sum())} of {len(kl)} dimensions in use; aggregate "
          f"posterior: mean {mean.mean():+.3f} (root mean square over dimensions {mean.mean(0).square().mean().sqrt():.3f}), "
          f"variance {variance.mean():.3f} ({variance.min():.3f} to {variance.max():.3f})")  # fmt: skip
    averages(codec, fonts, count, quality)


def averages(codec: Codec, fonts: Sequence[Path], count: int, quality: float) -> None:
    """Averages of two held-out pictures of one letter, in typefaces and sizes drawn at random, beside all the other glyphs."""
    names = [
        (font, letter, size)
        for font in fonts
        for letter in CHARACTERS
        for size in range(SIZES_PX[0], SIZES_PX[-1] + 1, 2)
    ]
    real = [np.asarray(glyph(*name)) for name in names]
    neighbours = torch.from_numpy(np.stack([picture[..., 0].reshape(-1) for picture in real]).astype(np.float32))
    rng = np.random.default_rng(0)
    drawn: dict[str, list[tuple[float, bool]]] = {"pixel average": [], "decoded average": [], "end, decoded": []}
    for _ in track(range(count), "averages"):
        letter = CHARACTERS[rng.integers(len(CHARACTERS))]
        ends = rng.choice([i for i, name in enumerate(names) if name[1] == letter], 2, replace=False)
        walk = [
            grey(codec, f) for f in interpolation.interpolate(codec, real[ends[0]], real[ends[1]], 3, quality=quality)
        ]
        pixel = np.rint((real[ends[0]].astype(float) + real[ends[1]])[..., 0] / 2)
        for found, picture in zip(drawn.values(), (pixel, walk[1], walk[0]), strict=True):
            row = torch.from_numpy(picture.reshape(1, -1).astype(np.float32))
            distances = torch.cdist(row, neighbours)[0] / SIDE_PX
            distances[ends] = np.inf
            found.append((float(distances.min()), names[int(distances.argmin())][1] == letter))
    for kind, found in drawn.items():
        distance, same = np.mean(found, axis=0)
        print(
            f"{kind}: nearest of {len(names) - 2} other held-out glyphs at {distance:.2f} levels, the same letter in {same:.0%}"
        )
    closer = np.mean([d[0] < p[0] for d, p in zip(drawn["decoded average"], drawn["pixel average"], strict=True)])
    print(f"the decoded average is the closer one in {closer:.0%} of {count} pairs")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("samples", "gaussian"))
    parser.add_argument("--model", required=True, help="name or weights file")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--quality", type=float, default=60)
    options = parser.parse_args()
    try:
        codec = Codec(options.model)
        (samples if options.what == "samples" else gaussian)(codec, options.count, options.quality)
    except (ModelError, FileNotFoundError) as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
