"""A network of the shape of Minnen et al. 2018's mean-scale hyperprior, N=128, M=192, with random weights: what it costs to run.

Only the networks' forward passes: no entropy coder, which a real codec of this kind would add.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

N, M = 128, 192
STRIDE_PX = 64  # of the hyper latent: pictures are padded to multiples of it
PEAK_BYTES_PER_PIXEL = 600  # of a forward pass; 410 to 460 were measured at 1 and 4 megapixels


class GDN(nn.Module):
    """Generalised divisive normalisation (Ballé 2016): x / sqrt(beta + gamma x^2), or the product."""

    def __init__(self, channels: int, inverse: bool = False) -> None:
        super().__init__()
        self.norm, self.inverse = nn.Conv2d(channels, channels, 1), inverse
        for parameter in self.norm.parameters():  # positive: it is under a root
            nn.init.constant_(parameter, 0.1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        norm = self.norm(x.square()).sqrt_()
        return x * norm if self.inverse else x / norm


def _down(inputs: int, outputs: int) -> nn.Module:
    return nn.Conv2d(inputs, outputs, 5, stride=2, padding=2)


def _up(inputs: int, outputs: int) -> nn.Module:
    return nn.ConvTranspose2d(inputs, outputs, 5, stride=2, padding=2, output_padding=1)


class Hyperprior(nn.Module):
    """Pictures [1, 3, H, W], sides multiples of 64."""

    def __init__(self) -> None:
        super().__init__()
        self.analysis = nn.Sequential(
            _down(3, N), GDN(N), _down(N, N), GDN(N), _down(N, N), GDN(N), _down(N, M)
        )  # fmt: skip
        self.hyper_analysis = nn.Sequential(
            nn.Conv2d(M, N, 3, padding=1), nn.LeakyReLU(), _down(N, N), nn.LeakyReLU(), _down(N, N)
        )
        self.hyper_synthesis = nn.Sequential(
            _up(N, M), nn.LeakyReLU(), _up(M, 3 * M // 2), nn.LeakyReLU(), nn.Conv2d(3 * M // 2, 2 * M, 3, padding=1)
        )
        self.synthesis = nn.Sequential(
            _up(M, N), GDN(N, True), _up(N, N), GDN(N, True), _up(N, N), GDN(N, True), _up(N, 3)
        )  # fmt: skip

    @torch.inference_mode()
    def encode(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """-> rounded latent [1, M, H / 16, W / 16] and hyper latent [1, N, H / 64, W / 64]."""
        latent = self.analysis(pixels)
        hyper = self.hyper_analysis(latent).round_()
        mean, _ = self.hyper_synthesis(hyper).chunk(2, dim=1)
        return (latent - mean).round_(), hyper

    @torch.inference_mode()
    def decode(self, residual: torch.Tensor, hyper: torch.Tensor) -> torch.Tensor:
        mean, _ = self.hyper_synthesis(hyper).chunk(2, dim=1)
        return self.synthesis(residual + mean)

    def macs_per_pixel(self) -> dict[str, float]:
        """Multiply-accumulates per pixel of the picture, counted in a forward pass."""
        macs = 0

        def count(module: Any, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
            nonlocal macs
            positions = inputs[0] if isinstance(module, nn.ConvTranspose2d) else output
            macs += positions[0, 0].numel() * module.weight.numel()

        convolutions = [m for m in self.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
        hooks = [m.register_forward_hook(count) for m in convolutions]
        pixels = torch.zeros(1, 3, 128, 128)
        coded = self.encode(pixels)
        encode, macs = macs, 0
        self.decode(*coded)
        for hook in hooks:
            hook.remove()
        return {"encode": encode / 128**2, "decode": macs / 128**2}
