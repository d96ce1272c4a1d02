"""Parts of the distortion in C, with their slopes: what the functions of the same names in PyTorch compute, in a fifth of the time.

They keep nothing for the backward pass but what they were given, and work in float32 on the CPU.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from vqbitstream.kernels import Library, address, library

if TYPE_CHECKING:
    from vqcodec.vqvae.bands import Separable
    from vqcodec.vqvae.structural import Reference
    from vqcodec.vqvae.visible import Reference as VisibleReference


def kernels_for(x: Tensor) -> Library | None:
    """The kernels, if they can work on a tensor like this one."""
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.bfloat16):
        return None
    kernels = library()
    return kernels if kernels and kernels.searches else None


def at(*tensors: Tensor) -> list[int]:
    """Where tensors begin. They must be contiguous, and outlive the call."""
    return [tensor.data_ptr() for tensor in tensors]


def _kernels(x: Tensor) -> Library:
    found = kernels_for(x)
    assert found is not None
    return found


def _floats(parts: Sequence[Tensor]) -> Any:
    """Numbers one after the other, as a struct of floats has them."""
    numbers = torch.cat([part.detach().flatten() for part in parts]).tolist()
    return (ctypes.c_float * len(numbers))(*numbers)


class XYB(torch.autograd.Function):
    """Linear RGB to XYB, both [B, 3, h, w]. constants: absorbance, its bias, opponent colours, offset."""

    @staticmethod
    def forward(ctx: Any, light: Tensor, constants: Sequence[Tensor]) -> Tensor:
        light = light.contiguous()
        out, ctx.constants = torch.empty_like(light), _floats(constants)
        ctx.save_for_backward(light)
        for here, there in zip(light, out, strict=True):
            _kernels(light).distortion_xyb(here[0].numel(), *at(here), ctx.constants, *at(there))
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (light,) = ctx.saved_tensors
        by_xyb, out = gradients[0].contiguous(), torch.empty_like(light)
        for here, slope, there in zip(light, by_xyb, out, strict=True):
            _kernels(light).distortion_xyb_back(here[0].numel(), *at(here), ctx.constants, *at(slope, there))
        return out, None


class _Plane(ctypes.Structure):
    """`plane` in distortion.c."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("y", "mean", "square", "product")),
        *((name, ctypes.c_void_p) for name in ("original_mean", "original_spread", "edges")),
        ("c2", ctypes.c_float),
    ]


