"""`python -m tests.fuzz.claims`: what a small file that claims a huge picture costs, for each way to read it.

The files are sound: every tile is there, and decodes. Each reading runs in a process of its own, with one thread. Prints a table in
Markdown: processor time, and how far memory rose above that of a process that has read a picture of 16x16 pixels.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import zlib
from io import BytesIO
from pathlib import Path

import vqbitstream
from vqbitstream import Contents, Header, Section
from vqbitstream.entropy import SectionReader
from vqbitstream.geometry import PATCH_PX, Rect
from vqcodec.codec import Codec

from .webp import framed

WAYS = ("info", "verify", "decode", "preview 1/16", "crop 16x16", "Pillow: open", "Pillow: load", "Pillow: draft 1/16")
KINDS = ("one layer", "one layer and alpha", "all layers", "exact", "exact and alpha")


class _Silent:
    """Reads a payload without bytes, and keeps the checksum of what that means."""

    def __init__(self, codec: Codec) -> None:
        self._reader = SectionReader(b"", codec.tables, 0)
        self.read = self._reader.read

    def close(self) -> None:
        """Whatever it held is right."""

    @property
    def section(self) -> Section:
        return Section(b"", self._reader._running)


def claimed(codec: Codec, width: int, height: int, kind: str) -> bytes:
    """A file of this size with as few bytes as can be."""
    layers = 1 if "one" in kind else codec.tile_coder.layers if "all" in kind else 0
    header = Header(width, height, False, "alpha" in kind, False, 0, 20480, 1, codec.model_id, layers, "exact" in kind)
    known: dict[tuple[int, int], list[Section]] = {}
    exact = []
    for tile in header.tiles:
        if layers:
            if tile.shape not in known:
                sources = [_Silent(codec) for _ in range(layers)]
                codec.tile_coder.latent_coder.decode(tile.shape, header.step_code, header.tune, sources)
                known[tile.shape] = [source.section for source in sources]
        else:
            exact.append(flat(*tile.scale(PATCH_PX).intersect(Rect(0, height, 0, width)).shape))
    sections = [known[tile.shape][layer] for layer in range(layers) for tile in header.tiles]
    alpha = b"\0" + zlib.compress(bytes(width * height), 9) if header.alpha else None
    return vqbitstream.pack(Contents(header, sections, alpha, exact=exact))


def flat(height: int, width: int) -> bytes:
    """Lossless WebP of one colour: no transform, no cache, and five codes of one symbol each, which take no bits."""
    # a code of one symbol: simple, one symbol, of one bit, which is 0
    codes = 5 * [1, 0, 0, 0]
    bits = [0, 0, 0, *codes]
    stream = sum(bit << n for n, bit in enumerate(bits)).to_bytes(4, "little")
    return framed((width - 1) | (height - 1) << 14, stream)


def read(way: str, path: Path, model: str) -> None:
    """Read a file in one way."""
    import vqcodec
    from PIL import Image

    data = path.read_bytes()
    if way.startswith("Pillow"):
        import vqcodec.pillow_plugin

        Image.MAX_IMAGE_PIXELS = None
        with Image.open(BytesIO(data)) as image:
            if "draft" in way:
                image.draft(None, (image.width // 16, image.height // 16))
            if "open" not in way:
                image.load()
    elif way == "info":
        vqcodec.info(data)
    elif way == "verify":
        Codec(model).verify(data)
    else:
        options = {"preview 1/16": {"scale": 1 / 16}, "crop 16x16": {"region": (0, 0, 16, 16)}}.get(way, {})
        vqcodec.decode(data, **options)


def measured(way: str, path: Path, model: str) -> tuple[float, float]:
    """Seconds of processor time and peak megabytes of a process that reads a file."""
    command = [sys.executable, "-m", "tests.fuzz.claims", "--model", model, "--read", way, str(path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    seconds, megabytes = json.loads(done.stdout)
    return seconds, megabytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--side", type=int, default=11_300, help="of the picture claimed, in pixels")
    parser.add_argument("--model", default="default")
    parser.add_argument("--kinds", nargs="*", default=KINDS)
    parser.add_argument("--ways", nargs="*", default=WAYS)
    parser.add_argument("--read", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        import resource

        read(options.read[0], Path(options.read[1]), options.model)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        print(json.dumps([usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e3]))
        return
    codec = Codec(options.model)
    heads, rows = [f"{options.side}x{options.side} pixels"], [[way] for way in options.ways]
    with tempfile.TemporaryDirectory() as folder:
        for kind in options.kinds:
            paths = [Path(folder) / name for name in ("small.vqc", "huge.vqc")]
            for path, side in zip(paths, (16, options.side), strict=True):
                path.write_bytes(claimed(codec, side, side, kind))
            heads.append(f"{kind}, {paths[1].stat().st_size:,} bytes")
            for way, row in zip(options.ways, rows, strict=True):
                (_, start), (seconds, peak) = (measured(way, path, options.model) for path in paths)
                row.append(f"{seconds:.1f} s, {max(peak - start, 0):.0f} MB")
                print(kind, *row[:1], row[-1], file=sys.stderr, flush=True)
    for line in (heads, ["---", *["--:"] * len(options.kinds)], *rows):
        print(f"| {' | '.join(line)} |")


if __name__ == "__main__":
    main()
