"""`python -m tests.fuzz.readers --files 1000000 --state fuzz.json`: mutated files through two decoders, which must agree.

Python, with its C kernels, and the browser's decoder in Node, with its WebAssembly, read every file. Both refuse it, or both decode it
to the same latent and to pixels within one level (the same pixels, if all are exact). What breaks this, crashes or hangs is kept in
`findings/`. With --state the run can be stopped at any time, and the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import struct
import subprocess
import time
import warnings
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import vqbitstream
from vqbitstream.errors import VQCError
from vqcodec.codec import Codec

from .cases import case, seeds

ROOT = Path(__file__).parents[2]
FINDINGS = Path(__file__).parent / "findings"
TINY = ROOT / "tests/fixtures/tiny.safetensors"
WINDOW = 64  # files between two notes of what is done
HANG_S = 60

Outcome = tuple[str, int, bytes]  # "decoded" or what refused it, CRC32 of the latent, RGBA


class Node:
    """The browser's decoder. kind: "wasm" or "plain"."""

    def __init__(self, kind: str = "wasm") -> None:
        node = shutil.which("node")
        if node is None:
            raise SystemExit("no Node")
        command = [node, str(ROOT / "browser/test/reader.js"), kind]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def send(self, data: bytes) -> None:
        """Begin to read a file; the one before has been read."""
        assert self._process.stdin is not None
        self._process.stdin.write(struct.pack("<I", len(data)) + data)
        self._process.stdin.flush()

    def outcome(self) -> Outcome:
        """Of the file that was sent."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            return f"crash: Node ended with {self._process.wait()}", 0, b""
        found = json.loads(line)
        return found["outcome"], found["latent"], self._process.stdout.read(found["pixels"])

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


def read(codec: Codec, data: bytes) -> Outcome:
    """What Python makes of a file."""
    try:
        pixels = codec.decode(data).convert("RGBA").tobytes()
        layers = vqbitstream.unpack(data, vqbitstream.Limits()).header.layers
        latent = zlib.crc32(codec.decode_latent(data)[0].astype("<i4").tobytes()) if layers else 0
    except VQCError as error:
        return type(error).__name__, 0, b""
    return "decoded", latent, pixels


def disagreement(ours: Outcome, theirs: Outcome) -> str:
    """Empty if two readers agree. Which error it is may differ: the browser's decoder does not have the whole file when it begins."""
    for name, outcome in (("Python", ours[0]), ("Node", theirs[0])):
        if outcome.startswith("crash"):
            return f"{name}: {outcome}"
    if (ours[0] == "decoded") != (theirs[0] == "decoded"):
        return f"Python: {ours[0]}, Node: {theirs[0]}"
    if ours[1] != theirs[1]:
        return "the latents differ"
    if len(ours[2]) != len(theirs[2]):
        return "the sizes differ"
    a, b = (np.frombuffer(pixels, np.uint8).astype(np.int16) for pixels in (ours[2], theirs[2]))
    worst = int(np.abs(a - b).max(initial=0))
    return f"pixels differ by {worst} levels" if worst > (ours[1] != 0) else ""


class Run:
    """The files of a seed, from where an earlier run stopped."""

    def __init__(self, seed: int, state: Path | None) -> None:
        self.path = state
        self.state: dict[str, Any] = {"seed": seed, "next": 0, "counts": {}, "findings": {}, "seconds": 0.0}
        if state and state.exists():
            self.state = json.loads(state.read_text())
        if "open" in self.state:  # the last run died there
            begin = self.state.pop("open")
            self.state["findings"][str(begin)] = f"died in the files {begin}..{begin + WINDOW - 1}"
            self.state["next"] = begin + WINDOW
        self.codec, self.node = Codec(str(TINY)), Node()
        self.files = seeds(self.codec)

    def save(self) -> None:
        """Write the state, whole or not at all."""
        if self.path:
            new = self.path.with_suffix(".new")
            new.write_text(json.dumps(self.state))
            new.replace(self.path)

    def window(self, count: int) -> None:
        """The next `count` files."""
        begin, seed = self.state["next"], self.state["seed"]
        self.state["open"] = begin
        self.save()
        batch = [case(number, self.codec, self.files, seed) for number in range(begin, begin + count)]
        counts = Counter(self.state["counts"])
        for number, data in enumerate(batch, begin):
            signal.alarm(HANG_S)
            self.node.send(data)
            try:
                ours = read(self.codec, data)
            except Exception as error:
                ours = f"crash: {type(error).__name__}: {error}", 0, b""
            theirs = self.node.outcome()
            signal.alarm(0)
            counts[ours[0].partition(":")[0]] += 1
            if text := disagreement(ours, theirs):
                print(f"file {number}: {text}", flush=True)
                self.state["findings"][str(number)] = text
                FINDINGS.mkdir(exist_ok=True)
                (FINDINGS / f"readers-seed{seed}-{number}.vqc").write_bytes(data)
        self.state |= {"counts": counts, "next": begin + count}
        del self.state["open"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--files", type=int, default=10_000, help="how many, those of earlier runs included")
    parser.add_argument("--seed", type=int, default=0, help="other seeds make other files")
    parser.add_argument("--state", type=Path, help="remember here what is done, and go on from there")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop after so long")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*EXIF is damaged.*")
    run = Run(options.seed, options.state)
    begun = reported = time.monotonic()
    while run.state["next"] < options.files and time.monotonic() - begun < 60 * options.minutes:
        before = time.monotonic()
        run.window(min(WINDOW, options.files - run.state["next"]))
        run.state["seconds"] += time.monotonic() - before
        run.save()
        if time.monotonic() - reported > 60:
            reported = time.monotonic()
            print(f"{run.state['next']} files, {len(run.state['findings'])} findings", flush=True)
    run.node.close()
    counts = ", ".join(f"{count} {name}" for name, count in Counter(run.state["counts"]).most_common())
    print(f"{run.state['next']} files in {run.state['seconds']:.0f} s: {counts}; {len(run.state['findings'])} findings")
    raise SystemExit(bool(run.state["findings"]))


if __name__ == "__main__":
    main()
