"""Weights files (FORMAT.md, "Weights"): safetensors, checked before anything becomes a network, and the id that names a model.

The id is the first 8 bytes of the SHA-256 of the model's *decoder*: its sizes and tensors, in a canonical order. A better encoder
therefore leaves all files readable. The tensors `analysis.*`, `encoder.*` and `bottleneck.*` belong to the encoder, `synthesis.*`,
`prior.*` and `quantizer.*` to the decoder. Nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from vqbitstream.errors import VQCError

from vqcodec.atomic import write
from vqcodec.models.config import DECODER_SIZES, ENCODER_SIZES, ModelConfig
from vqcodec.models.layout import FLOATS, layout

Arrays = dict[str, npt.NDArray[Any]]
BOTTLENECK = "bottleneck."
ENCODER_PREFIXES = ("analysis.", "encoder.", BOTTLENECK)
MOST_BLOCKS = 16


class ModelError(VQCError):
    """A weights file is missing, damaged, or not one of this program's."""


def model_id(tensors: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any]) -> bytes:
    """Id of a model, 8 bytes: a hash of the decoder's sizes and of its tensors' names, dtypes, shapes and little-endian contents."""
    sizes = {k: config[k] for k in DECODER_SIZES}
    digest = hashlib.sha256(json.dumps(sizes, sort_keys=True).encode())
    for name in sorted(tensors):
        if not name.startswith(ENCODER_PREFIXES):
            array = tensors[name]
            little = array.astype(array.dtype.newbyteorder("<"), copy=False)
            digest.update(f"{name} {little.dtype.str} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(little).tobytes())
    return digest.digest()[:8]


def write_weights(path: Path, tensors: Arrays, config: Mapping[str, Any]) -> bytes:
    """Write a weights file, whole or not at all. Returns its model id."""
    from safetensors.numpy import save

    contiguous = {k: np.ascontiguousarray(v) for k, v in tensors.items()}
    data = save(contiguous, metadata={"vqcodec_config": json.dumps(config, sort_keys=True)})
    write(str(path), lambda file: file.write(data), force=True)
    return model_id(tensors, config)


def read_weights(path: Path, *, checked: bool = False) -> tuple[Arrays, dict[str, Any]]:
    """Tensors and sizes of a weights file. They are checked, unless they have been `checked` before. Raises ModelError."""
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
    if not checked and (reason := _unsound(tensors, sizes)):
        raise ModelError(f"{path}: not a sound weights file ({reason})")
    return tensors, sizes


def _unsound(tensors: Arrays, config: Any) -> str | None:
    """Why a file must not become a network, if so: sizes that would fill the memory, other tensors than they say, values that are not
    numbers."""
    for name in (*DECODER_SIZES, *ENCODER_SIZES):
        size = config.get(name) if isinstance(config, dict) else None
        numbers, most = (
            (size, 1024) if name == "groups" else ([size], MOST_BLOCKS if name.endswith("_blocks") else 1024)
        )
        if not (isinstance(numbers, list) and 1 <= len(numbers) <= 16 and all(type(n) is int for n in numbers)):
            return f"{name} is {str(size)[:20]}"
        if not all(1 <= n <= most for n in numbers):
            return f"{name} is outside 1..{most}"
    try:
        expected = layout(ModelConfig.from_dict(config))
    except ValueError as error:
        return str(error)
    if missing := sorted(expected.keys() - tensors.keys()):
        return f"{missing[0]} is missing"
    for name, array in sorted(tensors.items()):
        if name not in expected and not name.startswith(BOTTLENECK):
            return f"{name} is more than the sizes say"
        dtypes, shape = expected.get(name, (FLOATS, array.shape))
        if array.dtype.name not in dtypes or array.shape != shape:
            return f"{name} is {array.dtype} {list(array.shape)} instead of {' or '.join(dtypes)} {list(shape)}"
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            return f"{name} is not finite"
        if name.endswith(".sigma") and not (array > 0).all():
            return f"{name} is not positive"
    sigma = tensors.get("bottleneck.sigma")
    if sigma is not None and sigma.shape != (sum(config["groups"]),):
        return "the bottleneck is another model's"
    return None
