"""Makes the conformance set: `python tests/conformance/make.py` (all of it), or with --shipped (the shipped model's files alone) or
--exact (those with exact pixels alone).

`index.json` lists files that every decoder must decode, with the SHA-256 of their latents and the pixels that NumPy gives, and files
that every decoder must refuse, with the class of the error. A file without a latent has exact pixels only, which must be equal. Run it
again when the format changes; with --shipped when new weights ship.
"""

from __future__ import annotations

import hashlib
import json
import sys
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent), str(HERE)]

import exact  # noqa: E402
from fuzz.cases import File  # noqa: E402
from support import TINY, picture  # noqa: E402
from support.loud import write_loud  # noqa: E402
from vqbitstream import Limits, unpack  # noqa: E402
from vqbitstream.errors import VQCError  # noqa: E402
from vqcodec.codec import Codec  # noqa: E402
from vqcodec.pictures.planes import Planes  # noqa: E402

METADATA = {"icc": b"a profile" * 30, "exif": b"II*\0\x08\0\0\0\0\0", "xmp": b"<x:xmpmeta/>"}
SIZES = [
    (1, 1), (1, 40), (40, 1), (15, 16), (16, 16), (17, 16), (33, 17), (64, 64), (65, 63), (100, 100), (130, 90), (48, 200), (200, 48),
    (300, 260), (1040, 20), (20, 1040),
]  # fmt: skip


def alpha_plane(width: int, height: int, kind: int) -> Any:
    down, right = np.mgrid[0:height, 0:width]
    planes = [np.full((height, width), 200), down * 3 % 256, right * 5 % 256, (down * 2 + right * 3) % 256]
    noise = np.random.default_rng(0).integers(0, 256, (height, width))
    return np.asarray([*planes, noise][kind], dtype=np.uint8)


def write(name: str, model: str, codec: Codec, data: bytes) -> dict[str, Any]:
    """Write a file and its pixels; returns its entry."""
    (HERE / "files" / f"{name}.vqc").write_bytes(data)
    pixels = codec.decode(data).convert("RGBA").tobytes()
    (HERE / "pixels" / f"{name}.z").write_bytes(zlib.compress(pixels, 9))
    if not unpack(data, Limits()).header.layers:
        return {"name": name, "model": model}
    latent = codec.decode_latent(data)[0].astype("<i4")
    return {"name": name, "model": model, "latent_sha256": hashlib.sha256(latent.tobytes()).hexdigest()}


def encoded(codec: Codec, width: int, height: int, quality: float, **options: Any) -> bytes:
    """A picture, as a file. Options: grey, alpha (kind), metadata (names), seed, layered, tune."""
    pixels = picture(width, height, options.get("seed", 5))
    planes = Planes(pixels[..., 0] if options.get("grey") else pixels)
    if "alpha" in options:
        planes.alpha = alpha_plane(width, height, options["alpha"])
    planes.metadata = {name: METADATA[name] for name in options.get("metadata", ())}
    with patch("vqbitstream.header.SINGLE_SECTION_PIXELS", 0 if options.get("layered") else 1 << 16):
        return codec.encode_planes(planes, quality=quality, tune=options.get("tune", "eye"), effort=1, exact="none")[0]


def sound(model: str, codec: Codec) -> list[dict[str, Any]]:
    """Files of every size, quality and kind."""
    out = []

    def add(kind: str, *arguments: Any, **options: Any) -> None:
        out.append(write(f"{model}-{kind}", model, codec, encoded(codec, *arguments, **options)))

    for number, (width, height) in enumerate(SIZES):
        quality, tune = (1, 20, 45, 70, 95)[number % 5], ("eye", "psnr")[number % 2]
        add(f"{width}x{height}", width, height, quality, tune=tune, grey=number % 4 == 1)
    for quality in (1, 10, 30, 50, 75, 90, 100):
        add(f"layered-q{quality}", 70, 50, quality, layered=True)
    for kind in range(5):
        add(f"alpha-{kind}", 45, 37, 60, alpha=kind, grey=kind == 2)
    for names in (["icc"], ["exif"], ["xmp"], ["icc", "exif", "xmp"]):
        add("metadata-" + "-".join(names), 30, 20, 40, metadata=names)
    add("everything", 90, 70, 85, alpha=3, metadata=list(METADATA), layered=True)
    add("tiles-alpha", 1040, 40, 60, alpha=1, metadata=["icc"])
    return out


def shipped() -> list[dict[str, Any]]:
    codec = Codec("default")
    cases = [("small", 60, 40, 75), ("finest", 48, 48, 100), ("coarse", 150, 100, 5), ("layers", 280, 240, 60)]
    out = [write(f"shipped-{name}", "default", codec, encoded(codec, *rest)) for name, *rest in cases]
    return [entry | {"model_id": codec.model_id.hex()} for entry in out]


