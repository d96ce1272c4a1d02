"""Weights file -> network to train on: the inverse of `export`, but for the frequency tables and the steps, which are counted anew."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from vqcodec.model import ModelConfig
from vqcodec.quantizer import OCTAVE, ONE, SINGLE_TABLES
from vqcodec.registry import Arrays, ModelError

from .network import Network
from .soft_prior import ACT_LOG2, IntConv
from .soft_quantizer import START_COUNT


def _restore_layer(layer: IntConv, tensors: Mapping[str, Tensor], name: str) -> None:
    weight, bias, shift = (tensors[f"{name}.{part}"] for part in ("weight", "bias", "shift"))
    if name.endswith(".out"):  # means are in 1/64 in the file
        shift = shift.clone()
        shift[: len(shift) // 2] += 1
    outputs, inputs, height, width = layer.weight.shape
    rows = weight.reshape(height, width, inputs, outputs).permute(3, 2, 0, 1)
    layer.weight.copy_(rows * torch.exp2(-shift)[:, None, None, None])
    assert layer.bias is not None
    layer.bias.copy_(bias * torch.exp2(-shift - ACT_LOG2))


def _restore_module(module: nn.Module, tensors: Mapping[str, Tensor], prefix: str) -> None:
    module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})


@torch.no_grad()
def restore(arrays: Arrays, config: Mapping[str, Any]) -> Network:
    """A network whose export has the same transforms, prior and codebooks, bit by bit. Raises ModelError."""
    try:
        network = Network(ModelConfig.from_dict(dict(config)))
        tensors = {k: torch.from_numpy(v.astype("f4")) for k, v in arrays.items() if k != "quantizer.counts"}
        for name in ("analysis", "side_analysis", "synthesis"):
            _restore_module(getattr(network, name), tensors, f"{name}.")
        for name, module in network.prior.named_modules():
            if isinstance(module, IntConv):
                _restore_layer(module, tensors, f"prior.{name}")
        network.set_sigma(torch.exp2(tensors["prior.sigma_log2"] / OCTAVE))
        network.prior.side_log2_scale.copy_(tensors["prior.side_log2_scale"] / OCTAVE)
        network.quantise.codebooks.copy_(tensors["quantizer.codebooks"] / ONE)
        counts = torch.from_numpy(arrays["quantizer.counts"][:SINGLE_TABLES].astype("f8"))
        network.quantise.counts.copy_(START_COUNT * counts / counts.sum(1, keepdim=True))
    except (KeyError, RuntimeError, ValueError, TypeError) as error:
        reason = re.split(r"[\n:]", str(error))[0]
        raise ModelError(f"the weights do not fit this architecture ({reason})") from None
    network.quantise.refresh()
    return network
