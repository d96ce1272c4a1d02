"""Distortion: right values, right slopes, any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from support import picture
from torch import Tensor
from vqbitstream.choice import LAMBDA
from vqcodec.vqvae.bands import Separable, blur_matrix, expand_matrix, reduce_matrix
from vqcodec.vqvae.distortion import Distortion
from vqcodec.vqvae.structural import score

EYE, STEP = torch.tensor([1.0]), torch.tensor([-2.3])
STORED = [9.99719e-05, 3.08606, 0.740003]  # squared, structural, visible; `test_similarity.py` has the fourth
SIZES = [(1, 1), (1, 5), (3, 2), (7, 9), (8, 8), (9, 33), (40, 67)]


def pair(height: int, width: int, error: float = 0.05) -> tuple[Tensor, Tensor]:
    """A picture, and the same with waves of errors that are the same everywhere."""
    x = torch.from_numpy(picture(width, height).astype(np.float32) / 255 - 0.5)[None]
    row, column, colour = np.meshgrid(np.arange(height), np.arange(width), np.arange(3), indexing="ij")
    waves = np.sin(1.3 * row + 0.7 * column + colour) + np.sin(0.11 * row * (1 + colour) - 0.23 * column)
    return x, x + torch.from_numpy((error * waves).astype(np.float32))[None]


def test_terms_are_those_of_the_reference() -> None:
    """Stored values of shared/weights/reference: visible2.py and generation2.Structural."""
    x, y = pair(128, 128, 0.01)
    compare = Distortion(128, 128)
    terms = compare.terms(compare.references(x), y)
    np.testing.assert_allclose([float(t) for t in terms[:3]], STORED, rtol=2e-3)


def test_the_structural_term_is_that_of_ssimulacra2(tmp_path: Path) -> None:
    metric = pytest.importorskip("ssimulacra2")
    original = skimage.data.chelsea()
    Image.fromarray(original).save(tmp_path / "original.png")
    compare = Distortion(*original.shape[:2])
    references = compare.references(torch.from_numpy(original.astype(np.float32) / 255 - 0.5)[None])
    for quality in (60, 90):
        Image.fromarray(original).save(tmp_path / "decoded.jpg", quality=quality)
        decoded = Image.open(tmp_path / "decoded.jpg")
        decoded.save(tmp_path / "decoded.png")
        theirs = metric.compute_ssimulacra2(str(tmp_path / "original.png"), str(tmp_path / "decoded.png"))
        terms = compare.terms(references, torch.from_numpy(np.asarray(decoded, dtype=np.float32) / 255 - 0.5)[None])
        assert float(score(terms.structural)) == pytest.approx(theirs, abs=1.5)


@pytest.mark.parametrize("size", SIZES)
def test_every_size_has_finite_bits_and_slopes(size: tuple[int, int]) -> None:
    x, y = pair(*size)
    y.requires_grad_()
    compare = Distortion(*size)
    bits = compare(compare.references(x), y, STEP, EYE)
    (slope,) = torch.autograd.grad(bits.sum(), y)
    assert bits.item() > 0
    assert slope.isfinite().all()
    assert slope.any()
    assert float(compare(compare.references(x), x, STEP, EYE)) < 0.01 * bits.item()


def test_a_term_that_needs_more_pixels_leaves_its_share_to_squared_error() -> None:
    x, y = pair(3, 2)
    squared = float((x - y).square().sum()) / (LAMBDA * 4.0 ** float(STEP))
    for tune in (0.0, 1.0):
        compare = Distortion(3, 2)
        assert float(compare(compare.references(x), y, STEP, torch.tensor([tune]))) == pytest.approx(squared, rel=1e-4)
    x, y = pair(40, 67)
    compare = Distortion(40, 67, eye=False)
    squared = float((x - y).square().sum()) / (LAMBDA * 4.0 ** float(STEP))
    assert float(compare(compare.references(x), y, STEP, torch.zeros(1))) == pytest.approx(squared, rel=1e-4)


def test_slopes_are_right() -> None:
    """Along random directions: pictures are too many dimensions for each of them."""
    x, y = (p.double() for p in pair(17, 26))
    compare = Distortion(17, 26).double()
    references = compare.references(x)
    torch.manual_seed(0)
    directions = torch.randn(4, *x.shape, dtype=torch.float64)

    def along(at: Tensor) -> Tensor:
        moved = y + torch.tensordot(at, directions, 1)
        terms = compare.terms(references, moved)
        return torch.stack([terms.squared, terms.structural, terms.visible, terms.similarity])

    assert torch.autograd.gradcheck(
        along, (torch.zeros(4, dtype=torch.float64, requires_grad=True),), eps=1e-7, atol=1e-4
    )


def test_pictures_of_a_batch_are_compared_one_by_one() -> None:
    pairs = [pair(24, 31, error) for error in (0.02, 0.1)]
    x, y = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    compare = Distortion(24, 31)
    steps, tunes = torch.tensor([-2.0, -5.5]), torch.tensor([1.0, 0.0])
    together = compare(compare.references(x), y, steps, tunes)
    for n, (a, b) in enumerate(pairs):
        one = slice(n, n + 1)
        assert float(compare(compare.references(a), b, steps[one], tunes[one])) == pytest.approx(
            float(together[n]), rel=1e-4
        )


def test_more_error_costs_more_and_a_finer_step_makes_it_dearer() -> None:
    compare = Distortion(64, 64)
    costs = []
    for error in (0.01, 0.03, 0.1):
        x, y = pair(64, 64, error)
        costs.append(
            [float(compare(compare.references(x), y, torch.tensor([s]), EYE)) for s in (0.7, -1.5, -4.0, -6.0)]
        )
    assert (np.diff(costs, axis=0) > 0).all()
    assert (np.diff(costs, axis=1) > 0).all()


@pytest.mark.parametrize("size", [1, 2, 5, 6, 33, 127, 128, 200])
def test_banded_products_are_dense_ones(size: int) -> None:
    makers = (lambda n: blur_matrix(n, 1.5, 5), lambda n: blur_matrix(n, 3.0, 6), reduce_matrix, expand_matrix)
    for make in makers:
        down, across = make(size), make(size + 3)
        torch.testing.assert_close(down.sum(1), torch.ones(len(down)))
        x = torch.randn(2, 3, down.shape[1], across.shape[1], requires_grad=True)
        dense, banded = down @ x @ across.t(), Separable(down, across)(x)
        torch.testing.assert_close(banded, dense, atol=1e-5, rtol=0)
        slope = torch.randn_like(dense)
        expected, found = (torch.autograd.grad((y * slope).sum(), x)[0] for y in (dense, banded))
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
