"""Trained network to weights file: codebooks, and frequency tables counted over what the encoder really chooses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from vqbitstream.choice import SEARCH_RATE_WEIGHT, Chooser, default_rate_weight
from vqbitstream.header import log2_step as log2_of
from vqbitstream.header import nearest_step_code
from vqbitstream.latent import LatentCoder
from vqbitstream.prior import OCTAVE, Prior
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
from vqcodec.models.config import STEP_LOG2_MAX, STEP_LOG2_MIN
from vqcodec.training.data import random_crops, usual_crop
from vqcodec.training.quality_scale import step_codes
from vqcodec.vqvae.integers import export_prior
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


@torch.no_grad()
def calibrate(
    network: Network, prior: Prior, pictures: Sequence[Tensor], *, crops: int, seed: int = 0, augment: bool = True
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint32]]:
    """Codebooks (int16 [4, 289, 2]) and frequency tables (uint32 [440, 290]), counted over the encoder's own choices.

    crops: number of 256x256 pixels' worth of crops; they are smaller, and more, where the pictures are. augment: see `random_crops`.
    """
    codebooks = np.rint(network.quantise.vectors().detach().cpu().numpy() * ONE).astype(np.int16)
    codebooks[:, ZERO] = 0
    start = _start_counts(network)
    probabilities = start
    rng = np.random.default_rng(seed)
    size = 256 if augment or usual_crop(pictures) == 192 else usual_crop(pictures)
    positions = (size // 16, size // 16)
    for rounds in (0, SEARCH_ROUNDS):  # the choice depends on the tables: once to come near, once more to settle
        counter = _Counter()
        coder = LatentCoder(prior, Chooser(Vectors(codebooks), (-np.log2(probabilities)).astype(np.float32)))
        for number in range(crops * (256 // size) ** 2):
            x = random_crops(pictures, 1, size, rng, augment=augment).to(next(network.parameters()).device)
            log2_step = np.float64(rng.uniform(STEP_LOG2_MIN, STEP_LOG2_MAX))
            search = number % 2 * rounds  # every other crop as the encoder does without a search
            code = nearest_step_code(float(log2_step))
            weight = SEARCH_RATE_WEIGHT if search else default_rate_weight(float(log2_step))
            latent, side = encoder_outputs(network, x, code, search)
            coder.encode(latent, side, positions, code, weight, [counter] * len(network.config.groups))
        smoothed = counter.counts + PSEUDO_COUNT * start
        probabilities = smoothed / smoothed.sum(1, keepdims=True)
    counts = np.maximum(np.rint(probabilities * TABLE_TOTAL), 1).astype(np.uint32)
    return codebooks, counts


def encoder_outputs(
    network: Network, x: Tensor, step_code: int, rounds: int = 0
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Latent rows [h*w, C] and side grid [rows, columns, channels] of one padded picture after a search, in fixed point."""
    log2_step = torch.tensor([log2_of(step_code)], dtype=torch.float32, device=x.device)
    latent, side = searched(network, x, log2_step, rounds=rounds)
    scaled = torch.round(latent * torch.exp2(-log2_step) * ONE)[0]
    rows = scaled.permute(1, 2, 0).reshape(-1, scaled.shape[0]).cpu().numpy().astype(np.int64)
    return rows, torch.round(side * ONE)[0].permute(1, 2, 0).cpu().numpy().astype(np.int64)


def export(network: Network, pictures: Sequence[Tensor], *, crops: int = 400, augment: bool = True) -> Arrays:
    """Every tensor of a weights file (see `vqcodec.models.weights_file`). crops, augment: see `calibrate`."""
    network = network.eval()
    network.quantise.refresh()
    prior = export_prior(network)
    codebooks, counts = calibrate(network, Prior(prior, network.config.groups), pictures, crops=crops, augment=augment)
    out: Arrays = {f"prior.{k}": v for k, v in prior.items()}
    out |= {"quantizer.codebooks": codebooks, "quantizer.counts": counts}
    out["encoder.step_codes"] = step_codes(network, pictures, augment=augment)
    for name in ("analysis", "side_analysis", "synthesis"):
        for key, value in getattr(network, name).state_dict().items():
            out[f"{name}.{key}"] = value.detach().cpu().contiguous().numpy().astype(np.float16)
    return out
