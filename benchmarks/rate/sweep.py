"""Measuring: every codec at every quality on every picture, in a pool of processes, each point recorded as it comes."""

from __future__ import annotations

import multiprocessing
import time
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from vqcodec.runtimes.threads import limit_threads

from .codecs import ImageCodec, Ours, build
from .images import Source
from .metrics import METRICS
from .results import Key, Record, append

WARM_UP_PX = 64


@dataclass(frozen=True)
class Task:
    """One point to measure."""

    codec: str
    quality: float
    source: Source

    @property
    def key(self) -> Key:
        return self.codec, self.quality, self.source.name


def tasks(codecs: Mapping[str, ImageCodec], sources: Sequence[Source], quick: bool) -> list[Task]:
    """All points, picture by picture. quick: every other quality, from the first."""
    chosen = slice(None, None, 2 if quick else 1)
    return [
        Task(name, float(quality), source)
        for source in sources
        for name, codec in codecs.items()
        for quality in codec.qualities[chosen]
    ]


def checksum(image: Image.Image) -> int:
    """Of the pixels: a picture that was changed under its name must be measured again."""
    return zlib.crc32(image.tobytes())


@lru_cache(maxsize=2)
def _original(source: Source) -> Image.Image:
    return source.read()


class Bench:
    """Codecs and metrics, ready to measure."""

    def __init__(self, codecs: Mapping[str, ImageCodec], metrics: Sequence[str]) -> None:
        self.codecs, self.metrics = codecs, metrics
        self.warm: set[str] = set()

    def measure(self, task: Task) -> Record:
        """Encode, decode, compare -> the point's line. Metrics that were not asked for, or have no value here, are None."""
        codec, image = self.codecs[task.codec], _original(task.source)
        if task.codec not in self.warm:
            self.warm.add(task.codec)
            codec.decode(codec.encode(image.resize((WARM_UP_PX, WARM_UP_PX)), task.quality))
        begun = time.perf_counter()
        data = codec.encode(image, task.quality)
        encoded = time.perf_counter()
        decoded = codec.decode(data)
        done = time.perf_counter()
        record: Record = {
            "kind": "point",
            "codec": task.codec,
            "quality": task.quality,
            "image": task.source.name,
            "pixels_crc32": checksum(image),
            "width": image.width,
            "height": image.height,
            "bytes": len(data),
            "bpp": 8 * len(data) / (image.width * image.height),
        }
        record |= {name: measure(image, decoded) if name in self.metrics else None for name, measure in METRICS.items()}
        record |= {"encode_s": encoded - begun, "decode_s": done - encoded}
        return record | (codec.payload() if isinstance(codec, Ours) else {})


_bench: Bench | None = None  # of a process of the pool


def _start(names: Sequence[str], model: str, metrics: Sequence[str]) -> None:
    global _bench
    limit_threads(1)
    _bench = Bench(build(names, model)[0], metrics)


def _measure(task: Task) -> Record:
    assert _bench is not None
    try:
        return _bench.measure(task)
    except Exception as error:  # one codec on one picture: the others go on
        problem = f"{type(error).__name__}: {error}".splitlines()[0]
        return {
            "kind": "failure",
            "codec": task.codec,
            "quality": task.quality,
            "image": task.source.name,
            "error": problem,
        }


def sweep(todo: Sequence[Task], codecs: Sequence[str], model: str, run: Record, path: Path) -> None:
    """Measure, and append every point, or that it failed, to the results. Each process loads the model once and uses one thread."""
    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("points"), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("", total=len(todo))
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(run["jobs"], len(todo)), context, _start, (codecs, model, run["metrics"])) as pool:
            try:
                for future in as_completed([pool.submit(_measure, task) for task in todo]):
                    append(path, future.result() | {"run": run["id"]})
                    progress.advance(bar)
            finally:
                pool.shutdown(cancel_futures=True)  # after an error or Ctrl-C, do not measure the rest first
