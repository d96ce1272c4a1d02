"""The .vqc file as one of Pillow's formats. Importing this module registers it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Real
from typing import IO, Any

import vqbitstream
from PIL import Image, ImageFile
from vqbitstream.errors import VQCError
from vqbitstream.limits import Limits

from vqcodec import api
from vqcodec.coding.defaults import DEFAULT_QUALITY, DEFAULT_TUNE
from vqcodec.pictures.hidden import filled
from vqcodec.pictures.metadata import INFO_KEYS, pillow_info
from vqcodec.pictures.reading import to_planes

FORMAT, MIME_TYPE, SUFFIX = "VQC", "image/x-vqc", ".vqc"
DRAFT_SCALES = (2, 4, 8, 16)
SAVE_OPTIONS = frozenset({
    "quality", "tune", "effort", "lossless", "keep_hidden", "force_sdr", "icc_profile", "exif", "xmp", "save_all", "append_images"
})  # fmt: skip
_ANY_PIXELS, _ANY_SIDE_PX = 1 << 40, 1 << 32  # more than any memory holds


@contextmanager
def _as_os_errors() -> Iterator[None]:
    """Turns a VQCError into the OSError that Pillow's users expect."""
    try:
        yield
    except VQCError as error:
        raise OSError(str(error)) from error


def _limits(max_pixels: int | None) -> Limits:
    """Only the number of pixels is limited, as Pillow does it."""
    return Limits(max_pixels=_ANY_PIXELS if max_pixels is None else max_pixels, max_side_px=_ANY_SIDE_PX)


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(vqbitstream.MAGIC)


class VQCImageFile(ImageFile.ImageFile):
    """A .vqc file that Pillow has opened. Header and metadata are read at once, the pixels by `load()`.

    `info` has icc_profile, exif and xmp, those that are present. Anything wrong with the file is an OSError. If
    `ImageFile.LOAD_TRUNCATED_IMAGES` is set, the intact part of a damaged file is shown.
    """

    format = FORMAT
    format_description = "vqcodec image"
    # Of the file in `fp`, until it is loaded. `tile` stays empty: Pillow's Parser would look for a decoder of its own
    _offset: int | None = None

    def _open(self) -> None:
        assert self.fp is not None
        offset = self.fp.tell()
        with _as_os_errors():  # Image.open compares the size with MAX_IMAGE_PIXELS next
            header, metadata = vqbitstream.read_head(self.fp, _limits(None), partial=ImageFile.LOAD_TRUNCATED_IMAGES)
        self._mode = header.mode
        self._size = header.width, header.height
        self._scale = 1
        self.info.update(pillow_info(metadata, self.size, "the file"))
        self._offset = offset

    def draft(self, mode: str | None, size: tuple[int, int] | None) -> tuple[str, tuple[int, int, float, float]] | None:
        """Choose a picture that is 2, 4, 8 or 16 times smaller; its pixels alone are computed.

        Args:
            mode: Ignored.
            size: Smallest width and height that will do.

        Returns:
            Mode and box, as Pillow's JPEG reader returns them, or None if there is nothing to choose.
        """
        if self._offset is None or self._scale > 1 or not size:
            return None
        width, height = self.size
        largest = min(width // max(1, size[0]), height // max(1, size[1]))
        if scales := [scale for scale in DRAFT_SCALES if scale <= largest]:
            self._scale = scales[-1]
        self._size = -(-width // self._scale), -(-height // self._scale)
        return self.mode, (0, 0, width / self._scale, height / self._scale)

    def load(self) -> Any:
        """Decode the picture, once."""
        if self._offset is not None and self._im is None:
            limit = Image.MAX_IMAGE_PIXELS
            limits = _limits(None if limit is None else 2 * limit)  # from there on Pillow raises too
            data = self._read()
            with _as_os_errors():
                decoded = api.decode(
                    data, scale=1 / self._scale, allow_partial=ImageFile.LOAD_TRUNCATED_IMAGES, limits=limits
                )
            self.im, self.readonly, self._offset = decoded.im, decoded.readonly, None
            self._leave_file()
        return super().load()

    def verify(self) -> None:
        """Check every checksum without decoding. Open the file again to load it. Raises OSError for a damaged file."""
        data = self._read()
        with _as_os_errors():
            vqbitstream.unpack(data, _limits(None))
        super().verify()

    def _read(self) -> bytes:
        """The whole file, whose size was checked when it was opened."""
        if self.fp is None or self._offset is None:
            raise ValueError("Operation on closed image")
        self.fp.seek(self._offset)
        return self.fp.read()

    def _leave_file(self) -> None:
        if self.fp is not None and self._exclusive_fp:
            self.fp.close()
        self.fp = None


def _save(image: Image.Image, file: IO[bytes], _: str | bytes) -> None:
    """Save a picture.

    Its options, as in `vqcodec.encode`: quality 1..100 (75), tune "eye" or "psnr", effort 1..9, lossless, keep_hidden, force_sdr; also
    icc_profile (the image's), exif (bytes or Image.Exif) and xmp.
    """
    options = image.encoderinfo
    if unknown := sorted(set(options) - SAVE_OPTIONS):
        raise ValueError(f"{', '.join(unknown)}: no option of .vqc here; there are {', '.join(sorted(SAVE_OPTIONS))}")
    quality = options.get("quality", DEFAULT_QUALITY)
    if not isinstance(quality, Real):
        raise ValueError(f"quality must be a number in 1..100, not {quality!r}")
    info: dict[str, Any] = {key: options.get(key) for key in INFO_KEYS.values()}
    info["icc_profile"] = options.get("icc_profile", image.info.get("icc_profile"))
    if isinstance(info["exif"], Image.Exif):
        info["exif"] = info["exif"].tobytes()
    for key, value in info.items():
        if not isinstance(value, bytes | None if key != "xmp" else bytes | str | None):
            raise ValueError(f"{key} must be bytes, not {type(value).__name__}")
    with _as_os_errors():
        planes = to_planes(image, _limits(None), force_sdr=bool(options.get("force_sdr")), info=info)
        if not (options.get("keep_hidden") or options.get("lossless")):
            planes = filled(planes)
        data, _stats = api.load_model().encode_planes(
            planes, quality=float(quality), tune=options.get("tune", DEFAULT_TUNE), effort=options.get("effort"),
            exact="all" if options.get("lossless") else "auto",
        )  # fmt: skip
    file.write(data)


def _save_all(image: Image.Image, file: IO[bytes], name: str | bytes) -> None:
    if image.encoderinfo.get("append_images") or getattr(image, "n_frames", 1) > 1:
        raise ValueError("a .vqc file holds one picture: save_all and append_images cannot be kept")
    _save(image, file, name)


def register() -> None:
    """Let Pillow open and save .vqc files. Calling it again changes nothing."""
    Image.register_open(FORMAT, VQCImageFile, _accept)
    Image.register_save(FORMAT, _save)
    Image.register_save_all(FORMAT, _save_all)
    Image.register_extension(FORMAT, SUFFIX)
    Image.register_mime(FORMAT, MIME_TYPE)


register()
