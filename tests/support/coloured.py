"""Pictures with labels of their colours, and what a viewer shows of them."""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms
from vqbitstream.limits import Limits
from vqcodec.pictures.planes import Planes
from vqcodec.pictures.reading import to_planes

from support import picture

PIXELS = picture(60, 40)
GREY = np.ascontiguousarray(PIXELS[..., 0])
LIMITS = Limits()
P3 = (31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
SRGB = ImageCms.createProfile("sRGB")
SRGB_BYTES = ImageCms.ImageCmsProfile(SRGB).tobytes()
LAB_BYTES = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


def png(pixels: npt.NDArray[np.uint8], *chunks: tuple[bytes, bytes]) -> io.BytesIO:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    data = file.getvalue()
    made = b"".join(struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks)
    return io.BytesIO(data[:33] + made + data[33:])


def avif(pixels: npt.NDArray[np.uint8], primaries: int, transfer: int) -> io.BytesIO:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "AVIF", quality=95)
    data = file.getvalue()
    box = data.index(b"colrnclx") + 8
    return io.BytesIO(data[:box] + struct.pack(">HH", primaries, transfer) + data[box + 4 :])


def cicp(primaries: int, transfer: int) -> tuple[bytes, bytes]:
    return b"cICP", bytes([primaries, transfer, 0, 1])


def shown(pixels: npt.NDArray[np.uint8], profile: bytes) -> npt.NDArray[np.uint8]:
    """What a colour-managed viewer shows of pixels with this profile."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    converted = ImageCms.profileToProfile(Image.fromarray(pixels), source, SRGB, outputMode="RGB")
    assert converted is not None
    return np.asarray(converted)


def quiet(file: io.BytesIO, **options: bool) -> Planes:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return to_planes(file, LIMITS, **options)
