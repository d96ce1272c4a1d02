"""Checkpoints: one safetensors file with weights, averaged weights, optimiser moments and the plan. No pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor, nn

from vqcodec.atomic import write


class CheckpointError(ValueError):
    """The file is not one of our checkpoints; the message says why in one line."""


def save(path: Path, tensors: dict[str, Tensor], metadata: dict[str, Any]) -> None:
    """Write tensors and a JSON-able dict, through a temporary file, so a reader never sees half a checkpoint."""
    contiguous = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    data = serialise(contiguous, metadata={"vqcodec": json.dumps(metadata)})
    write(str(path), lambda file: file.write(data), force=True)


def load(path: Path | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors (on the CPU) and metadata of a checkpoint. Raises CheckpointError."""
    if Path(path).exists() and not Path(path).is_file():
        raise CheckpointError(f"{path}: not a checkpoint, not even an ordinary file")  # a pipe might never end
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = (file.metadata() or {}).get("vqcodec")
            if metadata is None:
                raise CheckpointError(f"{path}: a safetensors file, but not a vqcodec checkpoint")
            return {k: file.get_tensor(k) for k in file.keys()}, json.loads(metadata)  # noqa: SIM118
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: not a checkpoint ({error})") from None


def carry_over(module: nn.Module, tensors: dict[str, Tensor], prefix: str = "") -> list[str]:
    """Copy every tensor whose name and shape still fit. Returns the names of the module's tensors that were not copied."""
    left = []
    with torch.no_grad():
        for name, own in module.state_dict().items():
            stored = tensors.get(prefix + name)
            if stored is not None and stored.shape == own.shape:
                own.copy_(stored)
            else:
                left.append(name)
    return left
