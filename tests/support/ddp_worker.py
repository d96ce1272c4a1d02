"""One rank of a training run, for test_ddp.py: `torchrun tests/support/ddp_worker.py PICTURES OUT WEIGHTS BATCH [STEP TO DIE AT]`.

The clock is one that ticks with every look, so that every run has the same number of steps.
"""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from vqcodec.training import distributed as ranks
from vqcodec.training import loop
from vqcodec.training.run import RunOptions, train_model

TICK_S, MINUTES = 0.25, 0.3  # 72 steps
torch.set_num_threads(1)


def train(pictures: Path, out: Path, weights: Path, batch: int, die_at: int | None) -> None:
    ticks = itertools.count(0, TICK_S)
    loop.time = SimpleNamespace(monotonic=lambda: next(ticks))  # type: ignore[assignment]
    loop.SAVE_SECONDS = 20 * TICK_S
    step = loop.Trainer.train_step

    def mortal(self: loop.Trainer, phase: loop.Phase) -> dict[str, float]:
        if self.step == die_at and ranks.rank() == 1 and not ranks.restarted():
            os._exit(1)
        return step(self, phase)

    loop.Trainer.train_step = mortal  # type: ignore[method-assign]
    options = RunOptions(minutes=MINUTES, out=out, start=str(weights), batch=batch, crop=64)
    train_model([pictures], options, None, lambda line: print(line, flush=True))


if __name__ == "__main__":
    died = int(sys.argv[5]) if len(sys.argv) > 5 else None
    train(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), died)
