"""The .vqc file: everything between its bytes and the integers of the latent, the same on every machine.

Needs NumPy and constriction, nothing else. Only `vqbitstream.entropy` imports constriction, so that the trainer runs without it.
"""

from vqbitstream.container import Contents, File, Section, pack, read_bytes, read_head, unpack
from vqbitstream.errors import CorruptError, LimitError, TruncatedError, UnsupportedError, VQCError
from vqbitstream.geometry import Rect
from vqbitstream.header import FORMAT_VERSION, MAGIC, Header, unpack_header
from vqbitstream.limits import Limits

__all__ = [
    "FORMAT_VERSION",
    "MAGIC",
    "Contents",
    "CorruptError",
    "File",
    "Header",
    "LimitError",
    "Limits",
    "Rect",
    "Section",
    "TruncatedError",
    "UnsupportedError",
    "VQCError",
    "pack",
    "read_bytes",
    "read_head",
    "unpack",
    "unpack_header",
]
