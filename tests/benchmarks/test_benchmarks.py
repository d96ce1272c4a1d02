"""The benchmark suite: deltas whose answer is known, metrics, codecs, the Kodak download, and a run end to end."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support import ROOT, TINY, picture
from vqcodec.codec import Codec

from benchmarks.rate import images, metrics, results
from benchmarks.rate.bd_rate import bd_psnr, bd_rate, bootstrap, mean_psnr, overlap
from benchmarks.rate.codecs import NAMES, LayerPrefixes, Ours, build
from benchmarks.rate.summary import against_avif, scaled
from benchmarks.rate.sweep import Bench, Task, tasks

CURVE = [(0.1 * 2**i, 25.0 + 3 * i) for i in range(5)]
KODAK_NAMES = ("kodim01.png", "kodim02.png")


def test_bd_rate_of_scaled_rates() -> None:
    assert bd_rate(CURVE, CURVE) == pytest.approx(0)
    assert bd_rate(CURVE, [(0.7 * r, p) for r, p in CURVE]) == pytest.approx(-30)
    assert bd_rate(CURVE, [(0.7 * r, p) for r, p in CURVE[1:]], overlap(CURVE, CURVE[1:])) == pytest.approx(-30)


def test_bd_rate_refuses_what_does_not_cover_the_window() -> None:
    assert bd_rate(CURVE, CURVE[1:]) is None
    assert bd_rate(CURVE, [(r, 40.0 - p) for r, p in CURVE]) is None
    assert bd_rate(CURVE, CURVE, (30, 30)) is None


def test_bd_psnr_of_shifted_curves() -> None:
    better = [(r, p + 1.5) for r, p in CURVE]
    assert bd_psnr(CURVE, better, (0.2, 0.8)) == pytest.approx(1.5)
    assert bd_psnr(CURVE, better) == pytest.approx(1.5)  # where both reach: from 0.1
    assert bd_psnr(CURVE[2:], better) is None
    assert mean_psnr(CURVE) is None
    assert mean_psnr(CURVE, (0.1, 0.4)) == pytest.approx(28)


def test_bootstrap_interval() -> None:
    generator = np.random.default_rng(1)
    anchor = np.array([[(r * s, p) for r, p in CURVE] for s in generator.uniform(0.5, 2, 12)])
    assert bootstrap(anchor, anchor * [0.8, 1], bd_rate, 100) == pytest.approx((-20, -20))  # the same on every image
    test = anchor * np.stack([generator.uniform(0.6, 1, 12), np.ones(12)], axis=1)[:, None]
    interval = bootstrap(anchor, test, bd_rate, 100)
    whole = bd_rate(anchor.mean(axis=0), test.mean(axis=0))
    assert interval is not None
    assert whole is not None
    assert -40 < interval[0] < whole < interval[1] < 0
    assert interval == bootstrap(anchor, test, bd_rate, 100)
    assert bootstrap(anchor[:1], test[:1], bd_rate) is None
    assert bootstrap(anchor, test[:, 1:], bd_rate, 100) is None


def test_metrics_of_known_pictures() -> None:
    image = Image.fromarray(picture(192, 176))
    assert [metrics.METRICS[m](image, image) for m in metrics.DEFAULT_METRICS] == [100, 100, pytest.approx(1), 100]
    grey = np.full((170, 170, 3), 100, dtype=np.uint8)
    off = grey.copy()
    off[..., 1] += 5  # one channel of three: mean squared error 25 / 3, luma off by 0.587 * 5
    a, b = Image.fromarray(grey), Image.fromarray(off)
    assert metrics.psnr(a, b) == pytest.approx(10 * np.log10(255**2 * 3 / 25))
    assert metrics.psnr_y(a, b) == pytest.approx(20 * np.log10(255 / (0.587 * 5)))
    blurred = image.resize((48, 44)).resize(image.size)
    assert 0.2 < (metrics.ms_ssim(image, blurred) or 0) < 0.99
    assert metrics.ssimulacra2(image, blurred) < 80
    assert metrics.ms_ssim(image.crop((0, 0, 192, 160)), blurred.crop((0, 0, 192, 160))) is None
    assert scaled("ms_ssim", np.array([0.9, 0.99])) == pytest.approx([10, 20])


@pytest.mark.parametrize(("metric", "same"), [("butteraugli", 0), ("cvvdp", 10)])
def test_metrics_of_other_programs(metric: str, same: float) -> None:
    if not metrics.available([metric])[0]:
        pytest.skip(metrics.available([metric])[1][0])
    image = Image.fromarray(picture(192, 176))
    blurs = [image.resize((192 // n, 176 // n)).resize(image.size) for n in (2, 4)]
    found = scaled(metric, np.array([metrics.METRICS[metric](image, other) for other in (image, *blurs)]))
    assert found[0] == pytest.approx(scaled(metric, np.array(same)), abs=1e-3)
    assert found[0] > found[1] > found[2]


def test_bytes_against_avif_are_those_of_the_curves() -> None:
    """Two pictures on which a codec needs a fifth less and a quarter more than AVIF at every value of each metric."""

    def points(codec: str, share: float, image: str) -> list[dict[str, Any]]:
        return [
            {"codec": codec, "image": image, "bpp": share * 2.0**k, "ssimulacra2": 20 + 15 * k, "butteraugli": 5 - k}
            | dict.fromkeys(("psnr_db", "psnr_y_db", "ms_ssim", "cvvdp"))
            for k in range(6)
        ]

    record = [
        p
        for codec, shares in (("AVIF", (1, 1)), ("X", (0.8, 1.25)))
        for n, s in enumerate(shares)
        for p in points(codec, s, str(n))
    ]
    assert against_avif(record)["X"] == {m: [pytest.approx(0, abs=1e-9)] * 2 for m in ("ssimulacra2", "butteraugli")}
    fewer = against_avif([p for p in record if p["image"] == "0"])["X"]
    assert fewer == {m: [pytest.approx(-20)] * 2 for m in ("ssimulacra2", "butteraugli")}
    best = [p for p in record if p["codec"] == "AVIF" or p["ssimulacra2"] > 80]
    assert against_avif(best)["X"]["ssimulacra2"][0] is None


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return Image.fromarray(picture(272, 256))  # large enough for layers in sections of their own


@pytest.mark.parametrize("name", NAMES)
def test_every_codec_round_trips(name: str, photo: Image.Image) -> None:
    codecs, left_out = build([name], str(TINY))
    if left_out:
        pytest.skip(left_out[0])
    codec = codecs[name]
    assert codec.name == name
    files = [codec.encode(photo, q) for q in (codec.qualities[0], codec.qualities[-1])]
    decoded = [codec.decode(f) for f in files]
    assert len(files[0]) < len(files[1])
    assert {(d.mode, d.size) for d in decoded} == {("RGB", photo.size)}
    assert metrics.psnr(photo, decoded[0]) <= metrics.psnr(photo, decoded[1])


def test_layer_prefixes_are_the_beginnings_of_one_file(codec: Codec, photo: Image.Image) -> None:
    prefixes = LayerPrefixes(codec)
    whole = codec.encode_pixels(np.asarray(photo), quality=80, exact="none")
    cut = [prefixes.encode(photo, n) for n in prefixes.qualities]
    assert cut[-1] == whole
    for layers, data in zip(prefixes.qualities, cut, strict=True):
        assert whole.startswith(data)
        assert np.array_equal(prefixes.decode(data), codec.decode(whole, layers=int(layers)))
    small = photo.crop((0, 0, 64, 64))
    assert prefixes.encode(small, 1) == codec.encode_pixels(np.asarray(small), quality=80, exact="none")


def test_a_missing_codec_or_metric_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    monkeypatch.setattr("benchmarks.rate.codecs.features.check", lambda feature: feature != "avif")
    codecs, left_out = build(["JPEG-O", "JPEG XL", "AVIF"], "none needed")
    assert list(codecs) == ["JPEG-O"]
    assert left_out == [
        "JPEG XL left out: imagecodecs is not installed",
        "AVIF left out: this Pillow was built without avif",
    ]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "ssimulacra2" else name)
    monkeypatch.setattr("shutil.which", lambda _: None)
    here, left_out = metrics.available([*metrics.DEFAULT_METRICS, "butteraugli"])
    assert here == ["psnr_db", "psnr_y_db", "ms_ssim"]
    assert left_out == [
        "ssimulacra2 left out: ssimulacra2 is not installed",
        "butteraugli left out: butteraugli_main is not installed",
    ]


def test_nothing_is_measured_twice(tmp_path: Path, codec: Codec) -> None:
    Image.fromarray(picture(80, 64)).save(tmp_path / "a.png")
    sources = images.sources(tmp_path)
    path = tmp_path / results.FILE
    codecs: dict[str, Any] = build(["JPEG-O", "WebP"], "none needed")[0]
    run = results.run_record(codecs, None, str(tmp_path), ["psnr_db"], 1)
    wanted = tasks(codecs, sources, quick=True)
    results.append(path, run)
    bench = Bench(codecs, ["psnr_db"])
    for task in wanted[:3]:
        results.append(path, bench.measure(task))
    path.write_text(path.read_text() + '{"kind": "poi')  # cut off while it was written
    results.append(path, bench.measure(wanted[3]))
    assert list(results.measured(path, run)) == [task.key for task in wanted[:4]]
    assert results.measured(path, run | {"metrics": ["psnr_db", "ms_ssim"]}) == {}
    assert results.measured(path, run | {"images_folder": "/elsewhere"}) == {}
    codecs["JPEG-O"].settings = "others"
    assert results.measured(path, results.run_record(codecs, None, str(tmp_path), ["psnr_db"], 1)) == {}
    point = Bench({"vqcodec": Ours("vqcodec", codec, "eye", 5)}, ["psnr_db"]).measure(Task("vqcodec", 50, sources[0]))
    assert (point["width"], point["height"], point["bpp"]) == (80, 64, 8 * point["bytes"] / (80 * 64))
    assert 0 < point["estimated_payload_bytes"] < point["payload_bytes"] < point["bytes"]


@pytest.fixture
def kodak(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that serves two small pictures as if they were the set; no other folder has them."""
    served = tmp_path / "served"
    served.mkdir()
    for seed, name in enumerate(KODAK_NAMES):
        Image.fromarray(picture(48, 32, seed)).save(served / name)
    sums = {name: hashlib.sha256((served / name).read_bytes()).hexdigest() for name in KODAK_NAMES}
    monkeypatch.setattr(images, "KODAK_SHA256", sums)
    monkeypatch.setattr(images, "KODAK_ADDRESS", f"{served.as_uri()}/")
    monkeypatch.setattr(images, "ROOT", tmp_path / "repository")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return served


