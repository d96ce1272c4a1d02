"""Pictures as people have them <-> uint8 planes and metadata. The only module besides the Pillow plugin that knows PIL."""

from __future__ import annotations

import io
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from PIL.ExifTags import IFD
from vqbitstream.errors import LimitError, VQCError
from vqbitstream.limits import Limits

Pixels = npt.NDArray[np.uint8]
Picture = Image.Image | str | Path | IO[bytes] | npt.NDArray[np.generic]
ORIENTATION = 0x0112  # EXIF tag
_DESCRIPTIVE = (
    0x010E,
    0x010F,
    0x0110,
    0x0131,
    0x0132,
    0x013B,
    0x8298,
)  # description, camera, software, date, artist, rights
_EXIF_HEADER = b"Exif\x00\x00"
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:=[\"']|>))[2-8]")
_GREY_MODES = {"1", "L", "LA", "La"}


class ImageError(VQCError):
    """The input is no picture that we can read."""


@dataclass
class Planes:
    """What a file keeps of a picture.

    colour: uint8 [H, W, 3], or [H, W] where the picture is grey. alpha: uint8 [H, W] or None.
    metadata: "icc", "exif" (without its "Exif" header), "xmp", those there are; orientation is 1.
    """

    colour: Pixels
    alpha: Pixels | None = None
    metadata: dict[str, bytes] = field(default_factory=dict)


def to_planes(image: Picture, limits: Limits, *, strip: bool = False) -> Planes:
    """A PIL image, a path, an open binary file, or a uint8 array [H, W], [H, W, 2], [H, W, 3] or [H, W, 4] -> planes.

    EXIF orientation is applied. More than 8 bits are rounded to 8; CMYK and Lab become sRGB through their ICC profile, which is
    then dropped; of an animation the first frame is taken, with a warning. strip: leave out ICC, EXIF and XMP.
    Raises ImageError for what cannot be read, LimitError for its size.
    """
    if isinstance(image, np.ndarray):
        return _from_array(image, limits)
    if isinstance(image, Image.Image):
        return _from_pil(image, limits, "the picture", strip)
    name = str(image) if isinstance(image, str | Path) else "standard input"
    with _opened(image, name, limits) as opened:
        return _from_pil(opened, limits, name, strip)


@contextmanager
def _opened(image: str | Path | IO[bytes], name: str, limits: Limits) -> Iterator[Image.Image]:
    """An image file, its header read. Pillow's own pixel limit gives way to ours."""
    pillow_limit = Image.MAX_IMAGE_PIXELS
    try:
        if pillow_limit is not None and pillow_limit < limits.max_pixels:
            Image.MAX_IMAGE_PIXELS = limits.max_pixels
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # ours is an error, and comes next
                opened = Image.open(image)
        except UnidentifiedImageError:
            raise ImageError(f"{name}: not a picture that Pillow can read") from None
        except Image.DecompressionBombError:
            raise LimitError(f"{name}: more than twice the limit of {limits.max_pixels} pixels") from None
        except Exception as error:  # Pillow's readers raise almost anything on damaged files
            raise ImageError(f"{name}: {_reason(error)}") from None
        with opened:
            yield opened
    finally:
        Image.MAX_IMAGE_PIXELS = pillow_limit


def _from_pil(image: Image.Image, limits: Limits, name: str, strip: bool) -> Planes:
    try:
        limits.check_size(*image.size)
    except LimitError as error:
        raise LimitError(f"{name}: {error}") from None
    if min(image.size) < 1:
        raise ImageError(f"{name} has no pixels")
    try:
        if getattr(image, "n_frames", 1) > 1:
            warnings.warn(f"{name} is animated: only its first frame is kept", stacklevel=4)
            image.seek(0)
        image.load()
        metadata = {} if strip else _metadata(image)
        orientation = image.getexif().get(ORIENTATION, 1)
        turned = ImageOps.exif_transpose(image) if orientation in range(2, 9) else image
        plain = _plain(turned, name)
    except VQCError:
        raise
    except Exception as error:
        raise ImageError(f"{name}: {_reason(error)}") from None
    if image.mode in ("CMYK", "LAB"):
        metadata.pop("icc", None)
    array = np.asarray(plain)
    colours = 1 if plain.mode in ("L", "LA") else 3
    if plain.mode in ("L", "RGB"):
        return Planes(array, None, metadata)
    colour = array[..., 0] if colours == 1 else array[..., :3]
    return Planes(np.ascontiguousarray(colour), np.ascontiguousarray(array[..., -1]), metadata)


def _plain(image: Image.Image, name: str) -> Image.Image:
    """The picture as L, LA, RGB or RGBA."""
    mode = image.mode
    if mode in ("CMYK", "LAB"):
        return _to_srgb(image, name)
    if mode in ("I", "F") or mode.startswith("I;"):
        return _from_deep(image, name)
    grey = mode in _GREY_MODES
    if image.has_transparency_data:
        transparent = image.info.get("transparency")
        if mode == "RGB" and isinstance(transparent, tuple) and max(transparent) > 255:  # of a 16-bit PNG, read as 8
            image.info["transparency"] = tuple(t >> 8 for t in transparent)
        return image.convert("LA" if grey else "RGBA")
    return image.convert("L" if grey else "RGB")


