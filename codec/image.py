"""Pictures as people have them <-> uint8 planes. The only module besides the Pillow plugin that knows PIL."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError
from vqbitstream.errors import LimitError, VQCError
from vqbitstream.limits import Limits

Pixels = npt.NDArray[np.uint8]
Picture = Image.Image | str | Path | IO[bytes] | npt.NDArray[np.generic]
_DIRECT = {"RGB", "L", "P", "1", "YCbCr"}


class ImageError(VQCError):
    """The input is no picture that we can read."""


def to_pixels(image: Picture, limits: Limits) -> Pixels:
    """A PIL image, a path, an open binary file or a uint8 array [H, W, 3] or [H, W]
    -> uint8 [H, W, 3] or, where the picture is grey, [H, W].

    EXIF orientation is applied; of an animation the first frame is taken, with a warning. Raises ImageError for what cannot be
    read or would lose something (alpha, more than 8 bits), LimitError for its size.
    """
    if isinstance(image, np.ndarray):
        return _check_array(image, limits)
    if isinstance(image, Image.Image):
        return _from_pil(image, limits, "the picture")
    name = str(image) if isinstance(image, str | Path) else "standard input"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is checked instead
            opened = Image.open(image)
    except UnidentifiedImageError:
        raise ImageError(f"{name}: not a picture that Pillow can read") from None
    except Image.DecompressionBombError:
        raise LimitError(f"{name}: more pixels than Pillow's own limit, PIL.Image.MAX_IMAGE_PIXELS") from None
    except Exception as error:
        raise ImageError(f"{name}: {_reason(error)}") from None
    with opened:
        return _from_pil(opened, limits, name)


def _from_pil(image: Image.Image, limits: Limits, name: str) -> Pixels:
    try:
        limits.check_size(*image.size)
    except LimitError as error:
        raise LimitError(f"{name}: {error}") from None
    if min(image.size) < 1:
        raise ImageError(f"{name} has no pixels")
    try:
        if getattr(image, "n_frames", 1) > 1:
            warnings.warn(f"{name} is animated: only its first frame is kept", stacklevel=4)
        image.load()
        turned = ImageOps.exif_transpose(image)
    except Exception as error:  # Pillow's readers raise almost anything on damaged files
        raise ImageError(f"{name}: {_reason(error)}") from None
    if turned.has_transparency_data:
        raise ImageError(f"{name}: transparency is not supported yet; flatten it first")
    if turned.mode not in _DIRECT:
        raise ImageError(f"{name}: mode {turned.mode} is not supported yet; convert it to RGB or L first")
    return np.array(turned.convert("L" if turned.mode in ("L", "1") else "RGB"))


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


def _check_array(array: npt.NDArray[np.generic], limits: Limits) -> Pixels:
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        raise ImageError(f"expected a uint8 array [H, W, 3] or [H, W], got {array.dtype} {list(array.shape)}")
    if not array.size:
        raise ImageError("the picture has no pixels")
    limits.check_size(array.shape[1], array.shape[0])
    return array.astype(np.uint8, copy=False)


def from_pixels(pixels: Pixels) -> Image.Image:
    """uint8 [H, W, 3] -> RGB image, [H, W] -> L image."""
    return Image.fromarray(pixels)
