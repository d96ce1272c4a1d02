"""Where outputs go, which of them are made again, and what is said about it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image
from support import TINY, picture
from vqcodec.cli import names
from vqcodec.cli.main import main


def vqcodec(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments), "-m", str(TINY)])


def encode(*arguments: str | Path) -> Result:
    return vqcodec("encode", *arguments, "-e", "1")


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "a.jpg", tmp_path / "a.png", tmp_path / "b.png"]
    for seed, path in enumerate(paths):
        Image.fromarray(picture(40, 30, seed)).save(path)
        os.utime(path, (1e9, 1e9 + seed))
    return paths


def test_an_output_with_a_known_suffix_is_a_file(photos: list[Path], tmp_path: Path) -> None:
    assert encode(photos[0], "-o", tmp_path / "x.vqc").exit_code == 0
    assert (tmp_path / "x.vqc").is_file()
    assert vqcodec("decode", tmp_path / "x.vqc", "-o", tmp_path / "y.webp").exit_code == 0
    assert Image.open(tmp_path / "y.webp").size == (40, 30)
    assert encode(photos[0], "-o", tmp_path / "2024.05").exit_code == 0
    assert encode(photos[0], "-o", f"{tmp_path / 'z.vqc'}/").exit_code == 0
    assert (tmp_path / "2024.05" / "a.vqc").is_file()
    assert (tmp_path / "z.vqc" / "a.vqc").is_file()


def test_several_inputs_go_beside_themselves(photos: list[Path], tmp_path: Path) -> None:
    assert encode(photos[1], photos[2]).exit_code == 0
    assert sorted(p.name for p in tmp_path.glob("*.vqc")) == ["a.vqc", "b.vqc"]
    done = encode("-r", tmp_path)
    assert "a.jpg: another input has the same output" in done.stderr
    assert "--keep-suffix" in done.stderr
    assert encode("-r", tmp_path, "--keep-suffix", "--quiet").stderr == ""
    assert sorted(p.name for p in tmp_path.glob("*.*.vqc")) == ["a.jpg.vqc", "a.png.vqc", "b.png.vqc"]
    before = photos[1].read_bytes()
    done = vqcodec("decode", tmp_path / "a.jpg.vqc", tmp_path / "a.png.vqc")
    assert (done.exit_code, photos[1].read_bytes()) == (0, before)  # a.png is there already
    assert sorted(p.name for p in tmp_path.glob("*.*.png")) == ["a.jpg.png"]
    for name in ("a.vqc", "b.vqc"):
        (tmp_path / name).unlink()
    assert vqcodec("decode", "-r", tmp_path, "-o", tmp_path / "back", "--to", "jpg").exit_code == 0
    names_back = sorted(p.name for p in (tmp_path / "back").iterdir())
    assert names_back == ["a.jpg", "a.png.jpg", "b.png.jpg"]


def test_names_that_differ_in_case_only(photos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos[0].rename(tmp_path / "A.jpg")
    assert not names.ignores_case(tmp_path)  # of the file system that the tests run on
    assert encode("-r", tmp_path, "-o", tmp_path / "one").exit_code == 0
    assert len(list((tmp_path / "one").iterdir())) == 3
    monkeypatch.setattr("vqcodec.cli.batch.ignores_case", lambda folder: True)
    done = encode("-r", tmp_path, "-o", tmp_path / "two")
    assert done.exit_code == 1
    assert done.stderr.count("only in case") == 2
    assert [p.name for p in (tmp_path / "two").iterdir()] == ["b.vqc"]


def test_outputs_have_the_time_of_their_inputs(photos: list[Path], tmp_path: Path) -> None:
    encode(photos[1])
    file = tmp_path / "a.vqc"
    assert file.stat().st_mtime == 1e9 + 1
    photos[1].unlink()
    vqcodec("decode", file)
    assert photos[1].stat().st_mtime == 1e9 + 1
    encode(photos[1], "-f", "--no-mtime")
    assert file.stat().st_mtime > 1.5e9


def test_update_does_what_make_would(photos: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"

    def statuses(*arguments: str) -> dict[str, str]:
        done = encode(photos[1], photos[2], "-o", out, "--json", *arguments)
        rows = [json.loads(line) for line in done.stdout.splitlines()[:-1]]
        return {Path(r["input"]).stem: r["status"] + (f" ({r['stale']})" if "stale" in r else "") for r in rows}

    assert statuses() == {"a": "done", "b": "done"}
    assert statuses("-u") == {"a": "skipped", "b": "skipped"}
    os.utime(photos[1], (2e9, 2e9))
    assert statuses() == {"a": "skipped (older than their inputs)", "b": "skipped"}
    assert statuses("-u") == {"a": "done", "b": "skipped"}
    for change in (["-q", "50"], ["--tune", "psnr"], ["--max-size", "20"]):
        stale = "skipped (of other settings)"
        assert statuses(*change) == {"a": stale, "b": stale}
        assert "2 of other settings: --update" in encode(photos[1], photos[2], "-o", out, *change).stderr
        assert statuses(*change, "-u") == {"a": "done", "b": "done"}
        assert statuses(*change, "-u") == {"a": "skipped", "b": "skipped"}
        if "--max-size" not in change:
            assert statuses("-u") == {"a": "done", "b": "done"}
    assert encode(photos[1], out / "a.vqc", "-u", "--max-size", "20").stderr.startswith("vqcodec: skipped: its output")


def test_presets_are_defaults(photos: list[Path], tmp_path: Path) -> None:
    done = encode(photos[1], "--preset", "preview", "--max-size", "20", "--json")
    assert json.loads(done.stdout.splitlines()[0])["quality"] == 45
    assert json.loads(done.stdout.splitlines()[0])["width"] == 20


def test_what_was_reached(photos: list[Path], tmp_path: Path) -> None:
    row = json.loads(encode(photos[1], "--json").stdout.splitlines()[0])
    assert row["quality"] == 75
    assert row["bpp"] == pytest.approx(8 * row["output_bytes"] / 1200, abs=1e-4)
    assert row["psnr"] > 5
    assert row["ssimulacra2"] < 100
    line = encode(photos[1], "-f", "-v").stderr
    assert f"PSNR {row['psnr']:.2f} dB, SSIMULACRA2 {row['ssimulacra2']:.1f}, model {TINY.stem}" in line


def test_measuring_leaves_torch_as_it_was(photos: list[Path]) -> None:
    """In a process of its own: the constants of the metric are loaded once, by whoever comes first."""
    command = [sys.executable, "-m", "vqcodec", "encode", *photos[1:], "-m", TINY, "-e", "1", "--json"]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    program = (
        "import sys, numpy as np; from vqcodec.vqvae.ssimulacra2 import ssimulacra2; from vqcodec.codec import Codec\n"
        "pixels = np.zeros((40, 40, 3), np.uint8); ssimulacra2(pixels, pixels)\n"
        "Codec(sys.argv[1]).encode(pixels, effort=5)"
    )
    subprocess.run([sys.executable, "-c", program, TINY], check=True)


def test_sources_are_deleted_once_their_files_are_sound(photos: list[Path], tmp_path: Path) -> None:
    assert encode(photos[1], photos[2], "--delete-source", "--quiet").exit_code == 0
    assert [p.exists() for p in photos] == [True, False, False]
    program = (
        "import vqcodec.atomic as a; w = a.write\n"
        "def spoiled(target, fill, force, ns=None):\n"
        "    n = w(target, fill, force, ns); b = bytearray(open(target, 'rb').read()); b[-3] ^= 1; open(target, 'wb').write(b)\n"
        "    return n\n"
        "a.write = spoiled\n"
        "from vqcodec.cli.main import main; main()"
    )
    command = [sys.executable, "-c", program, "encode", photos[0], "-e", "1", "-m", TINY, "--delete-source", "-f"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "checksum" in done.stderr
    assert photos[0].exists()


def test_a_file_that_is_larger_is_one_line_and_its_source_stays(tmp_path: Path) -> None:
    path = tmp_path / "noise.jpg"
    Image.effect_noise((64, 64), 90).save(path, quality=1)
    size = path.stat().st_size
    done = encode(path, "-q", "100", "--quiet")
    larger = (tmp_path / "noise.vqc").stat().st_size
    assert larger > size
    line = f"vqcodec: warning: {path}: its .vqc is larger, {larger} bytes instead of {size}"
    assert (done.exit_code, done.stderr) == (0, f"{line}\n")
    done = encode(path, "-q", "100", "--quiet", "-f", "--delete-source")
    assert (done.exit_code, done.stderr) == (0, f"{line}, and the input is not deleted\n")
    assert path.exists()
    done = encode(path, "-q", "1", "--quiet", "-f", "--delete-source")
    assert (done.stderr, path.exists()) == ("", False)


def test_other_formats(photos: list[Path], tmp_path: Path) -> None:
    file = tmp_path / "x.vqc"
    encode(photos[1], file)
    sizes = []
    for to, quality in (("jpg", "20"), ("jpg", "95"), ("webp", "50"), ("avif", "50"), ("png", "50")):
        assert vqcodec("decode", file, "--to", to, "--to-quality", quality, "-f").exit_code == 0
        sizes.append((tmp_path / f"x.{to}").stat().st_size)
    assert sizes[0] < sizes[1]
    assert Image.open(tmp_path / "x.avif").format == "AVIF"


def test_verify(photos: list[Path], tmp_path: Path) -> None:
    encode(photos[1], photos[2])
    assert vqcodec("verify", tmp_path / "a.vqc").output == ""
    file = tmp_path / "b.vqc"
    data = bytearray(file.read_bytes())
    file.write_bytes(data[:-1])
    done = vqcodec("verify", "-r", tmp_path, "--json")
    assert done.exit_code == 1
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row.get("status") for row in rows] == ["done", "failed", None]
    assert str(file) in rows[1]["error"]
    assert "1 of 2 inputs failed" in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jpg", "a.png", "a.vqc", "b.png", "b.vqc"]


def test_estimate(photos: list[Path], tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("no picture")
    done = vqcodec("estimate", tmp_path, "-e", "1", "--json")
    assert done.exit_code == 0
    assert "bad.png: not a picture" in done.stderr
    found = json.loads(done.stdout)
    assert (found["pictures"], found["samples"]) == (4, 3)
    sizes = []
    for row in found["qualities"]:
        made = [encode(p, tmp_path / "x.vqc", "-f", "-q", str(row["quality"])) for p in photos]
        assert all(m.exit_code == 0 for m in made)
        sizes.append(row["bytes"])
    assert sizes == sorted(sizes)
    assert vqcodec("estimate", tmp_path, "-e", "1").stdout.count("quality ") == 3
    small = tmp_path / "small"
    small.mkdir()
    Image.new("1", (8, 8)).save(small / "a.png")  # smaller than any file of ours
    assert len(re.findall(r", \d+ % more, in", vqcodec("estimate", small, "-e", "1").stdout)) == 3


def test_a_line_on_a_terminal_only(photos: list[Path], tmp_path: Path) -> None:
    def shown(*more: str) -> str:
        ours, theirs = os.openpty()
        command = [sys.executable, "-m", "vqcodec", "encode", str(photos[1]), "-e", "1", "-m", str(TINY), "-f", *more]
        done = subprocess.run(command, stderr=theirs, stdout=subprocess.PIPE, check=True)
        assert done.stdout == b""
        os.close(theirs)
        try:
            return os.read(ours, 65536).decode(errors="replace")  # it may end inside a character
        except OSError:
            return ""
        finally:
            os.close(ours)

    assert "a.vqc: " in shown()
    assert "quality 75" in shown()
    assert shown("--quiet") == ""
    assert encode(photos[1], "-f").stderr == ""


def test_a_terminal_is_refused_before_the_work(photos: list[Path]) -> None:
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "vqcodec", "encode", "missing.png", "-"]
    done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, text=True, check=False)
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 2
    assert "stdout is a terminal" in done.stderr


def test_decoding_gives_a_kept_suffix_back(tmp_path: Path) -> None:
    def outputs(name: str, suffix: str) -> str | None:
        return names.Naming(suffix).beside(tmp_path / name)

    for name, suffix, expected in [
        ("a.jpg.vqc", ".jpg", "a.jpg"), ("a.JPEG.vqc", ".jpg", "a.JPEG"), ("a.tif.vqc", ".tiff", "a.tif"),
        ("a.png.vqc", ".png", "a.png"), ("a.png.vqc", ".jpg", "a.png.jpg"), ("a.vqc", ".jpg", "a.jpg"), ("a.b.vqc", ".png", "a.b.png"),
    ]:  # fmt: skip
        assert outputs(name, suffix) == str(tmp_path / expected)
    assert names.Naming(".vqc").beside("b.png") == "b.vqc"


def test_the_manual_page_names_every_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795737600")
    page = CliRunner().invoke(main, ["man"]).stdout
    assert page.startswith('.TH VQCODEC 1 "2026-11-27" "vqcodec ')
    for name, command in main.commands.items():
        assert f"vqcodec {name} " in page.replace("\\-", "-")
        for parameter in command.params:
            assert all(option in page.replace("\\-", "-") for option in parameter.opts if option.startswith("--"))


def test_version_and_module() -> None:
    for arguments in (["-V"], ["--version"]):
        done = subprocess.run([sys.executable, "-m", "vqcodec", *arguments], capture_output=True, text=True, check=True)
        assert done.stdout.startswith("vqcodec ")
