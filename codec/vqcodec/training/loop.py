"""The training loop: phases of a number of minutes each, on CPU or GPU, resumable at any moment.

1. `noise`: everything, with additive noise for the rate and rounding for the picture.
2. `vector`: decoder, prior and codebooks under the rate-aware choice of the encoder. The analysis is frozen: the choice is piecewise
   constant in the latent, so it has no useful gradient, and every straight-through estimator that was tried made it worse. So are the
   gains: what is coded as zero has no gradient of distortion, and nothing would hold them.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vqcodec.atomic import signals_held
from vqcodec.models.config import ModelConfig
from vqcodec.training import checkpoints
from vqcodec.training import distributed as ranks
from vqcodec.training.data import patch_basis, random_crops, varied
from vqcodec.vqvae.distortion import Distortion
from vqcodec.vqvae.network import Network, rounding
from vqcodec.vqvae.transforms import start_from_basis

LEARNING_RATE = {"noise": 8e-4, "vector": 6.4e-4}
PHASE_SHARE = {"noise": 0.75, "vector": 0.25}
# of the learning rate; the first name that a parameter's name contains counts
RATE_SHARES = {
    "linear.weight": 0.3, "lapped.weight": 0.3, "fine.weight": 0.3, ".gain.": 0.15, "channel_gain": 1.0, "prior.": 2.0, "": 1.0,
}  # fmt: skip
EMA_DECAY = 0.998
EYE_SHARE = 0.65  # of the crops of a batch, which come first
STEP_WEIGHT = (
    0.6,
    0.4,
)  # how much more coarse steps count, by tune: BD-rate counts relative bits, of which they have few
REGRID_STEPS, REFRESH_STEPS = 16, 256
MAX_SKIPPED = 0.1  # of the steps
LOG_SECONDS, SAVE_SECONDS = 20.0, 180.0


class TrainingError(ValueError):
    """The training went astray; the message says how in one line."""


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


def draw_steps(tune: Tensor, rng: np.random.Generator) -> Tensor:
    """log2 of a random step for each crop, where files of its tune are used, and a fifth anywhere. [B] -> [B]"""
    eye, wide = tune.cpu().numpy() > 0, rng.random(len(tune)) < 0.2
    low = np.where(wide, -6, np.where(eye, -5.7, -4.2))
    high = np.where(wide, 1, np.where(eye, 0, -0.3))
    return torch.from_numpy(rng.uniform(low, high).astype(np.float32))


class PhaseForward(nn.Module):
    """What a phase runs of the network, as one module, for DistributedDataParallel to wrap."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, phase: str, x: Tensor, log2_step: Tensor, tune: Tensor) -> tuple[Tensor, Tensor]:
        """Crops [B, H, W, 3], [B] and [B] -> decoded crops and bits of each, [B]"""
        noise = phase == "noise"
        y, coded = self.network(x, log2_step, tune, rounding if noise else self.network.quantise, noise=noise)
        return y, coded.bits


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
        self.network = Network(config).to(self.device)
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        self.optimizer = self._optimizer()
        self.forward: nn.Module = PhaseForward(self.network)
        self.step = self.skipped = 0
        self.tune = (torch.arange(batch) < round(EYE_SHARE * batch)).float().to(self.device)
        self.compare = [Distortion(crop_px, crop_px, eye=eye).to(self.device) for eye in (True, False)]
        self.say: Callable[[dict[str, Any]], None] = lambda _: None

    def _optimizer(self) -> torch.optim.Adam:
        shares: dict[float, list[torch.nn.Parameter]] = {}
        for name, parameter in self.network.named_parameters():
            shares.setdefault(next(v for k, v in RATE_SHARES.items() if k in name), []).append(parameter)
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

    def _crops(self) -> Tensor:
        """[B, H, W, 3] in [-0.5, 0.5]"""
        x = random_crops(self.pictures, self.batch, self.crop_px, self.rng, augment=self.augment).to(self.device)
        x = x.permute(0, 2, 3, 1).contiguous()
        return varied(x, self.rng) if self.augment else x

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def loss(self, phase: str) -> tuple[Tensor, dict[str, float]]:
        """One batch through the network. Returns the loss and what is logged of it."""
        log2_step = draw_steps(self.tune, self.rng).to(self.device)
        x = self._crops()
        with self._autocast():
            y, bits = self.forward(phase, x, log2_step, self.tune)
        eye = round(float(self.tune.sum()))
        lost = []
        for compare, part in zip(
            self.compare, (slice(0, eye), slice(eye, None)), strict=True
        ):  # squared error alone costs less
            if len(x[part]):
                lost.append(compare(compare.references(x[part]), y[part], log2_step[part], self.tune[part]))
        cost = (bits + torch.cat(lost)) / self.crop_px**2
        weight = torch.exp2(torch.where(self.tune > 0, STEP_WEIGHT[1], STEP_WEIGHT[0]) * (log2_step + 2.3))
        squared = (y.detach() - x).square().mean((1, 2, 3))
        return (cost * weight).mean(), {
            "loss": cost.mean().item(),
            "bpp": bits.mean().item() / self.crop_px**2,
            "psnr": float(-10 * torch.log10(squared + 1e-10).mean()),
        }

    def _prepare(self, phase: str) -> None:
        """Choose what learns; with many ranks, their gradients are averaged from here on."""
        learns = phase == "noise"
        changed = self.network.analysis.linear.weight.requires_grad != learns
        if changed or self.step == 0:
            self.network.hold_gains = not learns
            for name, parameter in self.network.named_parameters():
                rests = name.startswith("analysis.") or ".gain." in name or name.endswith("channel_gain")
                parameter.requires_grad_(learns or not rests)
        if self.step % REGRID_STEPS == 0:
            self.network.prior.regrid()
        if not learns and (changed or self.step % REFRESH_STEPS == 0):
            self.network.quantise.refresh()
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
        with signals_held():  # a checkpoint between these lines would hold half a step
            self._update()
        return logged

    def _update(self) -> None:
        """Step along the gradients, and the averaged network after it. Raises TrainingError if many steps have no finite gradient."""
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.step += 1
        if torch.isfinite(norm):
            self.optimizer.step()
        else:
            self.skipped += 1
            if self.skipped > max(10, MAX_SKIPPED * self.step):
                raise TrainingError(f"{self.skipped} of {self.step} steps had no finite gradient")
        self.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - EMA_DECAY)
            for own, other in zip(self.average.buffers(), self.network.buffers(), strict=True):
                own.copy_(other)
            if self.step % REGRID_STEPS == 0:
                self.average.prior.regrid()

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
                record["skipped"] = self.skipped
                record["images_per_s"] = round(count * self.batch * ranks.size() / elapsed, 1)
                self._log(record)
                sums, count, last_log = {}, 0, phase.seconds_done
            if phase.seconds_done - last_save > SAVE_SECONDS:
                self.save()
                last_save = phase.seconds_done
        self.average.prior.regrid()
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
