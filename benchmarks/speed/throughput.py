"""Megapixels per second of a batch by 1 and 2 worker processes, beside Pillow's AVIF in the same run; memory of a worker; cold starts.

    python -m benchmarks.throughput [--quick] [--only rates|cold] [--out FILE.json] [--model NAME|FILE] [--pictures N] [--workers N ...]

Photographs of 768x512 pixels (parts of scikit-image's) are encoded and decoded by the processes that `--jobs` starts, one thread each,
AVIF by the same processes; files are PPM on the other side, so that no other codec counts. The clock starts when every worker has
had time for two pictures: start-up is not in the rate, and stands apart as the cold start of each command (median of three, the process
included). Memory is the most that a worker held: resident, and its own (without pages shared with others). Refuses to measure
while other processes use the processor.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from PIL import Image
from rich.console import Console
from rich.table import Table
from vqcodec.atomic import write
from vqcodec.cli.work import Decoding, Encoding, Settings
from vqcodec.cli.workers import Coded, Progress, Task, Work, spread

from benchmarks.rate.results import commit, machine

from . import product, quiet
from .child import AVIF_QUALITY, OUR_QUALITY, photograph

Row = dict[str, Any]
SIZE_PX, QUICK_SIZE_PX = (768, 512), (96, 64)
WARM_UP = 2  # pictures of each worker that are not counted
SETTINGS = {
    "vqcodec": f"quality {OUR_QUALITY}, effort 5, verified",
    "AVIF": f"Pillow, quality {AVIF_QUALITY}, 4:4:4, speed 6",
}


@dataclass(frozen=True)
class Avif:
    """Pillow's AVIF on one thread, reading and writing as the codec's own work does. suffix: of what is written."""

    suffix: str

    def prepare(self) -> None: ...

    def __call__(self, source: str, target: str, progress: Progress) -> Coded:
        options: dict[str, Any] = {"format": "PPM"}
        if self.suffix == ".avif":
            options = {"format": "AVIF", "quality": AVIF_QUALITY, "subsampling": "4:4:4", "speed": 6, "max_threads": 1}
        with Image.open(source) as image:
            pixels = image.convert("RGB")
        written = write(target, lambda file: pixels.save(file, **options), force=True)
        return Coded(*pixels.size, Path(source).stat().st_size, written)


def measure(work: Work, tasks: list[Task], workers: int) -> Row:
    """The rate of a batch, and the most memory that each worker held. Raises SystemExit where an input fails."""
    resident: dict[int, int] = {}
    own: dict[int, int] = {}

    def look(_: float) -> None:
        for child in multiprocessing.active_children():
            try:
                memory = psutil.Process(child.pid).memory_full_info()
            except psutil.NoSuchProcess:
                continue
            resident[child.pid or 0] = max(resident.get(child.pid or 0, 0), memory.rss)
            own[child.pid or 0] = max(own.get(child.pid or 0, 0), memory.uss)

    begun, pixels, file_bytes = 0.0, 0, 0
    for number, outcome in enumerate(spread(work, tasks, workers, look), 1):
        if outcome.coded is None:
            raise SystemExit(str(outcome.error))
        file_bytes += outcome.coded.output_bytes
        if number <= WARM_UP * workers:
            begun = time.perf_counter()
        else:
            pixels += outcome.coded.width * outcome.coded.height
    seconds = time.perf_counter() - begun
    return {
        "workers": workers, "megapixels_per_s": pixels / 1e6 / seconds, "seconds": seconds, "output_bytes": file_bytes,
        "resident_mb": round(max(resident.values()) / 2**20), "own_mb": round(max(own.values()) / 2**20),
    }  # fmt: skip


def sweep(folder: Path, model: str, pictures: int, counts: list[int], size: tuple[int, int], anyway: bool) -> list[Row]:
    """A row for each codec, operation and number of workers. Raises quiet.Busy."""
    width, height = size
    large = photograph(width * 2, height * 2)
    for number in range(pictures):
        left, top = number * 37 % width, number * 23 % height
        large.crop((left, top, left + width, top + height)).save(folder / f"{number}.ppm")
    settings = Settings(threads=1, force=True)
    plan: list[tuple[str, str, Work, str, str]] = [
        ("vqcodec", "encode", Encoding(model, {"quality": OUR_QUALITY, "effort": 5}, settings), ".ppm", ".vqc"),
        ("AVIF", "encode", Avif(".avif"), ".ppm", ".avif"),
        ("vqcodec", "decode", Decoding(model, {}, settings), ".vqc", "-vqc.ppm"),
        ("AVIF", "decode", Avif(".ppm"), ".avif", "-avif.ppm"),
    ]
    rows = []
    for codec, operation, work, source, target in plan:
        tasks = [(str(folder / f"{n}{source}"), str(folder / f"{n}{target}")) for n in range(pictures)]
        for workers in counts:
            if not anyway:
                quiet.wait_for_quiet(20)
            rows.append({"codec": codec, "operation": operation} | measure(work, tasks, workers))
    return rows


def cold_starts(model: str, repeats: int) -> list[Row]:
    """Median seconds of each command on one picture, from the start of its process to the end."""
    with tempfile.TemporaryDirectory() as place:
        source, file = f"{place}/a.png", f"{place}/a.vqc"
        photograph(*SIZE_PX).save(source)
        commands = {
            "--version": ["--version"], "--help": ["--help"], "models": ["models"], "completion": ["completion", "bash"],
            "encode": ["encode", source, file, "-f", "-m", model], "info": ["info", file],
            "decode": ["decode", file, f"{place}/b.png", "-f", "-m", model], "compare": ["compare", source, "-m", model],
        }  # fmt: skip
        product.run(*commands["encode"])
        found = {name: [product.run(*command) for _ in range(repeats)] for name, command in commands.items()}
    return [
        {"command": name, "seconds": statistics.median(s for s, _ in runs), "peak_mb": round(max(m for _, m in runs))}
        for name, runs in found.items()
    ]


def show(result: Row, console: Console) -> None:
    table = Table(box=None)
    for head in ("codec", "operation", "workers", "Mpx/s", "x AVIF", "MB each", "own MB each"):
        table.add_column(head, no_wrap=True, justify="left" if head in ("codec", "operation") else "right")
    for row in result["rows"]:
        same = (
            r for r in result["rows"] if r["codec"] == "AVIF" and all(r[k] == row[k] for k in ("operation", "workers"))
        )
        ratio = row["megapixels_per_s"] / next(same)["megapixels_per_s"]
        numbers = [f"{row['megapixels_per_s']:.3f}", f"{ratio:.2f}", str(row["resident_mb"]), str(row["own_mb"])]
        table.add_row(row["codec"], row["operation"], str(row["workers"]), *numbers)
    if result["rows"]:
        console.print(table)
    for row in result["cold_starts"]:
        console.print(f"{row['command']}: {row['seconds']:.2f} s, {row['peak_mb']} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("throughput.json"))
    parser.add_argument("--model", default="default")
    parser.add_argument("--pictures", type=int, default=24, help="in a batch")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--only", choices=("rates", "cold"), help="one part")
    parser.add_argument("--quick", action="store_true", help="tiny pictures: whether it runs, not how fast")
    parser.add_argument("--anyway", action="store_true", help="measure on a busy machine; the output says so")
    options = parser.parse_args()
    if options.pictures <= WARM_UP * max(options.workers):
        parser.error(f"--pictures must be above {WARM_UP * max(options.workers)}: two of each worker are not counted")
    console = Console()
    busy_percent = quiet.others_percent()[0] if options.anyway else None
    size, repeats = (QUICK_SIZE_PX, 1) if options.quick else (SIZE_PX, 3)
    try:
        with tempfile.TemporaryDirectory() as folder:
            rows = (
                []
                if options.only == "cold"
                else sweep(Path(folder), options.model, options.pictures, options.workers, size, options.anyway)
            )
        cold = [] if options.only == "rates" else cold_starts(options.model, repeats)
        if not options.anyway:
            quiet.wait_for_quiet(20)
    except quiet.Busy as reason:
        raise SystemExit(str(reason)) from None
    result: Row = {
        "command": f"python -m benchmarks.throughput {' '.join(sys.argv[1:])}".strip(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "versions": {p: version(p) for p in ("vqcodec", "torch", "numpy", "pillow")},
        "machine": machine(),
        "others_percent": busy_percent,
        "settings": SETTINGS,
        "pictures": f"{options.pictures} of {size[0]}x{size[1]}",
        "rows": rows,
        "cold_starts": cold,
    }
    options.out.write_text(json.dumps(result, indent=1))
    show(result, console)
    note = f" (others used {busy_percent:.0f} % of a processor)" if options.anyway else ""
    console.print(f"written: {options.out}{note}", soft_wrap=True)


if __name__ == "__main__":
    main()
