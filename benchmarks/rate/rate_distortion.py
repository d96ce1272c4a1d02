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
from vqcodec.models.weights_file import ModelError

from .codecs import NAMES, ImageCodec, LayerPrefixes, Ours, build
from .images import KODAK, Source, is_kodak, kodak_sources, sources
from .metrics import DEFAULT_METRICS, METRICS, available
from .plot import plot, published
from .results import FILE, Record, append, measured, run_record, with_others
from .summary import summarise, text
from .sweep import Task, checksum, sweep, tasks

QUICK = ("vqcodec", "JPEG-O", "WebP", "AVIF")


def readable(found: Sequence[Source]) -> dict[Source, int]:
    """The pictures that can be read, and checksums of their pixels; says which cannot. Raises SystemExit if there is none."""
    sums = {}
    for source in found:
        try:
            sums[source] = checksum(source.read())
        except Exception as error:  # whatever Pillow makes of the file
            print(f"{source.name} left out: {str(error).splitlines()[0]}")
    if not sums:
        raise SystemExit("no picture can be read")
    return sums


def measure(
    codecs: dict[str, ImageCodec], options: argparse.Namespace, metrics: Sequence[str]
) -> tuple[Record, list[Record]]:
    """Measure what the results do not hold yet -> the run's line, with the codecs of comparable runs before, and all points."""
    found = kodak_sources(options.images) if options.kodak else sources(options.images)
    folder = KODAK if options.kodak else str(found[0].path.parent.resolve()) if found[0].path else None
    sums = readable(found[:2] if options.quick else found)
    model = next((c.codec.model_id.hex() for c in codecs.values() if isinstance(c, Ours | LayerPrefixes)), None)
    run = run_record(codecs, model, folder, metrics, options.jobs)
    path = options.out / FILE
    wanted = tasks(codecs, list(sums), options.quick)
    there = measured(path, run)

    def stands(task: Task) -> bool:
        point = there.get(task.key)
        return point is not None and point.get("pixels_crc32", sums[task.source]) == sums[task.source]

    todo = [task for task in wanted if not stands(task)]
    print(f"{len(todo)} of {len(wanted)} points to measure, the others are in {path}", flush=True)
    append(path, run)
    if todo:
        sweep(todo, list(codecs), options.model, run, path)
    run = with_others(path, run)
    points = measured(path, run)
    keys = {task.key for task in wanted}
    failed = sorted({task.source.name for task in wanted if task.key not in points})
    if failed:
        print(f"left out, since a codec failed on them ({path} says how): {', '.join(failed)}")
    names = [source.name for source in sums if source.name not in failed]
    if not names:
        raise SystemExit("nothing was measured")
    order = {name: number for number, name in enumerate(names)}
    kept = [p for key, p in points.items() if p["image"] in order and (key in keys or p["codec"] not in codecs)]
    run["codecs"] = {name: run["codecs"][name] for name in NAMES if name in run["codecs"]}
    return run, sorted(kept, key=lambda p: (order[p["image"]], NAMES.index(p["codec"]), p["quality"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of pictures; scikit-image's photographs if left out")
    parser.add_argument("--kodak", action="store_true", help="the 24 Kodak pictures, downloaded if they are not found")
    parser.add_argument(
        "--quick", action="store_true", help=f"two pictures, few qualities, and only {', '.join(QUICK)}"
    )
    parser.add_argument("--codecs", nargs="+", choices=NAMES, metavar="NAME", help="of: " + ", ".join(NAMES))
    parser.add_argument("--metrics", nargs="+", choices=METRICS, default=DEFAULT_METRICS)
    parser.add_argument("--model", default="default", help="name or weights file")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--out", type=Path, default=Path("benchmark-results"))
    options = parser.parse_args()
    if options.jobs < 1:
        parser.error("--jobs must be 1 or more")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SystemExit(f"{options.out}: {error.strerror}") from None
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
