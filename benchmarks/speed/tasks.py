"""Four tasks of a user, from the start of the command to its end, beside AVIF in the same run.

    python -m benchmarks.speed.tasks --images KODAK [--repeat 3] [--out FILE.json] [--before PYTHON]

The folder: its pictures encoded by two processes (`vqcodec encode -r -j 2`), and by Pillow's AVIF in a pool of two. 24 megapixels
(6000x4000, the folder's first picture repeated): encoded, decoded to PPM, and as a thumbnail of 256 pixels. A cold decode: one picture
of the folder to PPM. Each command is a new process. vqcodec has its defaults (quality 75; effort 5 with PyTorch), AVIF quality 60,
speed 6, 4:4:4. --before adds an earlier vqcodec, by the interpreter that has it; without previews its thumbnail is a whole decode.
The least time of the runs counts, since anything else that the machine does only adds to it; its load is in the
record.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.rate.results import commit, machine

ROOT = Path(__file__).parents[2]
LARGE_PX, THUMBNAIL_PX, JOBS = (6000, 4000), 256, 2
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}
AVIF_FOLDER = """
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from PIL import Image
def one(path):
    Image.open(path).convert("RGB").save(
        Path(sys.argv[2], path.stem + ".avif"), quality=60, speed=6, subsampling="4:4:4", max_threads=1)
