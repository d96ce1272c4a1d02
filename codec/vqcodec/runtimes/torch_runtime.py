"""The transforms in PyTorch, for a GPU: the trainable modules, applied to arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vqcodec.models.config import ModelConfig
from vqcodec.runtimes.strips import Floats
from vqcodec.runtimes.torch_state import building_modules, plain_torch
from vqcodec.vqvae.transforms import Analysis, SideAnalysis, Synthesis, compand


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
        self.channels, self.synthesis_halo = config.channels, config.synthesis_halo
        with building_modules():
            self._analysis = self._module(Analysis(config), "analysis.", tensors)
            self._side_analysis = self._module(SideAnalysis(config), "side_analysis.", tensors)
            self._synthesis = self._module(Synthesis(config), "synthesis.", tensors)

    def _module(self, module: torch.nn.Module, prefix: str, tensors: Mapping[str, npt.NDArray[Any]]) -> Any:
        state = {
            k.removeprefix(prefix): torch.from_numpy(v.astype(np.float32))
            for k, v in tensors.items()
            if k.startswith(prefix)
        }
        module.to(device=self.device, dtype=torch.float32).load_state_dict(state)
        layout: Any = torch.channels_last
        module.to(memory_format=layout)  # type: ignore[call-overload]
        return module.eval().requires_grad_(False)

    def _tensor(self, array: Floats) -> Tensor:
        """[h, w, C] -> [1, C, h, w], channels innermost in memory"""
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device).permute(2, 0, 1)[None]

    def _step(self, log2_step: float) -> Tensor:
        return torch.tensor([log2_step], dtype=torch.float32, device=self.device)

    @plain_torch()
    @torch.inference_mode()
    def analyse(self, pixels: Floats) -> Floats:
        """Pixels [H, W, 3] in [-0.5, 0.5], sides multiples of 16, to latent [h, w, C]."""
        return _array(self._analysis(self._tensor(pixels)))

    @plain_torch()
    @torch.inference_mode()
    def side_grid(self, latent: Floats, log2_step: float) -> Floats:
        """Latent [h, w, C] to side grid [ceil(h/4), ceil(w/4), side channels], in its own step."""
        companded = compand(self._tensor(latent) / self._synthesis.sigma[:, None, None])
        return _array(self._side_analysis(companded, self._step(log2_step)))

    @plain_torch()
    @torch.inference_mode()
    def synthesise(self, latent: Floats, log2_step: float) -> Floats:
        """Latent [h, w, C] to picture [H, W, 3], about [-0.5, 0.5], not clipped."""
        return _array(self._synthesis(self._tensor(latent), self._step(log2_step)))


def _array(planes: Tensor) -> Floats:
    """[1, C, h, w] -> [h, w, C]"""
    return np.asarray(planes[0].permute(1, 2, 0).cpu().numpy())
