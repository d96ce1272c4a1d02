"""One training run from start to weights file: what `vqcodec train` does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from vqcodec.models import store
from vqcodec.models.config import ModelConfig
from vqcodec.models.weights_file import ModelError, write_weights
from vqcodec.training import checkpoints
from vqcodec.training import distributed as ranks
from vqcodec.training import vae as gaussian
from vqcodec.training.data import DataError, load_pictures, usual_crop
from vqcodec.training.loop import PHASE_SHARE, Trainer, make_plan
from vqcodec.training.tables import export
from vqcodec.training.validate import format_rows, validate
from vqcodec.vqvae.integers import restore
from vqcodec.vqvae.network import Network
from vqcodec.vqvae.vae import LatentVAE

STOPPED = (KeyboardInterrupt, SystemExit)  # Ctrl-C, and signals that end the program
CROPS_PER_MINUTE, MAX_CROPS = 20, 240  # of training: how many crops the frequency tables are counted over


@dataclass(frozen=True)
class RunOptions:
    """Options of a run; see `vqcodec train --help`.

    Attributes:
        minutes: Length of the plan; None continues the checkpoint's.
        out: Folder of the run.
        start: A model's name or weights file to fine-tune.
        name: Under which to register the result.
        bottleneck: "vq" or "gaussian".
        resume: A checkpoint.
        phases: Empty for all.
        device: "cpu" or "cuda".
        batch: Crops per step; None chooses.
        crop: Side of a crop in pixels; None chooses.
        threads: CPU threads.
        seed: Of crops and noise.
    """

    minutes: float | None = None
    out: Path | None = None
    start: str | None = None
    name: str | None = None
    bottleneck: str = "vq"
    resume: Path | None = None
    phases: tuple[str, ...] = ()
    device: str = "cpu"
    batch: int | None = None
    crop: int | None = None
    threads: int | None = None
    seed: int = 0

    @property
    def folder(self) -> Path:
        """Folder of the run."""
        return self.out or Path("runs") / (self.name or "model")


def check(options: RunOptions) -> None:
    """Raises ValueError or ModelError if options contradict each other."""
    if options.crop is not None and options.crop % 64:
        raise ValueError(f"the crop must be a multiple of 64 pixels, not {options.crop}")
    if options.minutes is None and options.resume is None:
        raise ValueError("say how long: --minutes N, or --resume a checkpoint whose plan is not done")
    if options.phases and options.minutes is None:
        raise ValueError("--phase starts a new plan: say how long with --minutes")
    if options.start and options.resume:
        raise ValueError("--from starts a run, --resume continues one: give one of them")
    if options.bottleneck == "gaussian":
        if options.resume or options.phases or options.batch or options.crop:
            raise ValueError(
                "--bottleneck gaussian has one phase, on cells of 64 pixels, and starts from a model (--from)"
            )
        if ranks.expected() > 1:
            raise ValueError("--bottleneck gaussian trains in one process, without torchrun")
    if options.name is not None:
        store.check_new_name(options.name)
        store.make_folder()
    if options.device != "cpu" and not torch.cuda.is_available():
        raise ValueError(f"no device {options.device!r} here")


def _line(record: dict[str, Any]) -> str:
    return "  ".join(f"{k} {v}" for k, v in record.items())


def train_model(data: list[Path], options: RunOptions, dev: Path | None, say: Callable[[str], None]) -> Path:
    """Train, export, and measure.

    Under torchrun every rank calls this, and the first one writes.

    Args:
        data: Files, folders and tar shards of pictures.
        options: Of the run.
        dev: Pictures to measure at the end.
        say: Called with each line of the log.

    Returns:
        The weights file.

    Raises:
        DataError: The pictures cannot be used.
        CheckpointError: The checkpoint cannot be used.
        ModelError: The model cannot be used or registered.
        ValueError: Options contradict each other.
    """
    check(options)
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.bottleneck == "gaussian":
        if dev is not None:
            raise ValueError("--validate measures transforms, which --bottleneck gaussian leaves as they are")
        return _finish(_train_gaussian(data, options, say), options, say)
    ranks.join(options.device)
    try:
        weights = _train(data, options, dev, say if ranks.rank() == 0 else lambda _: None)
        return weights if ranks.rank() else _finish(weights, options, say)
    finally:
        ranks.leave()


def _finish(weights: Path, options: RunOptions, say: Callable[[str], None]) -> Path:
    if options.name is not None:
        try:
            added = store.add(weights, options.name)
        except (ModelError, ValueError, OSError) as error:
            raise ModelError(f"{error}; once that is mended: vqcodec models add {weights} --name NAME") from None
        say(f"registered as {added.name} ({added.model_id}): vqcodec encode -m {added.name}")
    return weights


def _train_gaussian(data: list[Path], options: RunOptions, say: Callable[[str], None]) -> Path:
    start = store.load(options.start or "default")
    pictures = load_pictures(data, options.device, say)
    options.folder.mkdir(parents=True, exist_ok=True)
    weights = options.folder / "model.safetensors"
    if weights.exists():
        raise ValueError(f"{weights} exists already; choose another --out")
    assert options.minutes is not None
    network = restore(start.tensors, start.config).to(options.device)
    bottleneck = LatentVAE(network.config.channels).to(options.device)
    try:
        gaussian.train(
            bottleneck, network, pictures, minutes=options.minutes, seed=options.seed, say=lambda r: say(_line(r))
        )
    except STOPPED:
        say(f"interrupted; what was learned is in {weights}")
        raise
    finally:
        kept = {k: v for k, v in start.tensors.items() if not k.startswith("bottleneck.")}
        write_weights(weights, kept | gaussian.export_bottleneck(bottleneck), start.config.to_dict())
    say(f"{weights}: a Gaussian bottleneck for {options.start or 'default'}, whose files it leaves readable")
    return weights


def _starting_network(start: str) -> Network:
    """The network of a model, by name or weights file, or the averaged one of a checkpoint. Raises ModelError."""
    try:
        tensors, metadata = checkpoints.load(start)
    except checkpoints.CheckpointError:
        given = store.load(start)
        return restore(given.tensors, given.config)
    network = Network(ModelConfig.from_dict(metadata["config"]))
    if left := checkpoints.carry_over(network, tensors, "average."):
        raise ModelError(f"{start}: the checkpoint lacks {left[0]}")
    return network


def _train(data: list[Path], options: RunOptions, dev: Path | None, say: Callable[[str], None]) -> Path:
    checkpoint = options.folder / "checkpoint.safetensors"
    if ranks.restarted() and checkpoint.exists():
        options = replace(options, resume=checkpoint, minutes=None, start=None, phases=())
        say(f"restarted; going on from {checkpoint}")
    stored = checkpoints.load(options.resume) if options.resume else None
    start = _starting_network(options.start) if options.start else None
    pictures = load_pictures(data, options.device, say)
    held_out = load_pictures([dev], say=say) if dev else []
    say(f"{len(pictures)} pictures, {sum(p.shape[1] * p.shape[2] for p in pictures) / 1e6:.1f} megapixels")
    options.folder.mkdir(parents=True, exist_ok=True)
    if checkpoint.exists() and not options.resume:
        raise ValueError(f"{checkpoint} exists already; --resume it, or choose another --out")
    config = ModelConfig.from_dict(stored[1]["config"]) if stored else start.config if start else ModelConfig()
    plan = make_plan(options.minutes or 0, options.phases or PHASE_SHARE)
    crop_px = options.crop or usual_crop(pictures)
    trainer = Trainer(
        pictures,
        config,
        plan,
        checkpoint,
        device=options.device,
        batch=options.batch or 8 * (192 // crop_px) ** 2 or 4,
        crop_px=crop_px,
        seed=options.seed,
        augment=start is None,
    )
    trainer.say = lambda record: say(_line(record))
    if stored:
        left = trainer.resume(*stored, keep_plan=options.minutes is None)
        if left:
            say(f"not in the checkpoint, or of another shape, and so fresh: {', '.join(left)}")
    elif start:
        trainer.start_from(start)
    else:
        trainer.start()
    try:
        trainer.run()
    except STOPPED:
        say(f"interrupted; go on with --resume {trainer.checkpoint}")
        raise
    weights = options.folder / "model.safetensors"
    if ranks.rank():
        return weights
    minutes = sum(p.minutes for p in trainer.plan)
    crops = round(min(max(CROPS_PER_MINUTE * minutes, 8), MAX_CROPS)) if minutes else MAX_CROPS
    tensors = export(trainer.average, pictures, crops=crops, augment=trainer.augment)
    say(f"{weights}: model {write_weights(weights, tensors, config.to_dict()).hex()}")
    if held_out:
        say(format_rows(validate(trainer.average, held_out)))
    return weights


__all__ = ["DataError", "RunOptions", "train_model"]
