"""Metadata of pictures: ICC profile, EXIF and XMP as bytes, and the orientation that they give."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from typing import Any

from PIL import Image

from vqcodec.pictures import exif as exif_blocks

EXIF_HEADER = b"Exif\x00\x00"
INFO_KEYS = {"icc": "icc_profile", "exif": "exif", "xmp": "xmp"}  # the file's names of metadata -> Pillow's
_XMP_DIMENSIONS = [  # axis of (width, height)
    (re.compile(rb"((?:exif:PixelXDimension|tiff:ImageWidth)\s*(?:=\s*[\"']|>)\s*)(\d+)"), 0),
    (re.compile(rb"((?:exif:PixelYDimension|tiff:ImageLength)\s*(?:=\s*[\"']|>)\s*)(\d+)"), 1),
]
_XMP_THUMBNAILS = re.compile(rb"<(xmp|xap):Thumbnails\b[^>]*(?<!/)>.*?</\1:Thumbnails\s*>", re.DOTALL)
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation\s*(?:=\s*[\"']|>)\s*)([1-8])")


def exif_of(image: Image.Image, name: str) -> Image.Exif:
    """The EXIF tags of a picture; if they are damaged, none, with a warning."""
    try:
        if exif := image.info.get("exif"):
            exif_blocks.cleaned(_bare(exif), (1, 1))
        return image.getexif()
    except Exception:  # whatever Pillow's parser raises on it
        warnings.warn(f"{name}: its EXIF is damaged, and left out", stacklevel=6)
        image.info.pop("exif", None)
        return Image.Exif()


def given(info: Mapping[str, Any], name: str) -> tuple[Mapping[str, Any], Image.Exif]:
    """Metadata passed in beside a picture, and its EXIF tags; damaged EXIF is left out."""
    tags = Image.Exif()
    try:
        if exif := info.get("exif") or b"":
            exif_blocks.cleaned(_bare(exif), (1, 1))
            tags.load(exif)
    except Exception:
        warnings.warn(f"{name}: its EXIF is damaged, and left out", stacklevel=6)
        return {key: value for key, value in info.items() if key != "exif"}, Image.Exif()
    return info, tags


def _bare(exif: bytes) -> bytes:
    """EXIF without its header, which some cameras write twice."""
    return exif.removeprefix(EXIF_HEADER).removeprefix(EXIF_HEADER)


def collected(info: Mapping[Any, Any], tags: Image.Exif) -> dict[str, bytes]:
    """ICC profile, EXIF (without its "Exif" header) and XMP, as the file had them."""
    found: dict[str, bytes] = {}
    icc, exif, xmp = (info.get(key) for key in INFO_KEYS.values())
    if isinstance(icc, bytes) and icc:
        found["icc"] = icc
    if not isinstance(exif, bytes) or not exif:  # formats whose EXIF is not one block, such as TIFF
        kept = exif_blocks.descriptive(tags)
        exif = kept.tobytes() if len(kept) else b""
    if bare := _bare(exif):
        found["exif"] = bare
    if isinstance(xmp, str):
        xmp = xmp.encode()
    if isinstance(xmp, bytes) and xmp:
        found["xmp"] = xmp
    return found


def orientation_of(tags: Image.Exif, xmp: bytes) -> int:
    """The orientation to apply, 1..8, from EXIF or else XMP."""
    exif = tags.get(exif_blocks.ORIENTATION)
    if not exif and (match := _XMP_ORIENTATION.search(xmp)):
        exif = int(match[2])
    return int(exif) if isinstance(exif, int) and 1 <= exif <= 8 else 1


def upright(metadata: Mapping[str, bytes], size: tuple[int, int], name: str) -> dict[str, bytes]:
    """Metadata of a picture that is upright and has this size (width, height): see `exif.cleaned`. Damaged EXIF is left out, with a
    warning."""
    out = dict(metadata)
    try:
        exif = exif_blocks.cleaned(out.pop("exif"), size) if "exif" in out else b""
    except exif_blocks.DamagedExif:
        exif = b""
        warnings.warn(f"{name}: its EXIF is damaged, and left out", stacklevel=6)
    if exif:
        out["exif"] = exif
    if "xmp" in out:
        out["xmp"] = _upright_xmp(out["xmp"], size)
    return out


def _upright_xmp(xmp: bytes, size: tuple[int, int]) -> bytes:
    """XMP whose orientation is 1, whose dimensions are these, and which has no thumbnails: they show another picture."""
    xmp = _XMP_THUMBNAILS.sub(b"", _XMP_ORIENTATION.sub(rb"\g<1>1", xmp))
    for pattern, axis in _XMP_DIMENSIONS:
        xmp = pattern.sub(rb"\g<1>%d" % size[axis], xmp)
    return xmp


def pillow_info(metadata: Mapping[str, bytes], size: tuple[int, int], name: str) -> dict[str, bytes]:
    """Metadata of a file, for a picture of this size, as Pillow's readers put it into `info`."""
    return {
        INFO_KEYS[key]: EXIF_HEADER * (key == "exif") + value for key, value in upright(metadata, size, name).items()
    }
