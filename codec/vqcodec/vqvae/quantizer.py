"""The vector quantiser in training: the encoder's own rate-aware choice, with codebooks that learn through the picture."""

from __future__ import annotations

import numpy as np
import torch
import torch.distributed
from torch import Tensor, nn
from vqbitstream.choice import LAMBDA, candidate_lists, default_rate_weight
from vqbitstream.prior import LOG2_SCALE_MIN, OCTAVE
from vqbitstream.vectors import (
    BOOKS,
    CODEWORDS,
    LEVEL_TOP,
    ONE,
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
REFRESH_CALLS = 256  # how often candidate lists follow the moving codebooks
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


class SoftQuantizer(nn.Module):
    """Residual and predicted scale to decoded residual: codebooks at level 0, the integer grid at levels 1 to 3.

    While training, it counts its choices, so that the bits of the choice follow them.
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
        self.calls = 0

    def vectors(self) -> Tensor:
        """The codebooks with the zero vector pinned. [4, 289, 2]"""
        pin = torch.ones(CODEWORDS, 1, dtype=self.codebooks.dtype, device=self.codebooks.device)
        pin[ZERO] = 0
        return self.codebooks * pin

    def refresh(self) -> None:
        """Update the candidate lists after the codebooks have moved."""
        lists = candidate_lists(self.codebooks.detach().float().cpu().numpy())
        self.candidates.copy_(torch.from_numpy(lists))

    def forward(
        self, residual: Tensor, log2_scale: Tensor, log2_step: Tensor, rate_weight: float | None = None
    ) -> tuple[Tensor, Tensor]:
        """Choose the codewords.

        Args:
            residual: [B, channels, h, w] in steps.
            log2_scale: [B, channels, h, w] in octaves.
            log2_step: [B].
            rate_weight: See `Chooser.encode`; by default that of the steps.

        Returns:
            The decoded residual, whose gradient reaches only the codebooks, and the grid points that its codewords started from.
        """
        if self.training:
            if self.calls % REFRESH_CALLS == 0:
                self.refresh()
            self.calls += 1
        batch, channels, height, width = residual.shape

        def as_pairs(x: Tensor) -> Tensor:
            return x.detach().float().reshape(batch, channels // 2, 2, height, width).transpose(2, 4).reshape(-1, 2)

        rest, scales = as_pairs(residual), as_pairs(log2_scale)
        share = (
            default_rate_weight(log2_step.float()) if rate_weight is None else torch.full_like(log2_step, rate_weight)
        )
        weight = LAMBDA * share.repeat_interleave(len(rest) // batch)
        mean, ratio, top = mean_and_ratio(torch.floor(scales * OCTAVE + 0.5).long())
        single = top <= LEVEL_TOP[0]
        table = single_table(mean, ratio)
        index = torch.full_like(table, ZERO)
        rows = torch.nonzero(single & (rest.abs().amax(1) > 0.3)).squeeze(1)
        index[rows] = self._choose(rest[rows], table[rows], weight[rows])
        if self.training:
            flat = table[single] * SYMBOLS + index[single]
            fresh = torch.bincount(flat, minlength=self.counts.numel()).reshape(self.counts.shape)
            self.counts.mul_(COUNT_DECAY).add_(_over_ranks(fresh) * (1 - COUNT_DECAY))
        rounded = torch.zeros_like(rest)
        rows = torch.nonzero(~single).squeeze(1)
        rounded[rows] = _choose_steps(rest[rows], scales[rows], weight[rows])

        def as_planes(pairs: Tensor) -> Tensor:
            return pairs.reshape(batch, channels // 2, width, height, 2).transpose(2, 4).reshape(residual.shape)

        coded = torch.where(single[:, None], self.vectors()[self.book[table], index], rounded)
        cells = torch.where(single[:, None], self.grid[index], rounded)
        return as_planes(coded), as_planes(cells)

    @torch.no_grad()
    def _choose(self, rest: Tensor, table: Tensor, weight: Tensor) -> Tensor:
        book = self.book[table]
        cell = torch.floor(2 * rest).clamp(-18, 17).long() + 18
        candidates = self.candidates[book, 36 * cell[:, 0] + cell[:, 1]]  # (n, 7)
        vectors = self.codebooks[book[:, None], candidates]
        cost = (rest[:, None] - vectors).square().sum(-1)
        bits = -torch.log2(self.counts / self.counts.sum(1, keepdim=True))
        cost = cost + weight[:, None] * bits[table[:, None], candidates]
        best = cost.argmin(1, keepdim=True)
        return candidates.gather(1, best).squeeze(1)


@torch.no_grad()
def _choose_steps(rest: Tensor, log2_scale: Tensor, weight: Tensor) -> Tensor:
    """The nearest whole step on each axis, or a cheaper one nearer to zero. [n, 2] twice and [n] to [n, 2]."""
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