def test_kodak_is_downloaded_once(kodak: Path, tmp_path: Path) -> None:
    found = images.kodak_sources(None)
    assert [s.path for s in found] == [tmp_path / "cache" / "vqcodec" / "kodak" / name for name in KODAK_NAMES]
    assert images.is_kodak([s.name for s in found])
    assert found[0].read().size == (48, 32)
    (kodak / KODAK_NAMES[0]).unlink()
    assert images.kodak_sources(None) == found


def test_kodak_is_found_where_it_is_said_to_be(kodak: Path) -> None:
    assert [s.path for s in images.kodak_sources(kodak)] == [kodak / name for name in KODAK_NAMES]


def test_kodak_with_a_wrong_checksum(kodak: Path, tmp_path: Path) -> None:
    (kodak / KODAK_NAMES[1]).write_bytes(b"something else")
    with pytest.raises(SystemExit, match=r"kodim02.png is not the published picture: SHA-256 \w+, expected"):
        images.kodak_sources(None)
    assert [p.name for p in (tmp_path / "cache" / "vqcodec" / "kodak").iterdir()] == ["kodim01.png"]
    with pytest.raises(SystemExit, match=r"kodim02.png is not the published picture"):
        images.kodak_sources(kodak)


def test_kodak_without_network(kodak: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "KODAK_ADDRESS", "http://127.0.0.1:9/")
    with pytest.raises(
        SystemExit, match=r"cannot download http://127.0.0.1:9/kodim01.png \(.*\); without network, .* --images DIR"
    ):
        images.kodak_sources(None)


