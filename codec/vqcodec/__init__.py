"""vqcodec: a learned image codec that writes real files.

    import vqcodec
    data = vqcodec.encode("photo.png", quality=50)
    image = vqcodec.decode(data)

Importing this takes well under 0.2 s. Decoding runs on NumPy; only efforts 2 to 9, training and GPUs need PyTorch.
"""

from vqbitstream.errors import CorruptError, LimitError, TruncatedError, UnsupportedError, VQCError
from vqbitstream.limits import Limits

from vqcodec.api import FileInfo, decode, decode_tensor, encode, info, load_model
from vqcodec.coding.quality import TargetError
from vqcodec.models.weights_file import ModelError
from vqcodec.pictures.planes import ImageError

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
    "decode_tensor",
    "encode",
    "info",
    "load_model",
    "register_pillow_plugin",
]


def register_pillow_plugin() -> None:
    """Let Pillow open and save .vqc files: `Image.open("x.vqc")`, `image.save("x.vqc", quality=50, effort=5)`.

    The same as `import vqcodec.pillow_plugin`. Calling it again changes nothing.
    """
    from vqcodec.pillow_plugin import register

    register()


def __dir__() -> list[str]:
    return __all__
