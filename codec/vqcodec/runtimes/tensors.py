"""Decoded pictures as torch tensors."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

__all__ = ["Tensor", "tensor_of"]


def tensor_of(image: Image.Image) -> Tensor:
    """A picture as torch.uint8 [C, H, W], with 1 (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGBA) channels."""
    array = np.array(image)
    return torch.from_numpy(np.ascontiguousarray(np.atleast_3d(array).transpose(2, 0, 1)))
