"""Weights files that a stranger made, by kind: each is refused at load. `tests/codec/test_hostile_weights.py` holds how."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from vqcodec.models.weights_file import NAMES

Arrays = dict[str, Any]
SHORT = {name: short for short, name in NAMES.items()} | {
    "float64": "F64",
    "int64": "I64",
    "uint64": "U64",
    "bool": "BOOL",
}
HUGE = (2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30)


@dataclass
class Weights:
    """A weights file in parts that may lie.

    Attributes:
        tensors: By name.
        sizes: What the metadata say of them.
        head: Entries that replace those of the tensors, as JSON.
        metadata: Replaces the metadata, if it is not None.
        text: Replaces the whole head.
        length: Replaces the head's length.
        tail: Follows the last tensor.
        cut: So many bytes are missing at the end.
    """

    tensors: Arrays
    sizes: dict[str, Any]
    head: dict[str, Any] = field(default_factory=dict)
    metadata: Any = None
    text: bytes | None = None
    length: int | None = None
    tail: bytes = b""
    cut: int = 0

    def entries(self) -> dict[str, Any]:
        """What the head says of every tensor."""
        out, at = {}, 0
        for name, array in self.tensors.items():
            out[name] = {
                "dtype": SHORT[array.dtype.name],
                "shape": list(array.shape),
                "data_offsets": [at, at + array.nbytes],
            }
            at += array.nbytes
        return out

    def pack(self) -> bytes:
        metadata = {"vqcodec_config": json.dumps(self.sizes)} if self.metadata is None else self.metadata
        head = {"__metadata__": metadata} | self.entries() | self.head
        text = json.dumps(head).encode() if self.text is None else self.text
        length = len(text) if self.length is None else self.length
        body = b"".join(array.tobytes() for array in self.tensors.values())
        whole = struct.pack("<Q", length) + text + body + self.tail
        return whole[: len(whole) - self.cut]


Kind = Callable[[Weights], None]


def _set(name: str, value: Any, at: int = 0) -> Kind:
    """One number of a tensor."""

    def change(file: Weights) -> None:
        file.tensors[name] = file.tensors[name].copy()
        file.tensors[name].reshape(-1)[at] = value

    return change


def _as(name: str, dtype: str, value: Any, at: int = 0) -> Kind:
    """A tensor in another type, with one number of it."""

    def change(file: Weights) -> None:
        file.tensors[name] = file.tensors[name].astype(dtype)
        _set(name, value, at)(file)

    return change


def _add(name: str, array: Any) -> Kind:
    return lambda file: file.tensors.update({name: np.asarray(array)})


def _entry(**changed: Any) -> Kind:
    """What the head says of one tensor."""

    def change(file: Weights) -> None:
        file.head["prior.start.bias"] = file.entries()["prior.start.bias"] | changed

    return change


def _field(name: str, value: Any) -> Kind:
    return lambda file: setattr(file, name, value)


def _size(name: str, value: Any) -> Kind:
    return lambda file: file.sizes.update({name: value})


def _config(text: str) -> Kind:
    return _field("metadata", {"vqcodec_config": text})


def bottleneck(channels: int, hidden: int = 4, dims: int = 2, width: int = 4) -> Arrays:
    """The tensors of a Gaussian bottleneck."""
    cell = 16 * width
    shapes: dict[str, tuple[int, ...]] = {"sigma": (channels,)}
    for name, inputs, outputs in (
        ("squeeze", channels, width), ("encode_hidden", cell, hidden), ("encode_out", hidden, 2 * dims),
        ("decode_hidden", dims, hidden), ("decode_cell", hidden, cell), ("decode_out", width, channels),
    ):  # fmt: skip
        shapes |= {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}
    return {f"bottleneck.{name}": np.full(shape, 0.5, np.float16) for name, shape in shapes.items()}


def _vae(changed: dict[str, Any] | None = None, without: str = "") -> Kind:
    """A sound bottleneck, of which some tensors are changed or missing."""

    def change(file: Weights) -> None:
        file.tensors |= bottleneck(sum(file.sizes["groups"])) | (changed or {})
        file.tensors = {name: array for name, array in file.tensors.items() if name != without}

    return change


def _many(count: int) -> Kind:
    """Tensors without contents."""
    return lambda file: file.tensors.update({f"encoder.{n}": np.zeros(0, np.uint8) for n in range(count)})


def _swapped(file: Weights) -> None:
    """Two tensors lie over each other, and a hole where one of them was."""
    entries = file.entries()
    file.head["synthesis.enter.bias"] = entries["synthesis.enter.bias"] | {
        "data_offsets": entries["synthesis.rise.bias"]["data_offsets"]
    }


def _most_sums(file: Weights) -> None:
    """Every number is in its range, but not their sum."""
    file.tensors["prior.start.weight"] = np.full_like(file.tensors["prior.start.weight"], 127)
    _set("prior.start.bias", 2**24 - 127 * 127 * 16)(file)


def _wide(file: Weights) -> None:
    """126 kB, of which a program that trusts two shapes makes gigabytes."""
    _vae({"bottleneck.decode_out.weight": np.zeros((0, 1 << 16), np.float16),
          "bottleneck.decode_hidden.weight": np.zeros((1 << 15, 0), np.float16)})(file)  # fmt: skip


EMPTY = np.zeros((1 << 20, 0), np.float16)
KINDS: dict[str, Kind] = {
    "frame: empty head": _field("text", b""),
    "frame: head of no object": _field("text", b"[]"),
    "frame: head is null": _field("text", b"null"),
    "frame: head is not JSON": _field("text", b"{" * 64),
    "frame: head is not UTF-8": _field("text", b'{"\xff": 1}'),
    "frame: head is nested": _field("text", b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "frame: head is padded": _field("text", b"{}" + b" " * (1 << 21)),
    "frame: head without metadata": _field("metadata", {}),
    "frame: metadata are a list": _field("metadata", ["vqcodec_config"]),
    "frame: metadata are a number": _field("metadata", {"vqcodec_config": 1}),
    "frame: a byte follows": _field("tail", b"\0"),
    "frame: a megabyte follows": _field("tail", bytes(1 << 20)),
    "frame: a byte is missing": _field("cut", 1),
    "frame: half of it is missing": _field("cut", 20_000),
    **{f"frame: head of {n} bytes": _field("length", n) for n in (0, 2**20 + 1, 2**31, 2**63 - 1, 2**63, 2**64 - 1)},
    **{f"config: {text[:12]}": _config(text)
       for text in ("", "null", "[]", "3", "{", "NaN", '{"groups": [4]}', "[" * 100_000, '{"groups": ' + "9" * 100_000 + "}")},
    **{f"sizes: state {n}": _size("state", n) for n in (*HUGE, -1, 0, 1e300, "12", True, None, [12])},
    **{f"sizes: groups {str(n)[:12]}": _size("groups", n)
       for n in ([2**63] * 4, [2] * 17, [2] * 100_000, [1024] * 16, [3, 7, 8, 2], [], {}, [[4]], "4682")},
    "sizes: a billion blocks": _size("body_blocks", 10**9),
    "sizes: the largest of all": lambda file: file.sizes.update(
        groups=[1024] * 16, lapped=1024, shown=1024, body=1024, tail=1024, analysis_width=1024, hidden=1024
    ),
    "entry: null": lambda file: file.head.update({"prior.start.bias": None}),
    "entry: a list": lambda file: file.head.update({"prior.start.bias": [1, 2]}),
    "entry: of nothing": lambda file: file.head.update({"prior.start.bias": {}}),
    **{f"entry: dtype {kind}": _entry(dtype=kind) for kind in ("F8_E4M3", "BF16", "nonsense", "", 3, None, "__proto__")},
    **{f"entry: shape {str(shape)[:16]}": _entry(shape=shape)
       for shape in ([2**63], [2**64 - 1], [2**32, 2**32], [-12], [12.5], [[12]], "12", None, [12, 0], [0, 2**63], [1] * 10_000)},
    **{f"entry: offsets {offsets}": _entry(data_offsets=offsets)
       for offsets in ([48, 0], [-48, 0], [0, 2**63], [2**64 - 48, 2**64], [0], [0, 48, 96], None, [0.5, 48.5], [0, 10**9])},
    "entry: two tensors in one place": _swapped,
    "names: a tensor is missing": lambda file: file.tensors.pop("prior.start.bias"),  # type: ignore[dict-item, return-value]
    **{f"names: {name[:20]!r}": _add(name, np.zeros(3, np.float32))
       for name in ("", "__proto__", "constructor", "toString", "../../etc/passwd", "prior.start.more", "encoder.more",
                    "analysis.more", "\x1b[31mred\x1b[0m\a", "two\nlines", "n" * 500_000)},
    "names: 8,000 of them": _many(8_000),
    "names: 100,000 of them": _many(100_000),
    "bottleneck: a part": _vae(without="bottleneck.squeeze.bias"),
    "bottleneck: without its sizes": _vae(without="bottleneck.decode_out.weight"),
    "bottleneck: unknown tensor": _vae({"bottleneck.more": np.zeros(2, np.float16)}),
    "bottleneck: another model's": lambda file: file.tensors.update(bottleneck(6)),
    "bottleneck: shapes of gigabytes": _wide,
    "bottleneck: a million rows of nothing": _vae({"bottleneck.decode_hidden.weight": EMPTY}),
    "bottleneck: a million columns of nothing": _vae({"bottleneck.decode_out.weight": EMPTY.T}),
    "bottleneck: no width": _vae({"bottleneck.decode_out.weight": np.zeros((20, 0), np.float16)}),
    "bottleneck: a scalar": _vae({"bottleneck.decode_out.weight": np.float16(1)}),
    "bottleneck: float64": _vae({"bottleneck.squeeze.bias": np.full(4, 1e308)}),
    "bottleneck: not a number": _vae({"bottleneck.squeeze.bias": np.full(4, np.nan, np.float16)}),
    "bottleneck: integers": _vae({"bottleneck.squeeze.bias": np.full(4, 7, np.int32)}),
    "types: float64 beyond float32": _as("synthesis.enter.weight", "float64", 1e308),
    "types: float64": _as("synthesis.enter.weight", "float64", 0.5),
    "types: the least int64 as a weight": _as("prior.start.weight", "int64", -(2**63)),
    "types: the least int64 as a bias": _as("prior.start.bias", "int64", -(2**63)),
    "types: the least int64 as a gain": _as("prior.channel_gain", "int64", -(2**63)),
    "types: counts at 2^63": _as("quantizer.counts", "uint64", 2**63),
    "types: counts at 2^64": _as("quantizer.counts", "uint64", 2**64 - 1),
    "types: counts are floats": _as("quantizer.counts", "float32", 1.5),
    "types: shifts are signed": _as("prior.start.shift", "int8", -1),
    "types: truth values": _as("encoder.layers", "bool", True),
    "floats: infinite half": _set("synthesis.enter.weight", np.inf),
    "floats: not a number": _set("synthesis.rise.weight", np.nan),
    "floats: beyond half": _as("synthesis.out.bias", "float32", 3e38),
    "floats: just beyond half": _as("analysis.out.bias", "float32", -65505.0),
    "floats: sigma 0": _set("synthesis.sigma", 0),
    "floats: sigma negative": _set("analysis.sigma", -1),
    "floats: sigma without an inverse": _as("synthesis.sigma", "float32", 1e-42),
    "prior: weight -128": _set("prior.heads.0.hidden.weight", -128),
    "prior: shift 21": _set("prior.start.shift", 21),
    "prior: shift 255": _set("prior.heads.0.gain.shift", 255),
    "prior: the least bias": _set("prior.start.bias", -(2**31)),
    "prior: the largest bias": _set("prior.start.bias", 2**31 - 1),
    "prior: sums": _most_sums,
    "prior: sigma 257": _set("prior.sigma_log2", 257),
    "prior: the least sigma": _set("prior.sigma_log2", -(2**15)),
    "prior: gain 129": _set("prior.channel_gain", 129),
    "prior: the least gain": _set("prior.channel_gain", -(2**15)),
    "tables: no count": _set("quantizer.counts", 0, -1),
    "tables: a zero vector that is none": _set("quantizer.codebooks", 1, 288),
    "tables: step code 0": _set("encoder.step_codes", 0, 99),
    "tables: step code 4095": _set("encoder.step_codes", 4095, -1),
    "tables: step code 65535": _set("encoder.step_codes", 65535),
    "tables: step codes that rise": _set("encoder.step_codes", 4096, 50),
    "tables: no layers": _set("encoder.layers", 0),
    "tables: more layers than groups": _set("encoder.layers", 5),
    "tables: 255 layers": _set("encoder.layers", 255),
}  # fmt: skip
FRAGMENTS = {
    "nothing": b"",
    "a byte": b"\0",
    "seven bytes": bytes(7),
    "eight bytes": bytes(8),
    "a .vqc file": b"\x89VQC\r\n\x1a\n" * 9,
}


def hostile(kind: str, tensors: Arrays, sizes: dict[str, Any]) -> bytes:
    """A weights file of a kind, made from a sound one."""
    if kind in FRAGMENTS:
        return FRAGMENTS[kind]
    file = Weights(dict(tensors), json.loads(json.dumps(sizes)))
    KINDS[kind](file)
    return file.pack()


def mutated(tensors: Arrays, sizes: dict[str, Any], rng: np.random.Generator) -> bytes:
    """A file with some numbers changed, of which any may be sound."""
    file = Weights({name: array.copy() for name, array in tensors.items()}, sizes)
    for _ in range(int(rng.integers(1, 4))):
        name = str(rng.choice(list(file.tensors)))
        array = file.tensors[name].reshape(-1)
        raw = array.view(np.uint8).reshape(len(array), -1)
        raw[rng.integers(len(raw))] = np.frombuffer(rng.bytes(raw.shape[1]), np.uint8)
    return file.pack()
