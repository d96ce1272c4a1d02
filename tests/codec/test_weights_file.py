"""A weights file must hold exactly the tensors that its sizes say, within their bounds: anything else is a ModelError, in one line."""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.loud import LOUD, loud_tensors, write_loud
from vqbitstream.arithmetic import Layer
from vqbitstream.entropy import FrequencyTables
from vqbitstream.prior import Prior
from vqcodec.codec import Codec
from vqcodec.models.config import DECODER_SIZES, ENCODER_SIZES
from vqcodec.models.layout import layout
from vqcodec.models.weights_file import Arrays, ModelError, misfit, read_weights, write_weights

SIZES = LOUD.to_dict()
LISTED = SIZES | {"groups": list(LOUD.groups)}  # as JSON has it


def refusal(tmp_path: Path, tensors: Arrays, sizes: Any) -> str:
    """Why a file with these contents does not load."""
    path = tmp_path / "bad.safetensors"
    known = SIZES | {k: v for k, v in sizes.items() if k in SIZES} if isinstance(sizes, dict) else SIZES
    write_weights(path, tensors, known)
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    head = json.loads(data[8 : 8 + length])
    head["__metadata__"] = {"vqcodec_config": json.dumps(sizes)}
    text = json.dumps(head).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    with pytest.raises(ModelError) as refused:
        Codec(path)
    said = str(refused.value)
    assert said.count("\n") == 0
    assert "weights file" in said
    return said


def test_what_is_changed_below_is_sound(tmp_path: Path) -> None:
    assert write_loud(tmp_path / "sound.safetensors").config == LOUD
    assert read_weights(tmp_path / "sound.safetensors")[0].keys() == layout(LOUD).keys()


@pytest.mark.parametrize("more", [-1, 1])
@pytest.mark.parametrize("size", [s for s in (*DECODER_SIZES, *ENCODER_SIZES) if s != "groups"])
def test_sizes_that_the_tensors_do_not_have(size: str, more: int, tmp_path: Path) -> None:
    refusal(tmp_path, loud_tensors(), SIZES | {size: SIZES[size] + more})


@pytest.mark.parametrize(
    "groups",
    [(4, 6, 8), (4, 6, 8, 2, 2), (6, 4, 8, 2), (4, 6, 2, 8), (2, 6, 8, 4), (4, 6, 10), (20,), (), (3, 7, 8, 2), (0, 10, 8, 2),
     (-4, 14, 8, 2), (2,) * 17, (1026,), (2**63,), 4, "4", None, {}, (4.0, 6, 8, 2), (True, 6, 8, 2), ((4,), 6, 8, 2), (None, 6, 8, 2)],
)  # fmt: skip
def test_groups_that_the_tensors_do_not_have(groups: Any, tmp_path: Path) -> None:
    refusal(tmp_path, loud_tensors(), SIZES | {"groups": groups})


@pytest.mark.parametrize("value", [0, -1, 17.0, 1025, 2**31, 2**63, 2**64, 10**400, None, "9", True, [9], {}])
@pytest.mark.parametrize("size", [s for s in (*DECODER_SIZES, *ENCODER_SIZES) if s != "groups"])
def test_sizes_that_are_none(size: str, value: Any, tmp_path: Path) -> None:
    assert size in refusal(tmp_path, loud_tensors(), SIZES | {size: value})


@pytest.mark.parametrize("sizes", [None, [], 3, "state", {}, {"state": 12}])
def test_other_json_than_sizes(sizes: Any, tmp_path: Path) -> None:
    refusal(tmp_path, loud_tensors(), sizes)


@pytest.mark.parametrize("groups", [(4, 6, 8, 2), (6,)])
def test_files_of_any_sizes_load(groups: tuple[int, ...], tmp_path: Path) -> None:
    config = dataclasses.replace(
        LOUD, groups=groups, lapped=3, shown=5, body_blocks=1, tail_blocks=3, hidden=1, reduce=1
    )
    codec = write_loud(tmp_path / "other.safetensors", config)
    pixels = np.full((20, 40, 3), 99, dtype=np.uint8)
    assert codec.decode_pixels(codec.encode_pixels(pixels, quality=50, effort=1)).shape == pixels.shape


