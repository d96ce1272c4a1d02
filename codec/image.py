"""Pictures as people have them <-> uint8 planes. The only module besides the Pillow plugin that knows PIL."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from vqbitstream.errors import LimitError, VQCError
from vqbitstream.limits import Limits

Pixels = npt.NDArray[np.uint8]
_DIRECT = {"RGB", "L", "P", "1", "YCbCr"}


class ImageError(VQCError):
    """The input is no picture that we can read."""


def to_pixels(image: Image.Image | str | Path | npt.NDArray[np.generic], limits: Limits) -> Pixels:
    """A PIL image, a path or a uint8 array [H, W, 3] or [H, W] -> uint8 [H, W, 3] or, where the picture is grey, [H, W].

    Raises ImageError for what cannot be read or would lose something (alpha, more than 8 bits), LimitError for its size.
    """
    if isinstance(image, np.ndarray):
        return _check_array(image, limits)
    if not isinstance(image, Image.Image):
        return _open(Path(image), limits)
    limits.check_size(*image.size)
    if min(image.size) < 1:
        raise ImageError("the picture has no pixels")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        raise ImageError("pictures with transparency are not supported yet; flatten it first")
    if image.mode not in _DIRECT:
        raise ImageError(f"pictures of mode {image.mode} are not supported yet; convert it to RGB or L first")
    grey = image.mode in ("L", "1")
    return np.array(image.convert("L" if grey else "RGB"))


def _open(path: Path, limits: Limits) -> Pixels:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is checked instead
            with Image.open(path) as image:
                limits.check_size(*image.size)
                image.load()
                return to_pixels(image, limits)
    except UnidentifiedImageError:
        raise ImageError(f"{path}: not a picture that Pillow can read") from None
    except Image.DecompressionBombError:
        raise LimitError(f"{path}: more pixels than the limit of {limits.max_pixels}") from None
    except VQCError as error:
        raise type(error)(f"{path}: {error}") from None
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ImageError(f"{path}: {reason}") from None


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
