"""Threads: as many as asked for, or as there are free cores; they do not fight with other processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from threadpoolctl import threadpool_info, threadpool_limits
from vqcodec.runtimes import threads


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in threads.GIVEN:
        monkeypatch.setenv(name, "1")  # so that it comes back, whatever the test does to it
        monkeypatch.delenv(name)
    monkeypatch.setattr(threads, "_chosen", None)


def blas_threads() -> int:
    return max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")


@pytest.mark.parametrize(("running", "expected"), [(1, 4), (2, 3), (4, 1), (9, 1)])
def test_busy_cores_are_left_to_others(
    running: int, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = tmp_path / "loadavg"
    load.write_text(f"0.50 0.40 0.30 {running}/345 6789\n")
    monkeypatch.setattr(threads, "LOAD", load)
    monkeypatch.setattr(threads, "cores", lambda: 4)
    assert threads.free_cores() == expected


@pytest.mark.parametrize("text", ["", "nonsense", "0.5 0.4"])
def test_a_system_that_does_not_tell_has_free_cores(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = tmp_path / "loadavg"
    load.write_text(text)
    monkeypatch.setattr(threads, "LOAD", load)
    assert threads.free_cores() == threads.cores()


def test_a_number_that_is_given_reaches_the_matrix_products() -> None:
    with threadpool_limits(2):
        threads.limit_threads(1)
        assert blas_threads() == 1
        assert os.environ["OMP_NUM_THREADS"] == "1"


def test_the_environment_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    monkeypatch.setattr(threads, "free_cores", lambda: 1)
    with threadpool_limits(2):
        threads.limit_threads()
        assert blas_threads() == 2
        monkeypatch.delenv("OPENBLAS_NUM_THREADS")
        monkeypatch.setattr(threads, "cores", lambda: 2)
        threads.limit_threads()
        assert blas_threads() == 1


def test_a_small_picture_has_one_thread_and_a_large_one_the_free_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "free_cores", lambda: 2)
    with threadpool_limits(2):
        for pixels, expected in ((512 * 512, 1), (2000 * 2000, 2), (None, 2), (300 * 300, 1)):
            threads.limit_threads(None, pixels)  # our own choice of the last time is not taken for the user's
            assert blas_threads() == expected


def test_many_inputs_have_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    for free, inputs, expected in ((1, 100, 1), (2, 7, 1), (2, 8, 2), (64, 100, 4)):
        monkeypatch.setattr(threads, "free_cores", lambda free=free: free)
        assert threads.default_workers(inputs) == expected


def test_waiting_threads_do_not_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    threads.wait_without_spinning()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
    monkeypatch.delenv("OMP_WAIT_POLICY")
    threads.wait_without_spinning()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
