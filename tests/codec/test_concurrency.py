"""Threads, event loops and processes of every kind around one codec: the same bytes, and no hang."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest
import vqcodec
from support import TINY
from support.loading import Facts, facts
from torch.utils.data import DataLoader
from vqcodec.codec import Codec
from vqcodec.pictures import reading

COUNT = 10
PATIENCE_S = 300


@pytest.fixture(scope="module")
def expected() -> list[list[str]]:
    """What one thread makes of the pictures, one after the other."""
    codec = Codec(TINY)
    return [facts(codec, number) for number in range(COUNT)]


def test_ten_threads_on_one_codec(expected: list[list[str]]) -> None:
    """Which nobody has used before: what it makes at its first use, it makes in ten threads at once."""
    codec, start = Codec(TINY), threading.Barrier(COUNT)

    def work(number: int) -> list[list[str]]:
        start.wait(PATIENCE_S)
        return [facts(codec, (number + n) % COUNT) for n in range(3)]

    with ThreadPoolExecutor(COUNT) as pool:
        for number, found in enumerate(pool.map(work, range(COUNT), timeout=PATIENCE_S)):
            assert found == [expected[(number + n) % COUNT] for n in range(3)]


def test_ten_threads_that_load_and_read_at_once(photo: Path) -> None:
    start = threading.Barrier(COUNT)

    def work(_: int) -> bytes:
        start.wait(PATIENCE_S)
        return vqcodec.encode(photo, model=TINY, effort=1)

    with ThreadPoolExecutor(COUNT) as pool:
        assert len(set(pool.map(work, range(COUNT), timeout=PATIENCE_S))) == 1


def test_an_event_loop(expected: list[list[str]]) -> None:
    """In its own thread, and in others that it waits for."""
    codec = Codec(TINY)

    async def both() -> list[list[str]]:
        aside = [asyncio.to_thread(facts, codec, number) for number in range(1, COUNT)]
        waiting = asyncio.gather(*aside)
        await asyncio.sleep(0)
        return [facts(codec, 0), *await asyncio.wait_for(waiting, PATIENCE_S)]

    assert asyncio.run(both()) == expected


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_processes(method: str, expected: list[list[str]]) -> None:
    codec = Codec(TINY)
    assert facts(codec, 0) == expected[0]  # a fork inherits one that was used
    with ProcessPoolExecutor(2, multiprocessing.get_context(method)) as pool:
        found = [pool.submit(facts, codec, number) for number in range(4)]
        assert [future.result(PATIENCE_S) for future in found] == expected[:4]


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_workers_of_a_data_loader(method: str, expected: list[list[str]]) -> None:
    loader = DataLoader(
        Facts(4), batch_size=None, num_workers=2, timeout=PATIENCE_S, multiprocessing_context=method, collate_fn=list
    )  # type: ignore[var-annotated, arg-type]
    assert [list(found) for found in loader] == expected[:4]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_that_is_forked_while_other_threads_encode(photo: Path) -> None:
    """Locks that they hold are never released in the child."""
    program = f"""
import os, signal, threading, vqcodec
codec, stop = vqcodec.load_model({str(TINY)!r}), threading.Event()
expected = [codec.encode({str(photo)!r}, effort=effort) for effort in (1, 2)]
def work():
    while not stop.is_set():
        codec.encode({str(photo)!r}, effort=1)
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
codes = []
for _ in range(8):
    if child := os.fork():
        codes.append(os.waitpid(child, 0)[1])
    else:
        signal.alarm({PATIENCE_S})
        os._exit([codec.encode({str(photo)!r}, effort=effort) for effort in (1, 2)] != expected)
stop.set()
print(codes)
"""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=4 * PATIENCE_S, check=False
    )  # fmt: skip
    assert done.stdout == f"{[0] * 8}\n", done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_that_is_forked_while_a_picture_is_opened(photo: Path) -> None:
    with reading._pillow_limit:
        child = os.fork()
        if not child:
            done = threading.Thread(target=vqcodec.encode, args=[photo], kwargs={"effort": 1}, daemon=True)
            done.start()
            done.join(60)
            os._exit(done.is_alive())
        assert os.waitpid(child, 0)[1] == 0
