"""Training pictures: folders and tar shards in, random crops out. Pictures stay uint8 until they are cropped."""

from __future__ import annotations

import io
import tarfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from vqbitstream.errors import VQCError
from vqbitstream.limits import Limits

from vqcodec.pictures.reading import to_planes

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".avif"}
MIN_SIDE_PX = 64


class DataError(ValueError):
    """The training data cannot be used; the message says why in one line."""


def _files(source: Path) -> Iterator[tuple[str, bytes]]:
    if not source.is_dir() and not source.is_file():
        raise DataError(f"{source}: is not an ordinary file")
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if not path.is_file():
                continue  # a pipe might never end
            if path.suffix.lower() in SUFFIXES:
                yield path.name, path.read_bytes()
            elif path.suffix.lower() == ".tar":
                yield from _files(path)
    elif source.suffix.lower() == ".tar":
        with tarfile.open(source) as tar:
            for member in tar:
                stream = tar.extractfile(member) if member.isfile() else None
                if stream is not None and Path(member.name).suffix.lower() in SUFFIXES:
                    yield member.name, stream.read()
    else:
        yield source.name, source.read_bytes()


def _decode(item: tuple[str, bytes]) -> Tensor | None:
    """Pixels as the encoder will see them: upright, 8 bits. None if the picture is unreadable or too small."""
    try:
        colour = to_planes(io.BytesIO(item[1]), Limits(), strip=True).colour
    except VQCError:
        return None
    if min(colour.shape[:2]) < MIN_SIDE_PX:
        return None
    planes = colour if colour.ndim == 3 else np.repeat(colour[..., None], 3, axis=2)
    return torch.from_numpy(planes).permute(2, 0, 1).contiguous()


def load_pictures(
    sources: Sequence[Path | str], device: str = "cpu", say: Callable[[str], object] = lambda _: None
) -> list[Tensor]:
    """Load every picture of some files, folders and tar shards.

    Args:
        sources: Files, folders and tar shards.
        device: Where to keep the pixels.
        say: Told how many pictures were skipped because they are unreadable or have a side under 64 pixels.

    Returns:
        uint8 [3, H, W] each.

    Raises:
        DataError: A source is missing or unreadable, or no picture is left.
    """
    pictures: list[Tensor] = []
    left_out = 0
    for source in map(Path, sources):
        if not source.exists():
            raise DataError(f"no such file or folder: {source}")
        try:
            with ThreadPoolExecutor(2) as pool, warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of an animation the first frame is fine
                for picture in pool.map(_decode, _files(source)):
                    if picture is None:
                        left_out += 1
                    else:
                        pictures.append(picture.to(device))
        except tarfile.TarError:
            raise DataError(f"{source}: not a readable tar shard") from None
    if not pictures:
        raise DataError(f"no usable picture (at least {MIN_SIDE_PX} pixels a side) in {', '.join(map(str, sources))}")
    if left_out:
        say(f"skipped {left_out} pictures that are unreadable, too large, or under {MIN_SIDE_PX} pixels a side")
    return pictures


def usual_crop(pictures: Sequence[Tensor]) -> int:
    """Side of the training crops in pixels: 192, or 128 or 64 where most pictures are smaller."""
    side = int(np.median([min(p.shape[1:]) for p in pictures]))
    return min(max(side // 64, 1), 3) * 64


def random_crops(
    pictures: Sequence[Tensor], count: int, size_px: int, rng: np.random.Generator, *, augment: bool = True
) -> Tensor:
    """Random crops of pictures, which are drawn in proportion to the square root of their area.

    Args:
        pictures: uint8 [3, H, W] each.
        count: Number of crops.
        size_px: Side of a crop.
        rng: Where the randomness comes from.
        augment: Downscale each crop by a random factor of 0.6 to 1.0 and mirror half of them. This suits photographs, but not
            kinds of pictures with a scale and an orientation of their own (letters).

    Returns:
        float32 [count, 3, size, size] in [-0.5, 0.5].
    """
    weights = np.sqrt([p.shape[1] * p.shape[2] for p in pictures])
    out = []
    for index in rng.choice(len(pictures), size=count, p=weights / weights.sum()):
        picture = pictures[index]
        scale = rng.uniform(0.6, 1.0) if augment else 1.0
        side = min(round(size_px / scale), *picture.shape[1:])
        top, left = (int(rng.integers(0, n - side + 1)) for n in picture.shape[1:])
        crop = picture[None, :, top : top + side, left : left + side].float()
        if side != size_px:
            crop = F.interpolate(crop, (size_px, size_px), mode="bicubic", antialias=True, align_corners=False)
        out.append(crop.flip(3) if augment and rng.random() < 0.5 else crop)
    return torch.cat(out).clamp(0, 255) / 255 - 0.5


def varied(x: Tensor, rng: np.random.Generator, share: float = 0.25) -> Tensor:
    """A share of the crops made darker, of other gamma, more saturated or sharpened: kinds that collections of photographs lack.

    Args:
        x: [B, H, W, 3] in [-0.5, 0.5].
        rng: Where the randomness comes from.
        share: Of the crops that are changed in each of the two ways, tone or detail.

    Returns:
        The same shape and range, in whole levels.
    """
    count = len(x)

    def drawn(low: float, high: float, rest: float) -> Tensor:
        values = np.where(rng.random(count) < share / 2, rng.uniform(low, high, count), rest)
        return torch.from_numpy(values.astype(np.float32)).to(x.device).view(-1, 1, 1, 1)

    exposure, gamma, saturation, sharpening = (
        drawn(0.05, 0.7, 1),
        drawn(0.6, 1.8, 1),
        drawn(1, 2, 1),
        drawn(0.5, 2.5, 0),
    )
    x = x + 0.5
    blurred = F.avg_pool2d(x.permute(0, 3, 1, 2), 3, 1, 1, count_include_pad=False).permute(0, 2, 3, 1)
    x = x + sharpening * (x - blurred)
    grey = x.mean(3, keepdim=True)
    x = (grey + saturation * (x - grey)).clamp(1e-6, 1)
    return torch.round(255 * exposure * x**gamma) / 255 - 0.5


def patch_basis(pictures: Sequence[Tensor], channels: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """PCA of 16x16 patches around mid-grey, coarse to fine.

    Returns:
        The basis [channels, 3, 16, 16] with orthonormal rows, and the root mean square of each coefficient [channels].
    """
    moment, count = torch.zeros(768, 768, dtype=torch.float64), 0
    for _ in range(64):
        crops = random_crops(pictures, 8, 192, rng).cpu()
        patches = F.unfold(crops, 16, stride=16).transpose(1, 2).reshape(-1, 768).double()
        moment += patches.T @ patches
        count += len(patches)
    values, vectors = torch.linalg.eigh(moment / count)
    values, vectors = values.flip(0)[:channels], vectors.flip(1)[:, :channels]
    return vectors.T.reshape(channels, 3, 16, 16).float().contiguous(), values.clamp(min=1e-8).sqrt().float()
