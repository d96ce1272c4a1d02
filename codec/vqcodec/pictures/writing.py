"""Planes to pictures, and pictures to files of other formats, with as much metadata as these can hold."""

from __future__ import annotations

import warnings
from io import BytesIO
from typing import IO, Any

from PIL import Image, ImageCms
from PIL.PngImagePlugin import MAX_TEXT_CHUNK, PngInfo

from vqcodec.pictures.exif import cleaned, descriptive
from vqcodec.pictures.metadata import EXIF_HEADER, pillow_info
from vqcodec.pictures.planes import ImageError, Planes
from vqcodec.pictures.reading import reason

_XMP_TAG = 700  # TIFF
WRITABLE = {  # format -> whether it keeps alpha, and which metadata
    "PNG": (True, {"icc_profile", "exif", "xmp"}), "WEBP": (True, {"icc_profile", "exif", "xmp"}),
    "AVIF": (True, {"icc_profile", "exif", "xmp"}), "TIFF": (True, {"icc_profile", "exif", "xmp"}),
    "JPEG": (False, {"icc_profile", "exif", "xmp"}), "JPEG2000": (True, set()), "TGA": (True, set()), "BMP": (False, set()),
    "PPM": (False, set()),
}  # fmt: skip
LOSSY_QUALITY, FULL_COLOUR_FROM = 95, 90
PNG_LEVEL = 1  # of zlib: a decoded photograph is 2 % larger than at Pillow's 6, and written in a third of the time
_JPEG_SEGMENT_BYTES = 65533 - 64  # of EXIF or XMP, with room for their headers
_NAMES = {"icc_profile": "ICC profile", "exif": "EXIF", "xmp": "XMP"}


def from_planes(planes: Planes) -> Image.Image:
    """Planes to an L, LA, RGB or RGBA image, whose `info` has icc_profile, exif and xmp, those that are present."""
    image = Image.fromarray(planes.colour)
    if planes.alpha is not None:
        image.putalpha(Image.fromarray(planes.alpha))
    image.info.update(pillow_info(planes.metadata, image.size, "the file"))
    return image


def fitted(image: Image.Image, size: tuple[int, int], max_size: int) -> Image.Image:
    """A picture, or a smaller version of it, scaled down to a longest side of `max_size` pixels; never enlarged.

    Args:
        image: The picture, or the smaller version.
        size: Width and height of the picture.
        max_size: Of the result.
    """
    share = max_size / max(size)
    if share >= 1:
        return image
    width, height = (max(1, round(side * share)) for side in size)
    if image.size == (width, height):
        return image
    small = image.resize((width, height), Image.Resampling.LANCZOS)
    if exif := small.info.get("exif"):
        small.info["exif"] = EXIF_HEADER + cleaned(exif.removeprefix(EXIF_HEADER), small.size)
    return small


def check_suffix(suffix: str) -> str:
    """Pillow's name of the format for a suffix such as ".png". Raises ImageError if there is none."""
    kind = Image.registered_extensions().get(suffix)
    if kind not in WRITABLE:
        raise ImageError(f"no pictures are written with the suffix {suffix!r}; there are {', '.join(WRITABLE)}")
    return kind


def write_picture(image: Image.Image, file: IO[bytes], suffix: str, *, quality: int | None = None) -> None:
    """Write a decoded picture with its metadata. Warns of metadata that the format cannot hold.

    Args:
        image: The picture.
        file: Where to write it.
        suffix: Chooses the format, such as ".png".
        quality: Of JPEG, WebP and AVIF, 1..100; 95 by default.

    Raises:
        ImageError: The format is not one of `WRITABLE`, or it cannot hold the picture.
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
    if kind == "WEBP" or (kind == "AVIF" and image.mode == "LA"):  # these have no grey
        plain = _coloured(plain, options)
    if kind == "TIFF":
        _use_tiff_tags(options)
    if "xmp" in options and kind == "PNG":
        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", options.pop("xmp").decode("utf-8", "replace"))
        options["pnginfo"] = text
    if kind in ("JPEG", "WEBP", "AVIF"):
        options["quality"] = LOSSY_QUALITY if quality is None else quality
    if kind == "JPEG" and options["quality"] >= FULL_COLOUR_FROM:
        options["subsampling"] = 0
    elif kind == "PNG":
        options["compress_level"] = PNG_LEVEL
    try:
        plain.save(file, format=kind, **options)
    except Exception as error:  # Pillow's writers parse EXIF, and raise almost anything on a damaged one
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno):
            raise
        if "exif" not in options:
            raise ImageError(f"{kind} cannot hold this picture ({reason(error)})") from None
        warnings.warn(f"EXIF left out: {kind} cannot hold it", stacklevel=3)
        file.seek(0)
        file.truncate()
        bare = image.copy()
        del bare.info["exif"]
        write_picture(bare, file, suffix, quality=quality)


def _use_tiff_tags(options: dict[str, Any]) -> None:
    """EXIF and XMP as tags of a TIFF. Its writer takes any tag of EXIF for one of its own, so only those that describe the picture."""
    tags = Image.Exif()
    if "exif" in options:
        try:
            tags.load(options["exif"])
            tags = descriptive(tags)
        except Exception:  # whatever Pillow's parser raises on damage: its writer will say so
            return
    if "xmp" in options:
        tags[_XMP_TAG] = options.pop("xmp")
    if len(tags):
        options["exif"] = tags.tobytes()


def _coloured(image: Image.Image, options: dict[str, Any]) -> Image.Image:
    """A grey picture with a profile of grey as one in sRGB; any other as it is. The profile leaves the options."""
    profile = options.get("icc_profile", b"")
    if image.mode not in ("L", "LA") or profile[16:20] != b"GRAY":
        return image
    del options["icc_profile"]
    try:
        source, srgb = ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB")
        colours = ImageCms.profileToProfile(image.getchannel("L"), source, srgb, outputMode="RGB")
        assert colours is not None
    except (ImageCms.PyCMSError, OSError):
        warnings.warn("ICC profile left out: it is not usable", stacklevel=4)
        return image
    colours.info = {}
    if image.mode == "LA":
        colours.putalpha(image.getchannel("A"))
    return colours
