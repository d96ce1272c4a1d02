"""The training loop: phases of a number of minutes each, on CPU or GPU, resumable at any moment.

1. `prior`: the prior alone, on cached latents of the linear transform.
2. `joint`: transforms and prior together, with additive noise for the rate and rounding for the picture.
3. `vector`: decoder, prior and codebooks under the rate-aware choice of the encoder. The analysis is frozen: the choice is piecewise
   constant in the latent, so it has no useful gradient, and every straight-through estimator that was tried made it worse.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from vqbitstream.choice import LAMBDA, SEARCH_RATE_WEIGHT

from vqcodec.atomic import signals_held
from vqcodec.coding.search import searched
from vqcodec.models.config import STEP_LOG2_MAX, STEP_LOG2_MIN, ModelConfig
from vqcodec.training import checkpoints
from vqcodec.training import distributed as ranks
from vqcodec.training.data import patch_basis, random_crops
from vqcodec.training.dct_adam import spectral_step
from vqcodec.vqvae.network import Network, Quantise, rounding, straight_through
from vqcodec.vqvae.transforms import start_from_basis

LEARNING_RATE = {"prior": 1.5e-3, "joint": 8e-4, "vector": 7e-4}
PHASE_SHARE = {"prior": 0.1, "joint": 0.7, "vector": 0.2}
FINE_TUNE_SHARE = {"joint": 0.7, "vector": 0.3}  # from trained weights, for another kind of picture
PRIOR_RATE = 2.0  # of the others' learning rate
LINEAR_RATE = 0.3  # of the others' learning rate
EMA_DECAY = 0.998
MAIN_STEPS = (-3.84, -0.32)  # log2: 27 to 37 dB, where three quarters of the crops are drawn
LOG_SECONDS, SAVE_SECONDS = 20.0, 180.0


@dataclass
class Phase:
    name: str
    minutes: float
    seconds_done: float = 0.0

    @property
    def fraction(self) -> float:
        return self.seconds_done / (60 * self.minutes) if self.minutes > 0 else 1.0


def schedule(fraction: float) -> float:
    """Share of the peak learning rate: a short warm-up, flat for half of the phase, then a cosine to 3 %."""
    warm = min(1.0, fraction / 0.01 + 0.1)
    decay = max(0.0, 2 * fraction - 1)
    return warm * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * min(decay, 1.0))))


def step_weight(log2_step: Tensor) -> Tensor:
    """Weight of a crop in the loss: BD-rate counts relative bits, so coarse steps, which cost few, count more."""
    return torch.exp2(0.6 * (log2_step + 2.3))


def draw_steps(count: int, rng: np.random.Generator) -> Tensor:
    """log2 of a random step per crop. [count]"""
    wide = rng.random(count) < 0.25
    low = np.where(wide, STEP_LOG2_MIN, MAIN_STEPS[0])
    high = np.where(wide, STEP_LOG2_MAX, MAIN_STEPS[1])
    return torch.from_numpy(rng.uniform(low, high).astype(np.float32))


class PhaseForward(nn.Module):
    """What a phase runs of the network, as one module, for DistributedDataParallel to wrap."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, phase: str, x: Tensor, log2_step: Tensor) -> tuple[Tensor, Tensor]:
        """Crops [B, 3, H, W], or latents [B, C, h, w] in the phase `prior`, and [B] -> squared error and bits of each. [B]

        phase: or `search`, which is `vector` after a round of the encoder's search.
        """
        network = self.network
        if phase == "prior":
            coded = network.code(x, log2_step, straight_through(rounding, noise=True))
            return torch.zeros_like(coded.bits), coded.bits
        if phase == "search":
            latent, side = searched(network, x, log2_step, rounds=1)
            quantise: Quantise = partial(network.quantise, rate_weight=SEARCH_RATE_WEIGHT)
            coded = network.code(latent, log2_step, straight_through(quantise, noise=False), side)
            y = network.picture(coded, log2_step)
        else:
            quantise = rounding if phase == "joint" else network.quantise
            y, coded = network(x, log2_step, quantise, noise=phase == "joint")
        return (y - x).square().mean((1, 2, 3)), coded.bits


