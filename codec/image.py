"""Pictures as people have them <-> uint8 planes and metadata. The only module besides the Pillow plugin that knows PIL."""

from __future__ import annotations

import io
import re
import struct
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, UnidentifiedImageError
from PIL.ExifTags import IFD
from PIL.PngImagePlugin import MAX_TEXT_CHUNK, PngInfo
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from vqbitstream.alpha import pack_plane
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
_XMP_TAG = 700  # TIFF
_BITS_PER_SAMPLE = 258  # TIFF tag
_WHOLE = {3: "H", 4: "I", 8: "h", 9: "i"}  # TIFF types that an orientation is read from
_EXIF_HEADER = b"Exif\x00\x00"
INFO_KEYS = {"icc": "icc_profile", "exif": "exif", "xmp": "xmp"}  # the file's names of metadata -> Pillow's
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation\s*(?:=\s*[\"']|>)\s*)([1-8])")
_TURN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip
_PILLOW_LIMIT = threading.Lock()  # Pillow's limit is a global of its own
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

    @cached_property
    def packed_alpha(self) -> bytes | None:
        """The alpha section's payload, packed once however often the colours are encoded."""
        return None if self.alpha is None else pack_plane(self.alpha)


def to_planes(image: Picture, limits: Limits, *, strip: bool = False, info: Mapping[str, Any] | None = None) -> Planes:
    """A PIL image, a path, an open binary file, or a uint8 array [H, W], [H, W, 2], [H, W, 3] or [H, W, 4] -> planes.

    EXIF orientation is applied. More than 8 bits are rounded to 8; CMYK and Lab become sRGB through their ICC profile, which is
    then dropped; of several frames the present one is taken (of a file, the first), with a warning. strip: leave out ICC, EXIF and XMP.
    info: icc_profile, exif and xmp in place of a PIL image's own, as bytes; what is not there is left out.
    Raises ImageError for what cannot be read, LimitError for its size.
    """
    if isinstance(image, np.ndarray):
        return _from_array(image, limits)
    if isinstance(image, Image.Image):
        return _from_pil(image, limits, "the picture", strip, info)
    if isinstance(image, bytes | bytearray):
        raise ImageError("the picture: bytes of a file; wrap them in io.BytesIO")
    name = str(image if isinstance(image, str | Path) else getattr(image, "name", "the picture"))
    with _opened(image, name, limits) as opened:
        return _from_pil(opened, limits, name, strip)


@contextmanager
def _opened(image: str | Path | IO[bytes], name: str, limits: Limits) -> Iterator[Image.Image]:
    """An image file, its header read. Pillow's own pixel limit gives way to ours."""
    try:
        with _PILLOW_LIMIT, warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # ours is an error, and comes next
            pillow_limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, limits.max_pixels
            try:
                opened = Image.open(image)
            finally:
                Image.MAX_IMAGE_PIXELS = pillow_limit
    except UnidentifiedImageError:
        raise ImageError(f"{name}: not a picture that Pillow can read") from None
    except Image.DecompressionBombError:
        raise LimitError(f"{name}: more than twice the limit of {limits.max_pixels} pixels") from None
    except Exception as error:  # Pillow's readers raise almost anything on damaged files
        raise ImageError(f"{name}: {_reason(error)}") from None
    with opened:
        if opened.format in ("EPS", "WMF"):  # loading one runs another program on it
            raise ImageError(f"{name}: is a drawing, not a picture; render it first")
        yield opened


def _from_pil(
    image: Image.Image, limits: Limits, name: str, strip: bool, info: Mapping[str, Any] | None = None
) -> Planes:
    try:
        limits.check_size(*image.size)
    except LimitError as error:
        raise LimitError(f"{name}: {error}") from None
    if min(image.size) < 1:
        raise ImageError(f"{name} has no pixels")
    try:
        if (frames := getattr(image, "n_frames", 1)) > 1:
            warnings.warn(f"{name} has {frames} frames: only one is kept", stacklevel=4)
        deep = any(";16" in str(tile) for tile in getattr(image, "tile", ()))  # gone after loading
        image.load()
        kept: Mapping[Any, Any]
        kept, exif = (image.info, _exif(image, name)) if info is None else _given(info, name)
        metadata = _metadata(kept, exif)
        orientation = _orientation(exif, metadata)
        upright = image.transpose(_TURN[orientation]) if orientation in _TURN else image
        plain = _plain(upright, name, deep)
    except VQCError:
        raise
    except Image.DecompressionBombError:
        raise LimitError(f"{name}: more than twice the limit of {limits.max_pixels} pixels") from None
    except Exception as error:
        raise ImageError(f"{name}: {_reason(error)}") from None
    if strip:
        metadata = {}
    if image.mode in ("CMYK", "LAB"):
        metadata.pop("icc", None)
    for key, value in metadata.items():
        try:
            limits.check_metadata(key.upper(), len(value))
        except LimitError as error:
            raise LimitError(f"{name}: {error}; strip drops it") from None
    array = np.asarray(plain)
    colours = 1 if plain.mode in ("L", "LA") else 3
    if plain.mode in ("L", "RGB"):
        return Planes(array, None, metadata)
    colour = array[..., 0] if colours == 1 else array[..., :3]
    return Planes(np.ascontiguousarray(colour), np.ascontiguousarray(array[..., -1]), metadata)


def _plain(image: Image.Image, name: str, deep: bool) -> Image.Image:
    """The picture as L, LA, RGB or RGBA. deep: it was read from 16 bits a sample."""
    mode = image.mode
    if mode in ("CMYK", "LAB"):
        return _to_srgb(image, name)
    if mode in ("I", "F") or mode.startswith("I;"):
        return _from_deep(image, name)
    grey = mode in _GREY_MODES
    if image.has_transparency_data:
        transparent = image.info.get("transparency")
        if mode == "RGB" and isinstance(transparent, tuple) and deep:  # in 16 bits, but the pixels are 8
            image = image.copy()
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
    if image.mode.startswith("I;"):
        bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))
        top = float(2 ** max(bits if isinstance(bits, tuple) else (bits,)) - 1)
    elif image.mode == "I" and image.format in ("PNG", "PPM"):
        top = 65535.0  # Pillow scales theirs to 16 bits
    else:
        finite = values[np.isfinite(values)]
        largest = float(finite.max()) if finite.size else 0.0
        top = next((t for t in (1.0, 255.0, 65535.0) if largest <= t), largest)
        if image.mode == "I" and top == 1.0:
            top = 255.0
        warnings.warn(f"{name}: mode {image.mode}, taken as 0..{top:g} and rounded to 8 bits", stacklevel=6)
    inside = np.clip(np.nan_to_num(np.asarray(values, dtype=np.float32)), 0, top)
    grey = Image.fromarray(np.rint(inside * np.float32(255 / top)).astype(np.uint8))
    if isinstance(transparent := image.info.get("transparency"), int):
        grey.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return grey


