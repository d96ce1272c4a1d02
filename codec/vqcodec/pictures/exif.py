"""EXIF (a TIFF structure): what of it says anything about a picture that is stored otherwise and turned upright.

Tags are taken out in place: what stays keeps its offset, on which makers' own notes depend.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from PIL import Image
from PIL.ExifTags import IFD

ORIENTATION = 0x0112
_DESCRIPTIVE = (
    0x010E,
    0x010F,
    0x0110,
    0x0131,
    0x0132,
    0x013B,
    0x8298,
)  # description, camera, software, date, artist, rights
# How a file stores its pixels (TIFF 6.0, its supplements, DNG), its own colour profile and XMP: nothing of it holds here
_STORAGE = frozenset(
    {*range(254, 260), *range(262, 267), 273, *range(277, 282), 284, *range(288, 294), 301, *range(317, 326), 330}
    | {*range(332, 348), *range(512, 522), *range(529, 533), 700, 34675, *range(50706, 51200), *range(52525, 52600)}
)
_DIMENSIONS = {0xA002: 0, 0xA003: 1}  # of the Exif IFD -> index into (width, height)
_THUMBNAIL, _THUMBNAIL_BYTES = 0x0201, 0x0202
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}  # of a value of each type
_WHOLE = {3: "H", 4: "I", 8: "h", 9: "i"}  # types that a whole number is read from


class DamagedExif(ValueError):
    """The structure cannot be read."""


class _Entry(NamedTuple):
    tag: int
    kind: int
    values: int
    at: int  # where the value, or its offset, lies


def cleaned(exif: bytes, size: tuple[int, int]) -> bytes:
    """EXIF for a picture that is upright and has this size.

    Orientation becomes 1 and the dimensions those given. Left out: the thumbnail, tags that say how the pixels were stored, and
    tags whose values lie outside. Other bytes stay where they are.

    Args:
        exif: The structure without its "Exif" header.
        size: Width and height in pixels.

    Returns:
        As long as `exif`, or shorter if a thumbnail was its end; empty if nothing is left.

    Raises:
        DamagedExif: There is no such structure.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None or len(exif) < 8:
        raise DamagedExif("no TIFF structure")
    editor = _Editor(bytearray(exif), order)
    following = editor.prune(editor.number(4), _STORAGE)
    for tag in (IFD.Exif, IFD.GPSInfo):
        for entry in editor.entries(editor.number(4)):
            if entry.tag == tag:
                editor.prune_quietly(editor.number(entry.at), entry.tag)
    editor.set_whole(editor.number(4), {ORIENTATION: 1})
    for entry in list(editor.entries(editor.number(4))):
        if entry.tag == IFD.Exif:
            editor.set_whole(editor.number(entry.at), {tag: size[axis] for tag, axis in _DIMENSIONS.items()})
    if following:
        editor.drop_thumbnail(following)
    return bytes(editor.data) if any(True for _ in editor.entries(editor.number(4))) else b""


