"""The quality scale of a trained network: which step each quality means."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from vqbitstream.header import nearest_step_code

from vqcodec.models.config import STEP_LOG2_MAX, STEP_LOG2_MIN
from vqcodec.training.data import random_crops, usual_crop
from vqcodec.vqvae.network import Network


@torch.no_grad()
def step_codes(
    network: Network, pictures: Sequence[Tensor], *, crops: int = 128, seed: int = 1, augment: bool = True
) -> npt.NDArray[np.uint16]:
    """The step code of each quality 1..100, from the coarsest step to the finest, roughly even in dB.

    The PSNR of a step is the median over crops, because one blank crop of 100 dB would dominate the mean.

    Returns:
        uint16 [100].
    """
    device = next(network.parameters()).device
    size = 192 if augment else usual_crop(pictures)
    x = random_crops(pictures, crops, size, np.random.default_rng(seed), augment=augment).to(device)
    log2_steps = np.linspace(STEP_LOG2_MAX, STEP_LOG2_MIN, 19)
    measured = []
    for log2_step in log2_steps:
        errors = []
        for part in x.split(16):
            steps = torch.full((len(part),), float(log2_step), device=device)
            y, _ = network(part, steps, network.quantise, noise=False)
            errors.append((y - part).square().mean((1, 2, 3)))
        measured.append(float(-10 * torch.log10(torch.cat(errors).median())))
    psnr = np.maximum.accumulate(np.array(measured) + 1e-3 * np.arange(len(measured)))
    even = np.interp(np.linspace(psnr[0], psnr[-1], 100), psnr, log2_steps)
    return np.array([nearest_step_code(float(log2_step)) for log2_step in even], dtype=np.uint16)
