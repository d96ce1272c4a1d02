"""Whether the machine does something else: a time measured beside other work says nothing."""

from __future__ import annotations

import os
import time

import psutil

BUSY_PERCENT, READING_S = 10.0, 1.0


class Busy(Exception):
    """The machine does something else; says what."""


def others_percent() -> tuple[float, str]:
    """Percent of one processor that other processes used over a second, and the busiest of them in words."""
    own = {os.getpid(), *(c.pid for c in psutil.Process().children(recursive=True))}
    before = _times()
    begun = time.perf_counter()
    time.sleep(READING_S)
    elapsed = time.perf_counter() - begun
    after = _times()
    used = {
        key: 100 * (seconds - before.get(key, (0.0, ""))[0]) / elapsed
        for key, (seconds, _) in after.items()
        if key[0] not in own
    }
    if not used:
        return 0.0, "none"
    busiest = max(used, key=lambda key: used[key])
    return sum(used.values()), f"{after[busiest][1]} (process {busiest[0]}, {used[busiest]:.0f} %)"


def _times() -> dict[tuple[int, float], tuple[float, str]]:
    """(process, when it was started) -> seconds of processor so far, name."""
    found = {}
    for process in psutil.process_iter(["pid", "create_time", "cpu_times", "name"]):
        info = process.info
        if info["cpu_times"]:
            key = info["pid"], info["create_time"]
            found[key] = info["cpu_times"].user + info["cpu_times"].system, info["name"]
    return found


def wait_for_quiet(readings: int = 1) -> None:
    """Raises Busy if other processes keep using the processor."""
    for _ in range(readings):
        percent, busiest = others_percent()
        if percent <= BUSY_PERCENT:
            return
    raise Busy(
        f"the machine is busy: others use {percent:.0f} % of a processor, most of it {busiest}; stop them, or measure --anyway"
    )
