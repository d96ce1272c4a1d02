"""ICC profiles: which of them can belong to a picture, and small ones made from labels (ICC.1:2022, version 4.4)."""

from __future__ import annotations

import io
import re
import struct
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ImageCms

from vqcodec.pictures.labels import HDR, Chromaticities, Curve

_SPACES = {b"RGB ": ("RGB", "RGBA"), b"GRAY": ("L", "LA")}
_D50 = (0.9642, 1.0, 0.8249)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_HDR_NAME = re.compile(r"(?<![A-Za-z])(PQ|HLG)(?![A-Za-z])")
_MONITOR_CLASSES = (b"mntr", b"scnr", b"prtr", b"spac")


def belongs(profile: bytes, mode: str) -> bool:
    """Whether a profile can be read, and is one for pictures of this mode ("L", "LA", "RGB" or "RGBA")."""
    if len(profile) < 132 or profile[36:40] != b"acsp" or profile[12:16] not in _MONITOR_CLASSES:
        return False
    if mode not in _SPACES.get(profile[16:20], ()):
        return False
    colours = mode.removesuffix("A")
    try:  # a profile may open, and still lack what converts
        ImageCms.buildTransform(ImageCms.ImageCmsProfile(io.BytesIO(profile)), _srgb(), colours, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return False
    return True


@cache
def _srgb() -> Any:
    return ImageCms.createProfile("sRGB")


def hdr_of(profile: bytes) -> str:
    """ "PQ" or "HLG" if a profile's cicp tag or its name says so, else empty."""
    return _hdr_by_tag(profile) or _hdr_by_name(profile)


def _hdr_by_name(profile: bytes) -> str:
    """By names such as "ITUR_2100_PQ_FULL" (W3C's note on PQ in PNG) or "Rec. ITU-R BT.2100 HLG"."""
    try:
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    except (ImageCms.PyCMSError, OSError, ValueError):
        return ""
    found = _HDR_NAME.search(name)
    return found[1] if found else ""


def _hdr_by_tag(profile: bytes) -> str:
    for tag in range(struct.unpack_from(">I", profile, 128)[0] if len(profile) >= 132 else 0):
        entry = profile[132 + 12 * tag : 144 + 12 * tag]
        if len(entry) < 12:
            break
        if entry[:4] == b"cicp":
            (at,) = struct.unpack(">I", entry[4:8])
            return HDR.get(profile[at + 9], "") if at + 10 <= len(profile) else ""
    return ""


def made(name: str, primaries: Chromaticities, curve: Curve, *, grey: bool) -> bytes:
    """A profile of three colours, or of grey.

    Args:
        name: For people.
        primaries: Chromaticities of white, red, green and blue.
        curve: From samples in [0, 1] to light: a gamma, or the five numbers of ICC's parametric curve of type 3.
        grey: Of grey alone: white and the curve.
    """
    trc = struct.pack(">4sIHH", b"para", 0, 0 if len(curve) == 1 else 3, 0) + b"".join(map(_fixed, curve))
    tags = {b"desc": _text(name), b"cprt": _text("CC0"), b"wtpt": _xyz(_D50)}
    adaptation = _adaptation(primaries[:2])
    tags[b"chad"] = b"sf32\0\0\0\0" + b"".join(map(_fixed, adaptation.ravel()))
    if grey:
        tags[b"kTRC"] = trc
    else:
        columns = adaptation @ _to_xyz(primaries)
        for colour, key in enumerate(b"rgb"):
            tags[bytes([key]) + b"XYZ"] = _xyz(columns[:, colour])
            tags[bytes([key]) + b"TRC"] = trc
    return _assembled(tags, b"GRAY" if grey else b"RGB ")


def _assembled(tags: dict[bytes, bytes], space: bytes) -> bytes:
    table, body, places = b"", b"", {}
    start = 128 + 4 + 12 * len(tags)
    for key, value in tags.items():
        if value not in places:  # equal values are stored once
            places[value] = start + len(body)
            body += value + bytes(-len(value) % 4)
        table += struct.pack(">4sII", key, places[value], len(value))
    head = struct.pack(
        ">II4s4s4s4s12s4s", start + len(body), 0, b"\x04\x40\0\0", b"mntr", space, b"XYZ ", _DATE, b"acsp"
    )
    head += bytes(128 - len(head))
    head = head[:68] + b"".join(map(_fixed, _D50)) + head[80:]
    return head + struct.pack(">I", len(tags)) + table + body


_DATE = struct.pack(">6H", 2026, 1, 1, 0, 0, 0)


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _xyz(values: npt.ArrayLike) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(map(_fixed, np.asarray(values)))


def _text(value: str) -> bytes:
    words = value.encode("utf-16-be")
    return struct.pack(">4sIII4sII", b"mluc", 0, 1, 12, b"enUS", len(words), 28) + words


def _white(xy: tuple[float, ...]) -> npt.NDArray[np.float64]:
    x, y = xy
    return np.array([x / y, 1, (1 - x - y) / y])


def _adaptation(white: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """Bradford's matrix from this white to D50, the white of profiles. [3, 3]"""
    ratio = (_BRADFORD @ _D50) / (_BRADFORD @ _white(white))
    out: npt.NDArray[np.float64] = np.linalg.inv(_BRADFORD) @ np.diag(ratio) @ _BRADFORD
    return out


def _to_xyz(primaries: Chromaticities) -> npt.NDArray[np.float64]:
    """Linear RGB to XYZ, [3, 3]"""
    x, y = np.array(primaries[2::2]), np.array(primaries[3::2])
    columns = np.stack([x, y, 1 - x - y])
    out: npt.NDArray[np.float64] = columns * np.linalg.solve(columns, _white(primaries[:2]))
    return out
