"""Pictures of any format to uint8 planes and metadata: modes, orientation, colour."""

from __future__ import annotations

import io
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, UnidentifiedImageError
from vqbitstream.errors import LimitError, VQCError, visible
from vqbitstream.limits import Limits

from vqcodec.atomic import identity
from vqcodec.pictures import colour, raw
from vqcodec.pictures import metadata as meta
from vqcodec.pictures.deep import from_deep
from vqcodec.pictures.labels import exif_label, jp2_profile, label_of
from vqcodec.pictures.planes import ImageError, ImageTensor, Picture, Planes
from vqcodec.pictures.unpacking import brightened, mend, unpacking_of

_TURN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip
_pillow_limit = threading.Lock()  # Pillow's limit is a global of its own
_GREY_MODES = {"1", "L", "LA", "La"}


def _after_fork() -> None:
    """A thread of the parent may have held the lock; it does not live on in the child, and would hold it forever."""
    global _pillow_limit
    _pillow_limit = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def to_planes(
    image: Picture,
    limits: Limits,
    *,
    strip: bool = False,
    force_sdr: bool = False,
    info: Mapping[str, Any] | None = None,
) -> Planes:
    """Read a picture.

    EXIF orientation is applied. More than 8 bits are rounded to 8. CMYK and Lab become sRGB through their ICC profile, which is then
    dropped. Other descriptions of colours become an ICC profile. Of several frames the current one is kept (the first of a file),
    with a warning.

    Args:
        image: A PIL image, a path, an open binary file, a uint8 array [H, W], [H, W, 2], [H, W, 3] or [H, W, 4], a torch.uint8
            tensor [C, H, W], or planes.
        limits: What to accept.
        strip: Leave out ICC profile, EXIF and XMP; the colours become sRGB.
        force_sdr: Take a picture for HDR screens as if it were an ordinary one, with a warning.
        info: icc_profile, exif and xmp that replace those of a PIL image.

    Raises:
        ImageError: The picture cannot be read, or is one for HDR screens.
        LimitError: The picture is too large.
    """
    if isinstance(image, Planes):
        limits.check_size(image.colour.shape[1], image.colour.shape[0])
        return Planes(image.colour, image.alpha) if strip else image
    if isinstance(image, np.ndarray):
        return _from_array(image, limits)
    if isinstance(image, ImageTensor) and type(image).__module__.partition(".")[0] == "torch":
        return _from_tensor(image, limits)
    if isinstance(image, Image.Image):
        return _from_pil(image, limits, "the picture", strip, force_sdr, info)
    if isinstance(image, bytes | bytearray):
        raise ImageError("the picture: bytes of a file; wrap them in io.BytesIO")
    if isinstance(image, ImageTensor) or not (isinstance(image, str | Path) or hasattr(image, "read")):
        raise ImageError(
            f"the picture: neither a path, an open file, an image, an array nor a tensor: {type(image).__name__}"
        )
    name = visible(str(image if isinstance(image, str | Path) else getattr(image, "name", "the picture")))
    twice = Path(image).is_file() if isinstance(image, str | Path) else hasattr(image, "seekable") and image.seekable()
    with _unchanged(image, name), _opened(image, name, limits) as opened:
        return _from_pil(
            opened, limits, name, strip, force_sdr, reopen=(lambda: _opened(image, name, limits)) if twice else None
        )


@contextmanager
def _unchanged(image: str | Path | IO[bytes], name: str) -> Iterator[None]:
    """Refuses a file that was changed while it was read: a picture of two versions, or half a one, would look sound."""
    if not isinstance(image, str | Path):
        yield
        return
    before = identity(image)
    changed = ImageError(f"{name}: changed while it was read; try again")
    try:
        yield
    except VQCError:
        if identity(image) != before:
            raise changed from None
        raise
    if identity(image) != before:
        raise changed


