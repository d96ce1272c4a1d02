"""SSIMULACRA2 of two pictures, with the structural term of the loss."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from vqbitstream.geometry import Rect

from vqcodec.pictures.planes import Pixels
from vqcodec.vqvae.bands import Separable, halved
from vqcodec.vqvae.distortion import linear_light, structural_constants
from vqcodec.vqvae.structural import RADIUS, SIDE_MIN, SIGMA, Structural, score

PART_PX = 1280  # a longer side is scored in parts, so that memory stays bounded


@torch.inference_mode(False)  # the constants are kept, and the search needs them too
@torch.no_grad()
def ssimulacra2(original: Pixels, decoded: Pixels) -> float | None:
    """SSIMULACRA2 of a decoded picture: 100 is the original, 90 visually lossless, 70 high, 50 medium quality.

    Edges are treated as in the package `ssimulacra2` 0.3, whose numbers these are. Sides of more than 1280 pixels are scored in
    parts, whose structural terms are averaged.

    Args:
        original: uint8 [H, W, 3] or [H, W].
        decoded: Of the same shape.

    Returns:
        The score, or None for a picture with a side of less than 8 pixels.
    """
    height, width = original.shape[:2]
    if min(height, width) < SIDE_MIN:
        return None
    total = 0.0
    for part in _parts(height, width):
        judge = _Judge(*part.shape, black=(part.left == 0, part.right == width))
        total += part.area * float(judge(judge.references(_light(original, part)), _light(decoded, part)))
    return float(score(torch.tensor(total / (height * width), dtype=torch.float64)))


class _Judge(Structural):
    """The structural term with the package's edges: mirrored above and below, black at the sides.

    Args:
        height: Pixels.
        width: Pixels.
        black: Whether the left and the right edge are the picture's; other ones are mirrored too.
    """

    def __init__(self, height: int, width: int, black: tuple[bool, bool]) -> None:
        weights, absorbance = structural_constants()
        super().__init__(height, width, weights, absorbance)
        # where a small picture has fewer scales, the metric's authors count the weights on without a gap
        scales = len(self.blurs)
        self.weights = weights[: 18 * scales].reshape(3, scales, 2, 3).permute(1, 2, 3, 0).contiguous()
        filters = []
        for _ in self.blurs:
            filters.append(Separable(_blur(height, (False, False)), _blur(width, black)))
            height, width = halved(height), halved(width)
        self.blurs = nn.ModuleList(filters)


def _blur(size: int, black: tuple[bool, bool]) -> Tensor:
    """A Gaussian. Beyond an end there is black, or a mirror that doubles the end's own sample. [size, size]"""
    taps = torch.arange(-RADIUS, RADIUS + 1)
    kernel = torch.exp(-0.5 * (taps.double() / SIGMA) ** 2)
    kernel /= kernel.sum()
    rows, matrix = torch.arange(size), torch.zeros(size, size, dtype=torch.float64)
    for tap, weight in zip(taps.tolist(), kernel.tolist(), strict=True):
        at = rows + tap
        seen = ~((at < 0) & black[0] | (at >= size) & black[1])
        at = torch.where(at < 0, -at - 1, torch.where(at < size, at, 2 * size - 1 - at))
        matrix[rows[seen], at[seen]] += weight
    return matrix.float()


def _parts(height: int, width: int) -> list[Rect]:
    """Nearly equal parts of a picture, of at most 1280 pixels a side."""
    rows, columns = (
        np.linspace(0, side, -(-side // PART_PX) + 1).round().astype(int).tolist() for side in (height, width)
    )
    return [Rect(top, bottom, left, right) for top, bottom in pairwise(rows) for left, right in pairwise(columns)]


def _light(pixels: Pixels, part: Rect) -> Tensor:
    """Linear RGB of a part, [1, 3, h, w] in [0, 1]."""
    inside = pixels[part.top : part.bottom, part.left : part.right]
    colour = inside if inside.ndim == 3 else np.repeat(inside[..., None], 3, 2)
    return linear_light(torch.from_numpy(colour.astype(np.float32) / 255 - 0.5)[None])
