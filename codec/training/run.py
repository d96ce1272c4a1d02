"""One training run from start to weights file: what `vqcodec train` does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from vqcodec.model import ModelConfig
from vqcodec.registry import write_weights

from . import checkpoints
from .data import DataError, load_pictures
from .export import export
from .loop import Trainer, make_plan
from .validate import format_rows, validate

RESUMED_PHASES = ("joint", "vector")
CROPS_PER_MINUTE = 20  # of training: how many crops the frequency tables are counted over


@dataclass(frozen=True)
class RunOptions:
    """minutes: length of the plan (None: go on with the checkpoint's). phases: empty for all. See `vqcodec train --help`."""

    minutes: float | None = None
    out: Path = Path("runs/model")
    resume: Path | None = None
    phases: tuple[str, ...] = ()
    device: str = "cpu"
    batch: int = 8
    crop: int = 192
    threads: int | None = None
    seed: int = 0


def _line(record: dict[str, Any]) -> str:
    return "  ".join(f"{k} {v}" for k, v in record.items())


def train_model(data: list[Path], options: RunOptions, dev: Path | None, say: Callable[[str], None]) -> Path:
    """Train, export, and measure on `dev` if given. Returns the weights file.

    Raises DataError, checkpoints.CheckpointError or ValueError, each with a message of one line.
    """
    if options.crop % 64:
        raise ValueError(f"the crop must be a multiple of 64 pixels, not {options.crop}")
    if options.minutes is None and options.resume is None:
        raise ValueError("say how long: --minutes N, or --resume a checkpoint whose plan is not done")
    if options.phases and options.minutes is None:
        raise ValueError("--phase starts a new plan: say how long with --minutes")
    if options.device != "cpu" and not torch.cuda.is_available():
        raise ValueError(f"no device {options.device!r} here")
    if options.threads:
        torch.set_num_threads(options.threads)
    stored = checkpoints.load(options.resume) if options.resume else None
    pictures = load_pictures(data, options.device)
    say(f"{len(pictures)} pictures, {sum(p.shape[1] * p.shape[2] for p in pictures) / 1e6:.1f} megapixels")
    options.out.mkdir(parents=True, exist_ok=True)
    checkpoint = options.out / "checkpoint.safetensors"
    if checkpoint.exists() and not options.resume:
        raise ValueError(f"{checkpoint} exists already; --resume it, or choose another --out")
    config = ModelConfig.from_dict(stored[1]["config"]) if stored else ModelConfig()
    phases = options.phases or (RESUMED_PHASES if stored else ())
    trainer = Trainer(
        pictures,
        config,
        make_plan(options.minutes or 0, phases),
        checkpoint,
        device=options.device,
        batch=options.batch,
        crop_px=options.crop,
        seed=options.seed,
    )
    trainer.say = lambda record: say(_line(record))
    if stored:
        left = trainer.resume(*stored, keep_plan=options.minutes is None)
        if left:
            say(f"not in the checkpoint, or of another shape, and so fresh: {', '.join(left)}")
    else:
        trainer.start()
    try:
        trainer.run()
    except KeyboardInterrupt:
        say(f"interrupted; go on with --resume {trainer.checkpoint}")
        raise
    weights = options.out / "model.safetensors"
    minutes = sum(p.minutes for p in trainer.plan)
    crops = round(min(max(CROPS_PER_MINUTE * minutes, 8), 400))
    tensors = export(trainer.average, pictures, crops=crops)
    say(f"{weights}: model {write_weights(weights, tensors, config.to_dict()).hex()}")
    if dev is not None:
        say(format_rows(validate(trainer.average, load_pictures([dev]), vector=True)))
    return weights


__all__ = ["DataError", "RunOptions", "train_model"]