@contextmanager
def _opened(image: str | Path | IO[bytes], name: str, limits: Limits) -> Iterator[Image.Image]:
    """An image file whose header was read. Our pixel limit replaces Pillow's."""
    try:
        with _pillow_limit, warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # ours is an error, and comes next
            pillow_limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, limits.max_pixels
            try:
                opened = Image.open(image)
            finally:
                Image.MAX_IMAGE_PIXELS = pillow_limit
    except UnidentifiedImageError:
        raise ImageError(f"{name}: {raw.unreadable(name)}") from None
    except Image.DecompressionBombError:
        raise LimitError(f"{name}: more than twice the limit of {limits.max_pixels} pixels") from None
    except Exception as error:  # Pillow's readers raise almost anything on damaged files
        raise ImageError(f"{name}: {reason(error)}") from None
    with opened:
        if opened.format in ("EPS", "WMF"):  # loading one runs another program on it
            raise ImageError(f"{name}: is a drawing, not a picture; render it first")
        if why := raw.thumbnail_alone(opened, name):
            raise ImageError(f"{name}: {why}")
        yield opened


def _from_pil(
    image: Image.Image,
    limits: Limits,
    name: str,
    strip: bool,
    force_sdr: bool,
    info: Mapping[str, Any] | None = None,
    reopen: Callable[[], AbstractContextManager[Image.Image]] | None = None,
) -> Planes:
    try:
        limits.check_size(*image.size)
    except LimitError as error:
        raise LimitError(f"{name}: {error}") from None
    if min(image.size) < 1:
        raise ImageError(f"{name} has no pixels")
    try:
        if (frames := _frames(image)) > 1:
            warnings.warn(f"{name} has {frames} frames: only one is kept", stacklevel=4)
        label, unread = label_of(image), jp2_profile(image)
        mend(image, name)
        packed = unpacking_of(image)
        stored = str(getattr(image, "tile", ()))  # gone after loading
        image.load()
        image = brightened(image, reopen, packed, name)
        kept: Mapping[Any, Any]
        kept, exif = (image.info, meta.exif_of(image, name)) if info is None else meta.given(info, name)
        metadata = meta.collected({"icc_profile": unread} | dict(kept), exif)
        if info is None and kept.get("icc_profile", b"") is None:  # Pillow's word for it
            warnings.warn(f"{name}: its ICC profile is damaged, and left out", stacklevel=4)
        orientation = meta.orientation_of(exif, metadata.get("xmp", b""))
        upright = _turned(image, orientation)
        metadata = meta.upright(metadata, upright.size, name)
        plain = _plain(upright, name, stored)
        if image.mode in ("CMYK", "LAB"):
            metadata.pop("icc", None)
        else:
            colour.settle(metadata, label or exif_label(exif), plain.mode, name, force_sdr=force_sdr)
        if strip:
            plain, metadata = colour.in_srgb(plain, metadata.get("icc", b""), name), {}
    except VQCError:
        raise
    except Image.DecompressionBombError:
        raise LimitError(f"{name}: more than twice the limit of {limits.max_pixels} pixels") from None
    except Exception as error:
        raise ImageError(f"{name}: {reason(error)}") from None
    for key, value in metadata.items():
        try:
            limits.check_metadata(key.upper(), len(value))
        except LimitError as error:
            raise LimitError(f"{name}: {error}; strip drops it") from None
    array = np.asarray(plain)
    colours = 1 if plain.mode in ("L", "LA") else 3
    if plain.mode in ("L", "RGB"):
        return Planes(array, None, metadata)
    pixels = array[..., 0] if colours == 1 else array[..., :3]
    return Planes(np.ascontiguousarray(pixels), np.ascontiguousarray(array[..., -1]), metadata)


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    """The picture upright, with what its file says of its samples."""
    if orientation not in _TURN:
        return image
    turned = image.transpose(_TURN[orientation])
    turned.format = image.format
    if hasattr(image, "tag_v2"):
        setattr(turned, "tag_v2", image.tag_v2)  # noqa: B010
    return turned


