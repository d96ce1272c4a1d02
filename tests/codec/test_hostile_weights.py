"""Weights from strangers: each kind of hostile file is refused in one line, in bounded time and memory, and what loads is usable."""

from __future__ import annotations

import os
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import vqcodec
from fuzz.promises import Growth
from fuzz.weights import FRAGMENTS, KINDS, Weights, bottleneck, hostile, mutated
from support.loud import LOUD, loud_tensors
from vqcodec.codec import Codec
from vqcodec.coding.quality import QualityScale
from vqcodec.generate import interpolation
from vqcodec.models.weights_file import ModelError

SIZES = LOUD.to_dict() | {"groups": list(LOUD.groups)}
MOST_SECONDS, MOST_GROWTH_MB = 2.0, 64.0  # of a file of 140 kB; the largest of the hostile ones has 8 MB


@pytest.fixture(scope="module")
def sound() -> dict[str, Any]:
    return loud_tensors()


def test_what_is_changed_below_is_sound(sound: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "sound.safetensors"
    path.write_bytes(Weights(sound, SIZES).pack())
    Codec(path)
    path.write_bytes(Weights(sound | bottleneck(LOUD.channels), SIZES).pack())
    Codec(path)
    assert len(KINDS) + len(FRAGMENTS) >= 60


@pytest.mark.parametrize("kind", [*FRAGMENTS, *KINDS])
def test_hostile_weights_are_refused(kind: str, sound: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(hostile(kind, sound, SIZES))
    growth, begun = Growth(), time.process_time()
    with pytest.raises(ModelError) as refused:
        Codec(path)
    assert time.process_time() - begun < MOST_SECONDS
    assert growth.megabytes() < MOST_GROWTH_MB
    assert "weights file" in str(refused.value)
    assert len(str(refused.value)) < 400 + len(str(path))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("block", range(4))
def test_mutated_weights_are_refused_or_make_files_that_decode(
    block: int, sound: dict[str, Any], tmp_path: Path
) -> None:
    path, loaded = tmp_path / "mutated.safetensors", 0
    pixels = np.random.default_rng(0).integers(0, 256, (20, 40, 3), dtype=np.uint8)
    for number in range(40 * block, 40 * (block + 1)):
        path.write_bytes(mutated(sound, SIZES, np.random.default_rng((1, number))))
        try:
            codec = Codec(path)
        except ModelError:
            continue
        loaded += 1
        for quality in (1, 50, 100):
            data = codec.encode_pixels(pixels, quality=quality, effort=1)
            codec.verify(data)
            assert codec.decode(data).size == (40, 20)
    assert 0 < loaded < 40


@pytest.mark.parametrize("value", [65504, -65504])
def test_a_loud_bottleneck_makes_files_that_decode(value: float, sound: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "loud.safetensors"
    loud = {name: np.full_like(array, value) for name, array in bottleneck(LOUD.channels).items()}
    loud["bottleneck.sigma"] = np.abs(loud["bottleneck.sigma"])
    path.write_bytes(Weights(sound | loud, SIZES).pack())
    codec, pixels = Codec(path), np.zeros((40, 40, 3), np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        files = [
            interpolation.sample_gaussian(codec, 40, 40),
            *interpolation.interpolate(codec, pixels, 255 - pixels, 2),
        ]
    for data in files:
        codec.verify(data)
        assert codec.decode(data).size == (40, 40)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    for path in (tmp_path / "pipe.safetensors", tmp_path, Path("/dev/zero"), tmp_path / "missing.safetensors"):
        with pytest.raises(ModelError, match="weights file"):
            Codec(path)


def test_a_header_that_no_reader_takes_is_not_written(
    sound: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sound.safetensors"
    path.write_bytes(Weights(sound, SIZES).pack())
    monkeypatch.setattr(QualityScale, "step_code", lambda *_: 4095)
    with pytest.raises(vqcodec.CorruptError, match="step code 4095"):
        Codec(path).encode_pixels(np.zeros((20, 40, 3), np.uint8), quality=50, effort=1)
