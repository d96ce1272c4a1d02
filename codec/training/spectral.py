"""Adam for the linear kernels, in the frequency domain.

A kernel's weights all see the same local mean: when Adam moves each of 3072 weights by its learning rate, and all agree, the
latent jumps by more than a quantiser step, the next gradient says "back", and the oscillation drowns whatever else the
kernel could learn. In the domain of a block DCT the mean is one weight among many, and each frequency gets its own step size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from vqbitstream.header import PATCH_PX


def _dct(size: int) -> Tensor:
    """The orthonormal DCT-II. float32 [frequency, sample]"""
    frequency, sample = torch.arange(size)[:, None], torch.arange(size)[None]
    rows = torch.cos(math.pi / size * (sample + 0.5) * frequency) * math.sqrt(2 / size)
    rows[0] /= math.sqrt(2)
    return rows


_COLOUR = _dct(3)  # grey, red against blue, green against both
_BLOCK = _dct(PATCH_PX)


def _rotate(x: Tensor, axis: int, colour: Tensor, block: Tensor) -> Tensor:
    blocks = x.movedim(axis, -1).unflatten(-1, (3, PATCH_PX, PATCH_PX))
    blocks = torch.einsum("...cij,Cc->...Cij", blocks, colour.to(x))
    blocks = torch.einsum("...Cij,Ii->...CIj", blocks, block.to(x)) @ block.to(x).T
    return blocks.flatten(-3).movedim(-1, axis)


def to_spectrum(x: Tensor, axis: int) -> Tensor:
    """Blocks of 3x16x16 pixels, flattened along `axis`, to their DCT coefficients. Orthonormal; same shape."""
    return _rotate(x, axis, _COLOUR, _BLOCK)


def from_spectrum(x: Tensor, axis: int) -> Tensor:
    """The inverse of `to_spectrum`."""
    return _rotate(x, axis, _COLOUR.T, _BLOCK.T)


@torch.no_grad()
def spectral_step(optimizer: torch.optim.Optimizer, kernels: Sequence[tuple[Tensor, int]]) -> None:
    """optimizer.step() with the given kernels, and their gradients, in the DCT domain of the given axis."""
    for kernel, axis in kernels:
        kernel.copy_(to_spectrum(kernel, axis))
        if kernel.grad is not None:
            kernel.grad.copy_(to_spectrum(kernel.grad, axis))
    optimizer.step()
    for kernel, axis in kernels:
        kernel.copy_(from_spectrum(kernel, axis))
