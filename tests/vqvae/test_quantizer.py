"""The quantiser in training chooses as the encoder does, and teaches its codebooks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from vqbitstream.choice import Chooser
from vqbitstream.vectors import ONE, SINGLE_TABLES, SYMBOLS, TABLES, ZERO, Vectors
from vqcodec.vqvae.network import rounding, straight_through
from vqcodec.vqvae.prior import Prediction
from vqcodec.vqvae.quantizer import SoftQuantizer

LOG2_STEP = torch.tensor([-2.0])


@pytest.fixture
def quantizer() -> SoftQuantizer:
    """With codewords that have moved, on the grid of a weights file."""
    torch.manual_seed(0)
    quantizer = SoftQuantizer().eval()
    with torch.no_grad():
        moved = quantizer.codebooks + 0.1 * torch.randn_like(quantizer.codebooks)
        quantizer.codebooks.copy_((moved * ONE).round() / ONE)
        quantizer.codebooks[:, ZERO] = 0
    quantizer.refresh()
    return quantizer


class Discard:
    def write(self, tables: np.ndarray, symbols: np.ndarray) -> None:
        pass


@pytest.mark.parametrize("rate_weight", [0.0, 0.9])
def test_it_chooses_as_the_encoder_does(quantizer: SoftQuantizer, rate_weight: float) -> None:
    rng = np.random.default_rng(0)
    scales = rng.integers(-6 * 32, 9, (4000, 2))
    residual = np.rint(np.clip(rng.laplace(0, 1, (4000, 2)) * 2.0 ** (scales / 32), -8.3, 8.3) * ONE).astype(np.int64)
    probabilities = (quantizer.counts / quantizer.counts.sum(1, keepdim=True)).numpy()
    bits = np.full((TABLES, SYMBOLS), 60, dtype=np.float32)
    bits[:SINGLE_TABLES] = -np.log2(probabilities)
    chooser = Chooser(Vectors(np.rint(quantizer.codebooks.detach().numpy() * ONE).astype(np.int16)), bits)
    exact = chooser.encode(scales, residual, rate_weight, Discard()) / ONE
    soft, _ = quantizer(
        torch.from_numpy(residual / ONE).float()[None],
        torch.from_numpy(scales / 32).float()[None],
        LOG2_STEP,
        rate_weight,
    )
    same = (soft[0].detach().numpy() == exact).all(1)
    assert same.mean() > 0.995  # cells of equal cost, and candidates that are equally near, may go either way


def test_a_gpus_way_chooses_the_same(quantizer: SoftQuantizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """There no shape depends on data: everything is computed for every pair."""
    residual, log2_scale = torch.randn(2, 300, 8) * 3, torch.rand(2, 300, 8) * 8 - 5
    log2_step = torch.tensor([-1.0, -4.0])
    sparse = quantizer(residual, log2_scale, log2_step)
    monkeypatch.setattr("vqcodec.vqvae.quantizer.is_dense", lambda x: True)
    for a, b in zip(sparse, quantizer(residual, log2_scale, log2_step), strict=True):
        torch.testing.assert_close(a, b)


def test_what_the_codebooks_do_not_reach_goes_to_whole_steps(quantizer: SoftQuantizer) -> None:
    residual = torch.tensor([[[11.3, -0.2], [40.0, -95.7]]])
    coded, cells = quantizer(residual, torch.full_like(residual, -1.0), LOG2_STEP, 0.0)
    assert coded.tolist() == cells.tolist() == [[[11.0, 0.0], [40.0, -96.0]]]


def test_coarse_levels_choose_by_rate() -> None:
    quantizer = SoftQuantizer()
    residual = torch.full((1, 1, 2), 10.52)
    coded, cells = quantizer(residual, torch.full_like(residual, 1.0), torch.tensor([0.5]))
    assert coded.flatten().tolist() == cells.flatten().tolist() == [10.0, 10.0]
    coded, _ = quantizer(residual + 0.2, torch.full_like(residual, 1.0), torch.tensor([0.5]))
    assert coded.flatten().tolist() == [11.0, 11.0]


def test_a_codeword_gets_the_gradient_of_all_that_chose_it_and_the_zero_vector_none(quantizer: SoftQuantizer) -> None:
    residual = torch.randn(1, 500, 6) * 2
    coded, cells = quantizer(residual, torch.zeros_like(residual), LOG2_STEP)
    slope = torch.randn_like(coded)
    (found,) = torch.autograd.grad((coded * slope).sum(), quantizer.codebooks)
    index = ((cells + 8) * torch.tensor([17.0, 1.0]).repeat(3)).unflatten(2, (3, 2)).sum(3).long().flatten()
    book = quantizer.book[SINGLE_TABLES - 1]  # the scales are the largest of level 0
    within = residual.reshape(-1, 2).abs().amax(1) <= 8.4
    expected = torch.zeros_like(found)
    expected[book].index_add_(0, index[within], slope.reshape(-1, 2)[within])
    expected[:, ZERO] = 0
    torch.testing.assert_close(found, expected)
    assert (found != 0).any()


def test_moved_codewords_are_priced_by_cells_that_share_out_all_probability() -> None:
    """Pricing a codeword by the cell around itself lets training cheat: the cells would overlap."""
    quantizer = SoftQuantizer()
    with torch.no_grad():
        quantizer.codebooks.mul_(0.8)
    quantizer.refresh()
    residual = torch.rand(1, 36, 4) * 4 - 2
    coded, cells = quantizer(residual, torch.full_like(residual, -0.5), LOG2_STEP)
    torch.testing.assert_close(cells, cells.round())
    torch.testing.assert_close(coded, 0.8 * cells)
    assert (cells != 0).any()


def test_tables_follow_the_choices_while_it_learns_and_rest_otherwise(quantizer: SoftQuantizer) -> None:
    residual = torch.ones(1, 800, 2)
    before = quantizer.counts.clone()
    _, cells = quantizer(residual, torch.full_like(residual, -1.0), LOG2_STEP)
    torch.testing.assert_close(quantizer.counts, before)
    quantizer.train()
    for _ in range(20):
        quantizer(residual, torch.full_like(residual, -1.0), LOG2_STEP)
    first, second = cells[0, 0].tolist()
    assert int((quantizer.counts - before).argmax()) % SYMBOLS == 17 * (first + 8) + second + 8


def test_what_is_coded_as_zero_passes_no_gradient_to_the_latent() -> None:
    """In the dead zone nothing that is decoded depends on the latent; the mean takes the gradient instead."""
    latent = torch.tensor([[[0.2, 1.2]]], requires_grad=True)
    mean = torch.zeros_like(latent, requires_grad=True)
    said = Prediction(mean, torch.zeros_like(latent), torch.ones_like(latent), torch.zeros(1, 1, 1))
    coded, _ = straight_through(rounding, noise=False)(latent - mean, said, LOG2_STEP)
    found = torch.autograd.grad((mean + coded).sum(), (latent, mean))
    assert [g.flatten().tolist() for g in found] == [[0.0, 1.0], [1.0, 0.0]]
