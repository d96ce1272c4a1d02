"""Estimated rate and measured distortion of a checkpoint on whole pictures: `python -m vqcodec.training.validate CKPT DIR`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from vqbitstream.geometry import PATCH_PX

from vqcodec.models.config import ModelConfig
from vqcodec.training import checkpoints
from vqcodec.training.data import load_pictures
from vqcodec.vqvae.network import Network, rounding

STEPS = (0.05, 0.08, 0.12, 0.2, 0.3, 0.45, 0.7, 1.2)


@torch.no_grad()
def validate(
    network: Network, pictures: list[Tensor], steps: tuple[float, ...] = STEPS, vector: bool = False
) -> list[tuple[float, float, float]]:
    """(step, mean bits per pixel by the prior's estimate, mean PSNR in dB) over whole pictures."""
    quantise = network.quantise if vector else rounding
    network.quantise.refresh()
    rows = []
    for step in steps:
        bpp = psnr = 0.0
        for picture in pictures:
            x = picture[None].float().to(next(network.parameters()).device) / 255 - 0.5
            height, width = x.shape[2:]
            padded = F.pad(x, (0, -width % PATCH_PX, 0, -height % PATCH_PX), mode="replicate")
            log2_step = torch.log2(torch.tensor([step], device=x.device))
            y, coded = network(padded, log2_step, quantise, noise=False)
            decoded = ((y[:, :, :height, :width] + 0.5) * 255).round().clamp(0, 255)
            error = (decoded - (x + 0.5) * 255).square().mean().item()
            bpp += coded.bits.item() / (height * width) / len(pictures)
            psnr += (48.1308 - 10 * torch.log10(torch.tensor(error)).item()) / len(pictures)
        rows.append((step, bpp, psnr))
    return rows


def format_rows(rows: list[tuple[float, float, float]]) -> str:
    return "\n".join(f"step {step:.3f}  {bpp:.4f} bpp  {psnr:.3f} dB" for step, bpp, psnr in rows)


def main(arguments: list[str]) -> None:
    tensors, metadata = checkpoints.load(arguments[0])
    network = Network(ModelConfig.from_dict(metadata["config"]))
    checkpoints.carry_over(network, tensors, "average.")
    print(format_rows(validate(network.eval(), load_pictures([Path(arguments[1])]), vector="--vector" in arguments)))


if __name__ == "__main__":
    main(sys.argv[1:])