def test_no_pictures(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no pictures in"):
        images.sources(tmp_path)


def test_benchmark_runs_end_to_end(tmp_path: Path) -> None:
    for seed in range(2):
        Image.fromarray(picture(176, 164, seed)).save(tmp_path / f"{seed}.png")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "benchmarks.rate_distortion", "--quick", "--model", str(TINY), "--jobs", "1"]
    command += ["--images", str(tmp_path), "--out", str(out), "--codecs", "vqcodec", "JPEG-O", "WebP"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "BD-rate against JPEG-O, ssimulacra2" in done.stdout
    records = list(results.lines(out / results.FILE))
    assert records[0]["kind"] == "run"
    assert set(records[0]["codecs"]) == {"vqcodec", "JPEG-O", "WebP"}
    assert all(r["kind"] == "point" and r["bytes"] > 0 and np.isfinite(r["ms_ssim"]) for r in records[1:])
    summary = json.loads((out / "summary.json").read_text())
    assert set(summary["bd_rate"]) == set(metrics.DEFAULT_METRICS)
    assert summary["per_image_bd_rate"]["WebP"].keys() == {"0.png", "1.png"}
    assert (out / "plot.png").stat().st_size > 1000
    resumed = subprocess.run([*command, "--metrics", "psnr_db"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert resumed.stdout.startswith(f"0 of {len(records) - 1} points to measure")
    assert [r["kind"] for r in results.lines(out / results.FILE)][len(records) :] == ["run"]
