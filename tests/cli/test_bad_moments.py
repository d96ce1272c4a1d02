"""Bad moments: two processes at one tree, inputs that change, links to nothing, pipes. Nothing is lost, a re-run completes."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image
from support import TINY, odd_pngs, picture
from vqcodec import ImageError, atomic, encode
from vqcodec.cli.batch import BatchOptions, run
from vqcodec.cli.main import main
from vqcodec.cli.names import Job, Plan
from vqcodec.cli.workers import Coded, Progress
from vqcodec.codec import Codec
from vqcodec.pictures import reading

posix = pytest.mark.skipif(sys.platform == "win32", reason="links, pipes and modes of POSIX")


def vqcodec(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments), "-m", str(TINY)])


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Twenty pictures in two folders."""
    top = tmp_path / "photos"
    (top / "more").mkdir(parents=True)
    for seed in range(20):
        Image.fromarray(picture(120, 90, seed)).save(top / ("more" if seed % 2 else "") / f"{seed:02}.png")
    return top


def outputs(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Two at once


@pytest.mark.parametrize("options", [["-j", "1"], ["-j", "2"], ["--delete-source"]], ids=" ".join)
def test_two_processes_at_one_tree_both_end_well_and_say_who_did_what(
    options: list[str], tree: Path, tmp_path: Path
) -> None:
    assert vqcodec("encode", "-r", tree, "-o", tmp_path / "alone", "-e", "1").exit_code == 0
    out = tmp_path / "out"
    command = ["-m", "vqcodec.cli", "encode", "-r", tree, "-o", out, "-e", "1", "-m", TINY, "--json", *options]
    two = [
        subprocess.Popen(
            [sys.executable, *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=300) for process in two]
    assert [process.returncode for process in two] == [0, 0], said
    rows = [[json.loads(line) for line in stdout.splitlines()] for stdout, _ in said]
    done = [{row["output"] for row in report[:-1] if row["status"] == "done"} for report in rows]
    assert not done[0] & done[1]
    assert done[0] | done[1] == {str(out / name) for name in outputs(out)}
    for report, mine in zip(rows, done, strict=True):
        summary = report[-1]["summary"]
        assert (summary["done"], summary["failed"]) == (len(mine), 0)
        assert summary["skipped"] + len(mine) == summary["inputs"] <= 20  # fewer, if the other had deleted some already
    assert outputs(out) == outputs(tmp_path / "alone")
    assert len(outputs(tree)) == (0 if "--delete-source" in options else 20)


@dataclass(frozen=True)
class Overtaken:
    """Work whose output another process writes meanwhile."""

    def prepare(self) -> None: ...

    def differs(self, source: str, target: str) -> str | None:
        return None

    def __call__(self, source: str, target: str, progress: Progress) -> Coded:
        if "theirs" in source:
            Path(target).write_text("theirs")
        if "taken" in source:
            Path(source).unlink()
            raise FileNotFoundError(2, "No such file or directory", source)
        return Coded(1, 1, 1, atomic.write(target, lambda file: file.write(b"ours"), force=False))


def test_an_output_that_another_process_wrote_meanwhile_is_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "theirs", "theirs, and taken", "taken"):
        (tmp_path / name).touch()
    jobs = [Job(str(tmp_path / name), str(tmp_path / f"{name}.out")) for name in ("a", "theirs", "theirs, and taken")]
    run(Plan(jobs, many=True), Overtaken(), BatchOptions("", "made", as_json=True))
    said = capsys.readouterr()
    assert (
        "2 of 3 inputs skipped: their outputs exist already; -f overwrites them (another process wrote 2 of" in said.err
    )
    rows = [json.loads(line) for line in said.out.splitlines()]
    assert [(row["status"], row.get("overtaken")) for row in rows[:-1]] == [("done", None)] + [("skipped", True)] * 2
    assert [Path(str(job.target)).read_text() for job in jobs] == ["ours", "theirs", "theirs"]
    for plan, options in (
        (Plan([Job(str(tmp_path / "taken"), str(tmp_path / "taken.out"))], many=True), BatchOptions("", "made")),
        (Plan([Job(str(tmp_path / "theirs"), str(tmp_path / "b.out"))]), BatchOptions("", "made")),
    ):  # gone without an output; and a single output that was asked for by its name
        with pytest.raises(SystemExit):
            run(plan, Overtaken(), options)
    assert capsys.readouterr().err.splitlines() == [
        f"vqcodec: {tmp_path / 'taken'}: No such file or directory",
        f"vqcodec: {tmp_path / 'b.out'}: exists already; -f overwrites it",
    ]


def test_a_folder_that_another_process_took_away_is_made_again(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that was stopped removes the folders that it made, while they are empty."""
    encoded = Codec.encode

    def encode_slowly(*args: object, **options: object) -> bytes:
        shutil.rmtree(tmp_path / "out")
        return encoded(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Codec, "encode", encode_slowly)
    done = vqcodec("encode", tree / "00.png", "-o", f"{tmp_path / 'out'}/")
    assert done.exit_code == 0, done.stderr
    assert list(outputs(tmp_path / "out")) == ["00.vqc"]


# Inputs that change


@pytest.fixture
def changing(photo: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A picture that another program writes to while it is read."""
    read = reading._from_pil

    def read_slowly(*args: object, **options: object) -> object:
        found = read(*args, **options)  # type: ignore[arg-type]
        with photo.open("ab") as file:
            file.write(b"more")
        return found

    monkeypatch.setattr(reading, "_from_pil", read_slowly)
    return photo


def test_a_picture_that_changes_while_it_is_read_is_refused(changing: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="changed while it was read"):
        encode(changing, effort=1)
    done = vqcodec("encode", changing, "-o", tmp_path / "a.vqc", "--delete-source")
    assert (done.exit_code, done.stderr) == (1, f"vqcodec: {changing}: changed while it was read; try again\n")
    assert list(tmp_path.iterdir()) == [changing]


def test_half_a_picture_that_is_still_written_is_said_to_change(
    changing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changing.write_bytes(changing.read_bytes()[:200])

    def cut(*_: object, **__: object) -> None:
        changing.write_bytes(changing.read_bytes() + b"more")
        raise ImageError("cut")

    monkeypatch.setattr(reading, "_from_pil", cut)
    with pytest.raises(ImageError, match="changed while it was read"):
        encode(changing, effort=1)


def test_a_source_that_changed_later_is_kept_and_its_output_is_old(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.utime(photo, (1e9, 1e9))
    encoded, out = Codec.encode, tmp_path / "a.vqc"

    def encode_slowly(*args: object, **options: object) -> bytes:
        Image.fromarray(picture(90, 70, 8)).save(photo)
        return encoded(*args, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Codec, "encode", encode_slowly)
        done = vqcodec("encode", photo, "-o", out, "--delete-source", "-e", "1")
    assert (done.exit_code, photo.exists(), out.stat().st_mtime) == (1, True, 1e9)
    assert done.stderr == f"vqcodec: {photo}: changed after it was read, so it is kept; {out} is of what it was\n"
    assert vqcodec("encode", photo, "-o", out, "-u", "--delete-source", "-e", "1").exit_code == 0
    assert not photo.exists()


# Links to nothing, and pipes


@posix
def test_a_link_to_nothing_is_not_written_through(photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, behind = tmp_path / "a.vqc", tmp_path / "elsewhere" / "b.vqc"
    behind.parent.mkdir()
    out.symlink_to(behind)
    for arguments in ([photo, out], [photo, "-o", out], [photo, "-o", f"{tmp_path}/", "--keep-suffix"]):
        if "--keep-suffix" in arguments:
            (tmp_path / f"{photo.name}.vqc").symlink_to(behind)
        done = vqcodec("encode", *arguments, "-e", "1")
        assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
        assert "is a symbolic link to a file that does not exist; -f makes that file" in done.stderr
    for link in (os.link, None):  # between the look and the write; with and without hard links
        if link is None:
            monkeypatch.delattr(os, "link")
            monkeypatch.setattr(os, "link", no_links, raising=False)
        with pytest.raises(atomic.OutputExists):
            atomic.write(str(out), lambda file: file.write(b"x"), force=False)
    assert not list(behind.parent.iterdir())
    assert vqcodec("encode", photo, out, "-e", "1", "-f").exit_code == 0
    assert out.is_symlink()
    assert behind.stat().st_size > 0
    assert vqcodec("decode", out, tmp_path / "back.png").exit_code == 0


def no_links(*_: object) -> None:
    raise PermissionError(1, "Operation not permitted")


@posix
def test_links_that_lead_nowhere(photo: Path, tmp_path: Path) -> None:
    loop, far = tmp_path / "loop.vqc", tmp_path / "far.vqc"
    loop.symlink_to(loop)
    far.symlink_to(tmp_path / "no" / "b.vqc")
    for out, said in ((loop, "is a loop of links"), (far, "is a symbolic link into a folder that does not exist")):
        done = vqcodec("encode", photo, out, "-f", "-e", "1")
        assert (done.exit_code, done.stderr) == (1, f"vqcodec: {out}: {said}\n")


@posix
def test_pipes_are_read_to_their_end_or_refused(photo: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.safetensors"
    os.mkfifo(pipe)
    data, out = photo.read_bytes(), tmp_path / "out.vqc"
    writer = threading.Thread(target=pipe.write_bytes, args=[data], daemon=True)
    writer.start()
    assert vqcodec("encode", pipe, out, "-e", "1").exit_code == 0
    writer.join(30)
    assert abs(out.stat().st_mtime - time.time()) < 60
    assert vqcodec("encode", photo, tmp_path / "same.vqc", "-e", "1").exit_code == 0
    assert out.read_bytes() == (tmp_path / "same.vqc").read_bytes()
    place = tmp_path / "place.vqc"
    os.mkfifo(place)
    weights = "not a weights file, not even an ordinary file"
    for command, said in (
        (["encode", photo, place, "-f"], f"{place}: is not an ordinary file; write to stdout with - instead"),
        (["encode", photo, tmp_path / "b.vqc", "-m", pipe], f"{photo}: {pipe}: {weights}"),
        (["verify", place, out], f"{place}: is not an ordinary file; give INPUT OUTPUT instead"),
        (["estimate", pipe, "-e", "1", "-m", TINY], f"{pipe}: is not an ordinary file"),
        (["view", pipe, "--no-open"], f"{pipe}: no such file or folder"),
        (["models", "add", pipe], f"{pipe}: {weights}"),
        (["train", pipe, "--minutes", "1", "--out", tmp_path / "run"], f"{pipe}: is not an ordinary file"),
        (["train", photo, "--resume", pipe, "--out", tmp_path / "run"], f"{pipe}: not a checkpoint"),
    ):
        done = CliRunner().invoke(main, list(map(str, command)))  # type: ignore[arg-type]
        assert f"vqcodec: {said}" in done.stderr, done.stderr


@posix
def test_a_pipe_is_opened_once(tmp_path: Path) -> None:
    """Dark pictures of 16 bits are read twice where that can be."""
    os.mkfifo(tmp_path / "pipe.png")
    dark = odd_pngs.png(odd_pngs.gradients(40, 30, 2, 16) // 16, 2, 16)
    threading.Thread(target=(tmp_path / "pipe.png").write_bytes, args=[dark], daemon=True).start()
    command = ["-m", "vqcodec.cli", "encode", tmp_path / "pipe.png", tmp_path / "a.vqc", "-e", "1", "-m", TINY]
    assert subprocess.run([sys.executable, *map(str, command)], timeout=120, check=False).returncode == 0


# Modes


@posix
def test_the_umask_is_never_set_and_modes_are_as_they_should_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread would make files that everybody may write to."""
    before = os.umask(0o027)
    try:
        monkeypatch.setattr(os, "umask", lambda _: pytest.fail("the umask was set"))
        seen = []
        for name, mode, force in (
            ("new", None, False),
            ("forced", None, True),
            ("mine", 0o600, True),
            ("all", 0o777, True),
        ):
            path = tmp_path / name
            if mode is not None:
                path.touch()
                path.chmod(mode)

            def fill(file: object) -> None:
                (hidden,) = tmp_path.glob(".vqc-*")
                seen.append(hidden.stat().st_mode & 0o777)

            atomic.write(str(path), fill, force)
        assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("new", "forced", "mine", "all")] == [
            0o640, 0o640, 0o600, 0o777,
        ]  # fmt: skip
        assert seen == [0o640, 0o640, 0o600, 0o640]  # nobody reads it before it has its mode
    finally:
        monkeypatch.undo()
        os.umask(before)


def test_what_pillow_logs_stays_off_stderr(tmp_path: Path) -> None:
    tags = [(256, 3, 1, 10), (257, 3, 1, 10), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 2048)]
    head = b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags))
    for name in "ab":
        path = tmp_path / f"{name}.tif"
        path.write_bytes(head + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4))
    command = [sys.executable, "-m", "vqcodec", "encode", "-r", str(tmp_path), "-m", str(TINY), "-e", "1", "-j"]
    for jobs in ("1", "2"):
        done = subprocess.run([*command, jobs], capture_output=True, text=True, check=False)
        assert done.returncode == 1
        lines = [f"vqcodec: {tmp_path / name}.tif: not a picture that Pillow can read" for name in "ab"]
        assert sorted(done.stderr.splitlines()) == sorted(["vqcodec: 2 of 2 inputs failed", *lines])
