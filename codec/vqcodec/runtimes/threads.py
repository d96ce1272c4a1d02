"""How many threads the arithmetic uses."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from statistics import median

GIVEN = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
LOAD = Path("/proc/loadavg")


def limit_threads(count: int | None = None) -> None:
    """Set the threads of NumPy's matrix products and of torch, for this process.

    Threads that wait for one another beside a busy core take longer than one thread alone: a search on two threads
    was up to three times as slow. So the default is the number of cores that nobody else uses at this moment, unless
    the environment says otherwise.

    Args:
        count: How many threads; None chooses.
    """
    if count is None:
        count = free_cores()
        if count == cores() or any(name in os.environ for name in GIVEN):
            return
    from threadpoolctl import threadpool_limits

    threadpool_limits(count)
    os.environ["OMP_NUM_THREADS"] = str(count)  # for torch, if it is loaded later
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
