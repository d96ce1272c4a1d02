"""The vector quantiser in training: the encoder's own rate-aware choice, with codebooks that learn through the picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.distributed
from torch import Tensor, nn
from vqbitstream.arithmetic import OCTAVE
from vqbitstream.choice import DEAD_ZONE, LAMBDA, candidate_lists, default_rate_weight
from vqbitstream.prior import LOG2_SCALE_MIN
from vqbitstream.vectors import (
    BOOKS,
    CODEWORDS,
    LEVEL_TOP,
    ONE,
    RADIUS,
    RATIO_BINS,
    SINGLE_TABLES,
    SYMBOLS,
    ZERO,
    grid_codebook,
    mean_and_ratio,
    single_table,
    single_table_book,
)

from vqcodec.vqvae.rate import laplace_bits

RATIO_CENTRES = (-64, -32, 0, 32, 64)  # 1/32 octave, of first minus second log2-scale
OVERLOAD = RADIUS + 0.4  # steps: what lies further goes to whole steps, as it does by the escape in a file
CELLS = 36  # half-step cells of a candidate list, along a side
COUNTED = 8  # while training, every so many-th choice is counted
SPREAD = 8192  # rows that share out the gradients of the pinned zero, so that adding them does not collide
COUNT_DECAY = 0.9995
START_COUNT = 4000.0  # weight of the Laplace start in every table


def laplace_tables() -> Tensor:
    """Probabilities of grid vectors in every level-0 table, from Laplace cells. float32 [130, 290]"""
    grid = torch.from_numpy(grid_codebook().astype(np.float32)) / ONE
    rows = []
    for table in range(SINGLE_TABLES):
        mean = (table // RATIO_BINS) * 8 + LOG2_SCALE_MIN + 4
        half = RATIO_CENTRES[table % RATIO_BINS] / 2
        scales = torch.tensor([mean + half, mean - half], dtype=torch.float32) / OCTAVE
        bits = laplace_bits(grid, scales.expand_as(grid)).sum(1)
        rows.append(torch.cat((torch.exp2(-bits), torch.tensor([1e-6], dtype=torch.float32))))
    tables = torch.stack(rows)
    return tables / tables.sum(1, keepdim=True)


class _Codeword(torch.autograd.Function):
    """Rows of the codebooks, [4 * 289, 2] at [n] -> [n, 2]; a row that is not live is zero and gets no gradient.

    Its own backward, since that of an index is slow where thousands of pairs choose one codeword: the zero vector.
    """

    @staticmethod
    def forward(ctx: Any, codebooks: Tensor, index: Tensor, live: Tensor) -> Tensor:
        ctx.save_for_backward(index, live)
        ctx.rows = len(codebooks)
        return codebooks.index_select(0, index) * live[:, None]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        index, live = ctx.saved_tensors
        elsewhere = ctx.rows + torch.arange(len(index), device=index.device) % SPREAD
        out = gradients[0].new_zeros(ctx.rows + SPREAD, 2)
        out.index_add_(0, torch.where(live, index, elsewhere), gradients[0])
        return out[: ctx.rows], None, None


def is_dense(x: Tensor) -> bool:
    """Whether to compute everything for every pair: on a GPU, so that no shape depends on data and a CUDA graph can hold it."""
    return x.is_cuda


class SoftQuantizer(nn.Module):
    """Residual and predicted scale to decoded residual: codebooks at level 0, whole steps at levels 1 to 3.

    While training, it counts its choices, so that the bits of the choice follow them. On a CPU only those pairs are looked at that
    need it.
    """

    counts: Tensor
    grid: Tensor
    book: Tensor
    candidates: Tensor

    def __init__(self) -> None:
        super().__init__()
        grid = torch.from_numpy(grid_codebook().astype(np.float32)) / ONE
        self.codebooks = nn.Parameter(grid.repeat(BOOKS, 1, 1))  # in steps
        self.register_buffer("counts", laplace_tables() * START_COUNT)
        self.register_buffer("grid", grid, persistent=False)
        self.register_buffer("book", torch.from_numpy(single_table_book()), persistent=False)
        lists = torch.from_numpy(candidate_lists(self.codebooks.detach().numpy()))
        self.register_buffer("candidates", lists, persistent=False)

    def vectors(self) -> Tensor:
        """The codebooks with the zero vector pinned. [4, 289, 2]"""
        pin = torch.ones(CODEWORDS, 1, dtype=self.codebooks.dtype, device=self.codebooks.device)
        pin[ZERO] = 0
        return self.codebooks * pin

    @torch.no_grad()
    def refresh(self) -> None:
        """Update the candidate lists after the codebooks have moved."""
        axis = (torch.arange(CELLS, dtype=torch.float32, device=self.codebooks.device) - (CELLS - 1) / 2) / 2
        cells = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 1, 2).to(self.codebooks)
        for book, lists in zip(self.codebooks, self.candidates, strict=True):
            distance = (cells - book).square().sum(-1)
            nearest = distance.topk(lists.shape[1] - 1, dim=1, largest=False).indices
            lists[:, :-1] = nearest  # the last stays the zero vector

    def forward(
        self, residual: Tensor, log2_scale: Tensor, log2_step: Tensor, rate_weight: float | None = None
    ) -> tuple[Tensor, Tensor]:
        """Choose the codewords.

        Args:
            residual: [B, n, channels] in local steps. Pairs are neighbouring channels.
            log2_scale: [B, n, channels] in octaves.
            log2_step: [B].
            rate_weight: See `Chooser.encode`; by default that of the steps.

        Returns:
            The decoded residual, whose gradient reaches only the codebooks, and the grid points that its codewords started from.
        """
        rest, scales = (x.detach().float().reshape(-1, 2) for x in (residual, log2_scale))
        share = (
            default_rate_weight(log2_step.float()) if rate_weight is None else torch.full_like(log2_step, rate_weight)
        )
        weight = LAMBDA * share.repeat_interleave(len(rest) // len(residual))
        mean, ratio, top = mean_and_ratio(torch.floor(scales * OCTAVE + 0.5).long())
        peak = rest.abs().amax(1)
        single = (top <= LEVEL_TOP[0]) & (peak <= OVERLOAD)
        table = single_table(mean, ratio)
        book = self.book.index_select(0, table)
        near = single & (peak > DEAD_ZONE)
        if is_dense(rest):
            index = torch.where(near, self._choose(rest, table, book, weight), ZERO)
            steps = _choose_steps(rest, scales, weight)
        else:
            rows, coarse = (torch.nonzero(mask).squeeze(1) for mask in (near, ~single))
            chosen = self._choose(*(x.index_select(0, rows) for x in (rest, table, book, weight)))
            index = torch.full_like(table, ZERO).index_copy_(0, rows, chosen)
            whole = _choose_steps(*(x.index_select(0, coarse) for x in (rest, scales, weight)))
            steps = torch.zeros_like(rest).index_copy_(0, coarse, whole)
        if self.training:
            self._count(table[::COUNTED], index[::COUNTED], single[::COUNTED])
        vectors = _Codeword.apply(self.codebooks.view(-1, 2), book * CODEWORDS + index, single & (index != ZERO))
        coded = torch.where(single[:, None], vectors, steps)
        cells = torch.where(single[:, None], self.grid.index_select(0, index), steps)
        return coded.reshape(residual.shape), cells.reshape(residual.shape)

    @torch.no_grad()
    def _choose(self, rest: Tensor, table: Tensor, book: Tensor, weight: Tensor) -> Tensor:
        """The cheapest candidates. [n, 2] and [n] three times -> [n]"""
        cell = torch.floor(2 * rest).clamp(-CELLS // 2, CELLS // 2 - 1).long() + CELLS // 2
        flat = (book * CELLS + cell[:, 0]) * CELLS + cell[:, 1]
        candidates = self.candidates.flatten(0, 1).index_select(0, flat)  # (n, 7)
        rows = (book[:, None] * CODEWORDS + candidates).flatten()
        vectors = self.codebooks.view(-1, 2).index_select(0, rows).view(*candidates.shape, 2)
        bits = -torch.log2(self.counts / self.counts.sum(1, keepdim=True)).flatten()
        bits = bits.index_select(0, (table[:, None] * SYMBOLS + candidates).flatten()).view(candidates.shape)
        cost = (rest[:, None] - vectors).square().sum(-1) + weight[:, None] * bits
        return candidates.gather(1, cost.argmin(1, keepdim=True)).squeeze(1)

    @torch.no_grad()
    def _count(self, table: Tensor, index: Tensor, single: Tensor) -> None:
        fresh = torch.zeros(self.counts.numel(), dtype=self.counts.dtype, device=self.counts.device)
        fresh.index_add_(0, table * SYMBOLS + index, single.to(fresh) * COUNTED)
        self.counts.mul_(COUNT_DECAY).add_(_over_ranks(fresh).view_as(self.counts), alpha=1 - COUNT_DECAY)


@torch.no_grad()
def _choose_steps(rest: Tensor, log2_scale: Tensor, weight: Tensor) -> Tensor:
    """The nearest whole step on each axis, or a cheaper one nearer to zero. [n, 2] twice and [n] -> [n, 2]"""
    nearest = torch.floor(rest + 0.5)
    inward = nearest - nearest.sign()

    def cost(steps: Tensor) -> Tensor:
        return (rest - steps).square() + weight[:, None] * laplace_bits(steps, log2_scale)

    return torch.where(cost(inward) < cost(nearest), inward, nearest)


def _over_ranks(counts: Tensor) -> Tensor:
    """Counts summed over the processes of a distributed training."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(counts)
    return counts
