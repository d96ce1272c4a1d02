"""The studies and the product benchmark count what they say; no test looks at a time."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import TINY, picture
from vqbitstream.kernels import usable
from vqcodec.codec import Codec

from benchmarks.rate.results import lines
from benchmarks.rate.tables import KODAK_RECORD
from benchmarks.speed import product
from benchmarks.studies import kernels, runtimes


def test_runtimes_are_compared_picture_by_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(2):
        Image.fromarray(picture(90, 70, seed)).save(tmp_path / f"{seed}.png")
    arguments = ["runtimes", "--images", str(tmp_path), "--model", str(TINY), "--quality", "30", "70"]
    monkeypatch.setattr(sys, "argv", arguments)
    runtimes.main()
    table = [line for line in capsys.readouterr().out.splitlines() if "%" in line]
    assert [line.split()[:2] for line in table] == [["30", "2"], ["70", "2"], ["all", "4"]]
    for line in table:
        same_indices, levels = map(int, line.split()[-2:])
        assert same_indices == int(line.split()[1])
        assert levels <= 1


def test_kernels_are_timed_beside_avif(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(picture(96, 64)).save(path)
    monkeypatch.setattr(sys, "argv", ["kernels", str(path), "--repeats", "2", "--megapixels", "0.02"])
    kernels.main()
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == ["kernels", "numpy", *usable(), "AVIF"]
    assert all(len(row) == 7 and float(row[3]) > 0 for row in rows[1:])


@pytest.mark.filterwarnings("ignore:the nearest to")
def test_product_counts_the_encodes_of_a_target(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vqcodec.coding.quality.DEFAULT_EFFORT", 1)  # the search would only take time
    rows = product.targets(codec, [("a", Image.fromarray(picture(64, 48)))])
    assert {row["kind"] for row in rows} >= {"target_bytes", "target_psnr"}
    assert all(1 <= row["encodes"] <= 6 for row in rows)
    assert max(row["encodes"] for row in rows) > 1
    assert "encodes mean" in product.summary("targets", rows)


def test_product_measures_tiles_against_one_piece(codec: Codec) -> None:
    rows = product.tiles(codec, [("a", Image.fromarray(picture(520, 300)))])
    assert [row["quality"] for row in rows] == [30, 60, 90]
    assert all(row["bytes"] != "+0.00 %" for row in rows)


def test_ten_more_quality_gave_a_larger_and_better_file_of_every_picture_of_kodak() -> None:
    curves: dict[str, dict[float, tuple[int, float]]] = {}
    for record in lines(KODAK_RECORD / "results.jsonl"):
        if record["kind"] == "point" and record["codec"] == "vqcodec":
            curves.setdefault(record["image"], {})[record["quality"]] = (record["bytes"], record["psnr_db"])
    assert len(curves) == 24
    for points in curves.values():
        assert len(points) == 11
        assert (np.diff([points[quality] for quality in sorted(points)], axis=0) > 0).all()
