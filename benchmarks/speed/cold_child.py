"""The child of `benchmarks.speed.cold`, run by the interpreter that is measured: `python -P cold_child.py TASK ...`.

It imports the standard library alone until it knows what it has to measure: nothing of this repository.
"""

from __future__ import annotations

import io
import json
import platform
import sys
import sysconfig
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

TORCH_FOLDERS = ("torch", "functorch", "nvidia", "triton")  # beginnings of the names in site-packages that torch brings
PACKAGES = ("vqcodec", "torch", "numpy", "pillow", "constriction")
AVIF_SETTINGS: dict[str, Any] = {"quality": 60, "speed": 6, "subsampling": "4:4:4"}


def folder_bytes(folder: Path) -> dict[str, int]:
    """Bytes of the files in each entry of a folder. Links count as nothing."""
    sizes = {}
    for entry in folder.iterdir():
        files = [entry] if entry.is_file() else entry.rglob("*")
        sizes[entry.name] = sum(f.stat().st_size for f in files if f.is_file() and not f.is_symlink())
    return sizes


def describe() -> dict[str, Any]:
    """What this interpreter has installed: versions, and bytes of site-packages with and without what torch brings."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    folders = {Path(sysconfig.get_path(kind)).resolve() for kind in ("purelib", "platlib")}
    sizes = [item for folder in folders for item in folder_bytes(folder).items()]
    total = sum(size for _, size in sizes)
    torch = sum(size for name, size in sizes if name.startswith(TORCH_FOLDERS))
    largest = dict(sorted(sizes, key=lambda item: -item[1])[:8])
    return {
        "versions": versions,
        "site_packages_bytes": total,
        "site_packages_bytes_without_torch": total - torch,
        "largest_bytes": largest,
    }


def avif_cold(command: str, picture: str, file: str, output: str) -> None:
    """What the vqcodec command does, with Pillow's AVIF."""
    from PIL import Image

    if command == "info":
        with Image.open(file) as image:
            print(image.size, image.mode)
    elif command == "decode":
        Image.open(file).save(output, "PNG")
    else:
        Image.open(picture).convert("RGB").save(output, "AVIF", **AVIF_SETTINGS)


def avif_calls(picture: str, file: str) -> dict[str, Callable[[], Any]]:
    from PIL import Image

    image, data = Image.open(picture).convert("RGB"), Path(file).read_bytes()
    return {
        "decode": lambda: Image.open(io.BytesIO(data)).convert("RGB"),
        "encode": lambda: image.save(io.BytesIO(), "AVIF", **AVIF_SETTINGS),
    }


def vqcodec_calls(picture: str, file: str) -> dict[str, Callable[[], Any]]:
    """Public names only, so that any version can answer."""
    import vqcodec
    from PIL import Image

    vqcodec.load_model()
    image, data = Image.open(picture).convert("RGB"), Path(file).read_bytes()
    return {
        "decode": lambda: vqcodec.decode(data),
        "encode -e 1": lambda: vqcodec.encode(image, effort=1),
        "encode -e 5": lambda: vqcodec.encode(image, effort=5),
    }


def answer(calls: Mapping[str, Callable[[], Any]]) -> None:
    """Each line of stdin names a call; for each, a line of JSON with its seconds, or why it failed."""
    print(json.dumps(list(calls)), flush=True)
    for line in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            calls[line.strip()]()
        except Exception as error:  # an installation without torch refuses some efforts
            print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)
            continue
        print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu]), flush=True)


def main(arguments: Sequence[str]) -> None:
    task, *rest = arguments
    if task == "describe":
        print(json.dumps(describe()))
    elif task == "avif":
        avif_cold(*rest)
    else:
        answer(avif_calls(*rest) if task == "avif-warm" else vqcodec_calls(*rest))


if __name__ == "__main__":
    main(sys.argv[1:])
