"""The transforms in PyTorch, for a GPU: the trainable modules, applied to arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from vqbitstream.header import log2_step

from vqcodec.models.config import ModelConfig, step_features
from vqcodec.runtimes.strips import Floats
from vqcodec.runtimes.torch_state import building_modules, plain_torch
from vqcodec.vqvae.transforms import Analysis, Synthesis


def check_device(device: str) -> None:
    """Raises ValueError if there is no such device."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError):
        raise ValueError(f"no device {device!r} here") from None


class TorchRuntime:
    """The transforms in PyTorch; see `vqcodec.runtimes.strips.Runtime`.

    Args:
        tensors: Of a weights file.
        config: Its sizes.
        device: "cpu" or "cuda".

    Raises:
        KeyError: A tensor is missing.
        RuntimeError: A tensor has the wrong shape.
    """

    def __init__(self, tensors: Mapping[str, npt.NDArray[Any]], config: ModelConfig, device: str) -> None:
        self.device = torch.device(device)
        self.analysis_halo, self.synthesis_halo = config.analysis_halo, config.synthesis_halo
        with building_modules():
            self._analysis = self._module(Analysis(config), "analysis.", tensors)
            self._synthesis = self._module(Synthesis(config), "synthesis.", tensors)

    def _module(
        self, module: Analysis | Synthesis, prefix: str, tensors: Mapping[str, npt.NDArray[Any]]
    ) -> torch.nn.Module:
        state = {
            k.removeprefix(prefix): torch.from_numpy(v.astype(np.float32))
            for k, v in tensors.items()
            if k.startswith(prefix)
        }
        module.spectrum = None  # in a weights file the kernels are in the domain of the pixels
        module.to(device=self.device, dtype=torch.float32).load_state_dict(state)
        return module.eval().requires_grad_(False)

    def _tensor(self, array: Floats) -> Tensor:
        """[h, w, C] -> [1, h, w, C]"""
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)[None]

    def _file(self, step_code: int, tune: int) -> tuple[Tensor, Tensor]:
        """log2(step) [1] and features [1, 16]"""
        features = torch.from_numpy(step_features(step_code, tune)).to(self.device)[None]
        return torch.tensor([log2_step(step_code)], dtype=torch.float32, device=self.device), features

    @plain_torch()
    @torch.inference_mode()
    def analyse(self, pixels: Floats, step_code: int, tune: int, channels: int) -> Floats:
        """Pixels [H, W, 3] in [-0.5, 0.5], sides multiples of 16, to the first channels of the latent, [h, w, channels]."""
        _, features = self._file(step_code, tune)
        return _array(self._analysis(self._tensor(pixels), features)[..., :channels])

    @plain_torch()
    @torch.inference_mode()
    def synthesise(self, latent: Floats, step_code: int, tune: int) -> Floats:
        """The first channels of a latent, [h, w, c], to picture [H, W, 3], about [-0.5, 0.5], not clipped."""
        return _array(self._synthesis(self._tensor(latent), *self._file(step_code, tune)))


def _array(planes: Tensor) -> Floats:
    """[1, h, w, C] -> [h, w, C]"""
    return np.asarray(planes[0].cpu().numpy())
