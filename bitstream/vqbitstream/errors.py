"""Everything that can be wrong with a file."""

from __future__ import annotations

import re

# What a terminal obeys or hides: control characters, line separators, changes of direction, bytes that are not UTF-8
_UNSEEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    r"""A text from outside, such as a file's name, in one line that a terminal shows as it is.

    Returns:
        The text. Control characters, and bytes of a name that are not UTF-8, are written as in Python: ``\x1b``.
    """
    return _UNSEEN.sub(lambda match: _escaped(match[0]), text)


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte that is not UTF-8, as `os.fsdecode` gives it
        character = chr(ord(character) - 0xDC00)
    return character.encode("unicode_escape").decode()


class VQCError(Exception):
    """The only exception that a bad file can raise. The message is one line, for people; see `visible`."""

    def __init__(self, message: str = "") -> None:
        super().__init__(visible(message))


class CorruptError(VQCError):
    """The bytes contradict themselves: a checksum, a length or a value that no encoder writes."""


class TruncatedError(CorruptError):
    """The file ends before its contents do."""


class UnsupportedError(VQCError):
    """A sound file that this installation cannot read: a newer format version or a model that is not here."""


class LimitError(VQCError):
    """The file or picture exceeds `Limits`. It was refused before anything was allocated."""
