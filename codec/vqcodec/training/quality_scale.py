"""The quality scale of a trained network: which step each quality of each tune means, and which files have the last layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from vqbitstream.choice import SEARCH_RATE_WEIGHT
from vqbitstream.header import TUNES, nearest_step_code

from vqcodec.coding.search import searched
from vqcodec.training.data import random_crops, usual_crop
from vqcodec.vqvae.distortion import Distortion
from vqcodec.vqvae.network import Network, straight_through
from vqcodec.vqvae.structural import score

COARSEST, FINEST = 0.75, -6.0  # log2 of the steps of quality 1 and 100
STEPS = np.linspace(COARSEST, FINEST, 13)
SCORED = (30.0, 90.0)  # qualities of tune "eye" that are SSIMULACRA2 scores
LAST_LAYER_WORTH = 0.002  # of the Lagrangian: what a file without the last layer may cost more
ROUNDS = 3  # of the search, as by default


@dataclass(frozen=True)
class QualityScale:
    """The scale of a model.

    Attributes:
        step_codes: Of each tune and quality 1..100, uint16 [2, 100], falling.
        layers: Likewise how many layers its files have, uint8 [2, 100].
    """

    step_codes: npt.NDArray[np.uint16]
    layers: npt.NDArray[np.uint8]

    def layers_at(self, step_code: int, tune: int) -> int:
        """How many layers files of a step have."""
        return int(self.layers[tune, min(int((self.step_codes[tune] > step_code).sum()), 99)])


@dataclass
class _Measured:
    """What files of a tune are on average, at each of `STEPS`.

    Attributes:
        psnr_db: Median over crops, because one blank crop of 100 dB would dominate the mean.
        score: Mean SSIMULACRA2, by the structural term.
        whole: Lagrangian with all layers.
        short: Lagrangian without the last one.
    """

    psnr_db: list[float]
    score: list[float]
    whole: list[float]
    short: list[float]


@torch.no_grad()
def quality_scale(
    network: Network, pictures: Sequence[Tensor], *, crops: int = 24, seed: int = 1, augment: bool = True
) -> QualityScale:
    """Measure the scale.

    Between 30 and 90 a quality of tune "eye" is the mean SSIMULACRA2 that the pictures get; beyond, and for tune "psnr", qualities are
    even in steps and in dB.

    Args:
        network: The trained network.
        pictures: uint8 [3, H, W] each.
        crops: Number of crops to measure on.
        seed: Of the crops.
        augment: See `random_crops`.
    """
    device = next(network.parameters()).device
    size = 256 if augment else usual_crop(pictures)
    x = random_crops(pictures, crops, size, np.random.default_rng(seed), augment=augment)
    x = x.permute(0, 2, 3, 1).to(device)
    codes, layers = [], []
    for tune in range(len(TUNES)):
        found = _measure(network, x, tune)
        log2_steps = _eye(found) if tune and max(found.score) > SCORED[0] else _even(np.array(found.psnr_db))
        codes.append([nearest_step_code(float(log2_step)) for log2_step in log2_steps])
        layers.append(_layers(network, found, log2_steps))
    return QualityScale(np.array(codes, dtype=np.uint16), np.array(layers, dtype=np.uint8))


def _measure(network: Network, x: Tensor, tune: int) -> _Measured:
    out = _Measured([], [], [], [])
    compare = Distortion(*x.shape[1:3], eye=True).to(x.device)
    groups = len(network.config.groups)
    tunes = torch.full((1,), float(tune), device=x.device)
    for log2_step in STEPS:
        step = torch.full((1,), float(log2_step), device=x.device)
        features = network.features(step, tunes)
        rows = []
        for picture in x.split(1):
            references = compare.references(picture)

            def coded(
                latent: Tensor,
                count: int,
                weight: float | None = None,
                step: Tensor = step,
                features: Tensor = features,
            ) -> tuple[Tensor, Tensor]:
                choice = straight_through(partial(network.quantise, rate_weight=weight), noise=False)
                found = network.code(latent, step, features, choice, count)
                return network.synthesis(found.decoded, step, features).clamp(-0.5, 0.5), found.bits

            latent = network.analysis(picture, features)
            whole, whole_bits = coded(latent, groups)
            terms = compare.terms(references, whole)
            row = [float(whole_bits + compare.bits(terms, step, tunes)), float(terms.squared)]
            if tune:  # scores are those of the default effort, which are a point or two from the analysis's own
                searched_latent = searched(network, picture, step, tune, rounds=ROUNDS)
                terms = compare.terms(references, coded(searched_latent, groups, SEARCH_RATE_WEIGHT)[0])
            row.append(float(score(terms.structural)))
            if groups > 1:
                short, short_bits = coded(latent, groups - 1)
                row.append(float(short_bits + compare.bits(compare.terms(references, short), step, tunes)))
            rows.append(row)
        costs, squared, scores, *shorter = np.array(rows).T
        out.psnr_db.append(float(-10 * np.log10(np.maximum(np.median(squared), 1e-10))))
        out.score.append(float(scores.mean()))
        out.whole.append(float(costs.sum()))
        out.short.append(float(shorter[0].sum()) if shorter else np.inf)
    return out


def _even(psnr_db: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """log2 of the step of each quality, even in dB. [100]"""
    rising = np.maximum.accumulate(psnr_db) + 1e-3 * np.arange(len(psnr_db))
    return np.interp(np.linspace(rising[0], rising[-1], 100), rising, STEPS)


def _eye(found: _Measured) -> npt.NDArray[np.float64]:
    """log2 of the step of each quality, so that it is the score where it can be. [100]"""
    rising = np.maximum.accumulate(np.array(found.score)) + 1e-3 * np.arange(len(STEPS))
    low, high = max(SCORED[0], float(rising[0])), min(SCORED[1], float(rising[-1]) - 1)
    scored = np.arange(np.ceil(low), np.floor(high) + 1)
    qualities = np.concatenate([[1.0], scored[scored > 1], [100.0]])
    log2_steps = np.concatenate([[COARSEST], np.interp(scored[scored > 1], rising, STEPS), [FINEST]])
    return np.minimum.accumulate(np.interp(np.arange(1, 101), qualities, log2_steps))


def _layers(network: Network, found: _Measured, log2_steps: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """How many layers the files of each quality have: the last one from where it pays. [100]"""
    groups = len(network.config.groups)
    pays = np.array(found.short) > (1 + LAST_LAYER_WORTH) * np.array(found.whole)
    if pays.all():
        return np.full(100, groups)
    first = STEPS[int(np.argmax(pays))] if pays.any() else -np.inf
    return np.where(log2_steps <= first, groups, groups - 1)
