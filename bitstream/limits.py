"""Caps that are checked against the header before anything is allocated."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import LimitError


@dataclass(frozen=True)
class Limits:
    """What a reader or writer is willing to handle. Raise a limit by passing another instance.

    max_metadata_bytes: of ICC profile, EXIF and XMP, each, as they are outside the file.
    """

    max_pixels: int = 128_000_000
    max_side_px: int = 65_535
    max_file_bytes: int = 1 << 30
    max_layers: int = 64
    max_metadata_bytes: int = 1 << 24

    def check_size(self, width: int, height: int) -> None:
        """Raises LimitError if a picture of this size is not acceptable."""
        if max(width, height) > self.max_side_px:
            raise LimitError(f"{width}x{height}: a side is longer than the limit of {self.max_side_px} pixels")
        if width * height > self.max_pixels:
            raise LimitError(f"{width}x{height} is {width * height} pixels, over the limit of {self.max_pixels}")

    def check_file(self, file_bytes: int) -> None:
        """Raises LimitError if a file of this many bytes is not acceptable."""
        if file_bytes > self.max_file_bytes:
            raise LimitError(f"file of {file_bytes} bytes, over the limit of {self.max_file_bytes}")

    def check_layers(self, layers: int) -> None:
        """Raises LimitError if a file of this many layers is not acceptable."""
        if layers > self.max_layers:
            raise LimitError(f"{layers} layers, over the limit of {self.max_layers}")

    def check_metadata(self, name: str, metadata_bytes: int) -> None:
        """Raises LimitError if a piece of metadata of this many bytes is not acceptable."""
        if metadata_bytes > self.max_metadata_bytes:
            raise LimitError(f"{name} of more than the limit of {self.max_metadata_bytes} bytes")
