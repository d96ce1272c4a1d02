"""Vectors against scalars on the same latents: what the vector quantiser costs or gains, measured in the picture.

    python -m benchmarks.scalar_control [--images DIR] [--model NAME|FILE]

Same weights, same prior, same synthesis; only the quantiser differs. The scalar quantiser rounds every channel of the residual to
the step's grid, plainly or with a rate-aware choice; its bits are ideal: the entropy of its own symbols per class of predicted scale
(eighths of an octave), fitted to these very pictures, in its favour. The vector quantiser's bits are those of the shipped tables.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from vqcodec.codec import Codec
from vqcodec.latent_coder import LatentCoder, latent_shape
from vqcodec.quantizer import LAMBDA, LOG2_SCALE_MIN, OCTAVE, ONE, RATE_WEIGHT

from .bd_rate import bd_rate
from .rate_distortion import load_images

CLASS_WIDTH = OCTAVE // 8
MAX_SYMBOL = 600
QUALITIES = (15, 30, 45, 60, 75, 88)


class ScalarQuantizer:
    """Rounds each channel by itself; counts symbols by class of predicted scale."""

    def __init__(self) -> None:
        self.counts = np.zeros((64 * OCTAVE // CLASS_WIDTH, 2 * MAX_SYMBOL + 1))

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

    @property
    def bits(self) -> float:
        """Entropy of everything counted, with one ideal table per class."""
        totals = self.counts.sum(axis=1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            bits = np.where(self.counts > 0, -self.counts * np.log2(self.counts / totals), 0)
        return float(bits.sum())


def laplace_bits(symbols: Any, scale: Any) -> Any:
    """Bits of the unit cell around integer symbols under a zero-mean Laplace of scale b."""
    distance = np.abs(symbols)
    beyond = 0.5 * np.exp(-np.maximum(distance - 0.5, 0) / scale) * -np.expm1(-1 / scale)
    return -np.log2(np.where(distance == 0, -np.expm1(-0.5 / scale), beyond) + 2.0**-20)


@torch.inference_mode()
def curve(codec: Codec, images: list[Any], weight: float, scalar: bool) -> list[tuple[float, float]]:
    """(mean bits per pixel, mean PSNR) at every quality. Bits of scalars are pooled over images, weighted by their pixels."""
    out = []
    for quality in QUALITIES:
        quantizer, bits, psnr, pixels = ScalarQuantizer(), 0.0, [], 0
        for picture in images:
            height, width = picture.shape[:2]
            pixels += height * width
            if scalar:
                code = codec.step_code(quality)
                latent, side = codec.analyse(picture, code)
                coder = LatentCoder(codec.prior, quantizer)  # type: ignore[arg-type]
                sinks: list[Any] = [None] * len(codec.config.groups)
                coded = coder.encode(latent, side, latent_shape(width, height), code, weight, sinks)
                decoded = codec.synthesise(coded, code, picture.shape)
            else:
                decoded = codec.decode_pixels(codec.encode_pixels(picture, quality=quality, rate_weight=weight))
                assert codec.stats is not None
                bits += codec.stats.estimated_bits
            error = np.square(decoded.astype(float) - picture).mean()
            psnr.append(10 * np.log10(255**2 / error))
        out.append(((quantizer.bits if scalar else bits) / pixels, float(np.mean(psnr))))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--every", type=int, default=1, help="use every n-th picture")
    options = parser.parse_args()
    codec = Codec(options.model)
    images = [np.asarray(image) for _, image in load_images(options.images)][:: options.every]
    weight = RATE_WEIGHT
    anchor = curve(codec, images, 0.0, scalar=True)
    print(f"BD-rate against plain scalar rounding, {len(images)} images, model {codec.model_id.hex()}")
    for name, w, scalar in (
        ("scalar, rate-aware x 0.3", 0.3, True),
        (f"scalar, rate-aware x {weight}", weight, True),
        ("vectors, nearest", 0.0, False),
        (f"vectors, rate-aware x {weight}", weight, False),
    ):
        rate = bd_rate(anchor, curve(codec, images, w, scalar))
        print(f"{name:40} {'window not covered' if rate is None else f'{rate:+.2f} %'}", flush=True)


if __name__ == "__main__":
    main()
