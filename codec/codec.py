"""Codec: one model, loaded; pictures to bytes and back."""

from __future__ import annotations

import operator
import os
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, wraps
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np
import torch
import vqbitstream
from PIL import Image
from vqbitstream import Contents, Header, Limits, Tile
from vqbitstream.alpha import unpack_plane
from vqbitstream.entropy import FrequencyTables
from vqbitstream.errors import CorruptError, LimitError, TruncatedError, UnsupportedError, VQCError
from vqbitstream.header import PATCH_PX, SIDE_FACTOR, STEP_LOG2_FRACTION, STEP_LOG2_OFFSET, TILE

from . import registry, targets
from .blocks import Latent, Transforms
from .bottleneck import GaussianBottleneck
from .image import Picture, Pixels, Planes, from_planes, to_planes
from .latent_coder import LatentCoder, latent_shape
from .model import Analysis, ModelConfig, SideAnalysis, Synthesis
from .prior import Prior
from .quantizer import SEARCH_RATE_WEIGHT, Quantizer, default_rate_weight
from .tile_coder import Progress, Steps, TileCoder, tile_rows

if TYPE_CHECKING:
    from .search import Search

Region = tuple[int, int, int, int]
P = ParamSpec("P")
R = TypeVar("R")
_UNLIMITED = Limits(max_pixels=1 << 62, max_side_px=1 << 32, max_file_bytes=1 << 62, max_metadata_bytes=1 << 32)
if hasattr(os, "register_at_fork"):  # a forked child has none of its parent's worker threads, and would wait for them
    os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))
