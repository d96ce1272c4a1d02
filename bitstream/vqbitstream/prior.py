"""The prior: exact integers from decoded latent to predicted means, scales and gains, the same everywhere (FORMAT.md, "Prior").

Rows are latent positions, row by row: an array [h*w, channels]. Units: latents in 2^-14 of the unit of pixels (255 levels), means in
1/256 of the local step, log2-scales and gains in 1/32 octave. The local step is 2^(log2 step + channel gain + place gain): channel
gains depend on quality and tune alone, place gains are predicted from what is decoded, so neither costs bits.
The trainable twin is `vqcodec.vqvae.prior`, the order in which positions are coded is in `vqbitstream.latent`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vqbitstream.arithmetic import (
    COMPAND,
    COMPAND_LIMIT,
    COMPAND_LOG2,
    MAX_FAN_IN,
    OCTAVE,
    Array,
    Floats,
    Integers,
    Ints,
    Layer,
    gain_power,
    power,
    tested,
    within,
)
from vqbitstream.geometry import PATCH_PX
from vqbitstream.header import STEP_LOG2_FRACTION, STEP_LOG2_OFFSET, TUNES
from vqbitstream.kernels import library

__all__ = ["ACTIVATION_UNIT", "FEATURES", "MAX_FAN_IN", "Ints", "Prediction", "Prior", "PriorState", "file_features"]

ACTIVATION_UNIT = 32  # activations and features are integers in 1/32
KNOT_MIN, KNOTS = -6, 8  # hat functions of log2(step) at -6, -5, .. 1
FEATURES = KNOTS * len(TUNES)
MEAN_LOG2 = 6  # heads give means in 1/64 sigma
HEAD_MEAN_LIMIT = 1 << 18  # largest |mean| of a head
MEAN_LIMIT = 1 << 22  # largest |mean| in 1/256 of the local step
LATENT_LOG2, LATENT_LIMIT = 14, 1 << 30
LOG2_SCALE_MIN, LOG2_SCALE_MAX = -6 * OCTAVE, 9 * OCTAVE
SIGMA_LOG2_MAX = 8 * OCTAVE  # |log2(sigma)|
CHANNEL_GAIN_MAX = 4 * OCTAVE  # |channel gain|
PLACE_GAIN_MAX = 3 * OCTAVE  # |place gain|
NEIGHBOURS = 4  # of a position in the passes of the first group
FIRST_PASSES = 5


def file_features(step_code: int, tune: int) -> Ints:
    """Hat functions of log2(step), one an octave, in the half of the tune. int64 [16] in 0..64."""
    position = step_code - (STEP_LOG2_OFFSET + KNOT_MIN) * STEP_LOG2_FRACTION
    position = (min(max(position, 0), (KNOTS - 1) * STEP_LOG2_FRACTION) + 32) >> 6  # in 1/64 octave
    features = np.zeros((len(TUNES), KNOTS), dtype=np.int64)
    features[tune] = np.maximum(64 - np.abs(position - 64 * np.arange(KNOTS)), 0)
    return features.reshape(-1)


def layer_shapes(
    groups: tuple[int, ...], *, state: int, near: int, reduce: int, hidden: int
) -> dict[str, tuple[int, int]]:
    """Inputs and outputs of every layer of a prior of these widths; those of depthwise layers are 9 and their channels."""
    shapes = {"start": (FEATURES, state)}
    for step in range(FIRST_PASSES - 1):
        shapes |= {
            f"near.{step}.reduce": (groups[0] + state, near),
            f"near.{step}.near": (NEIGHBOURS * near, reduce),
            f"near.{step}.mix": (reduce, state),
        }
    for group, channels in enumerate(groups):
        shapes |= {
            f"heads.{group}.hidden": (state + FEATURES, hidden),
            f"heads.{group}.out": (hidden, 2 * channels),
            f"heads.{group}.gain": (hidden, 1),
        }
        kinds = ["refine_half"] * (group > 0) + ["refine_full"] * (group < len(groups) - 1)
        for name in (f"{kind}.{group}" for kind in kinds):
            shapes |= {
                f"{name}.reduce": (channels + state, reduce),
                f"{name}.space": (9, reduce),
                f"{name}.mix": (reduce, state),
            }
    return shapes


def _int64(tensors: Mapping[str, Array], name: str) -> Ints:
    """A tensor in int64. Raises ValueError if its values do not fit."""
    array = tensors[name]
    if array.dtype.kind not in "iu" or int(array.max(initial=0)) >> 63:
        raise ValueError(f"prior tensor {name} does not hold integers of 64 bits")
    return array.astype(np.int64)


def _fastest(layers: Mapping[str, Layer]) -> tuple[Any, dict[str, Any]]:
    """The fastest arithmetic that gives the reference's integers here, with its layers: C, then float32. Warns where it is int64."""
    if found := library():
        from vqbitstream.kernels.exact import Compiled

        compiled = Compiled(found)
        if prepared := tested(compiled, layers):
            return compiled, prepared
        warnings.warn("the compiled kernels are not exact on this machine; using NumPy", stacklevel=3)
    floats = Floats()
    if prepared := tested(floats, layers):
        return floats, prepared
    warnings.warn("float32 arithmetic is not exact on this machine; using int64, which is slow", stacklevel=3)
    return _reference(layers)


