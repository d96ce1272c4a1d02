"""The figures in benchmarks/results are those of the weights that are shipped."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator
from vqcodec.codec import Codec
from vqcodec.models import store

from benchmarks.rate.codecs import Ours
from benchmarks.rate.images import Source
from benchmarks.rate.metrics import psnr
from benchmarks.rate.results import FILE, lines
from benchmarks.rate.tables import DOCUMENTS, GALLERY_RECORD, KODAK_RECORD, ROOT, filled

RESULTS = KODAK_RECORD.parent
PHOTOS = ("astronaut", "coffee", "chelsea", "rocket")
QUALITIES = (30, 60, 90)
UPDATE = "shipped weights and record differ: python -m benchmarks.rate_distortion --out benchmarks/results/photos"


def recorded(folder: str) -> dict[str, list[tuple[float, float]]]:
    """image -> points (bits per pixel, PSNR) of our default effort, in the last run of the record."""
    curves: dict[str, dict[float, tuple[float, float]]] = {}
    for record in lines(RESULTS / folder / FILE):
        if record["kind"] == "point" and record["codec"] == "vqcodec":
            curves.setdefault(record["image"], {})[record["quality"]] = (record["bpp"], record["psnr_db"])
    return {image: sorted(points.values()) for image, points in curves.items()}


def log_ratios(codec: Codec, curves: dict[str, list[tuple[float, float]]]) -> Iterator[float]:
    """Log of the bytes now over those recorded at equal PSNR, photo by photo, quality by quality."""
    ours = Ours("vqcodec", codec, "eye", 5)
    for name in PHOTOS:
        bpp, psnrs = np.array(curves[name]).T
        log_bpp = PchipInterpolator(psnrs, np.log(bpp))
        image = Source(name).read()
        for quality in QUALITIES:
            data = ours.encode(image, quality)
            now = 8 * len(data) / (image.width * image.height)
            yield float(np.log(now) - log_bpp(psnr(image, ours.decode(data))))


def test_the_shipped_curve_is_the_recorded_one() -> None:
    ratios = np.array(list(log_ratios(Codec(), recorded("photos")))).reshape(len(PHOTOS), len(QUALITIES))
    for quality, moved in zip(QUALITIES, np.exp(ratios.mean(axis=0)) - 1, strict=True):
        assert abs(moved) < 0.01, f"{UPDATE} (quality {quality}: {moved:+.1%})"


@pytest.mark.parametrize("folder", ["kodak", "photos"])
def test_the_record_names_the_shipped_model(folder: str) -> None:
    summary = json.loads((RESULTS / folder / "summary.json").read_text())
    assert summary["run"]["model"] == store.manifest()[0].model_id, UPDATE


def test_the_gallery_is_of_the_shipped_model() -> None:
    shipped = store.manifest()[0].model_id
    assert json.loads(GALLERY_RECORD.read_text())["model"] == shipped, "python -m benchmarks.gallery --record"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_show_the_record(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "<!-- results: " in text
    assert filled(text, json.loads((KODAK_RECORD / "summary.json").read_text())) == text, "python -m benchmarks.tables"