def _frames(image: Image.Image) -> int:
    """Pictures in a file. The layers of a PSD are none: the picture beside them shows them all."""
    return 1 if image.format == "PSD" else int(getattr(image, "n_frames", 1))


def _plain(image: Image.Image, name: str, stored: str) -> Image.Image:
    """The picture as L, LA, RGB or RGBA. `stored` is a text with Pillow's name for how the samples lay in the file."""
    mode = image.mode
    if mode in ("CMYK", "LAB"):
        return _to_srgb(image, name)
    if mode in ("I", "F") or mode.startswith("I;"):
        return from_deep(image, name)
    grey = mode in _GREY_MODES
    if image.has_transparency_data:
        transparent = image.info.get("transparency")
        if mode == "1" and transparent == 1:  # white, which Pillow has as 255, before version 12.1
            image = image.copy()
            image.info["transparency"] = 255
        if mode == "RGB" and isinstance(transparent, tuple) and ";16" in stored:  # in 16 bits, but the pixels are 8
            image = image.copy()
            image.info["transparency"] = tuple(t >> 8 for t in transparent)
        for bits, scale in (("L;2", 85), ("L;4", 17)):  # in 2 or 4 bits, but the pixels are 8
            if mode == "L" and isinstance(transparent, int) and transparent <= 255 // scale and f"'{bits}'" in stored:
                image = image.copy()
                image.info["transparency"] = transparent * scale
        return image.convert("LA" if grey else "RGBA")
    return image.convert("L" if grey else "RGB")


def _to_srgb(image: Image.Image, name: str) -> Image.Image:
    """CMYK or Lab through the picture's ICC profile, or Pillow's conversion if there is none."""
    profile = image.info.get("icc_profile")
    srgb = ImageCms.createProfile("sRGB")
    try:
        if image.mode == "LAB":
            source: Any = ImageCms.createProfile("LAB")
        elif profile:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        else:
            return image.convert("RGB")
        converted = ImageCms.profileToProfile(image, source, srgb, outputMode="RGB")
        assert converted is not None
        return converted
    except (ImageCms.PyCMSError, OSError):
        warnings.warn(f"{name}: its ICC profile is not usable; colours are approximate", stacklevel=6)
        return image.convert("RGB")


def _from_tensor(tensor: Any, limits: Limits) -> Planes:
    if (
        tensor.ndim not in (2, 3)
        or (tensor.ndim == 3 and tensor.shape[0] not in (1, 2, 3, 4))
        or str(tensor.dtype) != "torch.uint8"
    ):
        raise ImageError(
            f"expected a torch.uint8 tensor [C, H, W] of 1 to 4 channels, or [H, W], got {tensor.dtype} {list(tensor.shape)}"
        )
    array = tensor.numpy(force=True)
    return _from_array(array if array.ndim == 2 else np.ascontiguousarray(array.transpose(1, 2, 0)), limits)


def _from_array(array: npt.NDArray[np.generic], limits: Limits) -> Planes:
    channels = 1 if array.ndim == 2 else array.shape[2] if array.ndim == 3 else 0
    if array.dtype != np.uint8 or channels not in (1, 2, 3, 4):
        raise ImageError(
            f"expected a uint8 array [H, W], [H, W, 2], [H, W, 3] or [H, W, 4], got {array.dtype} {list(array.shape)}"
        )
    if not array.size:
        raise ImageError("the picture has no pixels")
    limits.check_size(array.shape[1], array.shape[0])
    pixels = array.astype(np.uint8, copy=False).reshape(*array.shape[:2], channels)
    colour = pixels[..., 0] if channels < 3 else pixels[..., :3]
    return Planes(colour, pixels[..., -1] if channels in (2, 4) else None)


def reason(error: Exception) -> str:
    """What an exception of Pillow's says, in one line for people."""
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