class Trainer:
    """Holds network, averaged network, optimiser and plan; `run` trains until the plan is done.

    batch: crops a step, on each rank. augment: see `random_crops`.
    """

    def __init__(
        self,
        pictures: list[Tensor],
        config: ModelConfig,
        plan: list[Phase],
        checkpoint: Path,
        *,
        device: str = "cpu",
        batch: int = 8,
        crop_px: int = 192,
        seed: int = 0,
        augment: bool = True,
    ) -> None:
        self.pictures, self.plan, self.checkpoint = pictures, plan, checkpoint
        self.device, self.batch, self.crop_px, self.augment = torch.device(device), batch, crop_px, augment
        self.rng = np.random.default_rng((seed, ranks.rank()) if ranks.size() > 1 else seed)
        torch.manual_seed(seed + ranks.rank())
        self.network = Network(config).to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.optimizer = self._optimizer()
        self.forward: nn.Module = PhaseForward(self.network)
        self.step = 0
        self.cache: Tensor | None = None
        self.say: Callable[[dict[str, Any]], None] = lambda _: None

    def _optimizer(self) -> torch.optim.Adam:
        shares: dict[float, list[torch.nn.Parameter]] = {1.0: [], PRIOR_RATE: [], LINEAR_RATE: []}
        for name, parameter in self.network.named_parameters():
            linear, prior = name.endswith("linear.weight"), name.startswith("prior.")
            shares[LINEAR_RATE if linear else PRIOR_RATE if prior else 1.0].append(parameter)
        groups = [{"params": p, "share": share} for share, p in shares.items()]
        return torch.optim.Adam(groups, lr=1e-3, betas=(0.9, 0.99), fused=True)

    def start(self) -> None:
        """Linear start: PCA of the pictures' patches."""
        basis, sigma = patch_basis(self.pictures, self.network.config.channels, self.rng)
        start_from_basis(self.network.analysis, self.network.synthesis, basis.to(self.device), sigma.to(self.device))
        self.network.set_sigma(sigma.to(self.device))
        self._equal_start()

    def start_from(self, network: Network) -> None:
        """Start from another network's weights, of the same sizes."""
        self.network.load_state_dict(network.state_dict())
        self._equal_start()

    def _equal_start(self) -> None:
        ranks.make_equal(self.network)
        self.average.load_state_dict(self.network.state_dict())

    def save(self) -> None:
        """Write the checkpoint; with many ranks the first does."""
        if ranks.rank():
            return
        tensors = {f"model.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for name, parameter in self.network.named_parameters():
            for moment, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"adam.{moment}.{name}"] = value
        metadata = {
            "config": self.network.config.to_dict(),
            "plan": [asdict(p) for p in self.plan],
            "step": self.step,
            "augment": self.augment,
        }
        checkpoints.save(self.checkpoint, tensors, metadata)

    def resume(self, tensors: dict[str, Tensor], metadata: dict[str, Any], *, keep_plan: bool) -> list[str]:
        """Take weights (those that fit), moments and, if asked to, the plan. Returns names that did not fit."""
        left = checkpoints.carry_over(self.network, tensors, "model.")
        checkpoints.carry_over(self.average, tensors, "average.")
        for name, parameter in self.network.named_parameters():
            moments = {m: tensors.get(f"adam.{m}.{name}") for m in ("step", "exp_avg", "exp_avg_sq")}
            if moments["exp_avg"] is not None and moments["exp_avg"].shape == parameter.shape:
                self.optimizer.state[parameter] = {
                    m: v.to(self.device) if m == "step" else torch.empty_like(parameter).copy_(v)
                    for m, v in moments.items()
                    if v is not None
                }
        self.step, self.augment = int(metadata["step"]), bool(metadata.get("augment", metadata.get("varied", True)))
        if keep_plan:
            self.plan = [Phase(**p) for p in metadata["plan"]]
        return left

    def _cached_latents(self) -> Tensor:
        """Latents of the untrained transform over many crops, so that the prior trains without it. [N, C, h, w] float16"""
        if self.cache is None:
            parts = []
            with torch.no_grad(), self._autocast():
                for _ in range(192):
                    parts.append(self.network.analysis(self._crops()).half())
            self.cache = torch.cat(parts)
        return self.cache

    def _crops(self) -> Tensor:
        return random_crops(self.pictures, self.batch, self.crop_px, self.rng, augment=self.augment).to(self.device)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def loss(self, phase: str) -> tuple[Tensor, dict[str, float]]:
        """One batch through the network. Returns the loss and what is logged of it."""
        log2_step = draw_steps(self.batch, self.rng).to(self.device)
        weight = step_weight(log2_step)
        pixels = self.crop_px**2
        if phase == "prior":
            cache = self._cached_latents()
            rows = torch.from_numpy(self.rng.integers(0, len(cache), self.batch)).to(self.device)
            x = cache[rows].float()
        else:
            x = self._crops().contiguous(memory_format=torch.channels_last)
        with self._autocast():
            # every other time as the encoder does at its lowest effort
            error, bits = self.forward("search" if phase == "vector" and self.step % 2 else phase, x, log2_step)
        bits = bits / pixels
        if phase == "prior":
            return (bits * weight).mean(), {"bpp": bits.mean().item(), "loss": bits.mean().item()}
        cost = 3 * error / (LAMBDA * torch.exp2(2 * log2_step)) + bits
        psnr = -10 * torch.log10(error.detach() + 1e-10)
        return (cost * weight).mean(), {
            "loss": cost.mean().item(),
            "bpp": bits.mean().item(),
            "psnr": psnr.mean().item(),
        }

    def _prepare(self, phase: str) -> None:
        """Choose what learns; with many ranks, their gradients are averaged from here on."""
        learns = phase != "vector"
        changed = self.network.analysis.linear.weight.requires_grad != learns
        for encoder in (self.network.analysis, self.network.side_analysis):
            encoder.requires_grad_(learns)
        if ranks.size() > 1 and (changed or not isinstance(self.forward, DistributedDataParallel)):
            self.forward = PhaseForward(self.network)  # lets go of the old hooks
            self.forward = DistributedDataParallel(self.forward, find_unused_parameters=True)

    def train_step(self, phase: Phase) -> dict[str, float]:
        rate = LEARNING_RATE[phase.name] * schedule(phase.fraction)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        self._prepare(phase.name)
        loss, logged = self.loss(phase.name)
        loss.backward()  # type: ignore[no-untyped-call]
        with signals_held():  # a checkpoint between these lines would have kernels in the wrong domain
            self._update()
        return logged

    def _update(self) -> None:
        """Step along the gradients, and the averaged network after it."""
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        if torch.isfinite(norm):
            kernels = [(self.network.analysis.linear.weight, 1), (self.network.synthesis.linear.weight, 0)]
            spectral_step(self.optimizer, kernels)
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - EMA_DECAY)
            for own, other in zip(self.average.buffers(), self.network.buffers(), strict=True):
                own.copy_(other)

    def run(self) -> None:
        """Train until the plan is done or Ctrl-C; the checkpoint is written either way."""
        try:
            for phase in self.plan:
                self._run_phase(phase)
        finally:
            self.save()

    def _run_phase(self, phase: Phase) -> None:
        last_log = last_save = phase.seconds_done
        sums: dict[str, float] = {}
        count = 0
        while phase.fraction < 1:
            begun = time.monotonic()
            for key, value in self.train_step(phase).items():
                sums[key] = sums.get(key, 0.0) + value
            count += 1
            spent = min(time.monotonic() - begun, 5.0)  # a stopped process does not use up its minutes
            phase.seconds_done = ranks.agreed(phase.seconds_done + spent, self.device)
            if phase.seconds_done - last_log > LOG_SECONDS or phase.fraction >= 1:
                elapsed = max(phase.seconds_done - last_log, 1e-6)
                record: dict[str, Any] = {"phase": phase.name, "step": self.step}
                record["minutes"] = round(phase.seconds_done / 60, 2)
                means = ranks.sum_(torch.tensor(list(sums.values()), device=self.device)) / count / ranks.size()
                record |= {k: round(v, 4) for k, v in zip(sums, means.tolist(), strict=True)}
                record["images_per_s"] = round(count * self.batch * ranks.size() / elapsed, 1)
                self._log(record)
                sums, count, last_log = {}, 0, phase.seconds_done
            if phase.seconds_done - last_save > SAVE_SECONDS:
                self.save()
                last_save = phase.seconds_done
        if phase.name == "prior":
            self.cache = None
        self.save()

    def _log(self, record: dict[str, Any]) -> None:
        if ranks.rank():
            return
        with self.checkpoint.with_name("log.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")
        self.say(record)


def make_plan(minutes: float, phases: Iterable[str] | None, usual: dict[str, float] = PHASE_SHARE) -> list[Phase]:
    """Share the minutes among the phases: those of `usual` in these proportions, or the named ones."""
    shares = {n: PHASE_SHARE[n] for n in phases} if phases else usual
    return [Phase(n, minutes * share / sum(shares.values())) for n, share in shares.items()]