class _Editor:
    """Changes an EXIF structure in place.

    Args:
        data: The structure.
        order: Its byte order, "<" or ">".
    """

    def __init__(self, data: bytearray, order: str) -> None:
        self.data, self.order = data, order

    def number(self, at: int, kind: str = "I") -> int:
        """A number somewhere. Raises DamagedExif if it lies outside."""
        try:
            return int(struct.unpack_from(self.order + kind, self.data, at)[0])
        except struct.error:
            raise DamagedExif("cut short") from None

    def entries(self, offset: int) -> Iterator[_Entry]:
        """The entries of an IFD. Raises DamagedExif if they lie outside."""
        end = offset + 2 + 12 * self.number(offset, "H")
        if end > len(self.data):
            raise DamagedExif("cut short")
        for at in range(offset + 2, end, 12):
            yield _Entry(self.number(at, "H"), self.number(at + 2, "H"), self.number(at + 4), at + 8)

    def whole(self, entry: _Entry) -> bool:
        """Whether its value is read without a mistake: of a known type, and inside."""
        length = _BYTES.get(entry.kind, 0) * entry.values
        return bool(_BYTES.get(entry.kind)) and (length <= 4 or self.number(entry.at) + length <= len(self.data))

    def prune(self, offset: int, tags: Iterable[int] = ()) -> int:
        """Take entries out of an IFD, and the offset of the IFD after it, which is returned (0: none)."""
        entries = list(self.entries(offset))
        end = offset + 2 + 12 * len(entries)
        following = self.number(end) if end + 4 <= len(self.data) else 0
        kept = b"".join(self.data[e.at - 8 : e.at + 4] for e in entries if e.tag not in tags and self.whole(e))
        room = min(end + 4, len(self.data)) - offset - 2
        self.data[offset : offset + 2] = struct.pack(self.order + "H", len(kept) // 12)
        self.data[offset + 2 : offset + 2 + room] = kept + bytes(room - len(kept))
        return following

    def prune_quietly(self, offset: int, pointer: int) -> None:
        """Prune an IFD that another points to; if it is damaged, that pointer goes."""
        try:
            self.prune(offset)
        except DamagedExif:
            self.prune(self.number(4), {pointer})

    def set_whole(self, offset: int, values: dict[int, int]) -> None:
        """Set whole numbers that an IFD has; those it lacks stay away."""
        for entry in self.entries(offset):
            if entry.tag in values and entry.kind in _WHOLE:
                form = _WHOLE[entry.kind]
                value = min(values[entry.tag], 2 ** (8 * struct.calcsize(form) - (form in "hi")) - 1)
                struct.pack_into(self.order + form, self.data, entry.at, value)

    def drop_thumbnail(self, offset: int) -> None:
        """Wipe the second IFD and the picture that it points to; cut the structure where they were its end."""
        try:
            own = {e.tag: self.number(e.at) for e in self.entries(offset) if e.tag in (_THUMBNAIL, _THUMBNAIL_BYTES)}
            end = offset + 2 + 12 * self.number(offset, "H") + 4
        except DamagedExif:
            return
        wiped = [(offset, end)]
        if len(own) == 2 and own[_THUMBNAIL] > 8:
            wiped.append((own[_THUMBNAIL], own[_THUMBNAIL] + own[_THUMBNAIL_BYTES]))
        used = self._used()
        for start, stop in sorted(wiped, reverse=True):
            if any(a < stop and start < b for a, b in used):
                continue  # hostile, or odd: somebody else's bytes
            if stop >= len(self.data) and not any(b > start for _, b in used):
                del self.data[start:]
            else:
                stop = min(stop, len(self.data))
                self.data[start:stop] = bytes(max(0, stop - start))

    def _used(self) -> list[tuple[int, int]]:
        """Where the IFDs that stay, and their values, lie."""
        spans, offsets = [(0, 8)], [self.number(4)]
        for offset in offsets:
            entries = list(self.entries(offset))
            spans.append((offset, offset + 2 + 12 * len(entries)))
            for entry in entries:
                length = _BYTES[entry.kind] * entry.values
                if length > 4:
                    spans.append((self.number(entry.at), self.number(entry.at) + length))
                if entry.tag in (IFD.Exif, IFD.GPSInfo) and len(offsets) < 3:
                    offsets.append(self.number(entry.at))
        return spans


def descriptive(tags: Image.Exif) -> Image.Exif:
    """Only the tags that describe the picture, for formats (TIFF) whose tags also say how it is stored."""
    kept = Image.Exif()
    for tag in _DESCRIPTIVE:
        if tag in tags:
            value = tags[tag]
            kept[tag] = value.encode("latin-1", "replace") if isinstance(value, str) else value  # as Pillow read it
    for ifd in (IFD.Exif, IFD.GPSInfo):
        if values := tags.get_ifd(ifd):
            kept[ifd] = values
    return kept