def kinds_of(tensors: Arrays) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of every tensor."""
    return {name: (array.dtype.name, array.shape) for name, array in tensors.items()}


def test_every_tensor_is_needed() -> None:
    sound = kinds_of(loud_tensors())
    assert misfit(sound, LISTED) is None
    for name in sound:
        assert misfit({k: v for k, v in sound.items() if k != name}, LISTED) == f"{name} is missing"


def test_every_tensor_has_one_type_and_one_shape() -> None:
    sound = loud_tensors()
    every = {f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)}
    every |= {"float16", "float32", "float64", "bool"}
    for name, (kinds, shape) in layout(LOUD).items():
        array = sound[name]
        changed = [np.zeros(shape, dtype=kind) for kind in sorted(every - set(kinds))]
        changed += [array[:-1], np.concatenate([array, array[:1]]), array[None], array[..., None], array.ravel()[:0]]
        changed += [array.T] if len(set(shape)) > 1 else []
        for bad in (*changed, array.ravel()[0].reshape(())):
            assert f"{name} is {bad.dtype} " in str(misfit(kinds_of(sound | {name: bad}), LISTED))


@pytest.mark.parametrize(
    ("copied", "name"),
    [
        *((f"synthesis.body.1.{part}", f"synthesis.body.2.{part}") for part in ("first.weight", "space.bias", "second.bias")),
        ("synthesis.tail.1.space.weight", "synthesis.tail.2.space.weight"), ("analysis.out.bias", "analysis.blocks.1.out.bias"),
        ("prior.near.3.mix.weight", "prior.near.4.mix.weight"), ("prior.heads.3.gain.bias", "prior.heads.4.gain.bias"),
        ("prior.refine_half.1.mix.weight", "prior.refine_half.0.mix.weight"),
        ("prior.refine_full.2.mix.bias", "prior.refine_full.3.mix.bias"), ("synthesis.sigma", "prior.sigma"),
        ("prior.start.bias", "prior.bias"), ("synthesis.out.bias", "synthesis.lapped.bias"), ("prior.sigma_log2", "anything"),
        ("encoder.layers", "encoder.steps"), ("quantizer.counts", "quantizer."), ("prior.start.bias", ""),
    ],
)  # fmt: skip
def test_no_other_tensor_may_be_there(copied: str, name: str, tmp_path: Path) -> None:
    sound = loud_tensors()
    assert f"{name} is more than the sizes say" in refusal(tmp_path, sound | {name: sound[copied]}, SIZES)


def put(value: Any, at: Any = 0) -> Callable[[Any], None]:
    """A change of one number."""

    def change(array: Any) -> None:
        array.reshape(-1)[at] = value

    return change


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("synthesis.sigma", put(0.0), "not positive"),
        ("synthesis.sigma", put(-1.0), "not positive"),
        ("analysis.sigma", put(0.0, -1), "not positive"),
        ("synthesis.sigma", put(np.inf), "not finite"),
        ("synthesis.out.weight", put(np.nan), "not finite"),
        ("analysis.linear.bias", put(-np.inf), "not finite"),
        ("prior.start.weight", put(-128), "|weight| > 127"),
        ("prior.refine_half.1.space.weight", put(-128), "|weight| > 127"),
        ("prior.start.shift", put(21), "outside 0..20"),
        ("prior.heads.2.gain.shift", put(255), "outside 0..20"),
        ("prior.heads.2.gain.bias", put(-(2**31)), "|bias| reaches"),
        ("prior.heads.2.gain.bias", put(2**31 - 1), "|bias| reaches"),
        ("prior.heads.2.gain.bias", put(2**24 - 1), "sums may reach"),
        ("prior.heads.2.out.bias", put(1 - 2**24, -1), "sums may reach"),
        ("prior.sigma_log2", put(257), "sigmas"),
        ("prior.sigma_log2", put(-257), "sigmas"),
        ("prior.sigma_log2", put(-(2**15)), "sigmas"),
        ("prior.channel_gain", put(129), "channel gains"),
        ("prior.channel_gain", put(-129, -1), "channel gains"),
        ("prior.channel_gain", put(-(2**15)), "channel gains"),
        ("quantizer.counts", put(0, -1), "1..2^32 - 1"),
        ("quantizer.codebooks", put(1, 2 * 144), "zero vector"),
        ("encoder.step_codes", put(4095, -1), "step_codes"),
        ("encoder.step_codes", put(40961), "step_codes"),
        ("encoder.step_codes", put(5000), "step_codes"),
        ("encoder.layers", put(5), "1..4"),
        ("encoder.layers", put(0), "layers"),
    ],
)
def test_numbers_out_of_bounds(name: str, change: Callable[[Any], None], reason: str, tmp_path: Path) -> None:
    tensors = loud_tensors()
    change(tensors[name])
    assert reason in refusal(tmp_path, tensors, SIZES)


@pytest.mark.parametrize("kind", ["BF16", "F8_E4M3", "F8_E5M2", "I64", "U64", "C64", "F4", "nonsense"])
def test_types_that_numpy_may_not_have(kind: str, tmp_path: Path) -> None:
    write_loud(tmp_path / "sound.safetensors")
    data = (tmp_path / "sound.safetensors").read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    head = json.loads(data[8 : 8 + length])
    head["synthesis.enter.weight"]["dtype"] = kind  # in the file float16
    text = json.dumps(head).encode()
    (tmp_path / "odd.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])
    with pytest.raises(ModelError, match="weights file"):
        Codec(tmp_path / "odd.safetensors")


def test_damage_in_the_head_of_a_file_is_a_model_error_or_none(tmp_path: Path) -> None:
    write_loud(tmp_path / "sound.safetensors")
    data = (tmp_path / "sound.safetensors").read_bytes()
    length = 8 + struct.unpack("<Q", data[:8])[0]
    rng, bad, refused = np.random.default_rng(0), tmp_path / "bad.safetensors", 0
    for number in range(300):
        damaged = bytearray(data)
        damaged[rng.integers(length if number > 20 else 8)] ^= 1 << rng.integers(8)
        bad.write_bytes(damaged)
        try:
            read_weights(bad)
        except ModelError as error:
            refused += 1
            assert str(error).count("\n") == 0
    assert refused > 250


HUGE = [2**63 - 1, 2**63, 2**64 - 1, 2**64 - 127, 2**32]


@pytest.mark.parametrize("value", HUGE)
def test_counts_near_the_ends_of_64_bits(value: int) -> None:
    counts = np.full((2, 290), value, dtype=np.uint64)
    with pytest.raises(ValueError, match="counts"):
        FrequencyTables(counts)
    counts[:] = 2**32 - 1
    assert FrequencyTables(counts).bits.min() > 0


@pytest.mark.parametrize("value", [*HUGE, -(2**63), 1 - 2**63])
@pytest.mark.parametrize(
    "name",
    ["start.weight", "start.bias", "start.shift", "refine_half.1.space.weight", "sigma_log2", "channel_gain"],
)
def test_integers_near_the_ends_of_64_bits_in_the_prior(name: str, value: int) -> None:
    parts = {k.removeprefix("prior."): v for k, v in loud_tensors().items() if k.startswith("prior.")}
    Prior(parts, LOUD.groups)
    changed = parts[name].astype(np.int64 if value < 2**63 else np.uint64)
    changed.reshape(-1)[0] = value
    with pytest.raises(ValueError, match="prior"):
        Prior(parts | {name: changed}, LOUD.groups)


@pytest.mark.parametrize("part", range(3))
@pytest.mark.parametrize("value", [-(2**63), 2**63 - 1])
def test_a_layer_of_64_bits_is_checked_without_overflow(part: int, value: int) -> None:
    parts = [np.ones((3, 2), dtype=np.int64), np.zeros(2, dtype=np.int64), np.zeros(2, dtype=np.int64)]
    Layer(*parts).check("any")
    parts[part].reshape(-1)[1] = value
    with pytest.raises(ValueError, match="prior layer any"):
        Layer(*parts).check("any")
