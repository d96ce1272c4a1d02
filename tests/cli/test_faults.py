"""Kills, full disks, closed pipes: nothing half-written under its final name, one line, the right exit code.

VQCODEC_KILLS=100 is the long form of the batch that is killed again and again, with two workers and exact pixels.
"""

from __future__ import annotations

import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image
from support import FIXTURES, TINY, picture

KILLS = int(os.environ.get("VQCODEC_KILLS", "4"))
COMMAND = [sys.executable, "-m", "vqcodec.cli"]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    paths = [folder / f"{n:02}.png" for n in range(24)]
    for seed, path in enumerate(paths):
        Image.fromarray(picture(150, 120, seed)).save(path)
    return paths


def encode(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, "encode", *map(str, arguments), "-m", str(TINY), "--threads", "1"]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


@pytest.fixture(scope="module")
def sound(photos: list[Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the batch writes when nothing disturbs it."""
    out = tmp_path_factory.mktemp("sound")
    assert encode(*photos, "-o", out).returncode == 0
    return {path.name: path.read_bytes() for path in out.iterdir()}


def start(photos: list[Path], out: Path, *options: str) -> subprocess.Popen[str]:
    command = [*COMMAND, "encode", *map(str, photos), "-o", str(out), "-m", str(TINY), "--threads", "1", *options]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)


def named(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.glob("[!.]*")} if out.exists() else {}


def wait_for_output(out: Path, count: int, process: subprocess.Popen[str]) -> None:
    while process.poll() is None and len(named(out)) < count:
        time.sleep(0.002)


@pytest.mark.parametrize("options", [(), ("-j", "2", "--lossless")], ids=["alone", "two workers, exact pixels"])
def test_a_killed_batch_leaves_whole_files_and_goes_on(
    options: tuple[str, ...], photos: list[Path], tmp_path: Path
) -> None:
    rng = random.Random(0)
    whole = tmp_path / "whole"
    assert encode(*photos, "-o", whole, *options).returncode == 0
    sound = named(whole)
    interrupted = 0
    for kill in range(KILLS):
        out = tmp_path / str(kill)
        process = start(photos, out, *options)
        wait_for_output(out, rng.randrange(len(photos)), process)
        time.sleep(rng.uniform(0, 0.02))
        below = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        if kill % 2:
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert not psutil.wait_procs(below, 60)[1]  # what workers were at, they finish
        left = named(out)
        assert all(sound[name] == data for name, data in left.items())
        interrupted += 0 < len(left) < len(sound)
        if kill % 10 == 0:
            done = encode(*photos, "-o", out, *options)
            assert done.returncode == 0, done.stderr
            assert named(out) == sound
            skipped = re.search(r"(\d+) of 24 inputs skipped", done.stderr)
            assert (int(skipped[1]) if skipped else 0) == len(left)
    assert interrupted


@pytest.mark.parametrize(
    ("number", "code", "line"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated"), (signal.SIGHUP, 129, "terminated")],
)
def test_a_stopped_batch_says_so_in_one_line_and_leaves_nothing(
    number: signal.Signals, code: int, line: str, photos: list[Path], sound: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = start(photos, out)
    wait_for_output(out, 2, process)
    process.send_signal(number)
    _, errors = process.communicate()
    assert (process.returncode, errors) == (code, f"vqcodec: {line}\n")
    assert {p.name: p.read_bytes() for p in out.iterdir()} == {n: sound[n] for n in named(out)}


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="shows no process's libraries")
def test_a_signal_while_torch_is_imported(photos: list[Path], tmp_path: Path) -> None:
    for delay in (0.0, 0.2, 0.4):
        process = start(photos, tmp_path / "out")
        while process.poll() is None and "torch" not in Path(f"/proc/{process.pid}/maps").read_text():
            time.sleep(0.01)
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
        assert process.returncode == 130, errors
        assert errors == "vqcodec: interrupted\n"


def test_a_signal_inside_exec_leaves_the_exit_code_ours(tmp_path: Path) -> None:
    """Where Python 3.11 would end by SIGINT after a plain KeyboardInterrupt, whatever exit code was asked for."""
    (tmp_path / "inside_exec.py").write_text(
        "import os, signal\n"
        "from vqcodec.cli.console import guard, stop_politely\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "stop_politely()\n"
        "guard(lambda: exec('os.kill(os.getpid(), signal.SIGINT)'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "inside_exec"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (130, "vqcodec: interrupted\n")


def test_a_full_disk(photos: list[Path], tmp_path: Path) -> None:
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60, 60))

    target = tmp_path / "out.vqc"
    target.write_bytes(b"precious")
    done = encode(photos[0], target, "-f", preexec_fn=small_files)
    assert done.returncode == 1
    assert done.stderr == f"vqcodec: {target}: File too large\n"
    assert target.read_bytes() == b"precious"
    assert list(tmp_path.iterdir()) == [target]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(place)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting needs privileges")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_full_and_one_that_is_read_only(small_disk: Path, photos: list[Path], tmp_path: Path) -> None:
    done = encode(*photos[:3], "-o", small_disk, "-q", "100")
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert done.stderr.count("\n") <= 4
    assert not list(small_disk.glob(".*"))
    before = named(small_disk)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    done = encode(photos[0], small_disk / "other.vqc")
    assert done.returncode == 1
    assert done.stderr == f"vqcodec: {small_disk / 'other.vqc'}: Read-only file system\n"
    assert named(small_disk) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_without_permission(photos: list[Path], tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o555)
    done = encode(photos[0], tmp_path / "locked" / "out.vqc")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "Permission denied" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize(
    "command", [["--help"], ["--version"], ["models"], ["encode", "--help"], ["completion", "zsh"]]
)
def test_a_stdout_that_takes_no_help(command: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "vqcodec.cli", *command], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (1, "vqcodec: stdout: No space left on device\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("command", [["info"], ["info", "--json"], ["verify", "--json"]], ids=" ".join)
def test_a_report_that_stdout_does_not_take(command: list[str]) -> None:
    """It is not the file's fault."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, *command, str(FIXTURES / "rgb.vqc")], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr.endswith("vqcodec: stdout: No space left on device\n")
    assert "rgb.vqc: No space" not in done.stderr


@pytest.mark.parametrize("command", ["encode {photo} - -m {tiny}", "decode {file} -"])
@pytest.mark.parametrize(("target", "reason"), [("| true", "Broken pipe"), ("> /dev/full", "No space left on device")])
def test_a_stdout_that_takes_nothing(
    command: str, target: str, reason: str, photos: list[Path], tmp_path: Path
) -> None:
    if "/dev" in target and not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    file = tmp_path / "a.vqc"
    assert encode(photos[0], file).returncode == 0
    filled = command.format(photo=photos[0], tiny=TINY, file=file) + (f" -m {TINY}" if "decode" in command else "")
    slow = f"{{ '{sys.executable}' -m vqcodec.cli {filled}; echo $? > code; }} {target}"
    done = subprocess.run(["sh", "-c", slow], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (tmp_path / "code").read_text() == "1\n"
    assert done.stderr == f"vqcodec: stdout: {reason}\n"
