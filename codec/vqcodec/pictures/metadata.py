"""Metadata of pictures: ICC profile, EXIF and XMP as bytes, and the orientation that they give."""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Mapping
from typing import Any

from PIL import Image
from PIL.ExifTags import IFD

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
_WHOLE = {3: "H", 4: "I", 8: "h", 9: "i"}  # TIFF types that an orientation is read from
_EXIF_HEADER = b"Exif\x00\x00"
INFO_KEYS = {"icc": "icc_profile", "exif": "exif", "xmp": "xmp"}  # the file's names of metadata -> Pillow's
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation\s*(?:=\s*[\"']|>)\s*)([1-8])")


def exif_of(image: Image.Image, name: str) -> Image.Exif:
    """The EXIF tags of a picture; if they are damaged, none, with a warning."""
    try:
        return image.getexif()
    except Exception:  # whatever Pillow's parser raises on it
        warnings.warn(f"{name}: its EXIF is damaged, and left out", stacklevel=6)
        image.info.pop("exif", None)
        return Image.Exif()


def given(info: Mapping[str, Any], name: str) -> tuple[Mapping[str, Any], Image.Exif]:
    """Metadata passed in beside a picture, and its EXIF tags; damaged EXIF is left out."""
    tags = Image.Exif()
    try:
        tags.load(info.get("exif") or b"")
    except Exception:
        warnings.warn(f"{name}: its EXIF is damaged, and left out", stacklevel=6)
        return {key: value for key, value in info.items() if key != "exif"}, Image.Exif()
    return info, tags


def collected(info: Mapping[Any, Any], tags: Image.Exif) -> dict[str, bytes]:
    """ICC profile, EXIF (without its "Exif" header) and XMP, as the file had them."""
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
    """EXIF with only the tags that describe the picture, for formats (TIFF) whose tags also say how it is stored."""
    kept = Image.Exif()
    for tag in _DESCRIPTIVE:
        if tag in tags:
            value = tags[tag]
            kept[tag] = value.encode("latin-1", "replace") if isinstance(value, str) else value  # as Pillow read it
    for ifd in (IFD.Exif, IFD.GPSInfo):
        if values := tags.get_ifd(ifd):
            kept[ifd] = values
    return kept.tobytes() if len(kept) else b""


def take_orientation(tags: Image.Exif, metadata: dict[str, bytes]) -> int:
    """The orientation to apply, 1..8, from EXIF or else XMP. It is set to 1 in the metadata."""
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
    """EXIF (a TIFF structure) with its orientation set to 1 in place and nothing else changed."""
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


def pillow_info(metadata: Mapping[str, bytes]) -> dict[str, bytes]:
    """Metadata of a file as Pillow's readers put it into `info`."""
    return {INFO_KEYS[name]: _EXIF_HEADER * (name == "exif") + value for name, value in metadata.items()}
