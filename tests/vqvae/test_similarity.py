"""The similarity term is MS-SSIM without its finest scale."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
import torch
from torch import Tensor
from vqcodec.vqvae.similarity import WEIGHTS, Similarity


def pictures() -> tuple[Tensor, Tensor]:
    original = torch.from_numpy(skimage.data.chelsea()[:256, :384].astype(np.float32) / 255).permute(2, 0, 1)[None]
    torch.manual_seed(0)
    return original, (original + 0.05 * torch.randn_like(original)).clamp(0, 1)


def test_it_is_the_packages_number() -> None:
    """On pictures of half the size the package's scales are ours. It leaves out windows that reach beyond the edges; we mirror."""
    package = pytest.importorskip("pytorch_msssim")
    x, y = pictures()
    half_x, half_y = (torch.nn.functional.avg_pool2d(p, 2) for p in (x, y))
    theirs = package.ms_ssim(half_x, half_y, data_range=1, win_size=7, weights=list(WEIGHTS[1:]))
    term = Similarity(256, 384)
    ours = float(term(term.references(x), y))
    assert ours == pytest.approx(1 - float(theirs), rel=0.15)
    assert 0.001 < ours < 0.1


def test_more_error_is_worse_and_none_is_nothing() -> None:
    x, y = pictures()
    term = Similarity(256, 384)
    references = term.references(x)
    values = [float(term(references, x + share * (y - x))) for share in (0, 0.5, 1)]
    assert values[0] == pytest.approx(0, abs=1e-5)
    assert values == sorted(values)
    assert values[2] > 2 * values[1]


@pytest.mark.parametrize("size", [(1, 1), (21, 40), (22, 22), (23, 90)])
def test_small_pictures_have_fewer_scales(size: tuple[int, int]) -> None:
    assert len(Similarity(*size).blurs) == (0 if min(size) < 21 else 1)
