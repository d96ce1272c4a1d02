"""How time and memory grow with the picture: vqcodec beside Pillow's AVIF and JPEG, and a hyperprior network.

    python -m benchmarks.speed [--quick] [--out DIR] [--model NAME|FILE]

Each codec encodes and decodes photographs of 0.1 to 24 megapixels on 1 and 2 threads, every measurement in a fresh process: median
seconds after a warm-up, and peak resident memory (with Python, the libraries and the picture). The hyperprior has the shape of
Minnen et al. 2018 (N=128, M=192) and random weights: networks only, at sizes that fit the memory. Writes DIR/speed.json and
DIR/speed.png. Refuses to measure while other processes use the processor.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.rate.results import commit, machine

from . import quiet

Row = dict[str, Any]
ROOT = Path(__file__).parents[2]
SIZES = ((384, 256), (768, 512), (1224, 816), (2448, 1632), (4248, 2832), (6000, 4000))
QUICK_SIZES = ((96, 64), (192, 128))
CODECS = ("vqcodec", "AVIF", "JPEG", "hyperprior")
SETTINGS = {
    "vqcodec": "quality 50, effort 5, verified",
    "AVIF": "Pillow, quality 60, 4:4:4, speed 6",
    "JPEG": "Pillow, quality 75; one thread",
    "hyperprior": "mean-scale hyperprior's shape, N=128, M=192, random weights, networks only",
}
PATIENCE = 20  # readings, a second each, before a measurement is given up
REPEATS, BUDGET_S = 5, 15.0
MEMORY_SHARE = 0.7  # of what is free, at most, for the hyperprior


def child(task: Row) -> Row | None:
    """One measurement; None where the process was killed, as it is when memory runs out."""
    environment = os.environ | {"OMP_NUM_THREADS": str(task["threads"]), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed.child", json.dumps(task)],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode < 0:
        return None
    if done.returncode:
        raise SystemExit(f"{task['codec']} failed: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def fits(codec: str, pixels: int) -> bool:
    if codec != "hyperprior":
        return True
    from .hyperprior import PEAK_BYTES_PER_PIXEL

    return pixels * PEAK_BYTES_PER_PIXEL < MEMORY_SHARE * psutil.virtual_memory().available


def sweep(
    sizes: Sequence[tuple[int, int]], options: argparse.Namespace, console: Console
) -> tuple[list[Row], list[str]]:
    """Rows of seconds and memory, and a line for each measurement left out. Raises quiet.Busy."""
    rows, left_out = [], []
    threads_of = {c: (1,) if options.quick or c == "JPEG" else (1, 2) for c in CODECS}
    plan = [(c, t, s) for c in CODECS for t in threads_of[c] for s in sizes]
    with tempfile.TemporaryDirectory() as folder, Progress(console=console, transient=True) as progress:
        bar = progress.add_task("measuring", total=len(plan))
        for codec, threads, (width, height) in plan:
            row: Row = {"codec": codec, "threads": threads, "width": width, "height": height}
            row["megapixels"] = width * height / 1e6
            name = f"{codec} at {row['megapixels']:.2g} megapixels, {_threads(threads)}"
            for operation in ("encode", "decode"):
                if not fits(codec, width * height):
                    left_out.append(f"{name}: would not fit the memory")
                    break
                if not options.anyway:
                    quiet.wait_for_quiet(PATIENCE)
                repeats = (
                    {"repeats": 1, "budget_s": 1.0} if options.quick else {"repeats": REPEATS, "budget_s": BUDGET_S}
                )
                task = row | repeats | {"operation": operation, "model": options.model, "file": f"{folder}/coded"}
                made = child(task)
                if made is None:
                    left_out.append(f"{name}: {operation} was killed")
                    break
                row[f"{operation}_s"] = statistics.median(made["seconds"])
                row[f"{operation}_runs_s"] = made["seconds"]
                row[f"{operation}_peak_mb"], row[f"{operation}_before_mb"] = made["peak_mb"], made["before_mb"]
                row["bytes"] = made["bytes"]
            else:
                rows.append(row)
            progress.advance(bar)
    return rows, left_out


def exponents(rows: Sequence[Row]) -> list[Row]:
    """Per codec and threads: b of seconds = a * pixels^b, by least squares of the logarithms; 1 is linear."""
    out = []
    for codec, threads in dict.fromkeys((r["codec"], r["threads"]) for r in rows):
        own = [r for r in rows if (r["codec"], r["threads"]) == (codec, threads)]
        if len(own) < 2:
            continue
        found: Row = {"codec": codec, "threads": threads}
        for operation in ("encode", "decode"):
            x, y = (np.log([r[k] for r in own]) for k in ("megapixels", f"{operation}_s"))
            found[operation] = float(np.polyfit(x, y, 1)[0])
        out.append(found)
    return out


def start_up(model: str, repeats: int) -> dict[str, float]:
    """Median seconds from starting Python to the end of each."""
    loaded = f"import vqcodec; vqcodec.load_model({model!r})"
    avif = "import io; from PIL import Image; Image.new('RGB', (16, 16)).save(io.BytesIO(), 'AVIF')"
    network = "from benchmarks.speed.hyperprior import Hyperprior; Hyperprior()"
    commands = {
        "python": "pass", "import vqcodec": "import vqcodec", "vqcodec, model loaded": loaded, "AVIF, 16x16 encoded": avif,
        "hyperprior, built": network,
    }  # fmt: skip
    out = {}
    for name, code in commands.items():
        seconds = []
        for _ in range(repeats):
            begun = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
            seconds.append(time.perf_counter() - begun)
        out[name] = statistics.median(seconds)
    return out


def macs(model: str) -> dict[str, dict[str, float]]:
    """Thousand multiply-accumulates per pixel, by part."""
    from vqcodec.codec import Codec

    from .hyperprior import Hyperprior

    found = {"vqcodec (decode)": Codec(model).macs_per_pixel(), "hyperprior": Hyperprior().macs_per_pixel()}
    return {name: {part: value / 1000 for part, value in parts.items()} for name, parts in found.items()}


def plot(rows: Sequence[Row], fits: Sequence[Row], title: str, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(17, 5.5))
    kinds = (("encode_s", "encode (s)"), ("decode_s", "decode (s)"), ("encode_peak_mb", "peak memory, encode (MB)"))
    for axes, (key, label) in zip(panels, kinds, strict=True):
        for number, codec in enumerate(CODECS):
            for threads, style in ((1, "-"), (2, "--")):
                own = [r for r in rows if (r["codec"], r["threads"]) == (codec, threads)]
                fit = next((f for f in fits if (f["codec"], f["threads"]) == (codec, threads)), {})
                slope = f", ∝ pixels^{fit[key[:6]]:.2f}" if key.endswith("_s") and fit else ""
                if own:
                    axes.plot(
                        [r["megapixels"] for r in own], [r[key] for r in own], style, marker="o", markersize=4, color=f"C{number}",
                        label=f"{codec}, {_threads(threads)}{slope}",
                    )  # fmt: skip
        axes.set(xscale="log", yscale="log", xlabel="megapixels", title=label)
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize="x-small", handlelength=3.5)
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _threads(count: int) -> str:
    return f"{count} thread{'s' * (count > 1)}"


def tables(result: Row, console: Console) -> None:
    table = Table(box=None)
    for head in ("codec", "threads", "Mpx", "encode s", "decode s", "encode MB", "decode MB", "bytes"):
        table.add_column(head, no_wrap=True, justify="left" if head == "codec" else "right")
    for r in result["rows"]:
        values = [f"{r['megapixels']:.2f}", f"{r['encode_s']:.3f}", f"{r['decode_s']:.3f}"]
        memory = [f"{r['encode_peak_mb']:.0f}", f"{r['decode_peak_mb']:.0f}", str(r["bytes"] or "-")]
        table.add_row(r["codec"], str(r["threads"]), *values, *memory)
    console.print(table)
    for line in result["left_out"]:
        console.print(f"left out: {line}")
    for f in result["exponents"]:
        name = f"{f['codec']}, {_threads(f['threads'])}"
        console.print(f"{name}: encode grows as pixels^{f['encode']:.2f}, decode as pixels^{f['decode']:.2f}")
    console.print("start-up: " + ", ".join(f"{k} {v:.2f} s" for k, v in result["start_up_s"].items()))
    for name, parts in result["kmacs_per_pixel"].items():
        console.print(f"kMAC/px, {name}: " + ", ".join(f"{k} {v:.2f}" for k, v in parts.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("speed-results"), help="folder for speed.json and speed.png")
    parser.add_argument("--model", default="default")
    parser.add_argument(
        "--quick", action="store_true", help="two tiny sizes, once each, one thread: whether it runs, not how fast"
    )
    parser.add_argument("--anyway", action="store_true", help="measure on a busy machine; the output says so")
    options = parser.parse_args()
    console = Console()
    if Path(options.model).exists():  # children run elsewhere
        options.model = str(Path(options.model).resolve())
    busy_percent = quiet.others_percent()[0] if options.anyway else None
    try:
        if not options.anyway:
            quiet.wait_for_quiet()
        rows, left_out = sweep(QUICK_SIZES if options.quick else SIZES, options, console)
        started = start_up(options.model, 1 if options.quick else REPEATS)
        if not options.anyway:
            quiet.wait_for_quiet(PATIENCE)
    except quiet.Busy as reason:
        raise SystemExit(str(reason)) from None
    result: Row = {
        "command": f"python -m benchmarks.speed {' '.join(sys.argv[1:])}".strip(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "versions": {p: version(p) for p in ("vqcodec", "torch", "numpy", "pillow")},
        "machine": machine(),
        "anyway": options.anyway,
        "others_percent": busy_percent,
        "settings": SETTINGS,
        "model": options.model,
        "rows": rows,
        "left_out": left_out,
        "exponents": exponents(rows),
        "start_up_s": started,
        "kmacs_per_pixel": macs(options.model),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "speed.json").write_text(json.dumps(result, indent=1))
    note = f" (others used {busy_percent:.0f} % of a processor)" if options.anyway else ""
    plot(
        rows,
        result["exponents"],
        f"{result['date'][:10]}, {result['machine']['processor']}{note}",
        options.out / "speed.png",
    )
    tables(result, console)
    console.print(f"written: {options.out / 'speed.json'}, {options.out / 'speed.png'}{note}")


if __name__ == "__main__":
    main()
