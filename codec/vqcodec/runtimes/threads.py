"""How many threads the arithmetic uses."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from statistics import median

GIVEN = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
SMALL_PIXELS = 1 << 20  # a picture for which one thread is about as fast as two
MANY_INPUTS, WORKERS_MAX = 8, 4
LOAD = Path("/proc/loadavg")


def wait_without_spinning() -> None:
    """Let torch's threads sleep while they wait for others. Must be called before torch is imported.

    Beside a busy core a spinning thread takes the time of the one that it waits for. The environment's own setting stays.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def limit_threads(count: int | None = None, pixels: int | None = None) -> None:
    """Set the threads of NumPy's matrix products and of torch, for this process.

    Threads that wait for one another beside a busy core take longer than one thread alone: a search on two threads
    was up to three times as slow. So the default is one thread for a small picture, else the number of cores that nobody
    else uses at this moment, unless the environment says otherwise.

    Args:
        count: How many threads; None chooses.
        pixels: Of the picture; None if that is not known.
    """
    if count is None:
        if any(os.environ.get(name, _chosen) != _chosen for name in GIVEN):
            return
        count = 1 if pixels is not None and pixels <= SMALL_PIXELS else free_cores()
    _set(count)


_chosen: str | None = None  # what we have set, so that it is not taken for the user's


def _set(count: int) -> None:
    global _chosen
    from threadpoolctl import threadpool_limits

    threadpool_limits(count)
    os.environ["OMP_NUM_THREADS"] = _chosen = str(count)  # for torch, if it is loaded later
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_cores() -> int:
    """How many of them no other process is using, at least one. All of them where the system does not tell."""
    running = []
    for number in range(3):
        if number:
            time.sleep(0.003)
        try:
            running.append(int(LOAD.read_text().split()[3].partition("/")[0]) - 1)  # one is this process
        except (OSError, ValueError, IndexError):
            return cores()
    return max(1, cores() - int(median(running)))


def default_workers(inputs: int) -> int:
    """How many worker processes a batch gets: several scale better than threads, but each must load the model first."""
    return min(free_cores(), WORKERS_MAX) if inputs >= MANY_INPUTS else 1
