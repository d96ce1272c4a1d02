"""The users' tasks run and are recorded; no test looks at a time."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from PIL import Image
from support import TINY, picture

from benchmarks.rate import tables
from benchmarks.speed import tasks


def test_every_task_is_done_and_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, out = tmp_path / "images", tmp_path / "tasks.json"
    images.mkdir()
    for number in range(2):
        Image.fromarray(picture(40, 30, number)).save(images / f"{number}.png")
    arguments = [
        "--images",
        str(images),
        "--repeat",
        "1",
        "--large",
        "90",
        "70",
        "--model",
        str(TINY),
        "--out",
        str(out),
    ]
    monkeypatch.setattr(sys, "argv", ["tasks", *arguments])
    tasks.main()
    record = json.loads(out.read_text())
    assert [sorted(row["seconds"]) for row in record["rows"]] == [["AVIF", "vqcodec", "vqcodec effort 1"]] * 2 + [
        ["AVIF", "vqcodec"]
    ] * 3
    monkeypatch.setattr(tables, "TASKS_RECORD", out)
    table = tables.tasks({})
    assert table.count("\n| ") == 7
    assert "a folder of 2 pictures, the least of 1 runs" in table


def test_a_folder_with_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no pictures"):
        tasks.prepare(tmp_path, tmp_path, str(TINY), (8, 8))
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(SystemExit, match="something else"):
        tasks.prepare(tmp_path, tmp_path / "work", str(TINY), (8, 8))


def test_a_command_that_fails_is_named() -> None:
    with pytest.raises(SystemExit, match="failed: no such luck"):
        tasks.run([sys.executable, "-c", "raise SystemExit('no such luck')"])
