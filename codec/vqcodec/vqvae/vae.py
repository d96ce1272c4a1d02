"""The Gaussian bottleneck: a small VAE between analysis and synthesis, to average and to sample pictures of one kind.

It maps the latent of each 64x64 pixels to a Gaussian vector, and back to a latent that is quantised and coded like any other. It
belongs to the encoder: a file made through it is an ordinary file of the same model.
(Kingma & Welling, "Auto-encoding variational Bayes", 2014.)
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from vqbitstream.geometry import CELL

from vqcodec.vqvae.transforms import compand, depth_to_space

# CELL, 4, is the side of the latent positions that share a vector: 64 pixels
LOG_VARIANCE_RANGE = (-12.0, 4.0)


class LatentVAE(nn.Module):
    """A VAE of the latent [B, h, w, C] in the unit of pixels, h and w multiples of 4. Codes are [B, h/4, w/4, dims].

    Args:
        channels: C.
        dims: Of a code.
        width: Of the layers at latent resolution.
        hidden: Width of the layers at a quarter of that.
    """

    sigma: Tensor

    def __init__(self, channels: int, dims: int = 64, width: int = 96, hidden: int = 384) -> None:
        super().__init__()
        self.register_buffer("sigma", torch.ones(channels))  # the transforms' own spread of each channel
        self.squeeze = nn.Linear(channels, width)
        self.encode_hidden = nn.Linear(width * CELL**2, hidden)
        self.encode_out = nn.Linear(hidden, 2 * dims)
        self.decode_hidden = nn.Linear(dims, hidden)
        self.decode_cell = nn.Linear(hidden, width * CELL**2)
        self.decode_out = nn.Linear(width, channels)

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> LatentVAE:
        """From its state. Raises KeyError, RuntimeError or ValueError if the tensors do not fit together."""
        hidden, dims = tensors["decode_hidden.weight"].shape
        channels, width = tensors["decode_out.weight"].shape
        module = cls(channels, dims, width, hidden)
        module.load_state_dict(dict(tensors))
        return module

    def encode(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Latent to mean and log-variance of the approximate posterior."""
        x = F.leaky_relu(self.squeeze(compand(latent / self.sigma)), 0.1)
        cells = x.unflatten(2, (-1, CELL)).unflatten(1, (-1, CELL)).permute(0, 1, 3, 5, 2, 4).flatten(3)
        x = F.leaky_relu(self.encode_hidden(cells), 0.1)
        mean, log_variance = self.encode_out(x).chunk(2, 3)
        return mean, log_variance.clamp(*LOG_VARIANCE_RANGE)

    def decode(self, code: Tensor) -> Tensor:
        """Code to latent."""
        x = F.leaky_relu(self.decode_cell(F.leaky_relu(self.decode_hidden(code), 0.1)), 0.1)
        return self.decode_out(depth_to_space(x, CELL)) * self.sigma


def reparameterise(mean: Tensor, log_variance: Tensor) -> Tensor:
    """A draw from N(mean, exp(log_variance)) through which gradients pass. Same shape."""
    return mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)


def kl_to_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL divergence of N(mean, exp(log_variance)) from N(0, 1), in nats, element by element."""
    return 0.5 * (mean.square() + torch.exp(log_variance) - 1 - log_variance)
