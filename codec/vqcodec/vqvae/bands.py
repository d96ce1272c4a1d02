"""Separable linear filters of pictures as banded matrices: blurs, and the steps of a pyramid up and down.

A banded matrix is applied block by block, which on a CPU takes a seventh of the dense product's time; on a GPU it is one product.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vqcodec.vqvae.compiled import Band, blurred, kernels_for

BLOCK_ROWS = 32
DENSE_SIDE = 128  # up to here one product is faster than its blocks


def _taps(at: Tensor, weights: Tensor, size: int) -> Tensor:
    """Taps as a matrix. at, weights [rows, taps] -> [rows, size]"""
    out = torch.zeros(len(at), size, dtype=torch.float32)
    return out.scatter_add_(1, at.clamp(0, size - 1), weights.expand(at.shape))


def blur_matrix(size: int, sigma: float, radius: int) -> Tensor:
    """A Gaussian, mirrored at the edges (the edge's own sample is not doubled) where there is room, else clamped. [size, size]"""
    taps = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-0.5 * (taps.to(torch.float32) / sigma) ** 2)
    at = torch.arange(size)[:, None] + taps
    if size > radius:
        at = torch.where(at < size, at.abs(), 2 * (size - 1) - at)
    return _taps(at, kernel / kernel.sum(), size)


def reduce_matrix(size: int) -> Tensor:
    """Five taps at every other sample, mirrored at the edges (with the edge doubled). [ceil(size / 2), size]"""
    at = 2 * torch.arange(halved(size))[:, None] + torch.arange(-2, 3)
    at = torch.where(at < 0, -at - 1, torch.where(at < size, at, 2 * size - 1 - at))
    return _taps(at, torch.tensor([0.05, 0.25, 0.4, 0.25, 0.05], dtype=torch.float32), size)


def expand_matrix(size: int) -> Tensor:
    """The transposed filter, twice as strong, between the samples of half as many, the edges repeated. [size, ceil(size / 2)]"""
    at = torch.arange(size)[:, None] + torch.arange(-2, 3)
    weights = torch.tensor([0.1, 0.5, 0.8, 0.5, 0.1], dtype=torch.float32) * (at % 2 == 0)
    return _taps(torch.div(at, 2, rounding_mode="floor"), weights, halved(size))


def halved(size: int) -> int:
    """Half a side, rounded up."""
    return -(-size // 2)


Blocks = Sequence[tuple[slice, slice]]


def _blocks(matrix: Tensor) -> Blocks:
    """Rows and the columns that they reach."""
    out = []
    rows = BLOCK_ROWS if max(matrix.shape) > DENSE_SIDE else DENSE_SIDE
    for top in range(0, len(matrix), rows):
        columns = matrix[top : top + rows].any(0).nonzero()
        out.append((slice(top, min(top + rows, len(matrix))), slice(int(columns[0]), int(columns[-1]) + 1)))
    return out


def _product(x: Tensor, down: Tensor, across: Tensor, blocks: tuple[Blocks, Blocks]) -> Tensor:
    """down @ x @ across.T, each of them banded. [P, h, w] -> [P, h', w']"""
    if x.is_cuda:
        return down @ x @ across.t()
    wide = x.new_empty(x.shape[0], x.shape[1], len(across))
    for rows, columns in blocks[1]:
        wide[..., rows] = x[..., columns] @ across[rows, columns].t()
    out = x.new_empty(x.shape[0], len(down), len(across))
    for rows, columns in blocks[0]:
        out[:, rows] = down[rows, columns] @ wide[:, columns]
    return out


class _Separable(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, filter: Separable) -> Tensor:
        ctx.filter = filter
        return filter.there(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.filter.back(gradients[0]), None


class Separable(nn.Module):
    """One filter down the columns of a picture and one across its rows. [..., h, w] -> [..., h', w']

    Args:
        down: [h', h].
        across: [w', w].
    """

    down: Tensor
    across: Tensor

    def __init__(self, down: Tensor, across: Tensor) -> None:
        super().__init__()
        self.register_buffer("down", down, persistent=False)
        self.register_buffer("across", across, persistent=False)
        self.blocks = _blocks(down), _blocks(across)
        self.blocks_back = _blocks(down.t()), _blocks(across.t())
        found = [Band.of(matrix) for matrix in (down, across, down.t(), across.t())]
        bands = [band for band in found if band]
        self.bands = (bands[:2], bands[2:]) if len(bands) == len(found) else None

    def there(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """The filter, without gradients, into `out` if that is given. [P, h, w] -> [P, h', w']"""
        if self.bands and (kernels := kernels_for(x)):
            return blurred(kernels, x, self.bands[0], out)
        found = _product(x, self.down, self.across, self.blocks)
        return found if out is None else out.copy_(found)

    def back(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """The transposed filter. [P, h', w'] -> [P, h, w]"""
        if self.bands and (kernels := kernels_for(x)):
            return blurred(kernels, x, self.bands[1], out)
        found = _product(x, self.down.t(), self.across.t(), self.blocks_back)
        return found if out is None else out.copy_(found)

    def forward(self, x: Tensor) -> Tensor:
        planes = x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:])
        return _Separable.apply(planes, self).unflatten(0, x.shape[:-2])
