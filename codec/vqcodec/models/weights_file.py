"""Weights files (FORMAT.md, "Weights"): safetensors, checked before anything becomes a network, and the id that names a model.

The id is the first 8 bytes of the SHA-256 of the model's *decoder*: its sizes and tensors, in a canonical order. A better encoder
therefore leaves all files readable. The tensors `analysis.*`, `encoder.*` and `bottleneck.*` belong to the encoder, `synthesis.*`,
`prior.*` and `quantizer.*` to the decoder. Nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from vqbitstream.errors import VQCError

from vqcodec.atomic import write
from vqcodec.models.config import DECODER_SIZES, ENCODER_SIZES, ModelConfig
from vqcodec.models.layout import BOTTLENECK, bottleneck, layout

Arrays = dict[str, npt.NDArray[Any]]
ENCODER_PREFIXES = ("analysis.", "encoder.", BOTTLENECK)
MOST_BLOCKS = 16
MOST_HEAD_BYTES = 1 << 20  # the largest sizes need a tenth of it
MOST_MAGNITUDE, LEAST_SIGMA = (
    65504.0,
    2.0**-24,
)  # the ends of float16; products and quotients of two are finite in float32
NAMES = {  # of types, by their names in safetensors
    "I8": "int8", "U8": "uint8", "I16": "int16", "U16": "uint16", "I32": "int32", "U32": "uint32", "I64": "int64", "U64": "uint64",
    "F16": "float16", "F32": "float32", "F64": "float64", "BOOL": "bool",
}  # fmt: skip


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
    """Tensors and sizes of a weights file. They are checked, unless they have been `checked` before.

    Names, types and shapes are compared with the sizes before any tensor is read: what is allocated is bounded by the file's bytes.

    Raises:
        ModelError: The file cannot be read, or is not sound.
    """
    from safetensors import SafetensorError, safe_open

    try:
        _check_head(path)
        with safe_open(str(path), framework="numpy") as file:
            config = (file.metadata() or {}).get("vqcodec_config")
            if config is None:
                raise ModelError(f"{path}: not a vqcodec weights file")
            names, sizes = file.keys(), json.loads(config)
            slices = {} if checked else {name: file.get_slice(name) for name in names}
            kinds = {
                name: (NAMES.get(s.get_dtype(), s.get_dtype()), tuple(s.get_shape())) for name, s in slices.items()
            }
            if not checked and (reason := misfit(kinds, sizes)):
                raise ModelError(f"{path}: not a sound weights file ({reason})")
            tensors = {name: file.get_tensor(name) for name in names}
    except FileNotFoundError:
        raise ModelError(f"{path}: no such weights file") from None
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelError(f"{path}: not a readable weights file ({reason})") from None
    if not checked and (reason := out_of_range(tensors)):
        raise ModelError(f"{path}: not a sound weights file ({reason})")
    return tensors, sizes


def _check_head(path: Path) -> None:
    """Raises ModelError unless this is a file whose head is short: a device or a pipe might never end, a long head take minutes."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ModelError(f"{path}: not a weights file")
    with path.open("rb") as file:
        if int.from_bytes(file.read(8), "little") > MOST_HEAD_BYTES:
            raise ModelError(f"{path}: not a readable weights file (its head is longer than {MOST_HEAD_BYTES} bytes)")


def misfit(kinds: Mapping[str, tuple[str, tuple[int, ...]]], config: Any) -> str | None:
    """Why a file must not become a network, if so, by its head alone: sizes out of their range, other tensors than they say.

    Args:
        kinds: Type (NumPy's name) and shape of every tensor.
        config: The sizes, whatever JSON they are.
    """
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
        expected = layout(ModelConfig.from_dict(config)) | bottleneck(sum(config["groups"]), kinds)
    except ValueError as error:
        return str(error)
    if missing := sorted(expected.keys() - kinds.keys()):
        return f"{missing[0]} is missing"
    for name, (dtype, shape) in sorted(kinds.items()):
        if name not in expected:
            return f"{name[:80]} is more than the sizes say"
        dtypes, wanted = expected[name]
        if dtype not in dtypes or shape != wanted:
            return f"{name} is {dtype} {list(shape)} instead of {' or '.join(dtypes)} {list(wanted)}"
    return None


def out_of_range(tensors: Arrays) -> str | None:
    """Which floats must not become a network, if any. Integers are checked by what is made of them: prior, codebooks, tables."""
    for name, array in sorted(tensors.items()):
        if array.dtype.kind != "f":
            continue
        if not (np.abs(array) <= MOST_MAGNITUDE).all():  # as it is stored; a NaN is not
            return f"{name} is not finite, or beyond {MOST_MAGNITUDE:g}"
        if name.endswith(".sigma") and not (array >= LEAST_SIGMA).all():
            return f"{name} is not positive, or below {LEAST_SIGMA:g}"
    return None
