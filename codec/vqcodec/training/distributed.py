"""Several training processes under `torchrun`; with one, all of this does nothing.

Gradients are averaged by DistributedDataParallel. Here is the rest: the start from equal weights, sums of statistics, and one
clock, so that every rank ends a phase at the same step.
"""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import Tensor, nn


def expected() -> int:
    """How many ranks torchrun's environment names; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def join(device: str) -> None:
    """Join the group that torchrun's environment names, if there is one: gloo on the CPU, nccl on GPUs."""
    if expected() > 1 and not dist.is_initialized():
        dist.init_process_group("gloo" if device == "cpu" else "nccl")


def leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def restarted() -> bool:
    """Whether torchrun has restarted the ranks because one of them died."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def sum_(tensor: Tensor) -> Tensor:
    """Replace a tensor by its sum over ranks."""
    if size() > 1:
        dist.all_reduce(tensor)
    return tensor


def agreed(value: float, device: torch.device) -> float:
    """The first rank's value."""
    if size() == 1:
        return value
    tensor = torch.tensor([value], dtype=torch.float64, device=device)
    dist.broadcast(tensor, 0)
    return tensor.item()


@torch.no_grad()
def make_equal(module: nn.Module) -> None:
    """Give every rank the first one's parameters and buffers."""
    if size() > 1:
        for tensor in module.state_dict().values():
            dist.broadcast(tensor, 0)
