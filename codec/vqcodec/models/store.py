"""Which models are installed, shipped ones and the user's; finds one by name or by the id in a file."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from vqbitstream.errors import UnsupportedError

from vqcodec.atomic import write
from vqcodec.models.config import ModelConfig
from vqcodec.models.weights_file import Arrays, ModelError, model_id, read_weights


@dataclass(frozen=True)
class ModelEntry:
    """A shipped model.

    Attributes:
        name: By which users call it.
        file: Name of the weights file.
        sha256: Of the file, hexadecimal.
        model_id: 16 hexadecimal digits.
        license: SPDX identifier.
    """

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


@lru_cache(maxsize=1)
def manifest() -> tuple[ModelEntry, ...]:
    """The shipped models, the default first."""
    try:
        text = files("vqcodec.weights").joinpath("manifest.json").read_text()
        return tuple(ModelEntry(**entry) for entry in json.loads(text)["models"])
    except (OSError, ValueError, KeyError, TypeError, ModuleNotFoundError) as error:
        raise ModelError(f"the manifest of shipped models cannot be read ({error})") from None


@dataclass(frozen=True)
class UserModel:
    """A model that the user trained or added, in the file NAME-ID.safetensors of the user's folder.

    Attributes:
        name: By which the user calls it.
        model_id: 16 hexadecimal digits.
        path: Of the weights file.
    """

    name: str
    model_id: str
    path: Path


def user_folder() -> Path:
    """The folder of the user's models: $VQCODEC_MODELS, or the platform's folder for application data."""
    given = os.environ.get("VQCODEC_MODELS")
    if given:
        return Path(given)
    from platformdirs import user_data_path

    return user_data_path("vqcodec", appauthor=False) / "models"


def make_folder() -> Path:
    """The user's folder, created if it is missing. Raises ModelError if no model can be written to it."""
    folder = user_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ModelError(f"{folder}: no folder for models ({error.strerror})") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ModelError(f"{folder}: no model can be written there")
    return folder


def user_models() -> list[UserModel]:
    """The user's models, by name."""
    found = []
    for path in sorted(user_folder().glob("*.safetensors")):
        match = re.fullmatch(r"(.+)-([0-9a-f]{16})", path.stem)
        if match:
            found.append(UserModel(match[1], match[2], path))
    return found


def check_new_name(name: str) -> None:
    """Raises ModelError unless the name is valid and not taken."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name) or name.endswith(".safetensors"):
        raise ModelError(f"{name!r} is not a name for a model: up to 64 letters, digits, dots, dashes and underscores")
    if name in {"default", *(e.name for e in manifest()), *(m.name for m in user_models())}:
        raise ModelError(f"there is a model named {name!r} already, which files may need; choose another name")


def add(source: Path, name: str) -> UserModel:
    """Copy a weights file into the user's folder under a new name. Raises ModelError."""
    identity = model_id(*read_weights(source)).hex()
    check_new_name(name)
    path = make_folder() / f"{name}-{identity}.safetensors"
    with source.open("rb") as weights:
        write(str(path), lambda file: shutil.copyfileobj(weights, file), force=True)
    return UserModel(name, identity, path)


def remove(name: str) -> UserModel:
    """Delete one of the user's models. Its files open again once it is added again. Raises ModelError."""
    own = user_models()
    for model in own:
        if model.name == name:
            model.path.unlink()
            return model
    raise ModelError(f"no model of yours is named {name!r}; there are: {', '.join(m.name for m in own) or 'none'}")


@dataclass(frozen=True)
class ModelFile:
    """Where a model is.

    Attributes:
        name: `find` takes it.
        path: Of the weights file.
        sha256: Of a shipped model, hexadecimal, else None.
        model_id: Of a shipped model, 16 hexadecimal digits, else None.
    """

    name: str
    path: Path
    sha256: str | None
    model_id: str | None = None

    @classmethod
    def shipped(cls, entry: ModelEntry) -> ModelFile:
        return cls(entry.name, entry.path, entry.sha256, entry.model_id)


@dataclass(frozen=True)
class Weights:
    """A model that was found, read and checked.

    Attributes:
        file: Where it is.
        tensors: By name.
        config: Its sizes.
        model_id: 8 bytes.
    """

    file: ModelFile
    tensors: Arrays
    config: ModelConfig
    model_id: bytes


def find(name: str | Path = "default") -> ModelFile:
    """A model by its name, or by the path of its weights file. Raises ModelError."""
    for number, entry in enumerate(manifest()):
        if name == entry.name or (name == "default" and number == 0):
            return ModelFile.shipped(entry)
    for own in user_models():
        if name == own.name:
            return ModelFile(own.name, own.path, None)
    path = Path(name)
    if path.suffix == ".safetensors" or path.exists():
        if path.exists() and not path.is_file():
            raise ModelError(f"{name}: not a weights file, not even an ordinary file")  # a pipe might never end
        return ModelFile(str(path.resolve()), path, None)
    names = [*(e.name for e in manifest()), *(m.name for m in user_models())]
    raise ModelError(f"no model named {name!r}; there are: {', '.join(names)}")


def id_of(name: str | Path) -> str | None:
    """The id of an installed model, 16 hexadecimal digits; None for the path of a weights file, or an unknown name."""
    known: list[ModelEntry | UserModel] = [*user_models(), *manifest()]
    ids: dict[str | Path, str] = {entry.name: entry.model_id for entry in known}
    return ids.get(manifest()[0].name if name == "default" else name)


def find_id(wanted: bytes) -> ModelFile:
    """The installed model with this id. Raises UnsupportedError."""
    named = wanted.hex()
    known: list[ModelEntry | UserModel] = [*manifest(), *user_models()]
    for entry in known:
        if entry.model_id == wanted.hex():
            if entry.path.exists():
                return (
                    ModelFile.shipped(entry)
                    if isinstance(entry, ModelEntry)
                    else ModelFile(entry.name, entry.path, None)
                )
            named = f"{named} ({entry.name})"
    raise UnsupportedError(
        f"the file needs model {named}, which is not installed; add its weights with: vqcodec models add FILE"
    )


def load(model: ModelFile | str | Path = "default") -> Weights:
    """Read a model. The SHA-256 of a shipped one is verified, and says that it is sound. Raises ModelError."""
    file = model if isinstance(model, ModelFile) else find(model)
    if file.sha256 is not None:
        try:
            with file.path.open("rb") as opened:
                actual = hashlib.file_digest(opened, "sha256").hexdigest()
        except OSError as error:
            raise ModelError(f"{file.path}: {error.strerror}") from None
        if actual != file.sha256:
            raise ModelError(f"{file.path}: SHA-256 is {actual[:12]}…, the manifest says {file.sha256[:12]}…")
    tensors, sizes = read_weights(file.path, checked=file.sha256 is not None)
    try:
        config = ModelConfig.from_dict(sizes)
    except (ValueError, TypeError) as error:
        raise ModelError(f"{file.path}: not a sound weights file ({error})") from None
    identity = model_id(tensors, sizes) if file.model_id is None else bytes.fromhex(file.model_id)
    return Weights(file, tensors, config, identity)
