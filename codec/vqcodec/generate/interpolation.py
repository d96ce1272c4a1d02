"""Interpolations between two pictures, and draws from the Normal prior of a model's VAE. Each is a valid .vqc file."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import vqbitstream
from torch import Tensor
from vqbitstream import Contents, Header, Limits
from vqbitstream.choice import default_rate_weight
from vqbitstream.geometry import CELL, Rect, latent_shape
from vqbitstream.prior import LATENT_LIMIT

from vqcodec.codec import Codec
from vqcodec.coding.defaults import DEFAULT_QUALITY
from vqcodec.models.weights_file import ModelError
from vqcodec.pictures.planes import Pixels
from vqcodec.runtimes.strips import UNIT
from vqcodec.runtimes.torch_state import building_modules, plain_torch
from vqcodec.vqvae.vae import LatentVAE


@plain_torch()
@torch.inference_mode()
def interpolate(
    codec: Codec, first: Pixels, second: Pixels, steps: int, *, quality: float = DEFAULT_QUALITY
) -> list[bytes]:
    """Interpolate between two pictures in equal steps.

    If the model has a Gaussian bottleneck, its codes are interpolated. Otherwise the latents are, which is a cross-fade because the
    latent is linear in the pixels.

    Args:
        codec: The model.
        first: uint8 [H, W, 3].
        second: Of the same shape.
        steps: Number of files, both ends included.
        quality: 1..100.

    Returns:
        The bytes of the files, in order.

    Raises:
        ValueError: The shapes differ, or an argument is out of range.
    """
    if first.shape != second.shape or first.ndim != 3:
        raise ValueError(f"pictures of {first.shape} and {second.shape}: both must be [H, W, 3], and of one size")
    if steps < 2:
        raise ValueError(f"a walk has at least 2 steps, not {steps}")
    height, width = first.shape[:2]
    header = codec.encoder.header(width, height, quality)
    channels = codec.prior.channels(header.layers if latent_vae(codec) is None else len(codec.prior.groups))
    ends = [codec.transforms.analyse(pixels, header, channels) / UNIT for pixels in (first, second)]
    vae = latent_vae(codec)
    if vae is not None:
        codes = [gaussian_code(vae, end) for end in ends]
    files = []
    for share in np.linspace(0, 1, steps):
        if vae is None:
            latent = (1 - share) * ends[0] + share * ends[1]
        else:
            code = (1 - share) * codes[0] + share * codes[1]
            latent = gaussian_latent(vae, code, ends[0].shape[:2])
        files.append(encode_latent(codec, latent, header))
    return files


@plain_torch()
@torch.inference_mode()
def sample_gaussian(
    codec: Codec, width: int, height: int, *, seed: int = 0, temperature: float = 1.0, quality: float = DEFAULT_QUALITY
) -> bytes:
    """Draw a code from the Normal prior of the bottleneck, decode it to a latent, and encode that.

    The bottleneck computes in floating point: pixels may differ by one level between machines.

    Args:
        codec: The model.
        width: Pixels.
        height: Pixels.
        seed: Of the draw.
        temperature: Scales the standard deviation.
        quality: 1..100.

    Raises:
        ModelError: The model has no bottleneck.
        LimitError: The picture would be too large.
    """
    vae = require_vae(codec)
    Limits().check_size(width, height)
    rows, columns = latent_shape(width, height)
    dims = vae.decode_hidden.in_features
    noise = np.random.default_rng(seed).standard_normal((1, -(-rows // CELL), -(-columns // CELL), dims))
    code = temperature * torch.from_numpy(noise.astype(np.float32)).to(codec.device)
    header = codec.encoder.header(width, height, quality)
    return encode_latent(codec, gaussian_latent(vae, code, (rows, columns)), header)


def encode_latent(codec: Codec, latent: npt.NDArray[np.floating], header: Header) -> bytes:
    """Latent [h, w, C] in the unit of pixels to a .vqc file, by the encoder's rate-aware choice; values are brought into range."""
    whole = np.rint(np.nan_to_num(latent[..., : codec.prior.channels(header.layers)] * UNIT))
    whole = np.clip(whole, -LATENT_LIMIT, LATENT_LIMIT).astype(np.int32)
    tiles = (whole[tile.within(Rect.of(whole.shape))] for tile in header.tiles)
    coded = codec.tile_coder.encode(header, tiles, default_rate_weight(header.log2_step), verify=False)
    return vqbitstream.pack(Contents(header, coded.sections))


def latent_vae(codec: Codec) -> LatentVAE | None:
    """The VAE of a model, or None. Raises ModelError if it is damaged."""
    prefix = "bottleneck."
    state = {
        k.removeprefix(prefix): torch.from_numpy(v.astype(np.float32))
        for k, v in codec.weights.tensors.items()
        if k.startswith(prefix)
    }
    try:
        with building_modules():
            vae = LatentVAE.from_tensors(state) if state else None
        return None if vae is None else vae.float().to(codec.device).eval().requires_grad_(False)
    except (KeyError, RuntimeError, ValueError, IndexError) as error:
        raise ModelError(f"{codec.name}: not a sound weights file ({str(error).splitlines()[0]})") from None


def require_vae(codec: Codec) -> LatentVAE:
    """The VAE of a model. Raises ModelError if there is none."""
    vae = latent_vae(codec)
    if vae is None:
        raise ModelError(
            f"model {codec.name} has no Gaussian bottleneck; train one: vqcodec train --bottleneck gaussian"
        )
    return vae


def gaussian_code(vae: LatentVAE, latent: npt.NDArray[np.floating]) -> Tensor:
    """Latent [h, w, C] in the unit of pixels to the posterior's mean [1, ceil(h/4), ceil(w/4), dims]."""
    padded = np.pad(latent, [(0, -n % CELL) for n in latent.shape[:2]] + [(0, 0)], mode="edge")
    return vae.encode(torch.from_numpy(padded.astype(np.float32)).to(vae.sigma.device)[None])[0]


def gaussian_latent(vae: LatentVAE, code: Tensor, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """The inverse of `gaussian_code`, for h and w of `shape`. [h, w, C]"""
    return np.asarray(vae.decode(code)[0, : shape[0], : shape[1]].cpu().numpy(), dtype=np.float64)
