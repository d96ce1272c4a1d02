"""File name suffixes: ours, and those of pictures."""

from __future__ import annotations

FILE_SUFFIX, PICTURE_SUFFIX = (
    ".vqc",
    ".png",
)  # of what is encoded, and of what is decoded unless the output says otherwise
PICTURE_SUFFIXES = frozenset(  # taken from folders and tar shards; an input that is named is tried whatever its suffix
    {
        ".apng", ".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".j2c", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpf", ".jpg",
        ".jpx", ".pbm", ".pcx", ".pgm", ".png", ".pnm", ".ppm", ".psd", ".qoi", ".ras", ".sgi", ".tga", ".tif", ".tiff", ".webp",
    }
)  # fmt: skip
RAW_SUFFIXES = frozenset(  # of cameras; Pillow reads none of them
    {
        ".3fr",
        ".arw",
        ".cr2",
        ".cr3",
        ".dng",
        ".erf",
        ".iiq",
        ".nef",
        ".nrw",
        ".orf",
        ".pef",
        ".raf",
        ".rw2",
        ".srw",
        ".x3f",
    }
)
