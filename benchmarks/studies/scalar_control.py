"""Vectors against scalars on the same latents: what the vector quantiser costs or gains, measured in the picture.

    python -m benchmarks.studies.scalar_control [--images DIR] [--model NAME|FILE]

Same weights, same prior, same synthesis; only the quantiser differs. The scalar quantiser rounds every channel of the residual to
the step's grid, plainly or with a rate-aware choice. Its symbols are coded with one table per eighth of an octave of predicted
scale: Laplace at that scale, sharpened by the counts of all the other pictures (never of the one that is coded: with a table of
its own for every few samples a picture would seem to cost 3 to 6 % less than it can). The vector quantiser's bits are those of
the shipped tables, counted on training pictures.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from vqbitstream.choice import LAMBDA, default_rate_weight
from vqbitstream.geometry import latent_shape
from vqbitstream.latent import LatentCoder
from vqbitstream.prior import LOG2_SCALE_MAX, LOG2_SCALE_MIN, OCTAVE
from vqbitstream.vectors import ONE
from vqcodec.codec import Codec
from vqcodec.pictures.planes import Planes

from benchmarks.rate.bd_rate import bd_rate
from benchmarks.rate.images import load_images

CLASS_WIDTH = OCTAVE // 8
MAX_SYMBOL = 600
CLASSES = (LOG2_SCALE_MAX - LOG2_SCALE_MIN) // CLASS_WIDTH + 1
PSEUDO_COUNT = 100.0  # weight of Laplace in a table
QUALITIES = (10, 25, 40, 55, 70, 84, 96)


class ScalarQuantizer:
    """Rounds each channel by itself; counts symbols by class of predicted scale."""

    def __init__(self) -> None:
        self.counts = np.zeros((CLASSES, 2 * MAX_SYMBOL + 1), dtype=np.int32)

    def encode(self, log2_scale: Any, residual: Any, rate_weight: float, sink: object) -> Any:
        scaled = residual / ONE
        chosen = np.rint(scaled)
        if rate_weight > 0:
            scale = 2.0 ** (log2_scale / OCTAVE)
            towards_zero = chosen - np.sign(chosen)
            cost = [
                np.square(scaled - k) + rate_weight * LAMBDA * laplace_bits(k, scale)
                for k in (chosen, towards_zero, np.zeros_like(chosen))
            ]
            chosen = np.choose(np.argmin(cost, axis=0), [chosen, towards_zero, 0])
        symbols = np.clip(chosen, -MAX_SYMBOL, MAX_SYMBOL).astype(np.int64)
        np.add.at(self.counts, ((log2_scale - LOG2_SCALE_MIN) // CLASS_WIDTH, symbols + MAX_SYMBOL), 1)
        return symbols * ONE


def scalar_bits(counts: list[Any]) -> float:
    """Bits of all pictures, from their counts [classes, symbols], each coded with tables from the others."""
    symbols = np.abs(np.arange(-MAX_SYMBOL, MAX_SYMBOL + 1))[None]
    scales = 2.0 ** ((LOG2_SCALE_MIN + CLASS_WIDTH * (np.arange(CLASSES)[:, None] + 0.5)) / OCTAVE)
    start = np.exp2(-laplace_bits(symbols, scales))
    start *= PSEUDO_COUNT / start.sum(axis=1, keepdims=True)
    total = np.sum(counts, axis=0)
    bits = 0.0
    for own in counts:
        table = total - own + start
        bits -= float((own * np.log2(table / table.sum(axis=1, keepdims=True))).sum())
    return bits


def laplace_bits(symbols: Any, scale: Any) -> Any:
    """Bits of the unit cell around integer symbols under a zero-mean Laplace of scale b."""
    distance = np.abs(symbols)
    beyond = 0.5 * np.exp(-np.maximum(distance - 0.5, 0) / scale) * -np.expm1(-1 / scale)
    return -np.log2(np.where(distance == 0, -np.expm1(-0.5 / scale), beyond) + 2.0**-20)


def curve(
    codec: Codec, images: list[Any], weight: float | None, scalar: bool, tune: str = "psnr"
) -> list[tuple[float, float]]:
    """(bits per pixel of all images together, mean PSNR) at every quality."""
    out = []
    for quality in QUALITIES:
        bits, psnr, pixels, counts = 0.0, [], 0, []
        for picture in images:
            height, width = picture.shape[:2]
            pixels += height * width
            if scalar:
                quantizer, header = ScalarQuantizer(), codec.encoder.header(width, height, quality, tune)
                latent = codec.transforms.analyse(picture, header, codec.prior.channels(header.layers))
                rows = latent.reshape(-1, latent.shape[2])
                share = default_rate_weight(header.log2_step) if weight is None else weight
                coder = LatentCoder(codec.prior, quantizer)  # type: ignore[arg-type]
                sinks: list[Any] = [None] * header.layers
                shape = latent_shape(width, height)
                coded = coder.encode(rows, shape, header.step_code, header.tune, share, sinks)
                counts.append(quantizer.counts)
                decoded = codec.transforms.synthesise(coded.reshape(latent.shape), header, picture.shape)
            else:
                data, stats = codec.encode_planes(
                    Planes(picture), quality=quality, tune=tune, effort=1, rate_weight=weight
                )
                decoded = codec.decode_pixels(data)
                bits += stats.estimated_bits
            error = np.square(decoded.astype(float) - picture).mean()
            psnr.append(10 * np.log10(255**2 / error))
        out.append(((scalar_bits(counts) if scalar else bits) / pixels, float(np.mean(psnr))))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--every", type=int, default=1, help="use every n-th picture")
    options = parser.parse_args()
    codec = Codec(options.model)
    images = [np.asarray(image) for _, image in load_images(options.images)][:: options.every]
    anchor = curve(codec, images, 0.0, scalar=True)
    print(f"BD-rate against plain scalar rounding, {len(images)} images, model {codec.model_id.hex()}")
    for name, weight, scalar in (
        ("scalar, rate-aware x 0.6", 0.6, True),
        ("scalar, rate-aware x default", None, True),
        ("vectors, rate-aware x 0.6", 0.6, False),
        ("vectors, rate-aware x default", None, False),
    ):
        rate = bd_rate(anchor, curve(codec, images, weight, scalar))
        print(f"{name:40} {'window not covered' if rate is None else f'{rate:+.2f} %'}", flush=True)


if __name__ == "__main__":
    main()
