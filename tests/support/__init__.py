"""What the tests share: the frozen tiny model, golden facts, and pictures."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).parents[2]  # of the repository
FIXTURES = ROOT / "tests" / "fixtures"
TINY = FIXTURES / "tiny.safetensors"


def _maker() -> Any:
    spec = importlib.util.spec_from_file_location("make_fixture", FIXTURES / "make_fixture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


maker = _maker()


def picture(width: int, height: int, seed: int = 5) -> npt.NDArray[np.uint8]:
    pixels: npt.NDArray[np.uint8] = maker.synthetic_picture(width, height, seed)
    return pixels


def random_network() -> Any:
    """A trainable network of small sizes and random numbers, in float64."""
    import torch
    from vqcodec.models.config import ModelConfig
    from vqcodec.vqvae.network import Network

    torch.manual_seed(1)
    config = ModelConfig(
        groups=(4, 6, 8), state=16, near=8, reduce=8, hidden=12, lapped=10, shown=14, body=8, body_blocks=1, tail=4, tail_blocks=1,
        analysis_width=8, analysis_blocks=1,
    )  # fmt: skip
    network = Network(config).double().eval()
    with torch.no_grad():
        for parameter in network.prior.parameters():
            parameter.mul_(2)
        network.prior.channel_gain.normal_()
        for head in network.prior.heads:
            head.gain.weight.normal_(0, 0.1)
    network.set_sigma(torch.logspace(0.7, -1, config.channels).double())
    network.prior.regrid()
    return network


def golden() -> dict[str, dict[str, Any]]:
    facts: dict[str, dict[str, Any]] = json.loads((FIXTURES / "golden.json").read_text())
    return facts
