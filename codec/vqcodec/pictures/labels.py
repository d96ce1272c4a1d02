"""What a file says of its colours outside an ICC profile: cICP, gAMA and cHRM of PNG, nclx of AVIF and HEIF, colours of JPEG 2000,
primaries of TIFF and EXIF, Adobe RGB of EXIF.

Numbers of primaries and transfers are those of ITU-T H.273.
"""

from __future__ import annotations

import struct
from typing import IO, NamedTuple

from PIL import Image
from PIL.ExifTags import IFD

Chromaticities = tuple[float, float, float, float, float, float, float, float]  # x, y of white, red, green, blue
Curve = tuple[float, ...]  # of an ICC parametric curve: gamma, or gamma, a, b, c, d

_D65, _C, _DCI = (0.3127, 0.329), (0.31, 0.316), (0.314, 0.351)
_170M = (0.63, 0.34, 0.31, 0.595, 0.155, 0.07)
_P3 = (0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
BT709: Chromaticities = (*_D65, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
PRIMARIES: dict[int, Chromaticities] = {
    1: BT709, 4: (*_C, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08), 5: (*_D65, 0.64, 0.33, 0.29, 0.6, 0.15, 0.06), 6: (*_D65, *_170M),
    7: (*_D65, *_170M), 9: (*_D65, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046), 11: (*_DCI, *_P3), 12: (*_D65, *_P3),
}  # fmt: skip
ADOBE_RGB: Chromaticities = (*_D65, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
SRGB_CURVE: Curve = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_BT709_CURVE: Curve = (1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)
TRANSFERS: dict[int, Curve] = {
    1: _BT709_CURVE, 4: (2.2,), 5: (2.8,), 6: _BT709_CURVE, 8: (1.0,), 13: SRGB_CURVE, 14: _BT709_CURVE, 15: _BT709_CURVE
}  # fmt: skip
HDR = {16: "PQ", 18: "HLG"}
UNSPECIFIED = 2
_SCREEN_GAMMA = 1 / 2.2
_CONTAINERS = {b"meta": 4, b"iprp": 0, b"ipco": 0, b"jp2h": 0}  # ISO boxes -> bytes before what they hold
_JP2_ORDINARY = {16, 17, 18}  # enumerated colour spaces: sRGB, grey, sYCC
_JP2_CONVERTED = {12, 14}  # CMYK, Lab: their own modes
_WHITE_POINT, _PRIMARIES = 318, 319  # tags of TIFF, and so of EXIF
_NTSC_GAMMA = 2.2  # TIFF 6.0's default
_NEAR = 0.002  # of chromaticities
_HEAD_BYTES = 1 << 18
_CHUNKS = 1000


class Label(NamedTuple):
    """A description of colours.

    Attributes:
        source: Which part of the file says so.
        primaries: Chromaticities; None if they are not known to us.
        curve: From samples to light; None if it is not known to us.
        hdr: "PQ" or "HLG" if it is one of these, else empty.
    """

    source: str
    primaries: Chromaticities | None
    curve: Curve | None
    hdr: str = ""

    @property
    def ordinary(self) -> bool:
        """Whether a reader without it shows the same: sRGB, or BT.709 as pictures use it."""
        return self.primaries == BT709 and self.curve in (SRGB_CURVE, _BT709_CURVE)


def label_of(image: Image.Image) -> Label | None:
    """The label of an opened picture that is not loaded yet; None if it has none. Damage is no label."""
    file = getattr(image, "fp", None)
    if image.format == "PNG":
        code = _png_code(file) if file is not None else None
        return code or (None if "srgb" in image.info else _png_curves(image))
    if isinstance(nclx := image.info.get("nclx_profile"), dict):  # by pillow-heif
        return of_codes("nclx", nclx.get("color_primaries", 0), nclx.get("transfer_characteristics", 0))
    if image.format in ("AVIF", "HEIF", "JPEG2000"):
        found = _colour_box(file) if file is not None else None
        return found if isinstance(found, Label) else None
    return None


def jp2_profile(image: Image.Image) -> bytes:
    """The ICC profile of an opened JPEG 2000 that is not loaded yet, which Pillow does not read; empty if it has none."""
    file = getattr(image, "fp", None)
    found = _colour_box(file) if file is not None and image.format == "JPEG2000" else None
    return found if isinstance(found, bytes) else b""


def exif_label(tags: Image.Exif) -> Label | None:
    """The label that cameras write for Adobe RGB (colour space 2, or "R03" in the interoperability IFD), or primaries."""
    exif = tags.get_ifd(IFD.Exif)
    space = exif.get(0xA001)
    interop = tags.get_ifd(IFD.Interop).get(1) if space == 0xFFFF and IFD.Interop in exif else None
    if space == 2 or (isinstance(interop, str) and interop.startswith("R03")):
        return Label("EXIF", ADOBE_RGB, (563 / 256,))
    return None if space == 1 else _of_primaries(tags.get(_WHITE_POINT), tags.get(_PRIMARIES))


def _of_primaries(white: object, primaries: object) -> Label | None:
    """Of the tags of TIFF; None if there are no such primaries, or they are those of sRGB."""
    if not isinstance(white, tuple) or not isinstance(primaries, tuple) or (len(white), len(primaries)) != (2, 6):
        return None
    values = tuple(float(v) for v in (*white, *primaries))
    if all(abs(a - b) <= _NEAR for a, b in zip(values, BT709, strict=True)):
        return None
    return Label("primaries", values if _sane(values) else None, (_NTSC_GAMMA,))  # type: ignore[arg-type]


def of_codes(source: str, primaries: int, transfer: int) -> Label | None:
    """The label of two numbers of H.273; None if both are unspecified."""
    if transfer in HDR:
        return Label(source, None, None, HDR[transfer])
    if primaries == transfer == UNSPECIFIED:
        return None
    return Label(
        source,
        BT709 if primaries == UNSPECIFIED else PRIMARIES.get(primaries),
        SRGB_CURVE if transfer == UNSPECIFIED else TRANSFERS.get(transfer),
    )


def _png_code(file: IO[bytes]) -> Label | None:
    """cICP of a PNG, before its pixels."""
    place = file.tell()
    try:
        file.seek(8)
        for _ in range(_CHUNKS):
            head = file.read(8)
            if len(head) < 8 or head[4:] == b"IDAT":
                return None
            (length,) = struct.unpack(">I", head[:4])
            if head[4:] == b"cICP":
                body = file.read(4)
                if length != 4 or len(body) != 4:
                    return None
                label = of_codes("cICP", body[0], body[1])
                plain = body[2:] == b"\0\1"  # RGB of the full range
                return label if plain or (label and label.hdr) else Label("cICP", None, None)
            file.seek(length + 4, 1)
        return None
    finally:
        file.seek(place)


def _png_curves(image: Image.Image) -> Label | None:
    """gAMA and cHRM of a PNG, if they say anything but an ordinary screen's."""
    gamma, chromaticity = image.info.get("gamma"), image.info.get("chromaticity")
    if gamma is None and chromaticity is None:
        return None
    curve: Curve | None = SRGB_CURVE
    if gamma is not None and abs(gamma / _SCREEN_GAMMA - 1) > 0.02:
        curve = (1 / gamma,) if 0.1 < gamma < 10 else None
    primaries: Chromaticities | None = BT709
    if chromaticity is not None and any(abs(a - b) > _NEAR for a, b in zip(chromaticity, BT709, strict=True)):
        primaries = tuple(map(float, chromaticity)) if _sane(chromaticity) else None  # type: ignore[assignment]
    return Label("gAMA and cHRM" if chromaticity and gamma else "cHRM" if chromaticity else "gAMA", primaries, curve)


def _sane(chromaticity: tuple[float, ...]) -> bool:
    """Whether colours span a triangle, with white inside."""
    white, *corners = zip(chromaticity[::2], chromaticity[1::2], strict=True)
    turns = [
        (b[0] - a[0]) * (white[1] - a[1]) - (b[1] - a[1]) * (white[0] - a[0])
        for a, b in zip(corners, corners[1:] + corners[:1], strict=True)
    ]
    return white[1] > 0.01 and (all(t > 1e-3 for t in turns) or all(t < -1e-3 for t in turns))


def _colour_box(file: IO[bytes]) -> Label | bytes | None:
    """The first colr box of an AVIF, HEIF or JP2 file that says more than a profile which Pillow reads."""
    place = file.tell()
    try:
        file.seek(0)
        head = file.read(_HEAD_BYTES)
    finally:
        file.seek(place)
    return _in_boxes(head, 0, len(head))


def _in_boxes(head: bytes, start: int, end: int) -> Label | bytes | None:
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", head, start)
        if size < 8:
            return None
        stop = min(start + size, end)
        body = head[start + 8 : stop]
        if kind == b"colr" and body[:4] == b"nclx" and len(body) >= 10:
            return of_codes("nclx", *struct.unpack_from(">HH", body, 4))
        if kind == b"colr" and body[:1] in (b"\2", b"\3") and len(body) > 3:  # of JP2
            return body[3:]
        if kind == b"colr" and body[:1] == b"\1" and len(body) >= 7:
            (space,) = struct.unpack_from(">I", body, 3)
            return None if space in _JP2_ORDINARY | _JP2_CONVERTED else Label(f"space {space}", None, None)
        if kind in _CONTAINERS and (found := _in_boxes(head, start + 8 + _CONTAINERS[kind], stop)):
            return found
        start += size
    return None
