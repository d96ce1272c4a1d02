"""Adam for the linear kernels, in the frequency domain.

All weights of a kernel see the same local mean. If Adam moves each of 3072 weights by its learning rate in the same direction, the
latent jumps by more than a quantiser step, the next gradient points back, and the oscillation hides everything else the kernel could
learn. In the domain of a block DCT the mean is one weight of many, and each frequency has its own step size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from vqbitstream.geometry import PATCH_PX


def _dct(size: int) -> Tensor:
    """The orthonormal DCT-II. float32 [frequency, sample]"""
    frequency, sample = torch.arange(size)[:, None], torch.arange(size)[None]
    rows = torch.cos(math.pi / size * (sample + 0.5) * frequency) * math.sqrt(2 / size)
    rows[0] /= math.sqrt(2)
    return rows


# 768 pixels of a block, in pixel_unshuffle's order, to 768 coefficients; grey, red against blue, green against both
SPECTRUM = torch.kron(_dct(3), torch.kron(_dct(PATCH_PX), _dct(PATCH_PX)))


def _rotate(matrix: Tensor, x: Tensor, axis: int) -> Tensor:
    """matrix times x's vectors along axis 0 or 1. Same shape; in bf16 on a CPU, where that is several times faster."""
    last = x.movedim(1, -1)
    matrix = matrix.to(x.device)
    if x.device.type == "cpu":
        last, matrix = last.bfloat16(), matrix.bfloat16()
    out = last @ matrix.T if axis else (matrix @ last.flatten(1)).view_as(last)
    return out.to(x.dtype).movedim(-1, 1)


def to_spectrum(x: Tensor, axis: int) -> Tensor:
    """Blocks of 3x16x16 pixels, flattened along `axis`, to their DCT coefficients. Orthonormal; same shape."""
    return _rotate(SPECTRUM, x, axis)


def from_spectrum(x: Tensor, axis: int) -> Tensor:
    """The inverse of `to_spectrum`."""
    return _rotate(SPECTRUM.T, x, axis)


@torch.no_grad()
def spectral_step(optimizer: torch.optim.Optimizer, kernels: Sequence[tuple[Tensor, int]]) -> None:
    """optimizer.step(), with the updates of some kernels computed in the DCT domain of an axis.

    Only gradients and updates are transformed, where rounding does not matter; the kernels are not.
    """
    before = []
    for kernel, axis in kernels:
        before.append(kernel.clone())
        kernel.zero_()
        if kernel.grad is not None:
            kernel.grad.copy_(to_spectrum(kernel.grad, axis))
    optimizer.step()
    for (kernel, axis), old in zip(kernels, before, strict=True):
        kernel.copy_(from_spectrum(kernel, axis)).add_(old)
