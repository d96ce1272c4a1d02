"""The examples for clusters, on one machine. Run by `nox -s cluster`; skipped where Ray and WebDataset are not installed."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import vqcodec
from PIL import Image
from support import ROOT, picture

EXAMPLES = ROOT / "examples"
PNG = 5  # pictures of a shard


def png(seed: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture(64, 48, seed)).save(out, "PNG")
    return out.getvalue()


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / script), *map(str, arguments), "--effort", "1"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def write_shard(path: Path, samples: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in samples.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


def read_shard(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {entry.name: file.read() for entry in tar if (file := tar.extractfile(entry))}


def test_shards_in_and_out(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    for shard in range(2):
        samples = {f"{shard}/{i}.{kind}": data for i in range(PNG) for kind, data in (("png", png(i)), ("cls", b"7"))}
        samples |= {"0.left.png": png(0), "0.right.png": png(1), "0.png": png(2), "0.ppm": b"the second of a name"}
        samples["bad.jpg"] = b"no picture"
        write_shard(tmp_path / f"{shard}.tar", samples)
    shards = sorted(tmp_path.glob("*.tar"))
    out = tmp_path / "out"
    done = run("webdataset_shards.py", out, *shards, "--share", "1/2")
    assert done.returncode == 0, done.stderr
    assert "bad: not a picture" in done.stderr
    assert done.stdout.startswith(f"{PNG + 2} samples, 1 failed")
    assert [p.name for p in out.iterdir()] == ["1.tar"]
    written = read_shard(out / "1.tar")
    assert written["bad.jpg"] == b"no picture"
    assert {"0.left.vqc", "0.right.vqc", "0.vqc", "0.ppm"} < set(written)
    assert {name for name in written if name.endswith("cls")} == {f"1/{i}.cls" for i in range(PNG)}
    before = (out / "1.tar").stat().st_mtime_ns
    assert run("webdataset_shards.py", out, *shards).returncode == 0
    assert (out / "1.tar").stat().st_mtime_ns == before  # it was whole, and is left

    def pictures(key: str, data: bytes) -> Image.Image | None:
        return vqcodec.decode(data) if key.endswith(".vqc") else None

    read = webdataset.WebDataset([str(p) for p in sorted(out.iterdir())], shardshuffle=False).decode(pictures)
    decoded = [sample for sample in read if "vqc" in sample]
    assert len(decoded) == 2 * (PNG + 1)
    assert all(sample["vqc"].size == (64, 48) for sample in decoded)
    assert sum(sample.get("cls") == 7 for sample in decoded) == 2 * PNG
    twins = run("webdataset_shards.py", out, shards[0], shards[0])
    assert twins.returncode == 2
    assert "same name" in twins.stderr


def test_a_bad_shard_costs_itself_only(tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    for name in ("a", "z"):
        write_shard(tmp_path / f"{name}.tar", {"0.png": png(0)})
    (tmp_path / "cut.tar").write_bytes((tmp_path / "a.tar").read_bytes()[:700])
    write_shard(tmp_path / "empty.tar", {})
    out = tmp_path / "out"
    done = run("webdataset_shards.py", out, *sorted(tmp_path.glob("*.tar")), tmp_path / "missing.tar")
    assert (done.returncode, done.stdout[:20]) == (1, "2 samples, 0 failed,")
    assert f"{tmp_path / 'cut.tar'}: " in done.stderr
    assert f"{tmp_path / 'missing.tar'}: " in done.stderr
    assert done.stderr.endswith("2 shards failed\n")
    assert sorted(p.name for p in out.glob("*.tar")) == ["a.tar", "empty.tar", "z.tar"]
    assert read_shard(out / "empty.tar") == {}


def test_files_through_ray(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    parquet = pytest.importorskip("pyarrow.parquet")
    photos = tmp_path / "photos"
    photos.mkdir()
    for seed in range(6):
        (photos / f"{seed}.png").write_bytes(png(seed))
    (photos / "bad.png").write_bytes(b"no picture")
    done = run("ray_data.py", photos, tmp_path / "encoded", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("7 pictures, 1 failed")
    assert "bad.png: not a picture" in done.stderr
    rows = {Path(row["path"]).name: row for row in parquet.read_table(tmp_path / "encoded").to_pylist()}
    assert len(rows) == 7
    assert rows["bad.png"]["vqc"] is None
    for name in set(rows) - {"bad.png"}:
        assert np.array_equal(vqcodec.decode(rows[name]["vqc"]).size, (64, 48))
    again = run("ray_data.py", photos, tmp_path / "encoded")
    assert again.returncode == 1
    assert "exists" in again.stderr
