"""The cold start benchmark measures processes, and shows what it measured; no test looks at a time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.rate import tables
from benchmarks.speed import cold


def test_a_process_is_measured_from_start_to_end() -> None:
    cost = cold.run_cold([sys.executable, "-c", "x = bytearray(50_000_000)"], cold.environment(1))
    assert cost.wall_s > 0
    assert cost.cpu_s > 0
    assert cost.peak_mib is not None
    assert cost.peak_mib > 45
    with pytest.raises(SystemExit, match=r"failed: .*no way"):
        cold.run_cold([sys.executable, "-c", "raise SystemExit('no way')"], cold.environment(None))


def test_rounds_are_interleaved_and_every_second_is_reversed(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    monkeypatch.setattr(cold, "run_cold", lambda command, settings: ran.append(command[0]) or cold.Cost(1.0, 1.0, 1.0))
    costs = cold.measure_cold({"a": ["a"], "b": ["b"]}, {}, 2)
    assert "".join(ran) == "ab" + "ab" + "ba"  # the first round is not counted
    assert {key: len(runs) for key, runs in costs.items()} == {"a": 2, "b": 2}


def test_the_children_know_nothing_of_this_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    assert "PYTHONPATH" not in cold.environment(None)
    assert {cold.environment(2)[name] for name in cold.THREAD_VARIABLES} == {"2"}
    assert cold.own_child("python", "describe")[:2] == ["python", "-P"]  # nor is the working directory searched
    described = json.loads(
        subprocess.check_output(cold.own_child(sys.executable, "describe"), env=cold.environment(None), text=True)
    )
    assert described["versions"]["numpy"]
    assert described["site_packages_bytes"] > described["site_packages_bytes_without_torch"] > 0


def test_warm_answers_and_failures_are_kept_apart(tmp_path: Path) -> None:
    child = tmp_path / "child.py"
    child.write_text(
        'import sys\nprint(\'["good", "bad"]\', flush=True)\n'
        "for line in sys.stdin:\n    print('[0.5, 0.25]' if 'good' in line else '{\"error\": \"needs torch\"}', flush=True)\n"
    )
    costs, failed = cold.measure_warm({"x": [sys.executable, str(child)]}, cold.environment(1), 3)
    assert costs == {"x/good": [cold.Cost(0.5, 0.25)] * 3}
    assert failed == {"x/bad": "needs torch"}


def test_the_table_has_a_dash_for_what_was_not_measured() -> None:
    costs = {"x/decode": [cold.Cost(0.3, 0.2, 90.0), cold.Cost(0.1, 0.1, 80.0), cold.Cost(0.2, 0.3, 85.0)]}
    found = cold.summary(costs)
    assert found["x/decode"] == {"wall_s": 0.2, "cpu_s": 0.2, "peak_mib": 90.0, "wall_runs_s": [0.3, 0.1, 0.2]}
    rows = cold.table({"cold": found, "warm": {}}, ["x", cold.AVIF]).splitlines()
    assert rows[0].split() == ["x", "AVIF"]
    assert next(r for r in rows if r.startswith("cold decode")).split()[2:] == ["0.200", "/", "0.200", "/", "90", "-"]


def test_documents_show_a_recorded_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "COLD_RECORD", tmp_path / "cold.json")
    assert tables.cold({}) == "Not recorded yet.\n"
    costs = {
        "before/decode": [cold.Cost(2.0, 1.9, 341.0)],
        "after/decode": [cold.Cost(0.4, 0.4, 85.0)],
        "AVIF/encode": [cold.Cost(0.2, 0.2, 50.0)],
    }
    record = {
        "date": "2026-11-26T10:00:00", "machine": {"processor": "AMD EPYC"}, "threads": 1, "repeat": 9,
        "others_percent": 0.4, "cold": cold.summary(costs), "warm": cold.summary({"after/decode": [cold.Cost(0.15, 0.15)]}),
        "installations": {name: {"site_packages_bytes": 150_000_000} for name in ("before", "after", "AVIF")},
    }  # fmt: skip
    (tmp_path / "cold.json").write_text(json.dumps(record))
    assert "| decode | 2.00 s, 341 MiB | 0.40 s, 85 MiB | - |" in tables.cold({})
    assert "| encode | - | - | 0.20 s, 50 MiB |" in tables.cold({})
    assert "| decode, warm | - | 0.15 s | - |" in tables.cold({})
    assert "| site-packages | 150 MB | 150 MB | 150 MB |" in tables.cold({})
