"""Sizes of a model, and how its networks see the step."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
from vqbitstream.geometry import PATCH_PX
from vqbitstream.prior import MAX_FAN_IN, STEP_KNOT_MIN, STEP_KNOTS

STEP_LOG2_MIN, STEP_LOG2_MAX = (
    STEP_KNOT_MIN,
    STEP_KNOT_MIN + STEP_KNOTS - 1,
)  # the steps seen in training; conditioning ends there


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of everything that has weights. The defaults are those of the shipped model.

    Attributes:
        groups: Latent channels of each layer, coarse to fine.
        side_channels: Of the side grid.
        side_up: Side features at latent resolution, in the prior.
        state: Width of the prior's trunk.
        reduce: Width into the prior's 3x3 layers.
        hidden: Width of the prior's heads.
        synthesis_width: Of the synthesis's correction, at stride 8.
        synthesis_blocks: Residual blocks of the correction.
    """

    groups: tuple[int, ...] = (8, 24, 32, 96, 160)  # latent channels per layer, coarse to fine
    side_channels: int = 32
    side_up: int = 48  # prior: side features at latent resolution
    state: int = 128  # prior: width of the trunk
    reduce: int = 96  # prior: width into its 3x3 layers (fan-in 9 * reduce <= 1040)
    hidden: int = 192  # prior: width of the heads
    synthesis_width: int = 96  # synthesis correction, stride 8
    synthesis_blocks: int = 4

    def __post_init__(self) -> None:
        if any(g < 2 or g % 2 for g in (*self.groups, self.side_channels)):
            raise ValueError("latent groups and side channels must be positive and even: vectors are pairs")
        if self.state + max(self.groups) > MAX_FAN_IN or 9 * max(self.reduce, self.side_up) > MAX_FAN_IN:
            raise ValueError(
                f"fan-in above {MAX_FAN_IN}: partial sums of the integer prior would leave the exact range"
            )

    @property
    def channels(self) -> int:
        """Channels of the latent."""
        return sum(self.groups)

    @property
    def synthesis_halo(self) -> int:
        """How many positions around a pixel's own the synthesis looks at: one per block, and one for its last layer."""
        return self.synthesis_blocks + 1

    def synthesis_macs_per_pixel(self) -> dict[str, float]:
        """Multiply-accumulates per pixel of the linear synthesis and of its correction."""
        width, coarse, fine = self.synthesis_width, PATCH_PX**2, (PATCH_PX // 2) ** 2
        correction = (
            4 * self.channels * width / coarse + 9 * width * (2 * self.synthesis_blocks * width + 3 * fine) / fine
        )
        return {"linear synthesis": 4 * 3 * self.channels, "synthesis correction": correction}

    def to_dict(self) -> dict[str, Any]:
        """For a weights file's metadata."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """The inverse of `to_dict`; unknown keys are ignored. Raises TypeError or ValueError."""
        known = {f.name for f in fields(cls)}
        kept: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in known}
        return cls(**kept)


DECODER_SIZES = tuple(f.name for f in fields(ModelConfig))  # all of them: they are hashed into a model's id


def step_features(log2_step: float) -> npt.NDArray[np.float32]:
    """Hat functions of log2(step), one per octave, on a grid of 1/32. -> float32 [7] in [0, 2]"""
    position = np.floor(np.clip(np.float32(log2_step) - STEP_LOG2_MIN, 0, STEP_KNOTS - 1) * 64 + 0.5)
    return np.asarray(np.maximum(64 - np.abs(position - 64 * np.arange(STEP_KNOTS)), 0) / 32, dtype=np.float32)