def _exif(image: Image.Image, name: str) -> Image.Exif:
    try:
        return image.getexif()
    except Exception:  # whatever Pillow's parser raises on it
        warnings.warn(f"{name}: its EXIF is damaged, and left out", stacklevel=6)
        image.info.pop("exif", None)
        return Image.Exif()


def _given(info: Mapping[str, Any], name: str) -> tuple[Mapping[str, Any], Image.Exif]:
    """Metadata that came with a picture, and its EXIF tags; without EXIF that is damaged."""
    tags = Image.Exif()
    try:
        tags.load(info.get("exif") or b"")
    except Exception:
        warnings.warn(f"{name}: its EXIF is damaged, and left out", stacklevel=6)
        return {key: value for key, value in info.items() if key != "exif"}, Image.Exif()
    return info, tags


def _metadata(info: Mapping[Any, Any], tags: Image.Exif) -> dict[str, bytes]:
    """ICC profile, EXIF (without its "Exif" header) and XMP as the file had them."""
    found: dict[str, bytes] = {}
    icc, exif, xmp = (info.get(key) for key in INFO_KEYS.values())
    if isinstance(icc, bytes) and icc:
        found["icc"] = icc
    if not isinstance(exif, bytes) or not exif:  # formats whose EXIF is not one block, such as TIFF
        exif = _descriptive_exif(tags)
    if exif.removeprefix(_EXIF_HEADER):
        found["exif"] = exif.removeprefix(_EXIF_HEADER)
    if isinstance(xmp, str):
        xmp = xmp.encode()
    if isinstance(xmp, bytes) and xmp:
        found["xmp"] = xmp
    return found


def _descriptive_exif(tags: Image.Exif) -> bytes:
    """EXIF of a picture whose tags also say how it was stored (TIFF): those that say what it shows."""
    kept = Image.Exif()
    for tag in _DESCRIPTIVE:
        if tag in tags:
            value = tags[tag]
            kept[tag] = value.encode("latin-1", "replace") if isinstance(value, str) else value  # as Pillow read it
    for ifd in (IFD.Exif, IFD.GPSInfo):
        if values := tags.get_ifd(ifd):
            kept[ifd] = values
    return kept.tobytes() if len(kept) else b""


def _orientation(tags: Image.Exif, metadata: dict[str, bytes]) -> int:
    """The orientation to apply, 1..8: EXIF's, else XMP's. In the metadata it becomes 1."""
    xmp = metadata.get("xmp", b"")
    exif = tags.get(ORIENTATION)
    if not exif and (match := _XMP_ORIENTATION.search(xmp)):
        exif = int(match[2])
    if "exif" in metadata:
        metadata["exif"] = _upright_exif(metadata["exif"])
    if xmp:
        metadata["xmp"] = _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)
    return int(exif) if isinstance(exif, int) and 1 <= exif <= 8 else 1