class Scale(torch.autograd.Function):
    """One scale of the structural term: the three maps of a decoded picture in XYB, pooled. [B, 3, h, w] -> [B]

    The slope is found at once, colour by colour, in the same few planes of memory. blur: A `vqcodec.vqvae.bands.Separable`. weights:
    [mean or 4-norm, map, colour].
    """

    @staticmethod
    def forward(ctx: Any, y: Tensor, original: Reference, blur: Separable, weights: Tensor, c2: float) -> Tensor:
        kernels, y = _kernels(y), y.contiguous()
        parts = [part.contiguous() for part in original]
        pixels, rough, smooth = y[0, 0].numel(), y.new_empty(3, *y.shape[2:]), y.new_empty(3, *y.shape[2:])
        first, fourth = weights.double().permute(0, 2, 1).numpy()  # (colour, map)
        total, sums = np.zeros(len(y)), np.empty((3, 2))  # map, first or fourth power
        slope = torch.empty_like(y) if ctx.needs_input_grad[0] else None
        for b in range(len(y)):
            for k in range(3):
                own, x, *others = (part[b, k] for part in (y, *parts))
                kernels.distortion_products(pixels, *at(own, x, rough))
                blur.there(rough, out=smooth)
                plane = _Plane(*at(own, *smooth, *others), c2)
                kernels.distortion_maps(pixels, ctypes.byref(plane), address(sums))
                mean, power = sums[:, 0] / pixels, np.maximum(sums[:, 1] / pixels, 1e-20)
                total[b] += (mean * first[k] + power**0.25 * fourth[k]).sum()
                if slope is not None:
                    steps = np.stack([first[k], fourth[k] * power**-0.75], axis=1).astype(np.float32) / np.float32(
                        pixels
                    )
                    by_y = slope[b, k]
                    kernels.distortion_maps_back(pixels, ctypes.byref(plane), address(steps), *at(by_y, *rough))
                    blur.back(rough, out=smooth)
                    kernels.distortion_products_back(pixels, *at(own, x, smooth, by_y))
        ctx.save_for_backward(slope)
        return torch.from_numpy(total).to(y.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (slope,) = ctx.saved_tensors
        return slope * gradients[0][:, None, None, None], None, None, None, None


class Level(torch.autograd.Function):
    """One band of the visible term: mean squares of the differences as they are seen. Two of [B, 3, h, w] -> [B, 3]

    x, wide: The band and what is coarser. original: [contrast, sensitivity]. blur: A `vqcodec.vqvae.bands.Separable`. weber:
    least background, largest contrast, a factor. masking: see `vqcodec.vqvae.visible._Seen`.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, wide: Tensor, original: VisibleReference, blur: Separable, weber: tuple[float, ...],
        masking: Sequence[Tensor],
    ) -> Tensor:  # fmt: skip
        kernels, x, wide = _kernels(x), x.contiguous(), wide.contiguous()
        pixels = x[0, 0].numel()
        ctx.weber, ctx.masking, ctx.blur = (ctypes.c_float * 3)(*weber), _floats(masking), blur
        contrast, mutual, sums = torch.empty_like(x), torch.empty_like(x), np.empty((len(x), 3))
        originals, rough = (original.sensitivity.contiguous(), original.contrast.contiguous()), torch.empty_like(x[0])
        for b in range(len(x)):
            sensitivity, other = (part[b] for part in originals)
            given = at(x[b], wide[b], sensitivity, other)
            kernels.distortion_contrast(pixels, *given, ctx.weber, *at(contrast[b], rough))
            blur.there(rough, out=mutual[b])
            kernels.distortion_seen(pixels, *at(contrast[b], mutual[b], other), ctx.masking, address(sums[b]))
        ctx.save_for_backward(x, wide, *originals, contrast, mutual)
        return torch.from_numpy(sums / pixels).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, wide, sensitivity, original, contrast, mutual = ctx.saved_tensors
        kernels, pixels = _kernels(x), x[0, 0].numel()
        scale = (gradients[0] / pixels).contiguous()
        by_x, by_wide = torch.empty_like(x), torch.empty_like(x)
        by_contrast, rough, smooth = (torch.empty_like(x[0]) for _ in range(3))
        for b in range(len(x)):
            given = at(contrast[b], mutual[b], original[b])
            kernels.distortion_seen_back(pixels, *given, ctx.masking, *at(scale[b], by_contrast, rough))
            ctx.blur.back(rough, out=smooth)
            given = at(x[b], wide[b], sensitivity[b], original[b])
            kernels.distortion_contrast_back(pixels, *given, ctx.weber, *at(by_contrast, smooth, by_x[b], by_wide[b]))
        return by_x, by_wide, None, None, None, None


class Band(ctypes.Structure):
    """`band` in distortion.c: a square matrix whose rows have few numbers, those far from the ends the same."""

    _fields_ = [
        ("first", ctypes.c_void_p), ("taps", ctypes.c_void_p),
        *((name, ctypes.c_int32) for name in ("count", "begin", "end")),
    ]  # fmt: skip

    @classmethod
    def of(cls, matrix: Tensor) -> Band | None:
        """Of a matrix [n, n]; None if that is not one."""
        size = len(matrix)
        used = matrix != 0
        first = used.int().argmax(1)
        last = size - 1 - used.flip(1).int().argmax(1)
        count = int((last - first).max()) + 1
        if matrix.shape[1] != size or 2 * count > size:
            return None
        first = first.clamp(max=size - count)
        taps = matrix.gather(1, first[:, None] + torch.arange(count, device=matrix.device)).contiguous()
        middle = size // 2
        alike = (
            (taps == taps[middle]).all(1) & (torch.arange(size, device=matrix.device) - first == middle - first[middle])
        ).tolist()
        begin = end = middle
        while begin and alike[begin - 1]:
            begin -= 1
        while end < size and alike[end]:
            end += 1
        arrays = first.int().numpy(), taps.float().numpy()
        out = cls(*map(address, arrays), count, begin, end)
        out.arrays = arrays
        return out


def blurred(kernels: Library, x: Tensor, bands: Sequence[Band], out: Tensor | None) -> Tensor:
    """A band down the columns and one across the rows. [P, h, w] -> same"""
    x = x.contiguous()
    out, scratch = torch.empty_like(x) if out is None else out, x.new_empty(x.shape[2])
    down, across = map(ctypes.byref, bands)
    kernels.distortion_blur(*x.shape, *at(x), down, across, *at(out, scratch))
    return out
