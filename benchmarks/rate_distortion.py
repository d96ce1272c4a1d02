"""Rate-distortion of vqcodec beside other codecs, on real file bytes.

    python -m benchmarks.rate_distortion [--images DIR | --kodak] [--quick] --out DIR

bpp is 8 * file bytes / pixels. Every metric is that of the decoded 8-bit picture; both are taken per image and then averaged over
images. Points are appended to DIR/results.jsonl as they are measured: run it again, and only what is missing is measured. At the
end: DIR/summary.json, DIR/plot.png, and the summary in words. Times are of one thread, with the other jobs running beside it.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from vqcodec.registry import ModelError

from .codecs import NAMES, ImageCodec, LayerPrefixes, Ours, build
from .images import KODAK, is_kodak, kodak_sources, sources
from .metrics import METRICS, available
from .plot import plot, published
from .results import FILE, Record, append, measured, run_record
from .summary import summarise, text
from .sweep import sweep, tasks

QUICK = ("vqcodec", "JPEG-O", "WebP", "AVIF")


def measure(
    codecs: dict[str, ImageCodec], options: argparse.Namespace, metrics: Sequence[str]
) -> tuple[Record, list[Record]]:
    """Measure what the results do not hold yet -> the run's line, and all its points."""
    found = kodak_sources(options.images) if options.kodak else sources(options.images)
    folder = KODAK if options.kodak else str(found[0].path.parent.resolve()) if found[0].path else None
    if options.quick:
        found = found[:2]
    model = next((c.codec.model_id.hex() for c in codecs.values() if isinstance(c, Ours | LayerPrefixes)), None)
    run = run_record(codecs, model, folder, metrics, options.jobs)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / FILE
    wanted = tasks(codecs, found, options.quick)
    there = measured(path, run)
    todo = [task for task in wanted if task.key not in there]
    print(f"{len(todo)} of {len(wanted)} points to measure, the others are in {path}", flush=True)
    if todo:
        append(path, run)
        sweep(todo, list(codecs), options.model, metrics, options.jobs, path)
    points = measured(path, run)
    return run, [points[task.key] for task in wanted]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of pictures; scikit-image's photographs if left out")
    parser.add_argument("--kodak", action="store_true", help="the 24 Kodak pictures, downloaded if they are not found")
    parser.add_argument(
        "--quick", action="store_true", help=f"two pictures, few qualities, and only {', '.join(QUICK)}"
    )
    parser.add_argument("--codecs", nargs="+", choices=NAMES, metavar="NAME", help="of: " + ", ".join(NAMES))
    parser.add_argument("--metrics", nargs="+", choices=METRICS, default=list(METRICS))
    parser.add_argument("--model", default="default", help="name or weights file")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--out", type=Path, default=Path("benchmark-results"))
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that are started
    metrics, without = available([m for m in METRICS if m in {"psnr_db", *options.metrics}])
    try:
        codecs, left_out = build(options.codecs or (QUICK if options.quick else NAMES), options.model)
    except ModelError as error:
        raise SystemExit(str(error)) from None
    for line in (*left_out, *without):
        print(line)
    run, points = measure(codecs, options, metrics)
    with Console(stderr=True).status("resampling images"):
        summary = summarise(run, points)
    (options.out / "summary.json").write_text(json.dumps(summary, indent=1))
    references = published() if is_kodak(summary["images"]) else []
    plot(summary["curves"], f"images: {len(summary['images'])}", options.out / "plot.png", references)
    print(text(summary))
    print(f"\nwritten: {', '.join(str(options.out / name) for name in (FILE, 'summary.json', 'plot.png'))}")


if __name__ == "__main__":
    main()
