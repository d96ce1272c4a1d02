"""BD-rate on curves whose answer is known, and a benchmark run end to end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import TINY, picture

from benchmarks.bd_rate import bd_rate

CURVE = [(0.1 * 2**i, 25.0 + 3 * i) for i in range(5)]


def test_bd_rate_of_scaled_rates() -> None:
    assert bd_rate(CURVE, CURVE) == pytest.approx(0)
    assert bd_rate(CURVE, [(0.7 * r, p) for r, p in CURVE]) == pytest.approx(-30)


def test_bd_rate_refuses_what_does_not_cover_the_window() -> None:
    assert bd_rate(CURVE, CURVE[1:]) is None
    assert bd_rate(CURVE, [(r, 40.0 - p) for r, p in CURVE]) is None


def test_benchmark_runs_end_to_end(tmp_path: Path) -> None:
    for seed in range(2):
        Image.fromarray(picture(96, 80, seed)).save(tmp_path / f"{seed}.png")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "benchmarks.rate_distortion", "--quick", "--model", str(TINY)]
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [*command, "--images", str(tmp_path), "--out", str(out)], cwd=root, capture_output=True, text=True, check=True
    )
    assert "BD-rate against JPEG-O" in done.stdout
    result = json.loads((out / "results.json").read_text())
    assert set(result["curves"]) == {"vqcodec", "JPEG-O", "WEBP", "AVIF"}
    for record in result["records"]:
        assert record["bytes"] > 0
    for curve in result["curves"].values():
        assert np.isfinite([p["psnr_db"] for p in curve]).all()
    assert (out / "plot.png").stat().st_size > 1000