def refused(tiny: bytes, layered: bytes, tiled: bytes, codec: Codec) -> dict[str, bytes]:
    """Files with one fault each. tiny has everything in a single section, layered alpha and metadata."""
    out: dict[str, bytes] = {"empty": b"", "text": b"hello, this is no picture at all, but it is long enough to be one"}
    for name, length in {"magic": 5, "version": 8, "header": 20, "checksum": 35, "sections": 36}.items():
        out[f"cut-{name}"] = layered[:length]
    for name, length in {
        "payload": len(layered) - 1,
        "tag": layered.index(b"A", 60),
        "middle": len(layered) // 2,
    }.items():
        out[f"cut-{name}"] = layered[:length]
    for offset in (0, 7, 8, 33):
        out[f"flipped-{offset}"] = tiny[:offset] + bytes([tiny[offset] ^ 64]) + tiny[offset + 1 :]
    fields: dict[str, dict[str, Any]] = {
        "flag": {"flags": 16 | tiny[9]}, "no-width": {"width": 0}, "no-height": {"height": 0}, "wide": {"width": 1 << 31},
        "huge": {"width": 60000, "height": 60000}, "no-layers": {"layers": 0}, "many-layers": {"layers": 65},
        "more-layers": {"layers": 4}, "quality-low": {"quality": 99}, "quality-high": {"quality": 10001},
        "step-low": {"step_code": 4095}, "step-high": {"step_code": 40961}, "tune": {"tune": 2}, "model": {"model_id": b"\1" * 8},
        "fewer-layers": {"layers": 1}, "more-pixels": {"width": 90}, "another-step": {"step_code": 9000},
    }  # fmt: skip
    for name, change in fields.items():
        file = File.parse(tiny)
        file.header.update(change)
        out[f"header-{name}"] = file.pack()
    file = File.parse(tiled)
    file.header["flags"] = int(file.header["flags"]) | 2
    out["single-of-tiles"] = file.pack()

    def pieces(name: str, change: Any, data: bytes = layered) -> None:
        file = File.parse(data)
        change(file.pieces)
        out[name] = file.pack()

    pieces("no-alpha", lambda p: p.pop(4))
    pieces("alpha-first", lambda p: p.insert(3, p.pop(4)))
    pieces("layer-missing", lambda p: p.pop())
    pieces("layer-twice", lambda p: p.append(p[-1]))
    pieces("icc-twice", lambda p: p.insert(0, p[0]))
    pieces("exif-before-icc", lambda p: p.insert(1, p.pop(0)))
    pieces("unknown-tag", lambda p: p.__setitem__(0, replace(p[0], tag=b"Z")))
    pieces("section-checksum", lambda p: p.__setitem__(3, replace(p[3], crc=1)))
    pieces("index-checksum", lambda p: p.__setitem__(3, replace(p[3], index_crc=1)))
    pieces("long-length", lambda p: p.__setitem__(-1, replace(p[-1], length=1 << 31)))
    for name, payload in {
        "icc-no-zlib": b"abc", "icc-junk": zlib.compress(b"x") + b"x", "icc-cut": zlib.compress(b"x" * 99)[:-2],
        "icc-adler": zlib.compress(b"x")[:-1] + b"x", "icc-bomb": zlib.compress(bytes((1 << 24) + 1), 9),
    }.items():  # fmt: skip
        pieces(name, lambda p, payload=payload: p.__setitem__(0, replace(p[0], payload=payload)))
    for name, change in {
        "alpha-filter": lambda b: b"\4" + b[1:], "alpha-empty": lambda b: b"", "alpha-short": lambda b: b[:1] + zlib.compress(b"x"),
        "alpha-long": lambda b: b[:1] + zlib.compress(bytes(90 * 70 + 1)),
    }.items():  # fmt: skip
        pieces(name, lambda p, change=change: p.__setitem__(4, replace(p[4], payload=change(p[4].payload))))
    for name, change in {
        "words-odd": lambda b: b + b"\1", "words-zero": lambda b: b + bytes(4), "words-more": lambda b: b"\1\2\3\4" + b,
        "words-fewer": lambda b: b[4:], "words-none": lambda b: b"", "words-flipped": lambda b: bytes([b[0] ^ 1]) + b[1:],
    }.items():  # fmt: skip
        pieces(name, lambda p, change=change: p.__setitem__(0, replace(p[0], payload=change(p[0].payload))), tiny)
    out["junk-after"] = tiny + b"x"
    return out


def write_refused(name: str, codec: Codec, data: bytes) -> dict[str, str]:
    """Write a file; returns its entry."""
    (HERE / "refused" / f"{name}.vqc").write_bytes(data)
    try:
        codec.decode(data)
    except VQCError as error:
        return {"name": name, "error": type(error).__name__}
    raise SystemExit(f"{name} is decoded")


def with_exact_pixels(facts: dict[str, Any], codec: Codec) -> None:
    """Replace the files with exact pixels."""
    for kind in facts:
        facts[kind] = [entry for entry in facts[kind] if not entry["name"].startswith(("tiny-exact-", "exact-"))]
    files = exact.sound(codec, encoded, METADATA)
    facts["sound"] += [write(f"tiny-exact-{name}", "tiny", codec, data) for name, data in files.items()]
    wrong = exact.refused(codec, encoded, METADATA)
    facts["refused"] += [write_refused(f"exact-{name}", codec, data) for name, data in wrong.items()]


def main() -> None:
    for folder in ("files", "pixels", "refused"):
        (HERE / folder).mkdir(exist_ok=True)
    index = HERE / "index.json"
    codec = Codec(TINY)
    if "--shipped" in sys.argv or "--exact" in sys.argv:
        facts = json.loads(index.read_text())
        if "--shipped" in sys.argv:
            facts["sound"] = [entry for entry in facts["sound"] if entry["model"] != "default"] + shipped()
    else:
        loud = write_loud(HERE / "loud.safetensors")
        one = encoded(codec, 60, 40, 70)
        all_of_it = encoded(codec, 90, 70, 85, alpha=3, metadata=list(METADATA), layered=True)
        wrong = refused(one, all_of_it, encoded(codec, 1040, 20, 60), codec)
        facts = {
            "sound": sound("tiny", codec) + sound("loud", loud) + shipped(),
            "refused": [write_refused(name, codec, data) for name, data in wrong.items()],
        }
    if "--shipped" not in sys.argv:
        with_exact_pixels(facts, codec)
    index.write_text(json.dumps(facts, indent=1) + "\n")
    print(len(facts["sound"]), "to decode,", len(facts["refused"]), "to refuse")


if __name__ == "__main__":
    main()
