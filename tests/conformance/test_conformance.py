"""The decoders in Python against the conformance set (`make.py`): the same integers, pixels within one level, the same refusals."""

from __future__ import annotations

import hashlib
import json
import zlib
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import vqbitstream.errors
from support import TINY
from vqbitstream.errors import VQCError
from vqbitstream.kernels import VARIABLE
from vqcodec.codec import Codec

HERE = Path(__file__).parent
INDEX = json.loads((HERE / "index.json").read_text())
MODELS = {"tiny": TINY, "loud": HERE / "loud.safetensors", "default": "default"}
KINDS: dict[str, dict[str, Any]] = {
    "numpy": {},
    "kernels": {},
    "int64": {"reference": True},
    "torch": {"runtime": "torch"},
}


@cache
def codec_of(model: str, kind: str) -> Codec:
    with patch.dict("os.environ", {VARIABLE: "" if kind == "kernels" else "numpy"}):
        return Codec(MODELS[model], **KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("entry", INDEX["sound"], ids=lambda entry: entry["name"])
def test_decodes(entry: dict[str, str], kind: str) -> None:
    codec = codec_of(entry["model"], kind)
    if entry.get("model_id", codec.model_id.hex()) != codec.model_id.hex():
        pytest.skip("other weights ship now: python tests/conformance/make.py --shipped")
    data = (HERE / "files" / f"{entry['name']}.vqc").read_bytes()
    if "latent_sha256" in entry:
        latent = codec.decode_latent(data)[0].astype("<i4")
        assert hashlib.sha256(latent.tobytes()).hexdigest() == entry["latent_sha256"]
    pixels = np.frombuffer(codec.decode(data).convert("RGBA").tobytes(), dtype=np.uint8).astype(int)
    expected = np.frombuffer(zlib.decompress((HERE / "pixels" / f"{entry['name']}.z").read_bytes()), dtype=np.uint8)
    difference = np.abs(pixels - expected)
    assert difference.max() <= ("latent_sha256" in entry)  # exact pixels are
    assert difference.sum() <= 0.01 * len(pixels) + 4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("entry", INDEX["refused"], ids=lambda entry: entry["name"])
def test_refuses(entry: dict[str, str], kind: str) -> None:
    data = (HERE / "refused" / f"{entry['name']}.vqc").read_bytes()
    with pytest.raises(VQCError) as caught:
        codec_of("tiny", kind).decode(data)
    assert type(caught.value) is getattr(vqbitstream.errors, entry["error"])


def test_the_set_holds_what_files_can_hold() -> None:
    headers = [
        vqbitstream.unpack((HERE / "files" / f"{e['name']}.vqc").read_bytes(), vqbitstream.Limits()).header
        for e in INDEX["sound"]
    ]
    for flag in ("grey", "alpha", "single_section", "tune", "exact"):
        assert {bool(getattr(header, flag)) for header in headers} == {False, True}, flag
    assert {header.layers for header in headers} >= {0, 1, 2, 3, 4}
    assert len(headers) >= 80
    assert len(INDEX["refused"]) >= 80
