"""A model of random numbers, as large as a loader allows: every clip and every branch of the format happens in its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from vqbitstream.prior import CHANNEL_GAIN_MAX, SIGMA_LOG2_MAX
from vqbitstream.vectors import ZERO
from vqcodec.codec import Codec
from vqcodec.models.config import ModelConfig
from vqcodec.models.layout import Kind, layout
from vqcodec.models.weights_file import Arrays, write_weights
from vqcodec.pictures.planes import Planes

from support import picture

LOUD = ModelConfig(  # no two sizes alike
    groups=(4, 6, 8, 2), state=12, near=7, reduce=9, hidden=14, lapped=11, shown=16, body=5, body_blocks=2, tail=3, tail_blocks=2,
    analysis_width=10, analysis_blocks=1,
)  # fmt: skip
GENTLE = 24.0  # standard deviation of sigmas and channel gains, in 1/32 octave


def loud_tensors(config: ModelConfig = LOUD, seed: int = 0) -> Arrays:
    """Every tensor of a weights file of these sizes."""
    rng = np.random.default_rng(seed)
    tensors = {name: _tensor(name, kind, rng) for name, kind in layout(config).items()}
    np.minimum(tensors["encoder.layers"], len(config.groups), out=tensors["encoder.layers"])
    return tensors


def _tensor(name: str, kind: Kind, rng: np.random.Generator) -> Any:
    (dtype, *_), shape = kind
    values: Any
    match name.split("."):
        case ["encoder", "step_codes"]:
            values = np.broadcast_to(np.linspace(40960, 4096, 100), shape)
        case ["encoder", "layers"]:
            values = np.broadcast_to(np.repeat([1, 2, 3, 4], 25), shape)  # more at higher qualities
        case ["quantizer", "counts"]:
            values = np.exp(rng.normal(0, 3, shape)) * 1000 + 1
        case ["quantizer", "codebooks"]:
            values = rng.integers(-2048, 2049, shape)
            values[:, ZERO] = 0
        case ["prior", "sigma_log2"]:
            values = np.clip(rng.normal(0, 4 * GENTLE, shape), -SIGMA_LOG2_MAX, SIGMA_LOG2_MAX)
        case ["prior", "channel_gain"]:
            values = np.clip(rng.normal(0, 2 * GENTLE, shape), -CHANNEL_GAIN_MAX, CHANNEL_GAIN_MAX)
        case ["prior", *_, "weight"]:
            values = rng.integers(-127, 128, shape)
        case ["prior", "heads", _, "out", "shift"]:  # a few means beyond their limit, the others small
            values = rng.choice([0, 6, 8, 10], shape)
        case ["prior", "heads", _, "out", "bias"]:
            values = rng.choice([0, 1 << 12, 1 << 16, 1 << 23], shape) * rng.choice([-1, 1], shape)
        case ["prior", *_, "shift"]:
            values = rng.integers(6, 10, shape)
        case ["prior", *_, "bias"]:
            values = rng.integers(-(1 << 12), 1 << 12, shape)
        case [_, "sigma"]:
            values = 2.0 ** rng.integers(-8, 3, shape)
        case [_, "lapped" | "fine" | "linear", _]:
            values = rng.normal(0, 0.04, shape)
        case _:
            values = rng.normal(0, 0.4, shape)
    return np.ascontiguousarray(values, dtype=dtype)


def write_loud(path: Path, config: ModelConfig = LOUD, seed: int = 0) -> Codec:
    """Write a weights file and load it."""
    write_weights(path, loud_tensors(config, seed), config.to_dict())
    return Codec(path)


SHAPES = {  # name -> width, height, quality, tune: all numbers of layers and both tunes
    "rgb": (150, 90, 95, "eye"), "odd": (17, 33, 60, "psnr"), "layers": (300, 260, 80, "psnr"), "dot": (1, 1, 90, "eye"),
    "tiles": (1100, 40, 45, "eye"), "one": (40, 70, 10, "psnr"),
}  # fmt: skip


def loud_files(codec: Codec) -> dict[str, bytes]:
    """Files that between them hold everything that a file can hold."""
    files = {}
    for name, (width, height, quality, tune) in SHAPES.items():
        pixels = picture(width, height)
        planes = Planes(pixels[..., 0] if name == "odd" else pixels)
        if name == "rgb":
            planes.alpha = np.minimum(np.add.outer(np.arange(height), np.arange(width)), 255).astype(np.uint8)
            planes.metadata = {"icc": b"a profile", "exif": b"II*\0\x08\0\0\0\0\0", "xmp": b"<x/>"}
        files[name] = codec.encode_planes(planes, quality=quality, tune=tune, effort=1, exact="none")[0]
    page = np.full((70, 1100, 3), 255, dtype=np.uint8)  # two tiles: a drawing, and a drawing beside a photograph
    page[20:50:3, 10:900:2] = 0
    page[:48, 1040:] = picture(60, 48)
    files["page"] = codec.encode_planes(Planes(page), quality=60, effort=1)[0]
    files["drawing"] = codec.encode_planes(Planes(page[..., 0]), exact="all")[0]
    return files