def _reference(layers: Mapping[str, Layer]) -> tuple[Any, dict[str, Any]]:
    integers = Integers()
    return integers, {name: integers.prepare(layer) for name, layer in layers.items()}


@dataclass(frozen=True)
class Prediction:
    """What the prior says of a group of channels at n positions.

    Attributes:
        mean: int32 [n, channels] in 1/256 of the local step.
        log2_scale: int16 [n, channels] in 1/32 octave of the local step.
        gain: Place gain, int32 [n] in 1/32 octave.
    """

    mean: Ints
    log2_scale: Ints
    gain: Ints


@dataclass
class PriorState:
    """What the prior knows while a tile is being decoded.

    Attributes:
        trunk: Activations [h*w, state].
        features: Of the file, [1, 16].
        log2_step: log2 of the step with the channel gain, int64 [C] in 1/4096 octave.
        shape: h and w.
    """

    trunk: Array
    features: Array
    log2_step: Ints
    shape: tuple[int, int]


class Prior:
    """The integer prior of a model.

    Warns if float32 products are not exact on this machine, and then uses int64.

    Args:
        tensors: For each layer `NAME.weight` (int8 [fan_in, outputs]), `NAME.bias` (int32) and `NAME.shift` (uint8); also
            `sigma_log2` (int16 [C]) and `channel_gain` (int16 [16, C]), both in 1/32 octave.
        groups: Number of channels of each layer of the file, coarse to fine.
        reference: Compute in int64 from the start, which is slow.

    Raises:
        KeyError: A layer is missing.
        ValueError: The tensors do not fit together, or a sum could leave the exact range.
    """

    def __init__(self, tensors: Mapping[str, Array], groups: tuple[int, ...], *, reference: bool = False) -> None:
        self.groups = groups
        layers: dict[str, Layer] = {}
        for key in tensors:
            if key.endswith(".weight"):
                name = key.removesuffix(".weight")
                weight, bias, shift = (_int64(tensors, f"{name}.{part}") for part in ("weight", "bias", "shift"))
                layers[name] = Layer(weight, bias, shift, depthwise=name.endswith(".space"))
                layers[name].check(name)
        self._starts = np.cumsum([0, *groups])
        self._sigma_log2, self._channel_gain = _int64(tensors, "sigma_log2"), _int64(tensors, "channel_gain")
        self._check_shapes(layers)
        self.macs = {name: int(layer.weight.size) for name, layer in layers.items()}
        self._arithmetic, self._layers = (_reference if reference else _fastest)(layers)
        self._compand = COMPAND.astype(self._arithmetic.dtype)

    def _check_shapes(self, layers: Mapping[str, Layer]) -> None:
        """Raises ValueError if a layer is missing or does not fit its neighbours."""
        shapes = {name: layer.weight.shape for name, layer in layers.items()}
        expected = layer_shapes(
            self.groups, state=shapes["start"][1], near=shapes["near.0.reduce"][1], reduce=shapes["near.0.near"][1],
            hidden=shapes["heads.0.hidden"][1],
        )  # fmt: skip
        if shapes != expected:
            wrong = sorted(set(shapes.items()) ^ set(expected.items()))[0][0]
            raise ValueError(f"the prior's layers do not fit together ({wrong})")
        channels = sum(self.groups)
        if self._sigma_log2.shape != (channels,) or not within(self._sigma_log2, SIGMA_LOG2_MAX):
            raise ValueError("the prior's sigmas do not fit its groups, or are out of range")
        if self._channel_gain.shape != (FEATURES, channels) or not within(self._channel_gain, CHANNEL_GAIN_MAX):
            raise ValueError("the prior's channel gains do not fit its groups, or are out of range")

    def macs_per_pixel(self, layers: int | None = None) -> float:
        """Multiply-accumulates per pixel of the picture to decode this many layers, all by default."""
        layers = len(self.groups) if layers is None else layers
        total = 0.0
        for name, macs in self.macs.items():
            kind, _, rest = name.partition(".")
            if kind == "start":
                continue  # once a tile
            if kind == "near":  # 1, 2, 4 and 8 sixteenths of the positions are known, and as many are new
                share = 2 ** int(rest[0]) / 16
            else:
                group = int(rest.partition(".")[0])
                if group >= layers or (kind == "refine_full" and group >= layers - 1):
                    continue
                share = 0.5 if kind == "refine_half" and rest.endswith("mix") else 1
            total += macs * share / PATCH_PX**2
        return total

    def _apply(self, name: str, x: Array) -> Array:
        return self._arithmetic.apply(x, self._layers[name])

    def _leaky(self, name: str, x: Array) -> Array:
        return self._arithmetic.leaky(x, self._layers[name])

    def _clamped(self, name: str, x: Array) -> Array:
        return self._arithmetic.clamped(x, self._layers[name])

    def _added(self, name: str, x: Array, add: Array) -> Array:
        return self._arithmetic.added(x, self._layers[name], add)

    def channels(self, layers: int) -> int:
        """Channels of the first few layers."""
        return int(self._starts[layers])

    def block(self, group: int) -> slice:
        """The channels of a group."""
        return slice(int(self._starts[group]), int(self._starts[group + 1]))

    def begin(self, step_code: int, tune: int, shape: tuple[int, int]) -> PriorState:
        """Start a tile of `shape` latent positions. step_code, tune: see `Header`."""
        features = file_features(step_code, tune)
        log2_step = step_code - STEP_LOG2_OFFSET * STEP_LOG2_FRACTION + 2 * (features @ self._channel_gain)
        row = features[None].astype(self._arithmetic.dtype)
        trunk = np.repeat(self._clamped("start", row), shape[0] * shape[1], axis=0)
        return PriorState(trunk, row, log2_step, shape)

    def predict(self, group: int, trunk: Array, state: PriorState) -> Prediction:
        """Predict a group of channels at n positions from their trunk, [n, state]."""
        features = np.concatenate([trunk, np.broadcast_to(state.features, (len(trunk), FEATURES))], axis=1)
        hidden = self._leaky(f"heads.{group}.hidden", features)
        out = self._apply(f"heads.{group}.out", hidden)
        gain = np.clip(self._apply(f"heads.{group}.gain", hidden)[:, 0], -PLACE_GAIN_MAX, PLACE_GAIN_MAX)
        gain = gain.astype(np.int32)
        channels = self.groups[group]
        ratio = self._ratio_log2(group, state)
        mean = self._arithmetic.scaled(
            out[:, :channels], power(ratio, 8 - MEAN_LOG2), gain_power(-gain), most=HEAD_MEAN_LIMIT, limit=MEAN_LIMIT
        )
        log2_scale = out[:, channels:] + ((ratio + 64) >> 7).astype(out.dtype)
        log2_scale -= gain[:, None].astype(out.dtype)
        np.clip(log2_scale, LOG2_SCALE_MIN, LOG2_SCALE_MAX, out=log2_scale)
        return Prediction(mean, log2_scale.astype(np.int16), gain)

    def _ratio_log2(self, group: int, state: PriorState) -> Ints:
        """log2(sigma / step) of a group's channels without place gain, in 1/4096 octave."""
        block = self.block(group)
        return self._sigma_log2[block] * (STEP_LOG2_FRACTION // OCTAVE) - state.log2_step[block]

    def latent(self, group: int, decoded: Ints, gain: Ints, state: PriorState) -> Ints:
        """Decoded values [n, channels] in 1/256 of the local step -> latent, int32 [n, channels]."""
        step = power(state.log2_step[self.block(group)], LATENT_LOG2 - 8)
        return self._arithmetic.scaled(decoded, step, gain_power(gain), limit=LATENT_LIMIT)

    def in_steps(self, group: int, latent: Ints, gain: Ints, state: PriorState) -> Ints:
        """The inverse of `latent`, for the encoder: int32 [n, channels] in 1/256 of the local step."""
        step = power(state.log2_step[self.block(group)], LATENT_LOG2 - 8)
        out = latent * (1 / step)
        out *= (1 / gain_power(gain))[:, None]
        np.clip(np.rint(out, out=out), -2 * MEAN_LIMIT, 2 * MEAN_LIMIT, out=out)
        return out.astype(np.int32)

    def context(self, group: int, latent: Ints) -> Array:
        """Latent of a group, [n, channels], to the activations that the trunk sees, [n, channels]."""
        sigma = self._sigma_log2[self.block(group)] * (STEP_LOG2_FRACTION // OCTAVE)
        normalised = self._arithmetic.scaled(
            latent, power(-sigma, COMPAND_LOG2 - LATENT_LOG2), None, limit=COMPAND_LIMIT
        )
        normalised += COMPAND_LIMIT
        return self._compand.take(normalised)

    def near(self, step: int, context: Array, trunk: Array, neighbours: Ints, state: PriorState) -> Array:
        """The trunk of new positions from their four nearest known ones, in the first group.

        Args:
            step: 0..3, for passes 1..4.
            context: Of the m known positions, [m, channels]; see `context`.
            trunk: Of the known positions, [m, state].
            neighbours: Which of the known positions are the new ones' neighbours, [n, 4]; m is outside the tile.
            state: The tile's state.

        Returns:
            The trunk of the new positions, [n, state].
        """
        told = self._leaky(f"near.{step}.reduce", np.concatenate([context, trunk], axis=1))
        told = np.concatenate([told, np.zeros((1, told.shape[1]), dtype=told.dtype)])
        heard = self._leaky(f"near.{step}.near", told[neighbours].reshape(len(neighbours), -1))
        return self._added(f"near.{step}.mix", heard, self._clamped("start", state.features))

    def refine(self, kind: str, group: int, context: Array, state: PriorState, rows: Ints | None = None) -> Array:
        """The trunk after more of a group is known. `state` does not change.

        Args:
            kind: "refine_half" after a group's first pass, "refine_full" after its last.
            group: Index of the group.
            context: What is known of the group, [h*w, channels]; see `context`.
            state: The tile's state.
            rows: Flat positions to compute; all by default.

        Returns:
            The new trunk at `rows`, [n, state].
        """
        name = f"{kind}.{group}"
        x = np.concatenate([context, state.trunk], axis=1)
        x = self._leaky(f"{name}.reduce", x).reshape(*state.shape, -1)
        x = self._arithmetic.depthwise(x, self._layers[f"{name}.space"]).reshape(len(state.trunk), -1)
        if rows is None:
            return self._added(f"{name}.mix", x, state.trunk)
        return self._added(f"{name}.mix", x[rows], state.trunk[rows])

    def zeros(self, state: PriorState, channels: int) -> Array:
        """The context of a group before any of it is known. [h*w, channels]."""
        return np.zeros((len(state.trunk), channels), dtype=self._arithmetic.dtype)
