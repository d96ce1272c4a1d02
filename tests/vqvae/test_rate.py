"""Rate in bits: a distribution, differentiable, finite wherever a network may go."""

from __future__ import annotations

import pytest
import torch
from vqcodec.vqvae.rate import laplace_bits


@pytest.mark.parametrize("log2_scale", [-6.0, -2.0, 0.0, 3.0])
def test_the_cells_of_all_whole_steps_share_out_all_probability(log2_scale: float) -> None:
    grid = torch.arange(-400, 401, dtype=torch.float64)
    total = torch.exp2(-laplace_bits(grid, torch.full_like(grid, log2_scale))).sum()
    assert abs(float(total) - 1) < 1e-3  # and a faint tail


def test_bits_and_gradients_are_finite_from_the_zero_to_far_outliers() -> None:
    residual, log2_scale = torch.meshgrid(
        torch.tensor([0.0, 1e-4, 0.49, 0.5, 0.51, 3.0, 60.0, 2e4, 1e7]), torch.linspace(-6, 9, 31), indexing="ij"
    )
    inputs = residual.clone().requires_grad_(), log2_scale.clone().requires_grad_()
    bits = laplace_bits(*inputs)
    assert bits.isfinite().all()
    assert bits.min() > -1e-4
    assert all(g.isfinite().all() for g in torch.autograd.grad(bits.sum(), inputs))
    assert (bits.diff(dim=0) > -1e-4).all()  # further is not cheaper


def test_slopes_are_right() -> None:
    torch.manual_seed(0)
    residual = (torch.randn(60, dtype=torch.float64) * 3).requires_grad_()
    log2_scale = (torch.rand(60, dtype=torch.float64) * 9 - 4).requires_grad_()
    assert torch.autograd.gradcheck(laplace_bits, (residual, log2_scale))
