"""Estimated rate and measured distortion of a checkpoint on whole pictures: `python -m vqcodec.training.validate CKPT DIR`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from vqbitstream.geometry import PATCH_PX
from vqbitstream.header import TUNES

from vqcodec.models.config import ModelConfig
from vqcodec.training import checkpoints
from vqcodec.training.data import load_pictures
from vqcodec.vqvae.distortion import Distortion
from vqcodec.vqvae.network import Network
from vqcodec.vqvae.structural import score

LOG2_STEPS = (0.0, -1.0, -2.0, -3.0, -4.0, -5.0, -6.0)


@dataclass(frozen=True)
class Row:
    """Means over pictures at one step of one tune.

    Attributes:
        tune: "psnr" or "eye".
        log2_step: The step.
        bpp: Bits per pixel by the prior's estimate.
        psnr_db: PSNR.
        score: SSIMULACRA2, by the structural term.
    """

    tune: str
    log2_step: float
    bpp: float
    psnr_db: float
    score: float

    def __str__(self) -> str:
        said = f"{self.bpp:.4f} bpp  {self.psnr_db:.3f} dB  SSIMULACRA2 {self.score:.1f}"
        return f"tune {self.tune:4} step 2^{self.log2_step:+.1f}  {said}"


@torch.no_grad()
def validate(network: Network, pictures: list[Tensor], log2_steps: tuple[float, ...] = LOG2_STEPS) -> list[Row]:
    """What whole pictures, uint8 [3, H, W] each, cost and look like with the vectors' own choice, without a search."""
    network.quantise.refresh()
    rows = []
    for number, tune in enumerate(TUNES):
        for step in log2_steps:
            found = np.mean([_measured(network, picture, number, step) for picture in pictures], axis=0)
            rows.append(Row(tune, step, *map(float, found)))
    return rows


def _measured(network: Network, picture: Tensor, tune: int, log2_step: float) -> tuple[float, float, float]:
    """Bits per pixel, PSNR in dB and score of one picture."""
    device = next(network.parameters()).device
    x = picture[None].float().to(device) / 255 - 0.5
    height, width = x.shape[2:]
    padded = F.pad(x, (0, -width % PATCH_PX, 0, -height % PATCH_PX), mode="replicate").permute(0, 2, 3, 1)
    aim = torch.tensor([log2_step], device=device), torch.tensor([float(tune)], device=device)
    y, coded = network(padded, *aim, network.quantise, noise=False)
    shown = ((y[:, :height, :width] + 0.5) * 255).round().clamp(0, 255) / 255 - 0.5
    compare = Distortion(height, width).to(device)
    terms = compare.terms(compare.references(x.permute(0, 2, 3, 1)), shown)
    psnr = -10 * torch.log10(terms.squared + 1e-10)
    return coded.bits.item() / (height * width), psnr.item(), float(score(terms.structural))


def format_rows(rows: list[Row]) -> str:
    return "\n".join(map(str, rows))


def main(arguments: list[str]) -> None:
    tensors, metadata = checkpoints.load(arguments[0])
    network = Network(ModelConfig.from_dict(metadata["config"]))
    checkpoints.carry_over(network, tensors, "average.")
    print(format_rows(validate(network.eval(), load_pictures([Path(arguments[1])]))))


if __name__ == "__main__":
    main(sys.argv[1:])