def _upright_exif(exif: bytes) -> bytes:
    """EXIF (a TIFF structure) with its orientation set to 1 in place, everything else as it was."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    patched = bytearray(exif)
    try:
        (offset,) = struct.unpack_from(f"{order}I", exif, 4)
        (entries,) = struct.unpack_from(f"{order}H", exif, offset)
        for entry in range(offset + 2, offset + 2 + 12 * entries, 12):
            tag, kind = struct.unpack_from(f"{order}HH", exif, entry)
            if tag == ORIENTATION and kind in _WHOLE:
                struct.pack_into(f"{order}{_WHOLE[kind]}", patched, entry + 8, 1)
    except struct.error:  # cut short: what came before is done
        pass
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
    image.info.update(pillow_info(planes.metadata))
    return image


def pillow_info(metadata: Mapping[str, bytes]) -> dict[str, bytes]:
    """Metadata of a file as Pillow's readers put it into `info`."""
    return {INFO_KEYS[name]: _EXIF_HEADER * (name == "exif") + value for name, value in metadata.items()}


WRITABLE = {  # format -> whether it keeps alpha, and which metadata
    "PNG": (True, {"icc_profile", "exif", "xmp"}), "WEBP": (True, {"icc_profile", "exif", "xmp"}),
    "AVIF": (True, {"icc_profile", "exif", "xmp"}), "TIFF": (True, {"icc_profile", "exif", "xmp"}),
    "JPEG": (False, {"icc_profile", "exif", "xmp"}), "JPEG2000": (True, set()), "TGA": (True, set()), "BMP": (False, set()),
    "PPM": (False, set()),
}  # fmt: skip
_JPEG_SEGMENT_BYTES = 65533 - 64  # of EXIF or XMP, with room for their headers
_NAMES = {"icc_profile": "ICC profile", "exif": "EXIF", "xmp": "XMP"}


def check_suffix(suffix: str) -> str:
    """Pillow's name of the format that is written for a suffix such as ".png". Raises ImageError."""
    kind = Image.registered_extensions().get(suffix)
    if kind not in WRITABLE:
        raise ImageError(f"no pictures are written with the suffix {suffix!r}; there are {', '.join(WRITABLE)}")
    return kind


def write_picture(image: Image.Image, file: IO[bytes], suffix: str) -> None:
    """Write a decoded picture with its metadata, in the format of a suffix such as ".png". Warns of metadata that it cannot keep.

    Raises ImageError where the format is not one of `WRITABLE` or cannot hold the picture.
    """
    kind = check_suffix(suffix)
    keeps_alpha, keeps = WRITABLE[kind]
    if image.mode in ("LA", "RGBA") and not keeps_alpha:
        raise ImageError(f"{kind} cannot hold transparency; write PNG, WebP, AVIF or TIFF")
    options: dict[str, Any] = {k: v for k, v in image.info.items() if k in _NAMES}
    for key in list(options):
        if key == "icc_profile" and kind == "PNG" and len(options[key]) > MAX_TEXT_CHUNK:
            warnings.warn("ICC profile left out: readers refuse one of this size in PNG", stacklevel=3)
            del options[key]
        elif key not in keeps or (kind == "JPEG" and key != "icc_profile" and len(options[key]) > _JPEG_SEGMENT_BYTES):
            warnings.warn(f"{_NAMES[key]} left out: {kind} cannot hold it", stacklevel=3)
            del options[key]
    plain = image.copy()
    plain.info = {}
    if "xmp" in options and kind == "PNG":
        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", options.pop("xmp").decode("utf-8", "replace"))
        options["pnginfo"] = text
    if "xmp" in options and kind == "TIFF":
        options["tiffinfo"] = ImageFileDirectory_v2()
        options["tiffinfo"][_XMP_TAG] = options.pop("xmp")
    if kind == "JPEG":
        options |= {"quality": 95, "subsampling": 0}
    elif kind in ("WEBP", "AVIF"):
        options["quality"] = 95
    try:
        plain.save(file, format=kind, **options)
    except Exception as error:  # Pillow's writers parse EXIF, and raise almost anything on a damaged one
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno):
            raise
        if "exif" not in options:
            raise ImageError(f"{kind} cannot hold this picture ({_reason(error)})") from None
        warnings.warn(f"EXIF left out: {kind} cannot hold it", stacklevel=3)
        file.seek(0)
        file.truncate()
        bare = image.copy()
        del bare.info["exif"]
        write_picture(bare, file, suffix)
