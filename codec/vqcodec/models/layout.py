"""Which tensors a weights file holds: the names, types and shapes that follow from a model's sizes (FORMAT.md, "Weights")."""

from __future__ import annotations

from collections.abc import Mapping

from vqbitstream.geometry import CELL, PATCH_PX
from vqbitstream.header import TUNES
from vqbitstream.prior import FEATURES, layer_shapes
from vqbitstream.vectors import BOOKS, CODEWORDS, SYMBOLS, TABLES

from vqcodec.models.config import COLOURS, STRIDE_TAIL, ModelConfig

Kind = tuple[tuple[str, ...], tuple[int, ...]]  # NumPy's names of the types, and the shape
FLOATS = ("float16", "float32")
BLOCK = COLOURS * PATCH_PX**2  # values of the pixels of one position
QUALITIES = 100
BOTTLENECK = "bottleneck."
MOST_BOTTLENECK = 4096  # of each of its widths


def layout(config: ModelConfig) -> dict[str, Kind]:
    """Types and shape of every tensor that a model must have. Those of a `bottleneck` may follow."""
    tables: dict[str, Kind] = {
        "quantizer.codebooks": (("int16",), (BOOKS, CODEWORDS, 2)),
        "quantizer.counts": (("uint32",), (TABLES, SYMBOLS)),
        "encoder.step_codes": (("uint16",), (len(TUNES), QUALITIES)),
        "encoder.layers": (("uint8",), (len(TUNES), QUALITIES)),
    }
    return tables | _prior(config) | _synthesis(config) | _analysis(config)


def bottleneck(channels: int, kinds: Mapping[str, tuple[str, tuple[int, ...]]]) -> dict[str, Kind]:
    """Types and shape of every tensor of a file's Gaussian bottleneck; none if it has none.

    Args:
        channels: Of the latent.
        kinds: Type and shape of every tensor of the file. Two of them say how wide the bottleneck is.

    Raises:
        ValueError: They do not say it.
    """
    if not any(name.startswith(BOTTLENECK) for name in kinds):
        return {}
    hidden, dims, width = 0, 0, 0
    match kinds.get(f"{BOTTLENECK}decode_hidden.weight"), kinds.get(f"{BOTTLENECK}decode_out.weight"):
        case (_, (hidden, dims)), (_, (_, width)):
            pass
    if not all(1 <= n <= MOST_BOTTLENECK for n in (hidden, dims, width)):
        raise ValueError("the bottleneck has no sizes, or is too wide")
    cell = width * CELL**2
    out: dict[str, Kind] = {"sigma": (FLOATS, (channels,))}
    out |= _dense("squeeze", channels, width) | _dense("encode_hidden", cell, hidden)
    out |= _dense("encode_out", hidden, 2 * dims) | _dense("decode_hidden", dims, hidden)
    out |= _dense("decode_cell", hidden, cell) | _dense("decode_out", width, channels)
    return {BOTTLENECK + name: kind for name, kind in out.items()}


def _prior(config: ModelConfig) -> dict[str, Kind]:
    layers = layer_shapes(
        config.groups, state=config.state, near=config.near, reduce=config.reduce, hidden=config.hidden
    )
    out: dict[str, Kind] = {
        "prior.sigma_log2": (("int16",), (config.channels,)),
        "prior.channel_gain": (("int16",), (FEATURES, config.channels)),
    }
    for name, (inputs, outputs) in layers.items():
        out[f"prior.{name}.weight"] = (("int8",), (inputs, outputs))
        out[f"prior.{name}.bias"] = (("int32",), (outputs,))
        out[f"prior.{name}.shift"] = (("uint8",), (outputs,))
    return out


def _dense(name: str, inputs: int, outputs: int) -> dict[str, Kind]:
    return {f"{name}.weight": (FLOATS, (outputs, inputs)), f"{name}.bias": (FLOATS, (outputs,))}


def _block(name: str, width: int, kernel: int) -> dict[str, Kind]:
    space: dict[str, Kind] = {
        f"{name}.space.weight": (FLOATS, (kernel**2, width)),
        f"{name}.space.bias": (FLOATS, (width,)),
    }
    return space | _dense(f"{name}.first", width, 2 * width) | _dense(f"{name}.second", 2 * width, width)


def _synthesis(config: ModelConfig) -> dict[str, Kind]:
    body, tail = config.body, config.tail
    out: dict[str, Kind] = {
        "synthesis.sigma": (FLOATS, (config.channels,)),
        "synthesis.lapped.weight": (FLOATS, (BLOCK, 4 * config.lapped)),
        "synthesis.fine.weight": (FLOATS, (BLOCK, config.channels - config.lapped)),
    }
    out |= _dense("synthesis.enter", config.shown, body) | _dense("synthesis.step_bias", FEATURES, body)
    for number in range(config.body_blocks):
        out |= _block(f"synthesis.body.{number}", body, 3)
    out |= _dense("synthesis.rise", body, STRIDE_TAIL**2 * tail)
    for number in range(config.tail_blocks):
        out |= _block(f"synthesis.tail.{number}", tail, 3)
    return out | _dense("synthesis.out", tail, STRIDE_TAIL**2 * COLOURS)


def _analysis(config: ModelConfig) -> dict[str, Kind]:
    width = config.analysis_width
    out: dict[str, Kind] = {"analysis.sigma": (FLOATS, (config.channels,))}
    out |= _dense("analysis.linear", 4 * BLOCK, config.channels) | _dense("analysis.enter", config.channels, width)
    out |= _dense("analysis.step_bias", FEATURES, width) | _dense("analysis.out", width, config.channels)
    for number in range(config.analysis_blocks):
        out |= _block(f"analysis.blocks.{number}", width, 5)
    return out
