"""Trainable network <-> the integers of a weights file. `vqcodec.training.tables` counts frequency tables and steps."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from vqbitstream.prior import OCTAVE
from vqbitstream.vectors import ONE, SINGLE_TABLES

from vqcodec.models.config import ModelConfig
from vqcodec.models.weights_file import Arrays, ModelError
from vqcodec.vqvae.network import Network
from vqcodec.vqvae.prior import ACT_LOG2, SCALE_LOG2, IntConv
from vqcodec.vqvae.quantizer import START_COUNT


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
def restore(arrays: Arrays, config: ModelConfig) -> Network:
    """A network whose export has the same transforms, prior and codebooks, bit for bit.

    Args:
        arrays: Tensors of a weights file.
        config: Its sizes.

    Returns:
        The network, in float32 on the CPU whatever torch's defaults are.

    Raises:
        ModelError: The tensors do not fit.
    """
    try:
        network = Network(config).float()
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
    except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        reason = re.split(r"[\n:]", str(error))[0]
        raise ModelError(f"the weights do not fit this architecture ({reason})") from None
    network.quantise.refresh()
    return network


def export_prior(network: Network) -> Arrays:
    """The integer tensors of `vqbitstream.prior.Prior`."""
    prior = network.prior
    out: Arrays = {}
    for name, module in prior.named_modules():
        if isinstance(module, IntConv):
            weight, bias, shifts = (t.detach().cpu() for t in module.grid())
            rows = weight.permute(2, 3, 1, 0).reshape(-1, weight.shape[0])
            out[f"{name}.weight"] = rows.numpy().astype(np.int8)
            out[f"{name}.bias"] = bias.numpy().astype(np.int32)
            # integers in and out are in 1/32, except means, which are in 1/64: one bit less to shift
            shift = shifts.numpy().astype(np.uint8)
            if name.endswith(".out"):
                shift[: len(shift) // 2] -= 1
            out[f"{name}.shift"] = shift
    octaves = 2**SCALE_LOG2
    out["sigma_log2"] = np.rint(np.log2(prior.sigma.cpu().numpy()) * octaves).astype(np.int16)
    out["side_log2_scale"] = np.rint(prior.side_log2_scale.detach().cpu().numpy() * octaves).astype(np.int16)
    return out
