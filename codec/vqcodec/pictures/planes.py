"""What a file keeps of a picture: uint8 planes and metadata."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image
from vqbitstream.alpha import pack_plane
from vqbitstream.errors import VQCError

Pixels = npt.NDArray[np.uint8]


class ImageError(VQCError):
    """The input is not a picture that can be read."""


@dataclass
class Planes:
    """What a file keeps of a picture.

    Attributes:
        colour: uint8 [H, W, 3], or [H, W] for a grey picture.
        alpha: uint8 [H, W], or None.
        metadata: "icc", "exif" (without its "Exif" header) and "xmp", those that are present; the orientation is 1.
    """

    colour: Pixels
    alpha: Pixels | None = None
    metadata: dict[str, bytes] = field(default_factory=dict)

    @cached_property
    def packed_alpha(self) -> bytes | None:
        """The alpha section's payload, packed once however often the colours are encoded."""
        return None if self.alpha is None else pack_plane(self.alpha)


@runtime_checkable
class ImageTensor(Protocol):
    """A torch tensor, uint8 [C, H, W]."""

    def numpy(self, *, force: bool = False) -> npt.NDArray[np.generic]: ...


Picture = Image.Image | str | Path | IO[bytes] | npt.NDArray[np.generic] | ImageTensor | Planes
