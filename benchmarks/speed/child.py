"""One measurement of `benchmarks.speed`, in a process of its own: `python -m benchmarks.speed.child JSON` -> a line of JSON."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Operations = tuple[Callable[[Image.Image], Any], Callable[[Any], Any]]
JPEG_QUALITY, AVIF_QUALITY, OUR_QUALITY = 75, 60, 50
WARM_UP_PX = (256, 192)


def photograph(width: int, height: int) -> Image.Image:
    """Four photographs of scikit-image side by side, repeated until they fill the size."""
    import skimage.data

    parts = [getattr(skimage.data, name)()[:300, :448] for name in ("astronaut", "coffee", "chelsea", "rocket")]
    four = np.concatenate([np.concatenate(parts[:2], axis=1), np.concatenate(parts[2:], axis=1)])
    rows, columns = -(-height // four.shape[0]), -(-width // four.shape[1])
    return Image.fromarray(np.tile(four, (rows, columns, 1))[:height, :width])


def _vqcodec(model: str) -> Operations:
    from vqcodec.codec import Codec

    codec = Codec(model)
    return lambda image: codec.encode(image, quality=OUR_QUALITY), codec.decode


def _pillow(**options: Any) -> Operations:
    import io

    def encode(image: Image.Image) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, **options)
        return buffer.getvalue()

    return encode, lambda data: Image.open(io.BytesIO(data)).convert("RGB")


def _hyperprior() -> Operations:
    import torch

    from .hyperprior import STRIDE_PX, Hyperprior

    torch.manual_seed(0)
    network = Hyperprior().eval()

    def encode(image: Image.Image) -> Any:
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 255
        right, bottom = -image.width % STRIDE_PX, -image.height % STRIDE_PX
        return network.encode(torch.nn.functional.pad(pixels, (0, right, 0, bottom)))

    return encode, lambda coded: (network.decode(*coded) * 255).clamp_(0, 255).byte()


def operations(codec: str, model: str, threads: int) -> Operations:
    if codec == "vqcodec":
        return _vqcodec(model)
    if codec == "JPEG":
        return _pillow(format="JPEG", quality=JPEG_QUALITY)
    if codec == "AVIF":
        return _pillow(format="AVIF", quality=AVIF_QUALITY, subsampling="4:4:4", speed=6, max_threads=threads)
    return _hyperprior()


def forget_peak() -> None:
    """Begin to look for the peak anew (Linux): making the picture takes more than some codecs do."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mb() -> float:
    """Highest resident memory of this process since it was forgotten."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss may also know the process that started this one
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 1024)


def measure(operation: Callable[[Any], Any], given: Any, repeats: int, budget_s: float) -> tuple[list[float], Any]:
    """Seconds of up to `repeats` runs, fewer once they took the budget, and what the last one made."""
    seconds: list[float] = []
    made = None
    while len(seconds) < repeats and sum(seconds) < budget_s:
        begun = time.perf_counter()
        made = operation(given)
        seconds.append(time.perf_counter() - begun)
    return seconds, made


def save(place: Path, coded: Any) -> None:
    """A file, or the hyperprior's tensors."""
    if isinstance(coded, bytes):
        place.write_bytes(coded)
        return
    import torch

    torch.save(coded, place)


def load(place: Path, codec: str) -> Any:
    if codec != "hyperprior":
        return place.read_bytes()
    import torch

    return torch.load(place, weights_only=True)


def main() -> None:
    task = json.loads(sys.argv[1])
    if hasattr(os, "sched_setaffinity"):  # whatever a library thinks of threads
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: task["threads"]])
    encode, decode = operations(task["codec"], task["model"], task["threads"])
    small = encode(photograph(*WARM_UP_PX))
    decode(small)
    place = Path(task["file"])
    given = photograph(task["width"], task["height"]) if task["operation"] == "encode" else load(place, task["codec"])
    forget_peak()
    before_mb = peak_mb()
    seconds, made = measure(
        encode if task["operation"] == "encode" else decode, given, task["repeats"], task["budget_s"]
    )
    peak = max(peak_mb(), before_mb)  # the kernel's counters are exact to a few pages only
    if task["operation"] == "encode":
        save(place, made)
    size = place.stat().st_size if task["codec"] != "hyperprior" else None
    print(json.dumps({"seconds": seconds, "peak_mb": round(peak, 1), "before_mb": round(before_mb, 1), "bytes": size}))


if __name__ == "__main__":
    main()
