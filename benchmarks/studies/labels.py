"""What comes back of files whose pixels mean something unusual: labels of colours, deep and inverted samples, EXIF, alpha.

    python -m benchmarks.studies.labels

Encodes without loss, so that only what the file means can go wrong. "Levels off" is the mean difference, in levels of 0..255, between
what a viewer that knows colours shows of the file and of what comes back; the disc over clear noise is at quality 60, effort 1.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import vqcodec
from PIL import Image, ImageCms, ImageOps
from vqcodec.pictures.writing import write_picture

SRGB = ImageCms.createProfile("sRGB")
P3_PNG = struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
TO_SRGB = {  # linear light of P3 and Adobe RGB to that of sRGB (CSS Color 4; Adobe RGB (1998))
    "P3": [[1.2249, -0.2247, 0], [-0.0420, 1.0419, 0], [-0.0197, -0.0786, 1.0979]],
    "Adobe RGB": [[1.3984, -0.3984, 0], [0, 1, 0], [0, -0.0429, 1.0429]],
}
Array = npt.NDArray[np.floating]


def picture() -> npt.NDArray[np.uint8]:
    y, x = np.mgrid[0:96, 0:128]
    colour = np.stack([128 + 100 * np.sin(x / 17 + k) * np.cos(y / 13 - k) for k in range(3)], axis=-1)
    colour[0, 0], colour[0, 1] = 255, 0
    return np.rint(colour).astype(np.uint8)


PIXELS = picture()
GREY = np.ascontiguousarray(PIXELS[..., 1])


def light_to_srgb(light: Array) -> Array:
    light = np.clip(light, 0, 1)
    return 255 * np.where(light > 0.0031308, 1.055 * light ** (1 / 2.4) - 0.055, 12.92 * light)


def srgb_to_light(pixels: Array) -> Array:
    return np.where(pixels > 0.04045, ((pixels + 0.055) / 1.055) ** 2.4, pixels / 12.92)


def with_chunks(*chunks: tuple[bytes, bytes]) -> bytes:
    data = saved("PNG")
    made = b"".join(struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks)
    return data[:33] + made + data[33:]


def saved(kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, kind, **options)
    return file.getvalue()


def tiff(values: npt.NDArray[np.uint16], photometric: int, *more: tuple[int, int, int, int]) -> bytes:
    height, width = values.shape[:2]
    body, count = values.astype("<u2").tobytes(), values.size // (height * width)
    bits = 16 if count == 1 else 8
    tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, count, bits), (259, 3, 1, 1), (262, 3, 1, photometric),
            (273, 4, 1, 14), (277, 3, 1, count), (278, 3, 1, height), (279, 4, 1, len(body)), *more]  # fmt: skip
    packed = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    start = 14 + len(body)
    return (
        struct.pack("<2sHI3H", b"II", 42, start, 16, 16, 16) + body + struct.pack("<H", len(tags)) + packed + bytes(4)
    )


def nclx_p3() -> bytes:
    data = saved("AVIF", quality=100, subsampling="4:4:4")
    box = data.index(b"colrnclx") + 8
    return data[:box] + struct.pack(">H", 12) + data[box + 2 :]


def exif_of(tags: dict[int, object]) -> Image.Exif:
    exif = Image.Exif()
    for tag, value in tags.items():
        exif[tag] = value
    return exif


def files() -> Iterator[tuple[str, bytes, Array]]:
    """Name, file, and what a viewer shows of it."""
    unit = PIXELS / 255
    p3 = light_to_srgb(srgb_to_light(unit) @ np.transpose(TO_SRGB["P3"]))
    adobe = light_to_srgb(unit ** (563 / 256) @ np.transpose(TO_SRGB["Adobe RGB"]))
    yield "PNG, cHRM and gAMA of Display P3", with_chunks((b"cHRM", P3_PNG), (b"gAMA", struct.pack(">I", 45455))), p3
    yield "PNG, cICP of Display P3", with_chunks((b"cICP", bytes([12, 13, 0, 1]))), p3
    yield "PNG, gAMA 1.0", with_chunks((b"gAMA", struct.pack(">I", 100_000))), light_to_srgb(unit)
    yield "AVIF, nclx of Display P3", nclx_p3(), p3
    yield "PNG, Adobe RGB by EXIF", saved("PNG", exif=exif_of({0x8769: {0xA001: 2}})), adobe
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    yield "PNG, ICC profile of Lab", saved("PNG", icc_profile=lab), PIXELS
    yield "PNG, cICP of BT.2020 PQ", with_chunks((b"cICP", bytes([9, 16, 0, 1]))), PIXELS
    yield "TIFF, 16 bits, zero is white", tiff(65535 - GREY.astype(np.uint16) * 257, 0), GREY
    yield "TIFF, 12 bits in 16, grey", tiff(np.rint(GREY / 255 * 4095).astype(np.uint16), 1), GREY
    yield "TIFF, 12 bits in 16, colour", tiff(np.rint(unit * 4095).astype(np.uint16), 2), PIXELS
    yield "TIFF, floats, one hot pixel", hot(), GREY
    yield "NEF", tiff(GREY.astype(np.uint16) * 257, 1, (254, 4, 1, 1), (330, 4, 1, 8)), GREY


def hot() -> bytes:
    values = (GREY / 255).astype(np.float32)
    values[50, 60] = 1e6
    file = io.BytesIO()
    Image.fromarray(values).save(file, "TIFF")
    return file.getvalue()


def shown(image: Image.Image) -> Array:
    """As a viewer that knows colours shows it."""
    if (profile := image.info.get("icc_profile")) is None:
        return np.asarray(image, dtype=float)
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return np.asarray(ImageCms.profileToProfile(image, source, SRGB, outputMode="RGB"), dtype=float)
    except ImageCms.PyCMSError:
        return np.asarray(image, dtype=float)


def said(caught: list[warnings.WarningMessage]) -> str:
    return "; ".join(dict.fromkeys(str(w.message).removeprefix("the picture: ") for w in caught))


def main() -> None:
    print("| file | levels off | said |\n|---|--:|---|")
    for name, data, right in files():
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                back = vqcodec.decode(vqcodec.encode(io.BytesIO(data), lossless=True))
                off = f"{np.abs(shown(back) - right).mean():.1f}"
            except vqcodec.VQCError as error:
                off, message = "-", str(error).removeprefix("the picture: ")
                print(f"| {name} | {off} | error: {message} |", flush=True)
                continue
        print(f"| {name} | {off} | {said(caught)} |", flush=True)
    exif()
    disc()


def exif() -> None:
    thumbnail = io.BytesIO()
    Image.fromarray(PIXELS).resize((32, 24)).save(thumbnail, "JPEG")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        damaged = vqcodec.encode(io.BytesIO(saved("JPEG", exif=b"Exif\0\0no EXIF")), lossless=True)
        try:
            ImageOps.exif_transpose(vqcodec.decode(damaged))
            print("damaged EXIF: exif_transpose works")
        except SyntaxError as error:
            print(f"damaged EXIF: exif_transpose raises SyntaxError ({error})")
        turned = exif_of({0x112: 6, 0x8769: {0xA002: 128, 0xA003: 96}})
        back = vqcodec.decode(vqcodec.encode(io.BytesIO(saved("JPEG", exif=turned)), lossless=True))
        tags = back.getexif().get_ifd(0x8769)
        print(f"turned: {back.width}x{back.height}, EXIF says {tags.get(0xA002)}x{tags.get(0xA003)}")
        for name, storage in {"photometric 6": {262: 6}, "planar 2": {284: 2}, "width 1000": {256: 1000}}.items():
            image = vqcodec.decode(vqcodec.encode(io.BytesIO(saved("PNG", exif=exif_of(storage))), lossless=True))
            file = io.BytesIO()
            try:
                write_picture(image, file, ".tif")
                same = bool((np.asarray(Image.open(file)) == PIXELS).all())
                print(f"decoded to TIFF, EXIF with {name}: {'the same' if same else 'other'} pixels")
            except Exception as error:
                print(f"decoded to TIFF, EXIF with {name}: {type(error).__name__}")


def disc() -> None:
    y, x = np.indices((128, 128))
    radius = np.hypot(y - 64, x - 64)
    alpha = np.clip((40 - radius) * 64 + 128, 0, 255).astype(np.uint8)
    ink = np.array([30, 60, 200])
    colours = np.random.default_rng(0).integers(0, 256, (128, 128, 3)).astype(np.uint8)
    colours[alpha > 0] = ink
    pixels = np.dstack([colours, alpha])
    webp = io.BytesIO()
    Image.fromarray(pixels).save(webp, "WEBP", quality=60)
    data = vqcodec.encode(pixels, quality=60, effort=1)
    for name, size, back in (("ours", len(data), vqcodec.decode(data)), ("WebP", webp.tell(), Image.open(webp))):
        array = np.asarray(back, dtype=float)
        error = (np.abs(array[..., :3] - ink) * alpha[..., None] / 255)[(alpha > 0) & (radius > 36)].mean()
        print(f"disc over clear noise: {name} {size} bytes, edge {error:.1f} levels off")


if __name__ == "__main__":
    main()