def _to_srgb(image: Image.Image, name: str) -> Image.Image:
    """CMYK or Lab through the picture's ICC profile, or as Pillow does it where there is none."""
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


def _from_deep(image: Image.Image, name: str) -> Image.Image:
    """16 or 32 bits a pixel, grey -> L or LA, rounded. Floats and 32-bit integers do not tell their range: a warning says the guess."""
    values = np.asarray(image)
    if image.mode.startswith("I;") or (image.mode == "I" and image.format == "PNG"):
        top = 65535.0
    else:
        top = next(t for t in (1.0, 255.0, 65535.0, np.inf) if not (values > t).any())
        if image.mode == "I" and top == 1.0:
            top = 255.0
        top = float(values.max()) if np.isinf(top) else top
        warnings.warn(f"{name}: mode {image.mode}, taken as 0..{top:g} and rounded to 8 bits", stacklevel=6)
    scaled = np.nan_to_num(np.asarray(values, dtype=np.float32)) * np.float32(255 / max(top, 1e-30))
    grey = Image.fromarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8))
    if isinstance(transparent := image.info.get("transparency"), int):
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


def _metadata(image: Image.Image) -> dict[str, bytes]:
    """ICC profile, EXIF and XMP as the file had them, except that the orientation, which is applied to the pixels, is 1."""
    found: dict[str, bytes] = {}
    icc, exif, xmp = (image.info.get(key) for key in ("icc_profile", "exif", "xmp"))
    if isinstance(icc, bytes) and icc:
        found["icc"] = icc
    if not isinstance(exif, bytes) or not exif:  # formats whose EXIF is not one block, such as TIFF
        exif = _descriptive_exif(image)
    if exif.removeprefix(_EXIF_HEADER):
        found["exif"] = _upright_exif(exif.removeprefix(_EXIF_HEADER))
    if isinstance(xmp, str):
        xmp = xmp.encode()
    if isinstance(xmp, bytes) and xmp:
        found["xmp"] = _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)
    return found


def _descriptive_exif(image: Image.Image) -> bytes:
    """EXIF of a picture whose tags also say how it was stored (TIFF): those that say what it shows."""
    tags, kept = image.getexif(), Image.Exif()
    for tag in _DESCRIPTIVE:
        if tag in tags:
            kept[tag] = tags[tag]
    for ifd in (IFD.Exif, IFD.GPSInfo):
        if values := tags.get_ifd(ifd):
            kept[ifd] = values
    return kept.tobytes() if len(kept) else b""


def _upright_exif(exif: bytes) -> bytes:
    """EXIF (a TIFF structure) with its orientation set to 1 in place, everything else as it was."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None or len(exif) < 8:
        return exif
    (offset,) = struct.unpack_from(order + "I", exif, 4)
    patched = bytearray(exif)
    try:
        (entries,) = struct.unpack_from(order + "H", exif, offset)
        for entry in range(offset + 2, offset + 2 + 12 * entries, 12):
            tag, kind = struct.unpack_from(order + "HH", exif, entry)
            if tag == ORIENTATION and kind == 3:
                struct.pack_into(order + "H", patched, entry + 8, 1)
    except struct.error:
        return exif
    return bytes(patched)


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


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


def from_planes(planes: Planes) -> Image.Image:
    """Planes -> an L, LA, RGB or RGBA image; its `info` holds icc_profile, exif and xmp, as Pillow's readers would put them."""
    image = Image.fromarray(planes.colour)
    if planes.alpha is not None:
        image.putalpha(Image.fromarray(planes.alpha))
    if "icc" in planes.metadata:
        image.info["icc_profile"] = planes.metadata["icc"]
    if "exif" in planes.metadata:
        image.info["exif"] = _EXIF_HEADER + planes.metadata["exif"]
    if "xmp" in planes.metadata:
        image.info["xmp"] = planes.metadata["xmp"]
    return image


def check_suffix(suffix: str) -> str:
    """Pillow's name of the format that it writes for a suffix such as ".png". Raises ImageError."""
    kind = Image.registered_extensions().get(suffix)
    if kind not in Image.SAVE:
        raise ImageError(f"Pillow writes no pictures with the suffix {suffix!r}")
    return str(kind)


def write_picture(image: Image.Image, file: IO[bytes], suffix: str) -> None:
    """Write a decoded picture with its metadata, in the format of a suffix such as ".png".

    Raises ImageError where the format is not one that Pillow writes or cannot hold the picture.
    """
    kind = check_suffix(suffix)
    options: dict[str, object] = {k: v for k, v in image.info.items() if k in ("icc_profile", "exif", "xmp")}
    if kind == "PNG" and "xmp" in options:
        from PIL.PngImagePlugin import PngInfo

        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", bytes(image.info["xmp"]).decode("utf-8", "replace"))
        options["pnginfo"] = text
    if kind == "JPEG":
        options["quality"], options["subsampling"] = 95, 0
    elif kind in ("WEBP", "AVIF"):
        options["quality"] = 95
    try:
        image.save(file, format=kind, **options)  # type: ignore[arg-type]
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise ImageError(f"{kind} cannot hold this picture ({_reason(error)})") from None
