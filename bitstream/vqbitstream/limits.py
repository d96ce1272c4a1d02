"""Caps that are checked against the header before anything is allocated."""

from __future__ import annotations

from dataclasses import dataclass

from vqbitstream.errors import LimitError


@dataclass(frozen=True)
class Limits:
    """What a reader or writer accepts. Make another instance to raise a limit.

    Attributes:
        max_pixels: Width times height.
        max_side_px: Of the width and of the height.
        max_file_bytes: Of the whole file.
        max_layers: Of the progressive stream.
        max_metadata_bytes: Of ICC profile, EXIF and XMP, each, uncompressed.
    """

    max_pixels: int = 128_000_000
    max_side_px: int = 65_535
    max_file_bytes: int = 1 << 30
    max_layers: int = 64
    max_metadata_bytes: int = 1 << 24

    def check_size(self, width: int, height: int) -> None:
        """Raises LimitError if a picture of this size is too large."""
        if max(width, height) > self.max_side_px:
            raise LimitError(f"{width}x{height}: a side is longer than the limit of {self.max_side_px} pixels")
        if width * height > self.max_pixels:
            raise LimitError(f"{width}x{height} is {width * height} pixels, over the limit of {self.max_pixels}")

    def check_file(self, file_bytes: int) -> None:
        """Raises LimitError if a file of this many bytes is too large."""
        if file_bytes > self.max_file_bytes:
            raise LimitError(f"file of {file_bytes} bytes, over the limit of {self.max_file_bytes}")

    def check_layers(self, layers: int) -> None:
        """Raises LimitError if a file has too many layers."""
        if layers > self.max_layers:
            raise LimitError(f"{layers} layers, over the limit of {self.max_layers}")

    def check_metadata(self, name: str, metadata_bytes: int) -> None:
        """Raises LimitError if a piece of metadata is too large."""
        if metadata_bytes > self.max_metadata_bytes:
            raise LimitError(f"{name} of more than the limit of {self.max_metadata_bytes} bytes")


BOUNDLESS = Limits(1 << 64, 1 << 32, 1 << 64, 255, 1 << 64)  # for what this program has just written
