"""What a web page needs to show .vqc files: the browser's modules, and the weights of a decoder."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import import_module
from pathlib import Path

from vqcodec.atomic import write
from vqcodec.models import store
from vqcodec.models.config import DECODER_SIZES
from vqcodec.models.store import ModelFile
from vqcodec.models.weights_file import ENCODER_PREFIXES, ModelError

MODULE_SUFFIXES = (".js", ".wasm", ".d.ts")


def browser_folder() -> Path:
    """Where `browser/` lies: in an installation beside this package, in a checkout beside `codec/`. Raises ModelError."""
    try:
        return Path(str(import_module("vqcodec.browser").__file__)).parent
    except ModuleNotFoundError:
        folder = Path(__file__).resolve().parents[3] / "browser"
    if not (folder / "src" / "vqc.js").exists():
        raise ModelError("the browser's modules are not installed")
    return folder


def module_files() -> dict[str, Path]:
    """The modules and kernels, by name."""
    found = (browser_folder() / "src").iterdir()
    return {path.name: path for path in sorted(found) if path.name.endswith(MODULE_SUFFIXES)}


@lru_cache(maxsize=4)
def decoder_weights(model: str | ModelFile) -> tuple[str, bytes]:
    """A weights file without the encoder.

    Args:
        model: A model's name, the path of a weights file, or a model that was found.

    Returns:
        The model id, 16 hexadecimal digits, and the file, which has the same id.

    Raises:
        VQCError: There is no such model.
    """
    from safetensors.numpy import save

    weights = store.load(model)
    tensors = {name: array for name, array in weights.tensors.items() if not name.startswith(ENCODER_PREFIXES)}
    sizes = {name: value for name, value in weights.config.to_dict().items() if name in DECODER_SIZES}
    return weights.model_id.hex(), save(tensors, metadata={"vqcodec_config": json.dumps(sizes, sort_keys=True)})


def write_web(folder: Path, model: str) -> list[Path]:
    """Write everything that a page needs into a folder: the modules, and `weights/ID.safetensors`.

    Args:
        folder: It is made if it does not exist; files of the same names are replaced.
        model: See `decoder_weights`.

    Returns:
        The files, the weights last.

    Raises:
        VQCError: There is no such model.
        OSError: The folder cannot be written.
    """
    model_id, weights = decoder_weights(model)
    (folder / "weights").mkdir(parents=True, exist_ok=True)
    contents = {name: path.read_bytes() for name, path in module_files().items()}
    contents[f"weights/{model_id}.safetensors"] = weights
    for name, data in contents.items():
        write(str(folder / name), lambda file, data=data: file.write(data), force=True)  # type: ignore[misc]
    return [folder / name for name in contents]
