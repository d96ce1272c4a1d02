"""Batches: folders, workers, what is skipped, what is said; nothing hangs and nothing is left behind."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from support import FIXTURES, TINY, picture, works
from support.works import Copying
from vqcodec import ImageError, VQCError
from vqcodec.cli import progress
from vqcodec.cli.batch import BatchOptions, run
from vqcodec.cli.console import Failed
from vqcodec.cli.main import main
from vqcodec.cli.names import Job, Plan
from vqcodec.cli.work import Decoding, Encoding, Settings
from vqcodec.cli.workers import Coded, Outcome, spread
from vqcodec.codec import Codec

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


def vqcodec(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments), "-m", str(TINY)])


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three pictures in two folders, a hidden one, and a file that is none by its name."""
    top = tmp_path / "photos"
    for seed, name in enumerate(("a.png", "trip/b.jpg", "trip/day 2/c.PNG", ".thumbnails/d.png")):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(60, 50, seed)).save(top / name)
    (top / "trip" / "notes.txt").write_text("a note")
    return top


def found(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_skipped_files_are_counted_by_suffix(tree: Path, tmp_path: Path) -> None:
    (tree / "raw.CR2").touch()
    done = vqcodec("encode", "-r", tree, "-o", tmp_path / "small", "-e", "1")
    named = "raw.CR2, trip/notes.txt; develop raw photographs first"
    assert f"{tree}: skipped 2 files that are not pictures by suffix (.CR2 1, .txt 1): {named}\n" in done.stderr
    for number in range(8):
        (tree / f"x.{number}").touch()
        (tree / f"y{number}").touch()
    done = vqcodec("encode", "-r", tree, "-o", tmp_path / "small", "-e", "1")
    counts = "no suffix 8, .0 1, .1 1, .2 1, .3 1, .4 1, others 5"
    assert f"skipped 18 files that are not pictures by suffix ({counts}): raw.CR2, x.0, x.1" in done.stderr
    assert "x.4 and 12 more (-v names them); develop" in done.stderr
    assert "y7, trip/notes.txt; develop" in vqcodec("encode", "-r", tree, "-o", tmp_path / "small", "-v").stderr
    done = vqcodec("decode", "-r", tree / "trip", "-o", tmp_path / "back")
    assert (
        "skipped 3 files that are not .vqc files by suffix (.PNG 1, .jpg 1, .txt 1): b.jpg, notes.txt, day 2/c.PNG\n"
        in done.stderr
    )


def test_folders_keep_their_tree_and_a_second_run_does_what_is_missing(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "small"
    done = vqcodec("encode", "-r", tree, "-o", out, "--json")
    assert done.exit_code == 0
    assert sorted(found(out)) == ["a.vqc", "trip/b.vqc", "trip/day 2/c.vqc"]
    assert "skipped 1 file that is not a picture by suffix (.txt 1): trip/notes.txt\n" in done.stderr
    assert "3 of 3 inputs encoded in " in done.stderr
    *rows, last = lines(done)
    assert [r["status"] for r in rows] == ["done"] * 3
    assert [(r["width"], r["height"]) for r in rows] == [(60, 50)] * 3
    assert {r["output"]: r["output_bytes"] for r in rows} == {
        str(out / name): len(data) for name, data in found(out).items()
    }
    assert last["summary"]["pixels"] == 9000
    assert last["summary"]["output_bytes"] == sum(map(len, found(out).values()))

    before = found(out)
    (out / "trip" / "b.vqc").unlink()
    done = vqcodec("encode", "-r", tree, "-o", out, "--json", "-q", "90")
    assert [r["status"] for r in lines(done)[:-1]] == ["skipped", "done", "skipped"]
    assert {n: d for n, d in found(out).items() if n != "trip/b.vqc"} == {
        n: d for n, d in before.items() if n != "trip/b.vqc"
    }

    done = vqcodec("decode", "-r", out, "-o", tmp_path / "back")
    assert done.exit_code == 0
    assert sorted(found(tmp_path / "back")) == ["a.png", "trip/b.png", "trip/day 2/c.png"]


def test_workers_make_the_same_files_and_report_what_is_bad(tree: Path, tmp_path: Path) -> None:
    (tree / "trip" / "bad.png").write_text("no picture")
    frames = [Image.fromarray(picture(40, 30, seed)) for seed in (7, 8)]
    frames[0].save(tree / "moving.webp", save_all=True, append_images=frames[1:])
    alone = vqcodec("encode", "-r", tree, "-o", tmp_path / "alone")
    done = vqcodec("encode", "-r", tree, "-o", tmp_path / "two", "-j", "2", "--json")
    assert (alone.exit_code, done.exit_code) == (1, 1)
    assert len(found(tmp_path / "alone")) == 4
    assert found(tmp_path / "two") == found(tmp_path / "alone")
    for result in (alone, done):
        assert f"{tree / 'trip' / 'bad.png'}: not a picture that Pillow can read" in result.stderr
        assert f"warning: {tree / 'moving.webp'} has 2 frames: only one is kept" in result.stderr
        assert "1 of 5 inputs failed" in result.stderr
    *rows, last = lines(done)
    (failed,) = (r for r in rows if r["status"] == "failed")
    assert failed["error"].endswith("not a picture that Pillow can read")
    assert last["summary"] | {"seconds": 0} == {
        "inputs": 5, "done": 4, "skipped": 0, "failed": 1, "seconds": 0, "pixels": 3 * 3000 + 1200,
        "input_bytes": sum(r.get("input_bytes", 0) for r in rows), "output_bytes": sum(map(len, found(tmp_path / "two").values())),
        "ignored": 1,
    }  # fmt: skip


def test_work_can_be_sent_to_other_processes(photo: Path, tmp_path: Path) -> None:
    """The model that the file names is not installed: it must be the one that is asked for."""
    settings = Settings(threads=1, max_pixels=9000)
    for work, source, target in (
        (Encoding(str(TINY), {"quality": 30}, settings), photo, tmp_path / "a.vqc"),
        (Decoding(str(TINY), {"layers": 1}, settings), tmp_path / "a.vqc", tmp_path / "a.webp"),
    ):
        sent = pickle.loads(pickle.dumps(work))
        coded = sent(str(source), str(target), lambda _: None)
        assert coded == Coded(90, 70, source.stat().st_size, target.stat().st_size, coded.reached)


@pytest.mark.parametrize(
    "arguments",
    [["encode", "a.png", "-j", "0"], ["encode", "a.png", "-", "--json"], ["decode", "-", "--json"]],
)  # fmt: skip
def test_wrong_use_is_exit_2(arguments: list[str]) -> None:
    assert vqcodec(*arguments).exit_code == 2


def test_an_empty_folder_and_one_that_fails_leave_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = vqcodec("encode", "-r", tmp_path / "empty", "-o", tmp_path / "out")
    assert (done.exit_code, done.stderr) == (0, "vqcodec: no inputs found\n")
    (tmp_path / "empty" / "deep").mkdir()
    (tmp_path / "empty" / "deep" / "bad.png").write_text("no picture")
    assert vqcodec("encode", "-r", tmp_path / "empty", "-o", tmp_path / "out" / "more").exit_code == 1
    assert not (tmp_path / "out").exists()


def test_an_input_that_is_named_twice_is_done_once(tree: Path, tmp_path: Path) -> None:
    done = vqcodec("encode", "-r", tree, tree, tree / "a.png", "-o", tmp_path / "out", "-v")
    assert done.exit_code == 0
    assert "3 of 3 inputs encoded in " in done.stderr
    assert sorted(found(tmp_path / "out")) == ["a.vqc", "trip/b.vqc", "trip/day 2/c.vqc"]


def test_a_name_that_is_too_long_is_one_line(tmp_path: Path) -> None:
    done = vqcodec("encode", "-r", "n" * 300, "-o", tmp_path / "out")
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert "n" * 300 in done.stderr


@posix
def test_a_named_pipe_in_a_folder_is_not_waited_for(tree: Path, tmp_path: Path) -> None:
    os.mkfifo(tree / "pipe.png")
    done = vqcodec("encode", "-r", tree, "-o", tmp_path / "out")
    assert f"{tree / 'pipe.png'}: is not an ordinary file; give INPUT OUTPUT instead" in done.stderr
    assert "1 of 4 inputs failed" in done.stderr


def copies(tmp_path: Path, *names: str) -> list[Job]:
    (tmp_path / "out").mkdir()
    jobs = []
    for name in names:
        (tmp_path / name).write_text(name)
        jobs.append(Job(str(tmp_path / name), str(tmp_path / "out" / name)))
    return jobs


def plan_of(jobs: list[Job], tmp_path: Path) -> Plan:
    return Plan(jobs, tmp_path / "out", many=True)


@posix
def test_a_killed_worker_is_one_line_and_the_rest_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = copies(tmp_path, "a", "deadly", "b", "bad", "c")
    with pytest.raises(SystemExit) as stopped:
        run(plan_of(jobs, tmp_path), Copying(), BatchOptions("", "copied", workers=2))
    assert stopped.value.code == 1
    assert found(tmp_path / "out") == {name: name.encode() for name in "abc"}
    said = capsys.readouterr().err.splitlines()
    killed = f"vqcodec: {tmp_path / 'deadly'}: its worker process was killed (signal 9); was there enough memory?"
    assert sorted(said[:2]) == sorted([killed, f"vqcodec: {tmp_path / 'bad'}: no picture"])
    assert said[2] == "vqcodec: 2 of 5 inputs failed"
    assert said[3].startswith("vqcodec: 3 of 5 inputs copied in ")
    assert len(said) == 4
    assert not multiprocessing.active_children()


def test_workers_that_cannot_begin_end_the_batch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = copies(tmp_path, "a", "b", "c")
    with pytest.raises(SystemExit) as stopped:
        run(plan_of(jobs, tmp_path), Copying(dies=True), BatchOptions("", "copied", workers=2))
    assert stopped.value.code == 1
    expected = "vqcodec: a worker process ended (exit code 3) before it could begin; fewer --jobs need less memory\n"
    assert capsys.readouterr().err == expected
    assert not multiprocessing.active_children()


def test_no_worker_is_started_for_nothing(tmp_path: Path) -> None:
    jobs = copies(tmp_path, "a", "b")
    for job in jobs:
        Path(str(job.target)).write_text("there")
    run(plan_of(jobs, tmp_path), Copying(dies=True), BatchOptions("", "copied", workers=2))
    assert list(spread(Copying(dies=True), [], 2, lambda _: None)) == []


def test_an_outcome_that_is_not_wanted_ends_the_workers(tmp_path: Path) -> None:
    jobs = copies(tmp_path, *"abcdef")
    outcomes = spread(Copying(), ((j.source, str(j.target)) for j in jobs), 2, lambda _: None)
    assert next(outcomes).status == "done"
    outcomes.close()
    assert not multiprocessing.active_children()


def test_workers_that_cannot_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr("multiprocessing.process.BaseProcess.start", no_memory)
    with pytest.raises(Failed, match="no worker process can be started: Cannot allocate memory"):
        next(spread(Copying(), [("a", "b")], 2, lambda _: None))


def start(out: Path) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """A batch of slow writes, when its two workers are at it, and the processes below."""
    command = [sys.executable, works.__file__, str(out)]
    process = subprocess.Popen(command, text=True, start_new_session=True, stderr=subprocess.PIPE)
    while process.poll() is None and (not list(out.glob("*.vqc")) or len(list(out.glob(".vqc-*"))) < 2):
        time.sleep(0.005)
    return process, psutil.Process(process.pid).children(recursive=True)


def all_end(processes: list[psutil.Process]) -> bool:
    left = psutil.wait_procs(processes, 30)[1]
    return bool(processes) and all(p.status() == psutil.STATUS_ZOMBIE for p in left)


@posix
@pytest.mark.parametrize("to_all", [True, False])
@pytest.mark.parametrize(
    ("number", "code", "line"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_ends_all_in_one_line_and_leaves_nothing(
    number: signal.Signals, code: int, line: str, to_all: bool, tmp_path: Path
) -> None:
    process, below = start(tmp_path / "out")
    (os.killpg if to_all else os.kill)(process.pid, number)  # a terminal sends it to all
    _, errors = process.communicate()
    assert (process.returncode, errors) == (code, f"vqcodec: {line}\n")
    assert all_end(below)
    assert {p.suffix for p in (tmp_path / "out").iterdir()} == {".vqc"}


@posix
def test_workers_end_when_the_first_process_is_killed(tmp_path: Path) -> None:
    process, below = start(tmp_path / "out")
    process.kill()
    process.communicate()
    assert all_end(below)
    assert {p.suffix for p in (tmp_path / "out").iterdir()} == {".vqc"}  # what they were at is finished


@posix
def test_a_bar_on_a_terminal(tree: Path, tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    program = "import vqcodec.cli.progress as p; p.BAR_AFTER_S = 0.0; from vqcodec.cli.main import main; main()"
    command = [sys.executable, "-c", program, "encode", "-r", str(tree), "-o", str(tmp_path / "out"), "-m", str(TINY)]
    process = subprocess.Popen(command, stderr=theirs, env=os.environ | {"COLUMNS": "80", "TERM": "xterm"})
    os.close(theirs)
    shown = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not data:
            break
        shown += data
    os.close(ours)
    assert process.wait() == 0
    text = shown.decode()
    assert re.search(r"\d of 3, [^\n]* %\), [\d.]+ s left", text)
    assert "3 of 3 inputs encoded in " in text.rsplit("\n", 2)[-2]


def test_lines_where_there_is_no_terminal(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    done = vqcodec("encode", "-r", tree, "-o", tmp_path / "out")
    assert "vqcodec: 2 of 3, " in done.stderr
    assert "\r" not in done.stderr


def test_sums_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [Job(f"{number}.png") for number in range(10)]
    sizes = {job.source: 2_000_000 for job in jobs} | {"9.png": 8_000_000}
    monkeypatch.setattr(progress, "stat_of", lambda path: os.stat_result((0,) * 6 + (sizes[path], 0, 0, 0)))
    tally = progress.Tally(jobs)
    monkeypatch.setattr(progress.time, "monotonic", lambda: tally.begun + 20)
    assert tally.line() == "0 of 10"
    for number in range(2):
        tally.add(Outcome(f"{number}.png", "b", Coded(1000, 500, 2_000_000, 50_000)))
    for number in range(2, 6):
        tally.add(Outcome(f"{number}.png", "b"))
    # 4 MB took 20 s, 14 MB are left
    assert tally.line() == "6 of 10, 4.0 MB to 100.0 kB (2.5 %), 0.05 megapixels/s, 1 min 10 s left"
    assert tally.line(short=True) == "6 of 10, 4.0 MB to 100.0 kB (2.5 %), 1 min 10 s left"
    tally.add(Outcome("6.png", None, error="bad"))
    assert tally.line(short=True).endswith("1 min 0 s left")
    assert (tally.done, tally.skipped, tally.failed) == (2, 4, 1)
    assert tally.summary("encoded") == "2 of 10 inputs encoded in 20.0 s: 4.0 MB to 100.0 kB (2.5 %), 0.05 megapixels/s"
    assert progress.Tally([Job("9.png")]).line(0.25) == "9.png, 25 %, 0.0 s left"
    assert [progress.duration(s) for s in (0, 59.96, 61, 3599.9, 7300)] == [
        "0.0 s", "1 min 0 s", "1 min 1 s", "1 h 0 min", "2 h 1 min",
    ]  # fmt: skip
    assert [progress.size(n) for n in (0, 999, 1000, 999_949, 999_960, 12_345_678_900)] == [
        "0 bytes", "999 bytes", "1.0 kB", "999.9 kB", "1.0 MB", "12.3 GB",
    ]  # fmt: skip


def test_a_batch_in_python_is_encode_item_by_item(codec: Codec, photo: Path, tmp_path: Path) -> None:
    same_size = [picture(64, 64, seed) for seed in range(4)]
    items: list[Any] = [*same_size, photo, tmp_path / "missing.png", np.zeros((2, 2), np.float32), picture(64, 64, 9)]
    made = codec.encode_batch(items, quality=60)
    assert [isinstance(m, VQCError) for m in made] == [False] * 5 + [True, True, False]
    assert isinstance(made[5], ImageError)
    assert [m for m in made if isinstance(m, bytes)] == [
        codec.encode(i, quality=60) for n, i in enumerate(items) if n not in (5, 6)
    ]
    decoded = codec.decode_batch([made[0], b"damaged", FIXTURES / "rgb.vqc"])  # type: ignore[list-item]
    assert [getattr(d, "size", None) for d in decoded] == [(64, 64), None, (150, 90)]
    assert isinstance(decoded[1], VQCError)
    nothings = [*codec.decode_batch([None, made[5]]), *codec.encode_batch([None, b"bytes"])]  # type: ignore[list-item]
    assert [isinstance(n, VQCError) for n in nothings] == [True] * 4
    assert str(nothings[0]) == "neither bytes, a path, nor an open file: NoneType"
    assert str(nothings[3]) == "the picture: bytes of a file; wrap them in io.BytesIO"
    assert codec.encode_batch([]) == []
    with pytest.raises(ValueError, match="quality"):
        codec.encode_batch(same_size, quality=0)
    with pytest.raises(ValueError, match="effort"):
        codec.encode_batch(same_size, effort=2.0)


@pytest.mark.parametrize("method", [m for m in ("fork", "spawn") if m in multiprocessing.get_all_start_methods()])
def test_a_batch_in_other_processes(method: str, codec: Codec) -> None:
    items = [picture(64, 64, seed) for seed in range(3)]
    expected = codec.encode_batch(items)
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
        assert pool.submit(codec.encode_batch, items).result(120) == expected