SINGLE_SECTION_PIXELS = 1 << 16  # below this all layers share one section
ROUNDS = (0, 0, 1, 1, 2, 3, 6, 12, 24, 60)  # of the encoder's search; index: effort
NOISY_ROUNDS = 10  # as many make use of noise
NOISE = 0.2  # steps
SEARCH_PIXELS = 1 << 23  # in larger pictures the search takes minutes: only efforts over 5 do it


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
            self.transforms = Transforms(self.analysis, self.side_analysis, self.synthesis, self.device)
            self.tables = FrequencyTables(tensors["quantizer.counts"])
            self.bottleneck = self._bottleneck(tensors)
            parts = {k.removeprefix("prior."): v for k, v in tensors.items() if k.startswith("prior.")}
            self.prior = Prior(parts, self.config.groups, backend)
            self.latent_coder = LatentCoder(self.prior, Quantizer(tensors["quantizer.codebooks"], self.tables.bits))
            self.tile_coder = TileCoder(self.latent_coder, self.tables)
            self._tensors = tensors
            self._step_codes = tensors["encoder.step_codes"].astype(np.float64)
            if self._step_codes.shape != (100,) or (np.diff(self._step_codes) > 0).any():
                raise ValueError("encoder.step_codes must be 100 falling numbers")
        except (KeyError, ValueError, RuntimeError, TypeError, IndexError, AttributeError) as error:
            raise registry.ModelError(f"{name}: not a sound weights file ({str(error).splitlines()[0]})") from None
        self.stats: EncodeStats | None = None

    def __reduce__(self) -> Any:
        return _make, (self.name, str(self.device), self.backend)

    def _bottleneck(self, tensors: registry.Arrays) -> GaussianBottleneck | None:
        """The VAE inside the model, if it has one."""
        state = {
            k.removeprefix("bottleneck."): torch.from_numpy(v.astype(np.float32))
            for k, v in tensors.items()
            if k.startswith("bottleneck.")
        }
        return GaussianBottleneck.from_tensors(state).to(self.device).eval().requires_grad_(False) if state else None

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

    @cached_property
    def search(self) -> Search:
        """The encoder's search; made when first needed, from the same weights."""
        from .search import Search

        return Search(self._tensors, self.config, self.device)

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
        target_bytes: int | None = None,
        target_bpp: float | None = None,
        target_psnr: float | None = None,
        strip: bool = False,
        verify: bool = True,
        limits: Limits = Limits(),  # noqa: B008
        progress: Progress | None = None,
    ) -> bytes:
        """See `vqcodec.encode`. progress is called with the share done, 0..1."""
        planes = to_planes(image, limits, strip=strip)
        target = targets.Target.of(target_bytes, target_bpp, target_psnr, planes.colour.shape)
        if target is None:
            return self.encode_planes(planes, quality=quality, effort=effort, verify=verify, progress=progress)

        def attempt(quality: float) -> targets.Attempt:
            data, stats = self._encode(planes, quality, effort, False, None, None)
            if not target.is_psnr:
                return targets.Attempt(quality, data, stats.payload_bytes)
            decoded = self.decode_planes(data, limits=_UNLIMITED).colour
            return targets.Attempt(quality, data, stats.payload_bytes, targets.psnr(planes.colour, decoded))

        data = targets.search(target, attempt, progress or (lambda _: None))
        if verify:
            self.verify(data, limits)
        return data

    def decode(
        self,
        data: bytes | str | Path,
        *,
        layers: int | None = None,
        region: Region | None = None,
        allow_partial: bool = False,
        limits: Limits = Limits(),  # noqa: B008
        progress: Progress | None = None,
    ) -> Image.Image:
        """See `vqcodec.decode`; the file must name this model. progress is called with the share done, 0..1."""
        raw = vqbitstream.read_bytes(data, limits)
        planes = self.decode_planes(
            raw, layers=layers, region=region, allow_partial=allow_partial, limits=limits, progress=progress
        )
        return from_planes(planes)

    def encode_batch(self, images: Iterable[Picture], **options: Any) -> list[bytes | VQCError]:
        """Pictures -> for each the bytes that `encode` makes of it, or the VQCError that it raises; options: its keywords.

        The pictures are coded one by one, on purpose: their networks' results would not be those of `encode` to the last bit if
        pictures of one size shared a call (docs/batches.md). Raises ValueError for an option out of range.
        """
        return [_result(self.encode, image, options) for image in images]

    def decode_batch(self, files: Iterable[bytes | str | Path], **options: Any) -> list[Image.Image | VQCError]:
        """Files -> for each the picture that `decode` makes of it, or the VQCError that it raises; options: its keywords."""
        return [_result(self.decode, file, options) for file in files]

    def encode_pixels(
        self,
        pixels: Pixels,
        *,
        quality: float = 50,
        effort: int = 5,
        verify: bool = True,
        rate_weight: float | None = None,
    ) -> bytes:
        """uint8 [H, W, 3] or [H, W] -> the bytes of a .vqc file."""
        return self.encode_planes(
            Planes(pixels), quality=quality, effort=effort, verify=verify, rate_weight=rate_weight
        )

    def decode_pixels(self, data: bytes, *, layers: int | None = None) -> Pixels:
        """Bytes of a .vqc file -> uint8 [H, W, 3] or [H, W], without alpha. Raises a VQCError."""
        return self.decode_planes(data, layers=layers).colour

    def encode_planes(
        self,
        planes: Planes,
        *,
        quality: float = 50,
        effort: int = 5,
        verify: bool = True,
        rate_weight: float | None = None,
        progress: Progress | None = None,
    ) -> bytes:
        """Planes -> the bytes of a .vqc file. effort: 1 (fast) .. 9. rate_weight overrides the quality's choice.

        What it cost is in `stats` afterwards, which threads that share a codec overwrite for each other.
        """
        data, self.stats = self._encode(planes, quality, effort, verify, rate_weight, progress)
        return data

    @_undisturbed
    def _encode(
        self,
        planes: Planes,
        quality: float,
        effort: int,
        verify: bool,
        rate_weight: float | None,
        progress: Progress | None,
    ) -> tuple[bytes, EncodeStats]:
        if not isinstance(effort, Integral) or effort not in range(1, 10):
            raise ValueError(f"effort must be a whole number in 1..9, not {effort}")
        pixels = planes.colour
        height, width = pixels.shape[:2]
        step_code = self.step_code(quality)
        log2_step = _log2_step(step_code)
        single = height * width < SINGLE_SECTION_PIXELS and max(height, width) <= TILE * PATCH_PX
        layers = len(self.config.groups)
        header = Header(
            width, height, pixels.ndim == 2, planes.alpha is not None, single, round(quality * 100), step_code,
            self.model_id, layers,
        )  # fmt: skip
        rows, columns = latent_shape(width, height)
        rounds = ROUNDS[effort] if height * width <= SEARCH_PIXELS or effort > 5 else 0
        if rate_weight is None:
            rate_weight = SEARCH_RATE_WEIGHT if rounds else float(default_rate_weight(np.float64(log2_step)))
        step = Steps(progress)
        step.total = (2 + (rounds > 0) * (rounds + 1) + verify) * rows * columns
        tiles = header.tiles
        latent = self.transforms.analyse(pixels, log2_step, step)
        sides = [self.transforms.side(latent, tile, log2_step) for tile in tiles]
        if rounds:
            noise = NOISE if rounds >= NOISY_ROUNDS else 0.0
            latent, sides = self.search.improve(
                pixels, latent, sides, tiles, log2_step, rate_weight=rate_weight, rounds=rounds, noise=noise,
                progress=step,
            )  # fmt: skip
        sections, estimated_bits = [], 0.0
        for tile, side in zip(tiles, sides, strict=True):
            coded, decoded, bits = self.tile_coder.encode(
                tile_rows(latent, tile), side, tile.shape, step_code, rate_weight, single
            )
            sections.append(coded)
            estimated_bits += bits
            step(tile.shape[0] * tile.shape[1])
            if verify:
                if not np.array_equal(self.tile_coder.decode(tile.shape, step_code, coded, layers), decoded):
                    raise CorruptError("the file just coded does not decode to what was encoded; please report this")
                step(tile.shape[0] * tile.shape[1])
        in_order = [tile[layer] for layer in range(len(sections[0])) for tile in sections]
        alpha = planes.packed_alpha
        if verify and alpha is not None and (unpack_plane(alpha, height, width) != planes.alpha).any():
            raise CorruptError("the alpha section does not decode to what was encoded")
        data = vqbitstream.pack(Contents(header, in_order, alpha, planes.metadata))
        return data, EncodeStats(estimated_bits, sum(len(s.payload) for s in in_order), len(data))

    @_undisturbed
    def decode_planes(
        self,
        data: bytes,
        *,
        layers: int | None = None,
        region: Region | None = None,
        allow_partial: bool = False,
        limits: Limits = Limits(),  # noqa: B008
        progress: Progress | None = None,
    ) -> Planes:
        """Bytes of a .vqc file -> planes. Raises a VQCError for the file, ValueError for layers or region."""
        contents = vqbitstream.unpack(data, limits, partial=allow_partial)
        header = contents.header
        self._check(header)
        first = contents.sections[: header.first_layer_sections]
        if 2 * first.count(None) > len(first):  # or a few bytes could ask for a huge blank picture
            reason = contents.problems[0] if contents.problems else "the first layer is missing"
            raise TruncatedError(f"nothing to show: {reason}")
        layers = None if layers is None else operator.index(layers)
        if layers is not None and not 1 <= layers <= header.layers:
            raise ValueError(f"layers must lie in 1..{header.layers}, not {layers}")
        left, top, width, height = (
            (0, 0, header.width, header.height) if region is None else map(operator.index, region)
        )
        if min(left, top) < 0 or min(width, height) < 1 or left + width > header.width or top + height > header.height:
            raise ValueError(
                f"region {left},{top},{width},{height} is not inside {header.width}x{header.height} pixels"
            )
        rect = Tile(top // PATCH_PX, -(-(top + height) // PATCH_PX), left // PATCH_PX, -(-(left + width) // PATCH_PX))
        problems = list(contents.problems)
        alpha = None
        if header.alpha:
            try:
                if contents.alpha is None:
                    raise CorruptError("alpha is missing")
                alpha = unpack_plane(contents.alpha, header.height, header.width)[
                    top : top + height, left : left + width
                ]
            except CorruptError as error:
                if not allow_partial:
                    raise
                problems.append(f"{error}, shown opaque")
                alpha = np.full((height, width), 255, dtype=np.uint8)
        latent, area = self._decode_area(contents, rect, layers, problems if allow_partial else None, progress)
        inner = Tile(rect.top - area.top, rect.bottom - area.top, rect.left - area.left, rect.right - area.left)
        shape = (header.height - area.top * PATCH_PX, header.width - area.left * PATCH_PX, 3)[: 2 if header.grey else 3]
        half = Steps(progress, 0.5, 0.5)
        half.total = rect.shape[0] * rect.shape[1]
        colour = self.transforms.synthesise(latent, _log2_step(header.step_code), shape, inner, half)
        x, y = left - rect.left * PATCH_PX, top - rect.top * PATCH_PX
        colour = colour[y : y + height, x : x + width]
        if problems:
            warnings.warn("incomplete picture: " + "; ".join(problems), stacklevel=4)
        return Planes(colour, alpha, dict(contents.metadata))

    @_undisturbed
    def verify(self, data: bytes, limits: Limits = Limits()) -> None:  # noqa: B008
        """Decode the indices and the alpha of a file. Raises a VQCError unless their checksums hold."""
        contents = vqbitstream.unpack(data, limits)
        header = contents.header
        self._check(header)
        for number, tile in enumerate(header.tiles):
            self.tile_coder.decode(
                tile.shape, header.step_code, contents.sections[number :: len(header.tiles)], header.layers
            )
        if contents.alpha is not None:
            unpack_plane(contents.alpha, header.height, header.width)

    @_undisturbed
    def decode_latent(self, data: bytes, limits: Limits = Limits()) -> tuple[Latent, Header]:  # noqa: B008
        """Bytes -> latent [h, w, C] in 1/256 step, and the header. Raises a VQCError."""
        contents = vqbitstream.unpack(data, limits)
        header = contents.header
        self._check(header)
        rows, columns = latent_shape(header.width, header.height)
        rect = Tile(0, rows, 0, columns)
        return self._decode_area(contents, rect)[0], header

    def _decode_area(
        self,
        contents: Contents,
        rect: Tile,
        layers: int | None = None,
        problems: list[str] | None = None,
        progress: Progress | None = None,
    ) -> tuple[Latent, Tile]:
        """See `TileCoder.decode_area`; `rect` grows by what the synthesis sees around it."""
        halo = self.transforms.synthesis_halo
        seen = Tile(rect.top - halo, rect.bottom + halo, rect.left - halo, rect.right + halo)
        step = Steps(progress, 0.5)
        return self.tile_coder.decode_area(contents, seen, layers or contents.header.layers, problems, step)

    def _check(self, header: Header) -> None:
        if header.model_id != self.model_id:
            raise UnsupportedError(f"the file needs model {header.model_id.hex()}, this is {self.model_id.hex()}")
        if header.layers != len(self.config.groups):
            raise CorruptError(f"{header.layers} layers in the file, {len(self.config.groups)} in the model")

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


def _result(method: Callable[..., R], given: Any, options: dict[str, Any]) -> R | VQCError:
    """What a method makes of a picture or a file, or the VQCError that it raises."""
    try:
        return method(given, **options)
    except VQCError as error:
        return error


def _log2_step(step_code: int) -> float:
    return step_code / STEP_LOG2_FRACTION - STEP_LOG2_OFFSET


def _make(name: str, device: str, backend: str) -> Codec:
    return Codec(name, device=device, backend=backend)
