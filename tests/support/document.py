"""FORMAT.md taken apart: its tables, its drawings, and the decoder that its Python blocks make."""

from __future__ import annotations

import re
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
from vqbitstream.errors import VQCError
from vqcodec.models import store
from vqcodec.models.config import DECODER_SIZES
from vqcodec.models.weights_file import read_weights

from support import ROOT

TEXT = (ROOT / "FORMAT.md").read_text()
ENCODER = ("analysis.", "encoder.", "bottleneck.")


def section(title: str) -> str:
    """What stands under a heading."""
    return TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def prose(title: str) -> str:
    """The same, as one line."""
    return " ".join(section(title).split())


def rows(title: str) -> list[list[str]]:
    """The cells of every table row of a section, without their backquotes."""
    lines = re.findall(r"^\|(.*)\|$", section(title), re.M)
    return [[cell.strip().replace("`", "") for cell in line.split("|")] for line in lines]


def ruler(title: str) -> list[int]:
    """The offsets over the first drawing of a section."""
    found = re.search(r"^( +\d.*)\n[ \d]*\+", section(title), re.M)
    assert found is not None
    return [int(n) for n in found[1].split()]


def _run() -> SimpleNamespace:
    names: dict[str, Any] = {}
    exec("\n".join(re.findall(r"^```python\n(.*?)^```$", TEXT, re.M | re.S)), names)
    return SimpleNamespace(**names)


DOC = _run()  # everything that the blocks define


@cache
def model(name: str, *, floats: bool = False) -> Any:
    """A model as the document's decoder takes it: tensors as nested lists, those of the synthesis only if `floats`.

    raw: type, shape and bytes of every tensor.
    """
    tensors, config = read_weights(store.find(name).path)
    known = {size: config[size] for size in DECODER_SIZES}
    raw = {key: (array.dtype.str, array.shape, array.tobytes()) for key, array in tensors.items()}
    integers = {key: array.tolist() for key, array in tensors.items() if key.startswith(("prior.", "quantizer."))}
    synthesis = {key: array.tolist() for key, array in tensors.items() if key.startswith("synthesis.") and floats}
    return DOC.Record(tensors=integers | synthesis, sizes=known, id=DOC.model_id(known, raw), raw=raw)


def as_array(plane: dict[tuple[int, int], list[int]]) -> npt.NDArray[np.int32]:
    """{(row, column): channels} -> [h, w, channels]"""
    last = max(plane)
    return np.array([[plane[y, x] for x in range(last[1] + 1)] for y in range(last[0] + 1)], dtype=np.int32)


def refuses(read: Any, *arguments: Any) -> bool:
    """Whether the code, or the document's decoder, refuses something."""
    try:
        read(*arguments)
    except (VQCError, DOC.Refused):
        return True
    return False
