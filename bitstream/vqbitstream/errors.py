"""Everything that can be wrong with a file."""

from __future__ import annotations


class VQCError(Exception):
    """The only exception that a bad file can raise. The message is one line, for people."""

    def __init__(self, message: str = "") -> None:
        super().__init__(" ".join(message.split()))


class CorruptError(VQCError):
    """The bytes contradict themselves: a checksum, a length or a value that no encoder writes."""


class TruncatedError(CorruptError):
    """The file ends before its contents do."""


class UnsupportedError(VQCError):
    """A sound file that this installation cannot read: a newer format version or a model that is not here."""


class LimitError(VQCError):
    """The file or picture exceeds `Limits`. It was refused before anything was allocated."""
