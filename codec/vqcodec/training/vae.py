"""Training of the Gaussian bottleneck on the latents of a trained model; the transforms rest.

The loss is the negative ELBO, in nats per cell of 64x64 pixels: -log p(latent | code), an isotropic Gaussian around the decoded
latent, plus the KL divergence of the posterior from N(0, 1). The analysis is nearly orthonormal, so squared errors of latents are
those of pixels, and training needs no transform.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from vqbitstream.geometry import CELL

from vqcodec.models.weights_file import Arrays
from vqcodec.training.data import random_crops, usual_crop
from vqcodec.vqvae.network import Network
from vqcodec.vqvae.vae import LatentVAE, kl_to_normal, reparameterise

OBSERVATION_SIGMA = 0.25  # standard deviation of p(latent | code), in the pixels' unit: larger is smoother and rounder
LEARNING_RATE = 1.5e-3
BATCH = 64  # cells
CACHE_CELLS = 8192
LOG_SECONDS = 20.0


def negative_elbo(bottleneck: LatentVAE, latent: Tensor) -> tuple[Tensor, Tensor]:
    """Latents [B, h, w, C] -> reconstruction term and KL, in nats per cell, means over the batch; constants left out."""
    mean, log_variance = bottleneck.encode(latent)
    decoded = bottleneck.decode(reparameterise(mean, log_variance))
    cells = latent.shape[0] * mean.shape[1] * mean.shape[2]
    reconstruction = (decoded - latent).square().sum() / (2 * OBSERVATION_SIGMA**2) / cells
    return reconstruction, kl_to_normal(mean, log_variance).sum() / cells


@torch.no_grad()
def cached_latents(network: Network, pictures: Sequence[Tensor], rng: np.random.Generator) -> Tensor:
    """Latents of many random cells, at steps of tune "eye". float16 [cells, 4, 4, C]"""
    size = usual_crop(pictures)
    device = next(network.parameters()).device
    per_crop = (size // (16 * CELL)) ** 2
    parts = []
    for _ in range(-(-CACHE_CELLS // (16 * per_crop))):
        x = random_crops(pictures, 16, size, rng, augment=False).to(device).permute(0, 2, 3, 1)
        log2_step = torch.from_numpy(rng.uniform(-5, 0, len(x)).astype(np.float32)).to(device)
        latent = network.analysis(x, network.features(log2_step, torch.ones_like(log2_step)))
        cells = latent.unflatten(2, (-1, CELL)).unflatten(1, (-1, CELL)).permute(0, 1, 3, 2, 4, 5)
        parts.append(cells.flatten(0, 2).half())
    return torch.cat(parts)


def train(
    bottleneck: LatentVAE,
    network: Network,
    pictures: Sequence[Tensor],
    *,
    minutes: float,
    seed: int = 0,
    say: Callable[[dict[str, Any]], None] = lambda _: None,
) -> None:
    """Train for so many minutes, in place. Ctrl-C leaves what was learned."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    bottleneck.sigma.copy_(network.synthesis.sigma)
    cache = cached_latents(network, pictures, rng)
    optimizer = torch.optim.Adam(bottleneck.parameters(), lr=LEARNING_RATE)
    begun = last = time.monotonic()
    step, sums = 0, np.zeros(3)
    while (spent := time.monotonic() - begun) < 60 * minutes:
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * max(0.02, 0.5 * (1 + np.cos(np.pi * spent / (60 * minutes))))
        rows = torch.from_numpy(rng.integers(0, len(cache), BATCH)).to(cache.device)
        reconstruction, kl = negative_elbo(bottleneck, cache[rows].float())
        (reconstruction + kl).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(bottleneck.parameters(), 100.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        sums += (reconstruction.item(), kl.item(), 1)
        if time.monotonic() - last > LOG_SECONDS:
            say({"step": step, "negative_elbo": round(float((sums[0] + sums[1]) / sums[2]), 2),
                 "kl": round(float(sums[1] / sums[2]), 2)})  # fmt: skip
            last, sums = time.monotonic(), np.zeros(3)


def export_bottleneck(bottleneck: LatentVAE) -> Arrays:
    """Its tensors for a weights file, float16."""
    return {f"bottleneck.{k}": v.cpu().numpy().astype(np.float16) for k, v in bottleneck.state_dict().items()}
