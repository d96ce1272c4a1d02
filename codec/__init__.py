"""vqcodec: a learned image codec that writes real files.

    import vqcodec
    data = vqcodec.encode("photo.png", quality=50)
    image = vqcodec.decode(data)

Importing this is cheap: torch is loaded by the first encode or decode.
"""

from vqbitstream.errors import CorruptError, LimitError, TruncatedError, UnsupportedError, VQCError
from vqbitstream.limits import Limits

from .api import FileInfo, decode, encode, info, load_model
from .image import ImageError
from .registry import ModelError
from .targets import TargetError

__version__ = "0.1.0"
__all__ = [
    "CorruptError",
    "FileInfo",
    "ImageError",
    "LimitError",
    "Limits",
    "ModelError",
    "TargetError",
    "TruncatedError",
    "UnsupportedError",
    "VQCError",
    "__version__",
    "decode",
    "encode",
    "info",
    "load_model",
    "register_pillow_plugin",
]


def register_pillow_plugin() -> None:
    """Make Pillow open and save .vqc files: `Image.open("x.vqc")`, `image.save("x.vqc", quality=50, effort=5)`.

    The same as `import vqcodec.pillow_plugin`; doing it again changes nothing. No torch before the first picture.
    """
    from .pillow_plugin import register

    register()
