"""The speed benchmark runs, fits and refuses; no test looks at a time."""

from __future__ import annotations

import argparse
import io
import json
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from rich.console import Console
from support import TINY

from benchmarks.speed import growth, quiet
from benchmarks.speed.child import photograph
from benchmarks.speed.hyperprior import Hyperprior


def test_runs_and_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(growth, "QUICK_SIZES", ((80, 50),))
    monkeypatch.setattr(quiet, "READING_S", 0.01)
    arguments = ["speed", "--quick", "--anyway", "--model", str(TINY), "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    growth.main()
    result = json.loads((tmp_path / "speed.json").read_text())
    assert result["anyway"] is True
    assert result["others_percent"] >= 0
    assert [(r["codec"], r["threads"]) for r in result["rows"]] == [(c, 1) for c in growth.CODECS]
    for row in result["rows"]:
        assert row["encode_s"] > 0
        assert row["decode_peak_mb"] >= row["decode_before_mb"] > 10
    assert result["kmacs_per_pixel"]["hyperprior"]["encode"] > 40
    assert (tmp_path / "speed.png").stat().st_size > 1000
    assert "others used" in capsys.readouterr().out


def test_refuses_on_a_busy_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quiet, "others_percent", lambda: (97.0, "dummy (process 1, 97 %)"))
    monkeypatch.setattr(sys, "argv", ["speed", "--quick", "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as stopped:
        growth.main()
    assert str(stopped.value.code).startswith("the machine is busy: others use 97 % of a processor, most of it dummy")
    assert "\n" not in str(stopped.value.code)  # and Python exits with 1
    assert not (tmp_path / "out").exists()


def test_waits_for_a_passing_disturbance(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([(50.0, "cron"), (30.0, "cron"), (1.0, "none")])
    monkeypatch.setattr(quiet, "others_percent", lambda: next(readings))
    quiet.wait_for_quiet(3)


def test_others_are_not_ourselves(monkeypatch: pytest.MonkeyPatch) -> None:
    def times(seconds: float) -> dict[tuple[int, float], tuple[float, str]]:
        own = psutil.Process().pid
        return {(own, 0.0): (9 * seconds, "self"), (1, 0.0): (seconds, "other"), (2, 0.0): (0.0, "idle")}

    readings = iter([times(0.0), times(1.0)])
    monkeypatch.setattr(quiet, "_times", lambda: next(readings))
    monkeypatch.setattr(quiet, "READING_S", 0.01)
    percent, busiest = quiet.others_percent()
    assert percent > quiet.BUSY_PERCENT
    assert busiest.startswith("other (process 1, ")


def test_exponent_of_a_known_law() -> None:
    rows = [
        {"codec": "x", "threads": 1, "megapixels": m, "encode_s": 3 * m**1.2, "decode_s": 0.1 * m}
        for m in (0.1, 1, 4, 24)
    ]
    (found,) = growth.exponents(rows)
    assert found["encode"] == pytest.approx(1.2)
    assert found["decode"] == pytest.approx(1.0)
    assert growth.exponents(rows[:1]) == []


def test_what_does_not_fit_or_is_killed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "fits", lambda codec, pixels: codec != "hyperprior")

    def child(task: dict[str, Any]) -> dict[str, Any] | None:
        made = {"seconds": [1.0], "peak_mb": 20.0, "before_mb": 10.0, "bytes": 5}
        return None if task["codec"] == "vqcodec" else made

    monkeypatch.setattr(growth, "child", child)
    options = argparse.Namespace(quick=True, anyway=True, model="default")
    rows, left_out = growth.sweep([(1000, 1000)], options, Console(file=io.StringIO()))
    assert [r["codec"] for r in rows] == ["AVIF", "JPEG"]
    assert left_out == [
        "vqcodec at 1 megapixels, 1 thread: encode was killed", "hyperprior at 1 megapixels, 1 thread: would not fit the memory",
    ]  # fmt: skip


def test_photographs_fill_any_size() -> None:
    assert photograph(1000, 20).size == (1000, 20)


def test_hyperprior_has_the_shapes_it_is_named_for() -> None:
    network = Hyperprior()
    latent, hyper = network.encode(torch.rand(1, 3, 64, 128))
    assert latent.shape == (1, 192, 4, 8)
    assert hyper.shape == (1, 128, 1, 2)
    assert network.decode(latent, hyper).shape == (1, 3, 64, 128)
