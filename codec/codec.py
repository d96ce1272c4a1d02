"""Codec: one model, loaded; pictures to bytes and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
import vqbitstream
from PIL import Image
from torch import Tensor
from vqbitstream import Header, Limits, Section
from vqbitstream.entropy import FrequencyTables, SectionReader, SectionWriter
from vqbitstream.errors import CorruptError, LimitError, UnsupportedError
from vqbitstream.header import STEP_LOG2_FRACTION, STEP_LOG2_OFFSET

from . import registry
from .image import Picture, from_pixels, to_pixels
from .latent_coder import LatentCoder, latent_shape
from .model import PATCH_PX, SIDE_FACTOR, Analysis, ModelConfig, SideAnalysis, Synthesis, compand
from .prior import Prior
from .quantizer import ONE, Quantizer

Pixels = npt.NDArray[np.uint8]
P = ParamSpec("P")
R = TypeVar("R")
SINGLE_SECTION_PIXELS = 1 << 16  # below this all layers share one section
EFFORT_SHARE = (0, 0, 0.25, 0.5, 0.75, 1, 1, 1, 1, 1)  # of the rate weight; index: effort


def default_rate_weight(step_code: int) -> float:
    """Share of lambda that the choice counts bits with: 0.9 at step 0.7, 0.16 less per octave below (measured on the dev pictures)."""
    log2_step = step_code / STEP_LOG2_FRACTION - STEP_LOG2_OFFSET
    return min(max(0.9 + 0.16 * (log2_step + 0.5), 0.3), 1.1)


@dataclass(frozen=True)
class EncodeStats:
    """What one encode cost. Bits by the prior's own estimate; bytes of the entropy payload and of the whole file."""

    estimated_bits: float
    payload_bytes: int
    file_bytes: int


def _undisturbed(method: Callable[P, R]) -> Callable[P, R]:
    """No gradients, no autocast from outside, and running out of memory as a LimitError."""

    @wraps(method)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.inference_mode(), torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            try:
                return method(*args, **kwargs)
            except (MemoryError, RuntimeError) as error:
                if isinstance(error, MemoryError) or "alloc" in str(error) or "out of memory" in str(error):
                    raise LimitError("not enough memory for a picture of this size") from None
                raise

    return run


