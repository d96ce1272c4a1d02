"""The transforms, block by block: memory stays bounded and nothing shows, since every block sees enough of its neighbours.

A block is a rectangle of latent positions. Around it the transforms are given a halo as wide as they can look, or up to the
picture's edge, and the halo's results are thrown away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from vqbitstream import Tile
from vqbitstream.header import PATCH_PX, SIDE_FACTOR

from .model import Analysis, SideAnalysis, Synthesis, compand
from .quantizer import ONE

Pixels = npt.NDArray[np.uint8]
Latent = npt.NDArray[np.int32]  # [rows, columns, channels] in 1/256 of the step

BLOCK = 96  # side of a block, in latent positions
ANALYSIS_HALO = 1  # positions: the analysis looks 8 pixels beyond each
SIDE_HALO = SIDE_FACTOR  # the side analysis looks one position far; whole cells keep its grid in place


def _blocks(rect: Tile) -> Iterator[Tile]:
    for top in range(rect.top, rect.bottom, BLOCK):
        for left in range(rect.left, rect.right, BLOCK):
            yield Tile(top, min(top + BLOCK, rect.bottom), left, min(left + BLOCK, rect.right))


def grown(rect: Tile, halo: int, rows: int, columns: int) -> Tile:
    return Tile(
        max(rect.top - halo, 0),
        min(rect.bottom + halo, rows),
        max(rect.left - halo, 0),
        min(rect.right + halo, columns),
    )


def cut(rect: Tile, outer: Tile, unit: int = 1) -> tuple[slice, slice]:
    """Slices of `rect` in an array that covers `outer`, `unit` elements a position."""
    top, left = rect.top - outer.top, rect.left - outer.left
    height, width = rect.shape
    return slice(unit * top, unit * (top + height)), slice(unit * left, unit * (left + width))


class Transforms:
    """Analysis and synthesis of whole pictures. progress is called with the number of positions just done."""

    def __init__(
        self, analysis: Analysis, side_analysis: SideAnalysis, synthesis: Synthesis, device: torch.device
    ) -> None:
        self.analysis, self.side_analysis, self.synthesis, self.device = analysis, side_analysis, synthesis, device
        self.synthesis_halo = len(synthesis.blocks) + 1  # 3x3 layers at stride 8: two a block, and the last

    def analyse(self, pixels: Pixels, log2_step: float, progress: Callable[[int], None] = lambda _: None) -> Latent:
        """uint8 [H, W, 3] or [H, W] -> latent int32 [h, w, C]."""
        height, width = pixels.shape[:2]
        rows, columns = -(-height // PATCH_PX), -(-width // PATCH_PX)
        latent = np.empty((rows, columns, self.analysis.linear.out_channels), dtype=np.int32)
        step = torch.tensor([log2_step], dtype=torch.float32, device=self.device)
        for block in _blocks(Tile(0, rows, 0, columns)):
            outer = grown(block, ANALYSIS_HALO, rows, columns)
            part = pixels[
                outer.top * PATCH_PX : outer.bottom * PATCH_PX, outer.left * PATCH_PX : outer.right * PATCH_PX
            ]
            planes = part if part.ndim == 3 else np.repeat(part[..., None], 3, axis=2)
            x = torch.from_numpy(planes.astype(np.float32)).to(self.device).permute(2, 0, 1)[None] / 255 - 0.5
            x = F.pad(x, (0, -x.shape[3] % PATCH_PX, 0, -x.shape[2] % PATCH_PX), mode="replicate")
            y = self.analysis(x.contiguous(memory_format=torch.channels_last))
            scaled = torch.round(y * (torch.exp2(-step) * ONE))[0].permute(1, 2, 0)
            latent[block.top : block.bottom, block.left : block.right] = scaled[cut(block, outer)].cpu().numpy()
            progress(block.shape[0] * block.shape[1])
        return latent

    def side(self, latent: Latent, tile: Tile, log2_step: float) -> npt.NDArray[np.int64]:
        """Side grid of a tile, int64 [ceil(rows / 4), ceil(columns / 4), side channels] in 1/256."""
        outer = grown(tile, SIDE_HALO, *latent.shape[:2])
        step = torch.tensor([log2_step], dtype=torch.float32, device=self.device)
        y = self._tensor(latent[outer.top : outer.bottom, outer.left : outer.right], step)
        side = self.side_analysis(compand(y / self.synthesis.sigma[:, None, None]), step)
        top, left = (tile.top - outer.top) // SIDE_FACTOR, (tile.left - outer.left) // SIDE_FACTOR
        height, width = (-(-n // SIDE_FACTOR) for n in tile.shape)
        inner = side[0, :, top : top + height, left : left + width]
        return torch.round(inner * ONE).permute(1, 2, 0).cpu().numpy().astype(np.int64)

    def synthesise(
        self,
        latent: Latent,
        log2_step: float,
        shape: tuple[int, ...],
        rect: Tile | None = None,
        progress: Callable[[int], None] = lambda _: None,
    ) -> Pixels:
        """Latent [h, w, C] -> uint8 [H, W, 3] or [H, W], as `shape` says. rect: only these positions, 16 pixels each."""
        rows, columns = latent.shape[:2]
        rect = rect or Tile(0, rows, 0, columns)
        grey = len(shape) == 2
        out = np.empty((rect.shape[0] * PATCH_PX, rect.shape[1] * PATCH_PX, 1 if grey else 3), dtype=np.uint8)
        step = torch.tensor([log2_step], dtype=torch.float32, device=self.device)
        for block in _blocks(rect):
            outer = grown(block, self.synthesis_halo, rows, columns)
            y = self._tensor(latent[outer.top : outer.bottom, outer.left : outer.right], step)
            picture = self.synthesis(y, step)[0]
            if grey:
                picture = picture.mean(0, keepdim=True)
            levels = ((picture + 0.5) * 255).round_().clamp_(0, 255).to(torch.uint8).permute(1, 2, 0)
            out[cut(block, rect, PATCH_PX)] = levels[cut(block, outer, PATCH_PX)].cpu().numpy()
            progress(block.shape[0] * block.shape[1])
        height, width = shape[:2]
        out = out[: height - rect.top * PATCH_PX, : width - rect.left * PATCH_PX]
        return np.ascontiguousarray(out[..., 0] if grey else out)

    def _tensor(self, latent: Latent, step: Tensor) -> Tensor:
        """[h, w, C] in 1/256 step -> [1, C, h, w] in pixel units."""
        y = torch.from_numpy(latent.astype(np.float32)).to(self.device).permute(2, 0, 1)[None]
        return y * (torch.exp2(step) / ONE)
