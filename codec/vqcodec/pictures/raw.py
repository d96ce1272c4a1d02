"""RAW files of cameras. Pillow reads none of them, but takes the thumbnail that many begin with for the picture."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from vqcodec.pictures.suffixes import RAW_SUFFIXES

ADVICE = "develop it first, for example with rawpy"
_NEW_SUBFILE_TYPE, _SUB_IFDS, _DNG_VERSION = 254, 330, 50706  # TIFF tags
_REDUCED = 1  # bit of the NewSubfileType: a smaller version of another picture in the file


def unreadable(name: str) -> str:
    """Why a file that Pillow does not know cannot be read, in a few words."""
    return f"a RAW photograph; {ADVICE}" if _is_named_raw(name) else "not a picture that Pillow can read"


def thumbnail_alone(opened: Image.Image, name: str) -> str | None:
    """Why what Pillow opened is only the thumbnail of a RAW photograph, in a few words; None if it is not.

    Args:
        opened: An open file. TIFF is the only format that RAW files pass for (DNG, NEF, CR2, ARW and others are such).
        name: Of the file.
    """
    tags = getattr(opened, "tag_v2", None)
    if opened.format != "TIFF" or tags is None:
        return None
    reduced = isinstance(kind := tags.get(_NEW_SUBFILE_TYPE, 0), int) and kind & _REDUCED and _SUB_IFDS in tags
    if not (_is_named_raw(name) or _DNG_VERSION in tags or reduced):
        return None
    return f"a RAW photograph, of which Pillow reads only a thumbnail ({opened.width}x{opened.height}); {ADVICE}"


def _is_named_raw(name: str) -> bool:
    return Path(name).suffix.lower() in RAW_SUFFIXES
