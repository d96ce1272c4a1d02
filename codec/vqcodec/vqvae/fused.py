"""All that a pass of the prior takes in the encoder's search, in one go: what `vqcodec.coding.descent._Probe` computes, in C.

A fifth of the time of the PyTorch operations, and of their memory: the backward pass needs only two slopes of each value.
"""

from __future__ import annotations

import ctypes
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from vqbitstream.choice import DEAD_ZONE, LAMBDA
from vqbitstream.kernels import Library, address

from vqcodec.vqvae.compiled import at
from vqcodec.vqvae.prior import SoftPrior
from vqcodec.vqvae.quantizer import OVERLOAD, SoftQuantizer
from vqcodec.vqvae.rate import WIDE_LOG, WIDE_PEAK


class _Quantiser(ctypes.Structure):
    """`quantiser` in search.c."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("codebooks", "candidates", "bits", "books")),
        *((name, ctypes.c_float) for name in ("weight", "dead_zone", "overload", "wide_peak", "wide_log")),
    ]


class _Pass(torch.autograd.Function):
    """rows [n, c], said [n, 2c], gain [n] -> values, contexts [n, c], bits"""

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, said: Tensor, gain: Tensor, channels: Tensor, coder: FusedCoder
    ) -> tuple[Tensor, Tensor, Tensor]:
        rows, said, gain = rows.contiguous(), said.contiguous(), gain.contiguous()
        count, width = rows.shape
        value, context = torch.empty_like(rows), torch.empty_like(rows)
        slopes, scratch = rows.new_empty(2, count, width), rows.new_empty(5, width)
        bits = coder.library.search_pass(
            count, width, *at(rows, said, gain, channels), ctypes.addressof(coder.quantiser), *at(value, context, slopes, scratch)
        )  # fmt: skip
        ctx.save_for_backward(rows, said, gain, channels, value, slopes)
        ctx.library = coder.library
        return value, context, torch.tensor(bits, dtype=rows.dtype, device=rows.device)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, said, gain, channels, value, slopes = ctx.saved_tensors
        by_value, by_context = gradients[0].clone(memory_format=torch.contiguous_format), gradients[1].contiguous()
        by_said, by_gain = torch.empty_like(said), torch.empty_like(gain)
        ctx.library.search_pass_back(
            *rows.shape, *at(rows, said, gain, channels, value, slopes), float(gradients[2]),
            *at(by_value, by_context, by_said, by_gain),
        )  # fmt: skip
        return by_value, by_said, by_gain, None, None


class FusedCoder:
    """See `vqcodec.vqvae.network.PassCoder`. Tensors are float32 on the CPU.

    Args:
        library: The kernels, with those of the search.
        quantise: Chooses the codewords.
        rate_weight: See `Chooser.encode`.
    """

    def __init__(self, library: Library, quantise: SoftQuantizer, rate_weight: float) -> None:
        self.library, self._quantise, self._weight = library, quantise, rate_weight * LAMBDA

    @cached_property
    def quantiser(self) -> _Quantiser:
        """What the kernels choose codewords with."""
        own = self._quantise
        counts = own.counts.detach()
        self._arrays: list[npt.NDArray[Any]] = [  # they must outlive the addresses
            np.ascontiguousarray(own.codebooks.detach().numpy(), dtype=np.float32),
            np.ascontiguousarray(own.candidates.numpy(), dtype=np.int16),
            np.ascontiguousarray(-torch.log2(counts / counts.sum(1, keepdim=True)).numpy(), dtype=np.float32),
            np.ascontiguousarray(own.book.numpy(), dtype=np.int16),
        ]
        return _Quantiser(
            *(address(array) for array in self._arrays), self._weight, DEAD_ZONE, OVERLOAD, WIDE_PEAK, WIDE_LOG
        )

    def code_pass(
        self, prior: SoftPrior, group: int, rows: Tensor, said: Tensor, gain: Tensor, log2_steps: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `PassCoder`."""
        sigma = prior.sigma[prior.block(group)]
        found = []
        for own, own_said, own_gain, log2_step in zip(rows, said, gain, log2_steps, strict=True):
            ratio = torch.log2(sigma) - log2_step
            channels = torch.stack(
                [torch.exp2(log2_step), torch.exp2(-log2_step), torch.exp2(ratio), ratio, 1 / sigma]
            ).float()
            found.append(_Pass.apply(own.float(), own_said.float(), own_gain[:, 0].float(), channels, self))
        value, context, bits = (torch.stack(parts) for parts in zip(*found, strict=True))
        return value, context, bits
