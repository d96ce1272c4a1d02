"""Sizes of a model, and how its networks see the step and the tune."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
from vqbitstream.geometry import PATCH_PX
from vqbitstream.prior import ACTIVATION_UNIT, MAX_FAN_IN, file_features

COLOURS = 3
STRIDE_TAIL = 4  # pixels of a position of the synthesis's tail


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of everything that has weights. The defaults are those of the shipped model.

    Attributes:
        groups: Latent channels of each layer, coarse to fine.
        state: Width of the prior's trunk.
        near: Width of what a position tells its neighbours in the passes of the first group.
        reduce: Width inside the prior's refinements.
        hidden: Width of the prior's heads.
        lapped: Channels whose linear synthesis overlaps; each of the others paints its own block.
        shown: Channels that the synthesis's correction sees.
        body: Width of the correction at stride 16.
        body_blocks: Its residual blocks at stride 16.
        tail: Width of the correction at stride 4.
        tail_blocks: Its residual blocks at stride 4.
        analysis_width: Width of the analysis's correction, at stride 16. The encoder's alone, as is the next one.
        analysis_blocks: Its residual blocks.
    """

    groups: tuple[int, ...] = (8, 24, 32, 96, 160, 448)
    state: int = 128
    near: int = 64
    reduce: int = 128
    hidden: int = 192
    lapped: int = 160
    shown: int = 320
    body: int = 192
    body_blocks: int = 4
    tail: int = 40
    tail_blocks: int = 2
    analysis_width: int = 256
    analysis_blocks: int = 3

    def __post_init__(self) -> None:
        if any(g < 2 or g % 2 for g in self.groups):
            raise ValueError("latent groups must be positive and even: vectors are pairs")
        if max(self.state + max(self.groups), 4 * self.near, self.reduce) > MAX_FAN_IN:
            raise ValueError(
                f"fan-in above {MAX_FAN_IN}: partial sums of the integer prior would leave the exact range"
            )
        if not 0 < self.lapped < self.channels or not 0 < self.shown <= self.channels:
            raise ValueError("the synthesis shows channels that the latent does not have")

    @property
    def channels(self) -> int:
        """Channels of the latent."""
        return sum(self.groups)

    @property
    def synthesis_halo(self) -> int:
        """How many positions around a pixel's own the synthesis looks at: one a block at stride 16, one for those at stride 4."""
        return max(1, self.body_blocks + -(-self.tail_blocks * STRIDE_TAIL // PATCH_PX))

    @property
    def analysis_halo(self) -> int:
        """How many positions around its own the analysis looks at: half a patch, and two for each depthwise 5x5."""
        return 1 + 2 * self.analysis_blocks

    def synthesis_macs_per_pixel(self, channels: int | None = None) -> dict[str, float]:
        """Multiply-accumulates per pixel of the linear synthesis and of its correction.

        Args:
            channels: How many channels are decoded; all by default.
        """
        channels = self.channels if channels is None else channels
        block = COLOURS * PATCH_PX**2
        linear = (4 * min(channels, self.lapped) + max(channels - self.lapped, 0)) * block
        ratio = (PATCH_PX // STRIDE_TAIL) ** 2  # positions of the tail for each of the latent
        body = self.shown * self.body + self.body_blocks * (9 * self.body + 4 * self.body**2)
        body += self.body * ratio * self.tail
        tail = self.tail_blocks * (9 * self.tail + 4 * self.tail**2) + self.tail * COLOURS * STRIDE_TAIL**2
        return {
            "linear synthesis": linear / PATCH_PX**2,
            "synthesis correction": (body + ratio * tail) / PATCH_PX**2,
        }

    def to_dict(self) -> dict[str, Any]:
        """For a weights file's metadata."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """The inverse of `to_dict`; unknown keys are ignored. Raises TypeError or ValueError."""
        known = {f.name for f in fields(cls)}
        kept: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in known}
        return cls(**kept)


ENCODER_SIZES = ("analysis_width", "analysis_blocks")
DECODER_SIZES = tuple(f.name for f in fields(ModelConfig) if f.name not in ENCODER_SIZES)  # hashed into a model's id


def step_features(step_code: int, tune: int) -> npt.NDArray[np.float32]:
    """What every network sees of the step and the tune (FORMAT.md, "Features"). float32 [16] in [0, 2]"""
    return np.asarray(file_features(step_code, tune) / np.float32(ACTIVATION_UNIT), dtype=np.float32)
