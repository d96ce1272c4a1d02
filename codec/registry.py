"""Which weights there are, and loading them: a manifest, SHA-256, safetensors. Nothing is unpickled.

A model is named by its id, the first 8 bytes of the SHA-256 of its *decoder's* tensors in a canonical order, so a better
encoder leaves every file readable. Tensors of a weights file: `analysis.*`, `side_analysis.*`, `encoder.*` and perhaps
`bottleneck.*` (encoder only); `synthesis.*`, `prior.*`, `quantizer.*` (decoder).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from vqbitstream.errors import UnsupportedError, VQCError

from .files import write

Arrays = dict[str, npt.NDArray[Any]]
FLOATING_PREFIXES = ("analysis.", "side_analysis.", "synthesis.", "bottleneck.")
ENCODER_PREFIXES = ("analysis.", "side_analysis.", "encoder.", "bottleneck.")
DECODER_SIZES = (
    "groups", "side_channels", "side_up", "state", "reduce", "hidden", "synthesis_width", "synthesis_blocks",
)  # fmt: skip


class ModelError(VQCError):
    """A weights file is missing, damaged, or not ours."""


@dataclass(frozen=True)
class ModelEntry:
    """One shipped model: name, file name, SHA-256 of the file, id (hex, 16 digits), license."""

    name: str
    file: str
    sha256: str
    model_id: str
    license: str

    @property
    def path(self) -> Path:
        return Path(str(files("vqcodec.weights").joinpath(self.file)))

    @property
    def file_bytes(self) -> int:
        return self.path.stat().st_size


def model_id(tensors: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> bytes:
    """Id of a model, 8 bytes: the decoder's sizes, and its tensors by name, dtype, shape and little-endian contents, hashed."""
    sizes = {k: config[k] for k in DECODER_SIZES}
    digest = hashlib.sha256(json.dumps(sizes, sort_keys=True).encode())
    for name in sorted(tensors):
        if not name.startswith(ENCODER_PREFIXES):
            array = tensors[name]
            little = array.astype(array.dtype.newbyteorder("<"), copy=False)
            digest.update(f"{name} {little.dtype.str} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(little).tobytes())
    return digest.digest()[:8]


@lru_cache(maxsize=1)
def manifest() -> tuple[ModelEntry, ...]:
    """The shipped models, the default first."""
    try:
        text = files("vqcodec.weights").joinpath("manifest.json").read_text()
        return tuple(ModelEntry(**entry) for entry in json.loads(text)["models"])
    except (OSError, ValueError, KeyError, TypeError, ModuleNotFoundError) as error:
        raise ModelError(f"the manifest of shipped models cannot be read ({error})") from None


def write_weights(path: Path, tensors: Arrays, config: Mapping[str, Any]) -> bytes:
    """Write a weights file, through a temporary one, and return its model id."""
    from safetensors.numpy import save

    contiguous = {k: np.ascontiguousarray(v) for k, v in tensors.items()}
    data = save(contiguous, metadata={"vqcodec_config": json.dumps(config, sort_keys=True)})
    write(str(path), lambda file: file.write(data), force=True)
    return model_id(tensors, config)


def read_weights(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """Tensors and config of a weights file: what may become a network, and how large, is checked. Raises ModelError."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            config = (file.metadata() or {}).get("vqcodec_config")
            if config is None:
                raise ModelError(f"{path}: not a vqcodec weights file")
            tensors, sizes = {k: file.get_tensor(k) for k in file.keys()}, json.loads(config)  # noqa: SIM118
    except FileNotFoundError:
        raise ModelError(f"{path}: no such weights file") from None
    except (SafetensorError, OSError, ValueError, TypeError, RecursionError) as error:
        raise ModelError(f"{path}: not a readable weights file ({error})") from None
    if reason := _unsound(tensors, sizes):
        raise ModelError(f"{path}: not a sound weights file ({reason})")
    return tensors, sizes


def _unsound(tensors: Arrays, config: Any) -> str | None:
    """Why a file is not to become a network: sizes that would fill the memory, numbers that are none."""
    for name in DECODER_SIZES:
        size = config.get(name) if isinstance(config, dict) else None
        numbers, most = (size, 1024) if name == "groups" else ([size], 16 if name == "synthesis_blocks" else 1024)
        if not (isinstance(numbers, list) and len(numbers) <= 16 and all(type(n) is int for n in numbers)):
            return f"{name} is {str(size)[:20]}"
        if not all(1 <= n <= most for n in numbers):
            return f"{name} is outside 1..{most}"
    for name, array in tensors.items():
        if array.dtype.kind not in ("f" if name.startswith(FLOATING_PREFIXES) else "iu"):
            return f"{name} is {array.dtype}"
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            return f"{name} is not finite"
    codes = tensors.get("encoder.step_codes")
    if codes is not None and codes.dtype != np.uint16:
        return f"encoder.step_codes is {codes.dtype}"
    sigma = tensors.get("bottleneck.sigma")
    if sigma is not None and sigma.shape != (sum(config["groups"]),):
        return "the bottleneck is another model's"
    return None


@dataclass(frozen=True)
class UserModel:
    """A model that the user trained or added: name, id (hex), file NAME-ID.safetensors in the user's folder."""

    name: str
    model_id: str
    path: Path


def user_folder() -> Path:
    """Where the user's models are: $VQCODEC_MODELS, or the platform's folder for application data."""
    given = os.environ.get("VQCODEC_MODELS")
    if given:
        return Path(given)
    from platformdirs import user_data_path

    return user_data_path("vqcodec", appauthor=False) / "models"


def make_folder() -> Path:
    """The user's folder, made if it is not there. Raises ModelError where no model can be written to it."""
    folder = user_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(f"{folder}: no folder for models ({error.strerror})") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ModelError(f"{folder}: no model can be written there")
    return folder


def user_models() -> list[UserModel]:
    """By name."""
    found = []
    for path in sorted(user_folder().glob("*.safetensors")):
        match = re.fullmatch(r"(.+)-([0-9a-f]{16})", path.stem)
        if match:
            found.append(UserModel(match[1], match[2], path))
    return found


def check_new_name(name: str) -> None:
    """Raises ModelError unless a model may be called so, and none is."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name) or name.endswith(".safetensors"):
        raise ModelError(f"{name!r} is no name for a model: up to 64 letters, digits, dots, dashes and underscores")
    if name in {"default", *(e.name for e in manifest()), *(m.name for m in user_models())}:
        raise ModelError(f"there is a model named {name!r} already, which files may need; choose another name")


def add(source: Path, name: str) -> UserModel:
    """Copy a weights file into the user's folder, under a name that no other model has. Raises ModelError."""
    identity = model_id(*read_weights(source)).hex()
    check_new_name(name)
    path = make_folder() / f"{name}-{identity}.safetensors"
    with source.open("rb") as weights:
        write(str(path), lambda file: shutil.copyfileobj(weights, file), force=True)
    return UserModel(name, identity, path)


def remove(name: str) -> UserModel:
    """Delete a model of the user's: files made with it cannot be read until it is added again. Raises ModelError."""
    own = user_models()
    for model in own:
        if model.name == name:
            model.path.unlink()
            return model
    raise ModelError(f"no model of yours is named {name!r}; there are: {', '.join(m.name for m in own) or 'none'}")


def find(name: str | Path) -> tuple[Path, str | None]:
    """Path and expected SHA-256 (None for a file of the user's) of a model by name or path. Raises ModelError."""
    for number, entry in enumerate(manifest()):
        if name == entry.name or (name == "default" and number == 0):
            return entry.path, entry.sha256
    for own in user_models():
        if name == own.name:
            return own.path, None
    path = Path(name)
    if path.suffix == ".safetensors" or path.exists():
        return path, None
    names = [*(e.name for e in manifest()), *(m.name for m in user_models())]
    raise ModelError(f"no model named {name!r}; there are: {', '.join(names)}")


def find_id(wanted: bytes) -> str:
    """Name of the model with this id, shipped or the user's. Raises UnsupportedError."""
    named = wanted.hex()
    known: list[ModelEntry | UserModel] = [*manifest(), *user_models()]
    for entry in known:
        if entry.model_id == wanted.hex():
            if entry.path.exists():
                return entry.name
            named = f"{named} ({entry.name})"
    raise UnsupportedError(
        f"the file needs model {named}, which is not installed; add its weights with: vqcodec models add FILE"
    )


def load(name: str | Path) -> tuple[Arrays, dict[str, Any]]:
    """Tensors and config of a model by name or path, its checksum verified where the manifest has one."""
    path, expected = find(name)
    if expected is not None:
        try:
            actual = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise ModelError(f"{path}: {error.strerror}") from None
        if actual != expected:
            raise ModelError(f"{path}: SHA-256 is {actual[:12]}…, the manifest says {expected[:12]}…")
    return read_weights(path)
