"""The .vqc file: header, sections, checksums, entropy coding. NumPy and constriction only.

The entropy coder is `vqbitstream.entropy`; it alone imports constriction, so that the trainer runs without it.
"""

from .container import Contents, Section, pack, read_bytes, read_head, unpack
from .errors import CorruptError, LimitError, TruncatedError, UnsupportedError, VQCError
from .header import FORMAT_VERSION, MAGIC, Header, Tile, unpack_header
from .limits import Limits

__all__ = [
    "FORMAT_VERSION",
    "MAGIC",
    "Contents",
    "CorruptError",
    "Header",
    "LimitError",
    "Limits",
    "Section",
    "Tile",
    "TruncatedError",
    "UnsupportedError",
    "VQCError",
    "pack",
    "read_bytes",
    "read_head",
    "unpack",
    "unpack_header",
]