class Codec:
    """A loaded model. Make one with `vqcodec.load_model`; it pickles as its name.

    name: a shipped model's name or a path to a weights file. device: of the transforms ("cpu", "cuda"); the prior stays on
    the CPU. backend: of the prior, "torch" or "numpy" (reference, slow). Raises ModelError.
    """

    def __init__(self, name: str | Path = "default", *, device: str = "cpu", backend: str = "torch") -> None:
        if backend not in ("torch", "numpy"):
            raise ValueError(f"backend must be torch or numpy, not {backend!r}")
        try:
            torch.zeros(1, device=device)
        except (RuntimeError, AssertionError):
            raise ValueError(f"no device {device!r} here") from None
        path, _ = registry.find(name)
        self.name = str(path.resolve()) if path == Path(name) else str(name)
        self.device, self.backend = torch.device(device), backend
        tensors, config = registry.load(name)
        try:
            self.config = ModelConfig.from_dict(config)
            self.model_id = registry.model_id(tensors, config)
            self.analysis = self._module(Analysis(self.config), "analysis.", tensors)
            self.side_analysis = self._module(SideAnalysis(self.config), "side_analysis.", tensors)
            self.synthesis = self._module(Synthesis(self.config), "synthesis.", tensors)
            self.tables = FrequencyTables(tensors["quantizer.counts"])
            parts = {k.removeprefix("prior."): v for k, v in tensors.items() if k.startswith("prior.")}
            self.prior = Prior(parts, self.config.groups, backend)
            self.latent_coder = LatentCoder(self.prior, Quantizer(tensors["quantizer.codebooks"], self.tables.bits))
            self._step_codes = tensors["encoder.step_codes"].astype(np.float64)
            if self._step_codes.shape != (100,) or (np.diff(self._step_codes) > 0).any():
                raise ValueError("encoder.step_codes must be 100 falling numbers")
        except (KeyError, ValueError, RuntimeError, TypeError, IndexError, AttributeError) as error:
            raise registry.ModelError(f"{name}: not a sound weights file ({str(error).splitlines()[0]})") from None
        self.stats: EncodeStats | None = None

    def __reduce__(self) -> Any:
        return _make, (self.name, str(self.device), self.backend)

    def _module(self, module: torch.nn.Module, prefix: str, tensors: registry.Arrays) -> Any:
        state = {
            k.removeprefix(prefix): torch.from_numpy(v.astype(np.float32))
            for k, v in tensors.items()
            if k.startswith(prefix)
        }
        module.load_state_dict(state)
        layout: Any = torch.channels_last
        module.float().to(self.device)
        module.to(memory_format=layout)  # type: ignore[call-overload]
        return module.eval().requires_grad_(False)

    def step_code(self, quality: float) -> int:
        """The step code of a quality in 1..100. Raises ValueError outside."""
        if not 1 <= quality <= 100:
            raise ValueError(f"quality must lie in 1..100, not {quality}")
        return round(float(np.interp(quality, np.arange(1, 101), self._step_codes)))

    def encode(
        self,
        image: Picture,
        *,
        quality: float = 50,
        effort: int = 5,
        verify: bool = True,
        limits: Limits = Limits(),  # noqa: B008
    ) -> bytes:
        """See `vqcodec.encode`."""
        return self.encode_pixels(to_pixels(image, limits), quality=quality, effort=effort, verify=verify)

    def decode(self, data: bytes | str | Path, *, layers: int | None = None, limits: Limits = Limits()) -> Image.Image:  # noqa: B008
        """See `vqcodec.decode`; the file must name this model."""
        return from_pixels(self.decode_pixels(vqbitstream.read_bytes(data, limits), layers=layers, limits=limits))

    @_undisturbed
    def encode_pixels(
        self,
        pixels: Pixels,
        *,
        quality: float = 50,
        effort: int = 5,
        verify: bool = True,
        rate_weight: float | None = None,
    ) -> bytes:
        """uint8 [H, W, 3] or [H, W] -> the bytes of a .vqc file. effort: 1 (fast) .. 9. rate_weight overrides effort's choice."""
        if effort not in range(1, 10):
            raise ValueError(f"effort must be a whole number in 1..9, not {effort}")
        height, width = pixels.shape[:2]
        step_code = self.step_code(quality)
        latent, side = self.analyse(pixels, step_code)
        single = height * width < SINGLE_SECTION_PIXELS
        layers = len(self.config.groups)
        writers = [SectionWriter(self.tables) for _ in range(1 if single else layers)]
        weight = EFFORT_SHARE[effort] * default_rate_weight(step_code) if rate_weight is None else rate_weight
        decoded = self.latent_coder.encode(
            latent, side, latent_shape(width, height), step_code, weight, writers * layers if single else writers
        )
        header = Header(
            width, height, pixels.ndim == 2, single, round(quality * 100), step_code, self.model_id, layers
        )  # fmt: skip
        sections = [Section(w.finish(), w.index_crc) for w in writers]
        data = vqbitstream.pack(header, sections)
        if verify and not np.array_equal(
            self.decode_latent(data, Limits(height * width, max(height, width), len(data)))[0], decoded
        ):
            raise CorruptError("the file just written does not decode to what was encoded; please report this")
        self.stats = EncodeStats(
            sum(w.estimated_bits for w in writers), sum(len(s.payload) for s in sections), len(data)
        )
        return data

    @_undisturbed
    def decode_pixels(self, data: bytes, *, layers: int | None = None, limits: Limits = Limits()) -> Pixels:  # noqa: B008
        """Bytes of a .vqc file -> uint8 [H, W, 3] or [H, W]. layers: decode only the first few. Raises a VQCError."""
        latent, header = self.decode_latent(data, limits, layers)
        shape = (header.height, header.width) if header.grey else (header.height, header.width, 3)
        return self.synthesise(latent, header.step_code, shape)

    def decode_latent(
        self,
        data: bytes,
        limits: Limits = Limits(),  # noqa: B008
        layers: int | None = None,
    ) -> tuple[npt.NDArray[np.int64], Header]:
        """Bytes -> latent rows [h*w, C] in 1/256 step, and the header. Raises a VQCError."""
        header, sections = vqbitstream.unpack(data, limits)
        if header.model_id != self.model_id:
            raise UnsupportedError(f"the file needs model {header.model_id.hex()}, this is {self.model_id.hex()}")
        if header.layers != len(self.config.groups):
            raise CorruptError(f"{header.layers} layers in the file, {len(self.config.groups)} in the model")
        if layers is not None and not 1 <= layers <= header.layers:
            raise ValueError(f"layers must lie in 1..{header.layers}, not {layers}")
        count = header.layers if layers is None else layers
        shape = latent_shape(header.width, header.height)
        if header.single_section:  # its one checksum covers all layers: proved first, then read again for a preview
            reader = SectionReader(sections[0].payload, self.tables, sections[0].index_crc)
            latent = self.latent_coder.decode(shape, header.step_code, [reader] * header.layers)
            if count < header.layers:
                reader = SectionReader(sections[0].payload, self.tables, sections[0].index_crc)
                latent = self.latent_coder.decode(shape, header.step_code, [reader] * count, close=False)
        else:
            readers = [SectionReader(s.payload, self.tables, s.index_crc) for s in sections[:count]]
            latent = self.latent_coder.decode(shape, header.step_code, readers)
        return latent, header

    def _log2_step(self, step_code: int) -> Tensor:
        return torch.tensor(
            [step_code / STEP_LOG2_FRACTION - STEP_LOG2_OFFSET], dtype=torch.float32, device=self.device
        )

    def analyse(self, pixels: Pixels, step_code: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Latent rows [h*w, C] and side grid [rows, columns, channels], both int64 in 1/256."""
        height, width = pixels.shape[:2]
        planes = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
        x = torch.from_numpy(planes.astype(np.float32)).to(self.device).permute(2, 0, 1)[None] / 255 - 0.5
        x = F.pad(x, (0, -width % PATCH_PX, 0, -height % PATCH_PX), mode="replicate")
        log2_step = self._log2_step(step_code)
        latent = self.analysis(x.contiguous(memory_format=torch.channels_last), log2_step)
        side = self.side_analysis(compand(latent / self.synthesis.sigma[:, None, None]), log2_step)
        scaled = torch.round(latent * (torch.exp2(-log2_step) * ONE))[0].permute(1, 2, 0)
        rows = scaled.reshape(-1, scaled.shape[2]).cpu().numpy().astype(np.int64)
        return rows, torch.round(side * ONE)[0].permute(1, 2, 0).cpu().numpy().astype(np.int64)

    def synthesise(self, latent: npt.NDArray[np.int64], step_code: int, shape: tuple[int, ...]) -> Pixels:
        """Latent rows [h*w, C] in 1/256 step -> uint8 picture of the given shape, (H, W, 3) or (H, W)."""
        height, width = shape[:2]
        rows, columns = latent_shape(width, height)
        log2_step = self._log2_step(step_code)
        y = torch.from_numpy(latent.astype(np.float32)).to(self.device).reshape(1, rows, columns, -1)
        y = y.permute(0, 3, 1, 2) * (torch.exp2(log2_step) / ONE)
        picture = self.synthesis(y, log2_step)[0, :, :height, :width]
        if len(shape) == 2:
            picture = picture.mean(0, keepdim=True)
        levels = ((picture + 0.5) * 255).round_().clamp_(0, 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy()
        return np.ascontiguousarray(levels.reshape(shape))

    def macs_per_pixel(self) -> dict[str, float]:
        """Multiply-accumulates per pixel to decode: the linear synthesis, its correction, the prior."""
        area = PATCH_PX**2
        linear = self.synthesis.linear.weight.numel() / area
        fine = sum(
            m.weight.numel() for m in (*self.synthesis.blocks.modules(), self.synthesis.out) if hasattr(m, "weight")
        )
        correction = self.synthesis.first.weight.numel() / area + 4 * fine / area
        prior = 0.0
        for name, macs in self.prior.macs.items():
            positions = 1 / SIDE_FACTOR**2 if name == "side_up" else 0 if name == "start_step" else 1
            if name.startswith("refine_half") and name.endswith("mix"):
                positions = 0.5
            prior += macs * positions / area
        return {"linear synthesis": linear, "synthesis correction": correction, "prior": prior}


def _make(name: str, device: str, backend: str) -> Codec:
    return Codec(name, device=device, backend=backend)
