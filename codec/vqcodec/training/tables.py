"""Trained network to weights file: codebooks, and frequency tables counted over what the encoder really chooses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from vqbitstream.arithmetic import OCTAVE
from vqbitstream.choice import SEARCH_RATE_WEIGHT, Chooser, default_rate_weight
from vqbitstream.header import log2_step as log2_of
from vqbitstream.header import nearest_step_code
from vqbitstream.latent import LatentCoder
from vqbitstream.prior import LATENT_LOG2, Ints, Prior
from vqbitstream.vectors import (
    FIRST_COARSE,
    FIRST_LOW,
    LOW_STATES,
    LOW_TABLES,
    ONE,
    RADIUS,
    RATIO_BINS,
    SINGLE_TABLES,
    SYMBOLS,
    TABLES,
    ZERO,
    Vectors,
)

from vqcodec.coding.search import searched
from vqcodec.training.data import random_crops, usual_crop
from vqcodec.training.quality_scale import COARSEST, FINEST, QualityScale, quality_scale
from vqcodec.vqvae.integers import export_prior, export_transforms
from vqcodec.vqvae.network import Network
from vqcodec.vqvae.quantizer import RATIO_CENTRES, laplace_tables

Arrays = dict[str, npt.NDArray[Any]]
SEARCH_ROUNDS = 3  # as the encoder does by default
TABLE_TOTAL = 1 << 24  # constriction's own precision
PSEUDO_COUNT = 200.0  # weight of the parametric start in a calibrated table


def _start_counts(network: Network) -> npt.NDArray[np.float64]:
    """Tables before calibration: level 0 as trained, the others from Laplace. float64 [tables, symbols], rows sum to 1"""
    counts = np.zeros((TABLES, SYMBOLS))
    trained = network.quantise.counts.cpu().double().numpy()
    counts[:SINGLE_TABLES] = trained / trained.sum(1, keepdims=True)
    counts[FIRST_COARSE:FIRST_LOW] = laplace_tables().numpy()
    for table in range(LOW_TABLES):
        bins, ratio = divmod(table, RATIO_BINS)
        mean, half = (bins - 1) / 2, RATIO_CENTRES[ratio] / OCTAVE / 2
        axes = [_low_digits(2.0 ** (mean + half)), _low_digits(2.0 ** (mean - half))]  # [axis][nonzero above][17]
        for state in range(LOW_STATES):
            p = np.outer(axes[0][state >> 1], axes[1][state & 1])
            counts[FIRST_LOW + state * LOW_TABLES + table, :-1] = p.reshape(-1)
    counts = np.maximum(counts, 1e-7)
    counts[:, -1] = np.minimum(counts[:, -1], 1e-6)
    return np.asarray(counts / counts.sum(1, keepdims=True))


def _low_digits(scale: float) -> npt.NDArray[np.float64]:
    """Laplace of a scale in steps -> probabilities of the finest digit, -8..8, after coarser ones that were zero or not. [2, 17]"""
    digits = np.arange(-RADIUS, RADIUS + 1)
    after_zero = np.where(np.abs(digits) < 4, np.exp(-np.abs(digits) / scale), 0)
    after_nonzero = np.where((digits >= -4) & (digits < 4), np.exp(-digits / scale), 0)
    return np.stack([p / p.sum() for p in (after_zero, after_nonzero)])


class _Counter:
    """A sink that only counts."""

    def __init__(self) -> None:
        self.counts = np.zeros((TABLES, SYMBOLS))

    def write(self, tables: npt.NDArray[Any], symbols: npt.NDArray[Any]) -> None:
        np.add.at(self.counts, (tables, symbols), 1)


EYE_SHARE = 0.65  # of the crops, as in training


@torch.no_grad()
def calibrate(
    network: Network, prior: Prior, pictures: Sequence[Tensor], scale: QualityScale, *, crops: int, seed: int = 0, augment: bool = True
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint32]]:  # fmt: skip
    """Codebooks and frequency tables, counted over the encoder's own choices.

    Args:
        network: The trained network.
        prior: Its integer twin.
        pictures: uint8 [3, H, W] each.
        scale: Of the model: says which files have the last layer.
        crops: Number of 256x256 pixels' worth of crops; they are smaller, and more, where the pictures are.
        seed: Of the crops.
        augment: See `random_crops`.

    Returns:
        int16 [4, 289, 2] and uint32 [440, 290].
    """
    codebooks = np.rint(network.quantise.vectors().detach().cpu().numpy() * ONE).astype(np.int16)
    codebooks[:, ZERO] = 0
    start = _start_counts(network)
    probabilities = start
    rng = np.random.default_rng(seed)
    size = 256 if augment or usual_crop(pictures) == 192 else usual_crop(pictures)
    shape = (size // 16, size // 16)
    for rounds in (0, SEARCH_ROUNDS):  # the choice depends on the tables: once to come near, once more to settle
        counter = _Counter()
        coder = LatentCoder(prior, Chooser(Vectors(codebooks), (-np.log2(probabilities)).astype(np.float32)))
        for number in range(crops * (256 // size) ** 2):
            x = random_crops(pictures, 1, size, rng, augment=augment).to(next(network.parameters()).device)
            code, tune = nearest_step_code(rng.uniform(FINEST, COARSEST)), int(rng.random() < EYE_SHARE)
            groups = scale.layers_at(code, tune)
            search = number % 2 * rounds  # every other crop as the encoder does without a search
            weight = SEARCH_RATE_WEIGHT if search else default_rate_weight(log2_of(code))
            latent = encoder_output(network, x, code, tune, groups, search)
            coder.encode(latent, shape, code, tune, weight, [counter] * groups)
        smoothed = counter.counts + PSEUDO_COUNT * start
        probabilities = smoothed / smoothed.sum(1, keepdims=True)
    counts = np.maximum(np.rint(probabilities * TABLE_TOTAL), 1).astype(np.uint32)
    return codebooks, counts


def encoder_output(network: Network, x: Tensor, step_code: int, tune: int, groups: int, rounds: int = 0) -> Ints:
    """Latent of one crop [1, 3, H, W] after a search, [h*w, C of the groups] in 2^-14 of the unit of pixels."""
    log2_step = torch.tensor([log2_of(step_code)], dtype=torch.float32, device=x.device)
    latent = searched(network, x.permute(0, 2, 3, 1), log2_step, tune, rounds=rounds, groups=groups)[0].flatten(0, 1)
    channels = sum(network.config.groups[:groups])
    return torch.round(latent[:, :channels] * 2**LATENT_LOG2).to(torch.int32).cpu().numpy()


def export(network: Network, pictures: Sequence[Tensor], *, crops: int = 400, augment: bool = True) -> Arrays:
    """Every tensor of a weights file (see `vqcodec.models.weights_file`).

    crops, augment: see `calibrate`. An eighth as many, at most 24, give the quality scale.
    """
    network = network.eval()
    network.quantise.refresh()
    prior = export_prior(network.prior)
    scale = quality_scale(network, pictures, crops=max(2, min(crops // 8, 24)), augment=augment)
    twin = Prior(prior, network.config.groups)
    codebooks, counts = calibrate(network, twin, pictures, scale, crops=crops, augment=augment)
    out: Arrays = {f"prior.{k}": v for k, v in prior.items()}
    out |= {"quantizer.codebooks": codebooks, "quantizer.counts": counts}
    out |= {"encoder.step_codes": scale.step_codes, "encoder.layers": scale.layers}
    return out | export_transforms(network)
