"""OUT/results.jsonl: a line for every run, and after it a line for every point that it measured. Only ever appended to."""

from __future__ import annotations

import json
import os
import platform
import secrets
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .codecs import ImageCodec

Record = dict[str, Any]
Key = tuple[str, float, str]  # codec, quality, image
FILE = "results.jsonl"
PACKAGES = (
    "vqcodec", "torch", "numpy", "scipy", "pillow", "constriction", "imagecodecs", "scikit-image", "pytorch-msssim", "ssimulacra2",
    "cvvdp",
)  # fmt: skip


def lines(path: Path) -> Iterator[Record]:
    """The records of a file, none if it does not exist; a last line that was cut off is left out."""
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue


def append(path: Path, record: Record) -> None:
    """A line more, on a line of its own even where the last one was cut off."""
    with path.open("ab+") as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            file.write(b"" if file.read() == b"\n" else b"\n")
        file.write(json.dumps(record).encode() + b"\n")


def measured(path: Path, run: Record) -> dict[Key, Record]:
    """The points that stand for `run`: same pictures, codec settings (ours name the model) and versions, and all of its metrics."""
    runs: dict[str | None, Record] = {}
    points: dict[Key, Record] = {}
    for record in lines(path):
        if record["kind"] == "run":
            runs[record.get("id")] = runs[None] = (
                record  # points of older records do not name their run, which is the last one
            )
        elif record["kind"] == "point":
            own, codec = runs.get(record.get("run"), {}), record["codec"]
            if (
                own
                and comparable(own, run)
                and codec in run["codecs"]
                and _same(own["codecs"].get(codec), run["codecs"][codec])
            ):
                points[codec, record["quality"], record["image"]] = record
    return points


def comparable(earlier: Record, run: Record) -> bool:
    """Whether points of an earlier run have the pictures and the metrics of this one."""
    return earlier["images_folder"] == run["images_folder"] and set(run["metrics"]) <= set(earlier["metrics"])


def _same(one: Mapping[str, Any] | None, other: Mapping[str, Any]) -> bool:
    return one is not None and all(one[key] == other[key] for key in ("settings", "version"))


def with_others(path: Path, run: Record) -> Record:
    """`run` with the codecs, too, that comparable runs measured before, each as it was last."""
    codecs: dict[str, Any] = {}
    model = None
    for record in lines(path):
        if record["kind"] == "run" and comparable(record, run):
            codecs |= record["codecs"]
            model = record["model"] or model
    return run | {"codecs": codecs | run["codecs"], "model": run["model"] or model}


def run_record(
    codecs: Mapping[str, ImageCodec], model: str | None, folder: str | None, metrics: Sequence[str], jobs: int
) -> Record:
    """The line that a run begins with. model: id in hex, None if none was used. folder: of the pictures, or
    `images.KODAK`; None for scikit-image's photographs."""
    return {
        "kind": "run",
        "id": secrets.token_hex(4),
        "command": shlex.join(["python", "-m", "benchmarks.rate_distortion", *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "versions": {"python": platform.python_version()} | {p: v for p in PACKAGES if (v := _version(p))},
        "machine": machine(),
        "jobs": jobs,
        "metrics": list(metrics),
        "codecs": {name: {"settings": c.settings, "version": c.version} for name, c in codecs.items()},
        "images_folder": folder,
        "model": model,
    }


def machine() -> Record:
    """Processor by its own name, cores, and system."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists() and "model name" in (text := cpuinfo.read_text()):
        processor = text.split("model name")[1].split("\n")[0].strip("\t :")
    return {"processor": processor, "cores": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}"}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def commit() -> str | None:
    """Short hash, with a plus where tracked files differ from it."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
            cwd=Path(__file__).parent, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()
