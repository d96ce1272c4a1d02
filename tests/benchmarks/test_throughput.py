"""The throughput benchmark runs and refuses; no test looks at a time."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from PIL import Image
from support import TINY, picture
from support.works import Copying

from benchmarks.speed import product, quiet, throughput


def test_measures_and_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(quiet, "READING_S", 0.01)
    monkeypatch.setattr(product, "run", lambda *arguments: (0.25, 100.0))  # test_docs.py runs the commands
    out = tmp_path / "throughput.json"
    arguments = ["--quick", "--anyway", "--pictures", "4", "--workers", "1", "--model", str(TINY), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["throughput", *arguments])
    throughput.main()
    result = json.loads(out.read_text())
    assert [(r["codec"], r["operation"], r["workers"]) for r in result["rows"]] == [
        ("vqcodec", "encode", 1), ("AVIF", "encode", 1), ("vqcodec", "decode", 1), ("AVIF", "decode", 1),
    ]  # fmt: skip
    for row in result["rows"]:
        assert row["megapixels_per_s"] == pytest.approx(2 * 96 * 64 / 1e6 / row["seconds"])
        assert row["resident_mb"] >= row["own_mb"] > 5
        if row["operation"] == "decode":
            assert row["output_bytes"] == 4 * (96 * 64 * 3 + len("P6\n96 64\n255\n"))
    assert {r["command"] for r in result["cold_starts"]} >= {"--help", "encode", "decode", "compare"}
    assert "others used" in capsys.readouterr().out


def test_avif_is_pillows(tmp_path: Path) -> None:
    source, file, back = (tmp_path / name for name in ("a.ppm", "a.avif", "b.ppm"))
    Image.fromarray(picture(60, 40)).save(source)
    coded = throughput.Avif(".avif")(str(source), str(file), lambda _: None)
    assert (coded.width, coded.height, coded.output_bytes) == (60, 40, file.stat().st_size)
    assert Image.open(file).format == "AVIF"
    throughput.Avif(".ppm")(str(file), str(back), lambda _: None)
    assert Image.open(back).size == (60, 40)


def test_refuses_what_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["throughput", "--pictures", "4", "--out", str(tmp_path / "out.json")])
    with pytest.raises(SystemExit) as stopped:
        throughput.main()
    assert stopped.value.code == 2
    monkeypatch.setattr(sys, "argv", ["throughput", "--out", str(tmp_path / "out.json")])
    monkeypatch.setattr(quiet, "others_percent", lambda: (97.0, "dummy"))
    monkeypatch.setattr(throughput, "SIZE_PX", (20, 20))
    monkeypatch.setattr(quiet.time, "sleep", lambda _: None)
    with pytest.raises(SystemExit, match="the machine is busy: others use 97 %"):
        throughput.main()
    (tmp_path / "bad.ppm").write_text("no picture")
    with pytest.raises(SystemExit, match="no picture"):
        throughput.measure(Copying(), [(str(tmp_path / "bad.ppm"), str(tmp_path / "out"))], 1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.ppm"]