if __name__ == "__main__":
    Path(sys.argv[2]).mkdir(exist_ok=True)
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(one, sorted(Path(sys.argv[1]).iterdir())))
"""
AVIF_ENCODE = (
    "import sys; from PIL import Image; "
    "Image.open(sys.argv[1]).convert('RGB').save(sys.argv[2], quality=60, speed=6, subsampling='4:4:4')"
)
AVIF_DECODE = "import sys; from PIL import Image; Image.open(sys.argv[1]).convert('RGB').save(sys.argv[2])"
AVIF_THUMBNAIL = (
    "import sys; from PIL import Image; image = Image.open(sys.argv[1]); image.thumbnail((256, 256)); "
    "image.convert('RGB').save(sys.argv[2])"
)
Tasks = dict[str, dict[str, list[str]]]


def tasks(images: Path, work: Path, model: str, before: str | None = None) -> Tasks:
    """Task -> codec -> command; with `before`, also those of the interpreter that has an earlier version.

    Commands write below `work`, in which `prepare` has put the inputs.
    """
    ours = [sys.executable, "-m", "vqcodec.cli"]
    (work / "folder.py").write_text(AVIF_FOLDER)

    def avif(program: str, *arguments: Path) -> list[str]:
        return [sys.executable, "-c", program, *map(str, arguments)]

    def vqcodec(command: str, *arguments: str | Path) -> list[str]:
        return [*ours, command, *map(str, arguments), "-f", "--quiet", "-m", model]

    plan = {
        f"a folder, {JOBS} processes": {
            "vqcodec": vqcodec("encode", "-r", images, "-o", work / "ours", "-j", str(JOBS)),
            "vqcodec effort 1": vqcodec("encode", "-r", images, "-o", work / "ours1", "-j", str(JOBS), "-e", "1"),
            "AVIF": [sys.executable, str(work / "folder.py"), str(images), str(work / "avif")],
        },
        "24 megapixels, encode": {
            "vqcodec": vqcodec("encode", work / "large.ppm", work / "large.vqc"),
            "vqcodec effort 1": vqcodec("encode", work / "large.ppm", work / "large1.vqc", "-e", "1"),
            "AVIF": avif(AVIF_ENCODE, work / "large.ppm", work / "large.avif"),
        },
        "24 megapixels, decode": {
            "vqcodec": vqcodec("decode", work / "large1.vqc", work / "back.ppm"),
            "AVIF": avif(AVIF_DECODE, work / "large.avif", work / "back-avif.ppm"),
        },
        f"24 megapixels, thumbnail of {THUMBNAIL_PX} pixels": {
            "vqcodec": vqcodec("decode", work / "large1.vqc", work / "thumb.ppm", "--max-size", str(THUMBNAIL_PX)),
            "AVIF": avif(AVIF_THUMBNAIL, work / "large.avif", work / "thumb-avif.ppm"),
        },
        "one picture, decode": {
            "vqcodec": vqcodec("decode", work / "small.vqc", work / "small.ppm"),
            "AVIF": avif(AVIF_DECODE, work / "small.avif", work / "small-avif.ppm"),
        },
    }  # fmt: skip
    if before:
        large, small = work / "large0.vqc", work / "small0.vqc"
        earlier: list[list[str | Path]] = [
            ["encode", "-r", images, "-o", work / "ours0", "-j", str(JOBS)], ["encode", work / "large.ppm", large],
            ["decode", large, work / "back0.ppm"], ["decode", large, work / "thumb0.ppm"], ["decode", small, work / "small0.ppm"],
        ]  # fmt: skip
        for commands, words in zip(plan.values(), earlier, strict=True):
            commands["before"] = [before, "-m", "vqcodec.cli", *map(str, words), "-f"]
    return plan


def prepare(images: Path, work: Path, model: str, large_px: tuple[int, int]) -> list[Path]:
    """Put the large picture and the coded small one into `work`. Returns the pictures of the folder."""
    pictures = sorted(path for path in images.iterdir() if path.suffix.lower() in SUFFIXES)
    if not pictures:
        raise SystemExit(f"no pictures in {images}")
    if len(pictures) != sum(1 for path in images.iterdir()):
        raise SystemExit(f"{images} holds something else than pictures")
    with Image.open(pictures[0]) as opened:
        small = opened.convert("RGB")
    large = Image.new("RGB", large_px)
    for top in range(0, large_px[1], small.height):
        for left in range(0, large_px[0], small.width):
            large.paste(small, (left, top))
    large.save(work / "large.ppm")
    small.save(work / "small.avif", quality=60, speed=6, subsampling="4:4:4")
    encode = ["encode", pictures[0], work / "small.vqc", "-e", "1", "--quiet", "-m", model]
    run([sys.executable, "-m", "vqcodec.cli", *map(str, encode)])
    return pictures


def run(command: list[str]) -> float:
    """Seconds of a process from its start to its end. Raises SystemExit if it fails."""
    own = command[0] == sys.executable
    environment = {k: v for k, v in os.environ.items() if own or k != "PYTHONPATH"}  # another's packages are its own
    begun = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    seconds = time.perf_counter() - begun
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)} failed: {done.stderr.strip()}")
    return seconds


def measure(plan: Tasks, repeat: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """The least seconds of each command, the codecs of a task in turn."""
    rows = []
    for task, commands in plan.items():
        seconds: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(repeat):
            for name, command in commands.items():
                seconds[name].append(run(command))
        rows.append({"task": task, "seconds": {name: round(min(times), 3) for name, times in seconds.items()}})
        say(f"{task}: " + ", ".join(f"{name} {least:.2f} s" for name, least in rows[-1]["seconds"].items()))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--images", type=Path, required=True, help="a folder of pictures and nothing else, such as Kodak's 24"
    )
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--model", default="default")
    parser.add_argument("--before", metavar="PYTHON", help="an interpreter that has an earlier vqcodec")
    parser.add_argument(
        "--large", type=int, nargs=2, default=LARGE_PX, metavar=("WIDTH", "HEIGHT"), help=argparse.SUPPRESS
    )
    parser.add_argument("--out", type=Path, default=Path("tasks.json"))
    options = parser.parse_args()
    if not options.images.is_dir():
        parser.error(f"{options.images} is no folder")
    images = options.images.resolve()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        pictures = prepare(images, work, options.model, tuple(options.large))
        load_before = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        if options.before:
            words = ["encode", str(pictures[0]), str(work / "small0.vqc"), "-e", "1"]
            run([options.before, "-m", "vqcodec.cli", *words])
        rows = measure(tasks(images, work, options.model, options.before), options.repeat, print)
    result = {
        "command": shlex.join(["python", "-m", "benchmarks.speed.tasks", *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit(), "machine": machine(),
        "versions": {package: version(package) for package in ("vqcodec", "pillow", "numpy", "torch")},
        "load_before": load_before, "repeat": options.repeat, "pictures": len(pictures), "large_px": options.large, "rows": rows,
    }  # fmt: skip
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written: {options.out}")


if __name__ == "__main__":
    main()
