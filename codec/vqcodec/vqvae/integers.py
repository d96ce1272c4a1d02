"""Trainable network <-> the tensors of a weights file. `vqcodec.training.tables` counts frequency tables and steps.

In a weights file the prior is integers, and the linear kernels of the transforms are in the domain of the pixels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from vqbitstream.arithmetic import OCTAVE
from vqbitstream.prior import CHANNEL_GAIN_MAX
from vqbitstream.vectors import ONE, SINGLE_TABLES

from vqcodec.models.config import ModelConfig
from vqcodec.models.weights_file import Arrays, ModelError
from vqcodec.vqvae.grid import ACT_LOG2, IntDepthwise, IntLinear
from vqcodec.vqvae.network import Network
from vqcodec.vqvae.prior import SoftPrior
from vqcodec.vqvae.quantizer import START_COUNT
from vqcodec.vqvae.transforms import Analysis, Synthesis


def _restore_layer(layer: IntLinear | IntDepthwise, tensors: Mapping[str, Tensor], name: str) -> None:
    weight, bias, shift = (tensors[f"{name}.{part}"] for part in ("weight", "bias", "shift"))
    if name.endswith(".out"):  # means are in 1/64 in the file
        shift = shift.clone()
        shift[: len(shift) // 2] += 1
    if isinstance(layer, IntLinear):
        weight = weight.t()
    if (
        weight.shape != layer.weight.shape or not bias.shape == shift.shape == layer.bias.shape
    ):  # copying would broadcast
        raise ValueError(f"{name} has another shape")
    scale = torch.exp2(shift)
    layer.weight.copy_(weight / (scale if layer.inputs_axis == 0 else scale[:, None]))
    layer.bias.copy_(bias / (scale * 2**ACT_LOG2))
    layer.scale.copy_(scale)


def _restore_transform(
    module: Analysis | Synthesis, tensors: Mapping[str, Tensor], prefix: str, *, settled: bool
) -> None:
    module.load_state_dict({k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)})
    if settled:  # in a weights file the kernels are in the domain of the pixels
        module.spectrum = None
        return
    for name, weight in module.kernels(pixels=False).items():
        module.get_parameter(name).copy_(weight)


@torch.no_grad()
def restore(arrays: Arrays, config: ModelConfig, *, settled: bool = False) -> Network:
    """A network whose export has the same prior and codebooks bit for bit, and the same transforms to the rounding of float16.

    Args:
        arrays: Tensors of a weights file.
        config: Its sizes.
        settled: For a network that learns no more; see `Network.settle`.

    Returns:
        The network, in float32 on the CPU whatever torch's defaults are.

    Raises:
        ModelError: The tensors do not fit.
    """
    try:
        network = Network(config).float()
        tensors = {k: torch.from_numpy(v.astype("f4")) for k, v in arrays.items() if k != "quantizer.counts"}
        _restore_transform(network.analysis, tensors, "analysis.", settled=settled)
        _restore_transform(network.synthesis, tensors, "synthesis.", settled=settled)
        for name, module in network.prior.named_modules():
            if isinstance(module, IntLinear | IntDepthwise):
                _restore_layer(module, tensors, f"prior.{name}")
        for own, given in (
            (network.prior.sigma, torch.exp2(tensors["prior.sigma_log2"] / OCTAVE)),
            (network.prior.channel_gain, tensors["prior.channel_gain"] / OCTAVE),
            (network.quantise.codebooks, tensors["quantizer.codebooks"] / ONE),
        ):
            if own.shape != given.shape:
                raise ValueError("the sizes differ")
            own.copy_(given)
        counts = torch.from_numpy(arrays["quantizer.counts"][:SINGLE_TABLES].astype("f8"))
        network.quantise.counts.copy_(START_COUNT * counts / counts.sum(1, keepdim=True))
    except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        reason = re.split(r"[\n:]", str(error))[0]
        raise ModelError(f"the weights do not fit this architecture ({reason})") from None
    network.quantise.refresh()
    if settled:
        network.settle()
    return network


@torch.no_grad()
def export_prior(prior: SoftPrior) -> Arrays:
    """The integer tensors of `vqbitstream.prior.Prior`."""
    out: Arrays = {}
    for name, module in prior.named_modules():
        if isinstance(module, IntLinear | IntDepthwise):
            weight, bias = (t.float().cpu() for t in module.grid())
            scale = module.scale.float().cpu()
            rows = weight.t() if isinstance(module, IntLinear) else weight
            out[f"{name}.weight"] = (rows * scale).contiguous().numpy().astype(np.int8)
            out[f"{name}.bias"] = (bias * scale * 2**ACT_LOG2).round().numpy().astype(np.int32)
            # integers in and out are in 1/32, except means, which are in 1/64: one bit less to shift
            shift = torch.log2(scale).round().numpy().astype(np.uint8)
            if name.endswith(".out"):
                shift[: len(shift) // 2] -= 1
            out[f"{name}.shift"] = shift
    out["sigma_log2"] = _in_octaves(torch.log2(prior.sigma))
    out["channel_gain"] = _in_octaves(prior.channel_gain).clip(-CHANNEL_GAIN_MAX, CHANNEL_GAIN_MAX)
    return out


@torch.no_grad()
def export_transforms(network: Network) -> Arrays:
    """`analysis.*` and `synthesis.*` of a weights file: float16, biases and sigmas float32."""
    out: Arrays = {}
    for prefix, module in (("analysis", network.analysis), ("synthesis", network.synthesis)):
        for name, tensor in {**module.state_dict(), **module.kernels(pixels=True)}.items():
            precise = name == "sigma" or name.endswith("bias")
            out[f"{prefix}.{name}"] = tensor.cpu().numpy().astype(np.float32 if precise else np.float16)
    return out


def _in_octaves(x: Tensor) -> npt.NDArray[np.int16]:
    """In 1/32 octave, halves up."""
    return torch.floor(x.detach().float().cpu() * OCTAVE + 0.5).numpy().astype(np.int16)
