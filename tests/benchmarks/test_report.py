"""The report page: built from a small results folder, and driven in a headless Chromium."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from PIL import Image
from support import TINY, chromium, picture
from vqcodec.codec import Codec
from vqcodec.compare import divider, others

from benchmarks.rate import equal_bytes, gallery, report
from benchmarks.rate.metrics import METRICS

WORTH = {"vqcodec": 0.5, "vqcodec effort 9": 0.47, "JPEG-O": 1.0, "WebP": 0.65, "AVIF": 0.53}
DRAWN = 4  # without effort 9
IMAGES = ("a.png", "b.png", "c<d>.png", "e.png")


def results(folder: Path, images: Path) -> None:
    """As `benchmarks.rate_distortion` writes them, with made-up curves; one picture is too small for MS-SSIM."""
    codecs = {name: {"settings": f"settings of {name}", "version": "1.0"} for name in WORTH}
    run = {
        "kind": "run", "command": "python -m benchmarks.rate_distortion", "date": "2026-11-22T12:00:00+00:00", "commit": "abc1234",
        "versions": {"torch": "2"}, "machine": {"cores": 2}, "jobs": 1, "metrics": list(METRICS), "codecs": codecs,
        "images_folder": str(images), "model": "0" * 16,
    }  # fmt: skip
    records: list[dict[str, Any]] = [run]
    for number, image in enumerate(IMAGES):
        for codec, worth in WORTH.items():
            for step in range(8):
                bpp = worth * 0.08 * 1.7**step * (1 + 0.3 * number)
                psnr = 24 + 2.2 * step - 0.2 * number
                values = {
                    "psnr_db": psnr,
                    "psnr_y_db": psnr + 1,
                    "ms_ssim": 1 - 10 ** (-psnr / 20),
                    "ssimulacra2": 2 * psnr,
                }
                if number == 3:
                    values["ms_ssim"] = None  # type: ignore[assignment]
                size = {"width": 160, "height": 96, "bytes": int(bpp * 1920), "bpp": bpp}
                times = {"encode_s": 0.2, "decode_s": 0.1}
                records.append(
                    {"kind": "point", "codec": codec, "quality": 10 * step, "image": image, **size, **values, **times}
                )
    (folder / "results.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    for seed, name in enumerate(IMAGES):
        Image.fromarray(picture(160, 96, seed)).save(folder / name)
    results(folder, folder)
    path = folder / "report.html"
    command = ["report", str(folder), "--out", str(path), "--images", str(folder), "--model", str(TINY)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", command)
        report.main()
    return path


@pytest.fixture(scope="module")
def browser(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Page]:
    program = chromium.find()
    if program is None:
        pytest.skip(f"none of {', '.join(chromium.NAMES)} is installed")
    page = chromium.Page(program, tmp_path_factory.mktemp("profile"))
    yield page
    page.close()


def test_page_holds_all_it_needs(built: Path) -> None:
    text = built.read_text()
    assert len(text) < 3e6
    assert not re.search(r"(mapbox|openstreetmap|carto|arcgis)\.", text)  # a bundle without maps
    markup = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"(src|href|url)\s*[=(]\s*[\"']?(https?:)?//", markup)
    assert not re.search(r"<script[^>]*\ssrc|<link|@import", markup)
    assert markup.count('<figure class="divider"') == 3
    assert markup.count("data:image/webp;base64,") == 15
    assert "c&lt;d&gt;.png" in markup
    assert "−50.0 %" in markup


def test_other_pictures_are_shown_where_those_measured_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "INSTEAD", ("chelsea",))
    monkeypatch.setattr(report, "OTHERS", ("JPEG",))
    html = report.look({}, ["gone.png"], {"gone.png": -3.0}, str(TINY), 60, None)
    assert "gone.png could not be found" in html
    assert html.count('<figure class="divider"') == 1


def test_nothing_to_report_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no results in"):
        report.page(tmp_path, None, str(TINY), 0.3)


def test_published_curves_stand_beside_the_pictures_they_are_of() -> None:
    assert report.references(IMAGES) == []


def test_jpeg_xl_has_the_bytes_of_ours(codec: Codec) -> None:
    image = Image.fromarray(skimage.data.astronaut()).resize((200, 200))
    found = equal_bytes.comparison(codec, image, 75, (equal_bytes.JXL,))
    assert [v.name for v in found.versions] == ["vqcodec", equal_bytes.JXL]
    assert found.others[0].file_bytes == pytest.approx(found.ours.file_bytes, rel=others.TOLERANCE)
    sheet = equal_bytes.sheet([("one", found), ("two", found)], (0, 0))
    assert sheet.size == (3 * equal_bytes.CROP_PX, 2 * (equal_bytes.CROP_PX + equal_bytes.HEAD_PX))


def test_a_gallery_of_a_folder(tmp_path: Path) -> None:
    for seed, name in enumerate(("a.png", "b<c>.png")):
        Image.fromarray(picture(160, 96, seed)).save(tmp_path / name)
    out = tmp_path / "gallery.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery, "BESIDE", ("JPEG",))  # quick
        patch.setattr(sys, "argv", ["gallery", str(tmp_path), "--out", str(out), "--model", str(TINY)])
        gallery.main()
    text = re.sub(r"<script.*?</script>", "", out.read_text(), flags=re.DOTALL)
    assert text.count('<figure class="divider"') == 2 * len(equal_bytes.QUALITIES)
    assert text.count("data:image/webp;base64,") == 3 * 2 * len(equal_bytes.QUALITIES)
    assert "b&lt;c&gt;.png, quality 90" in text
    assert "$" not in re.sub(r"data:image/webp;base64,[^\"]+", "", text)


def test_divider_keeps_pixels() -> None:
    pixels = picture(40, 30)
    html = divider.figure('a "title"', [divider.Shown("one", "1 < 2", Image.fromarray(pixels))])
    assert "&quot;title&quot;" in html
    assert "1 &lt; 2" in html
    import base64
    import io

    data = html.split("base64,")[1].split('"')[0]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))), pixels)


def split(page: chromium.Page) -> int:
    return int(page.run("document.querySelector('.divider-handle').getAttribute('aria-valuenow')"))


def transforms(page: chromium.Page) -> list[str]:
    return page.run("[...document.querySelector('.divider').querySelectorAll('img')].map(i => i.style.transform)")


def scale(page: chromium.Page) -> float:
    found = transforms(page)
    assert len(set(found)) == 1  # in sync
    return float(found[0].split("scale(")[1].rstrip(")"))


def test_divider_by_mouse_wheel_and_keys(browser: chromium.Page, built: Path) -> None:
    browser.open(built, 1200, 900)
    width = browser.run("document.querySelector('.divider-stage').clientWidth")
    start = browser.place(".divider-stage")
    browser.drag(start, (width / 4, 0))
    assert split(browser) == pytest.approx(75, abs=1)
    assert "inset(0px 25" in browser.run(
        "[...document.querySelectorAll('.divider')][0].querySelectorAll('.divider-pane:not([hidden])')[0].style.clipPath"
    )
    browser.press("ArrowLeft")
    assert split(browser) == pytest.approx(73, abs=1)
    browser.press("End")
    assert split(browser) == 100
    browser.press("Home")
    assert split(browser) == 0
    x, y = browser.place(".divider-stage")
    browser.call("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=-120)
    browser.wait("document.querySelector('.divider-stage').classList.contains('zoomed')")
    before = transforms(browser)
    browser.press("+")
    larger = scale(browser)
    assert larger > 1.5
    browser.drag((x, y), (40, 20))  # not on the handle: pans
    assert split(browser) == 0
    assert transforms(browser) != before
    browser.press("0")
    assert scale(browser) == 1
    browser.click(".divider-zoom button[aria-label='Zoom in']")
    assert scale(browser) == pytest.approx(1.5)
    browser.run(
        "(s => { s.value = '0'; s.dispatchEvent(new Event('change')); })(document.querySelectorAll('.divider select')[1])"
    )
    assert browser.run("document.querySelector('.divider-tag.right b').textContent") == "original"
    assert browser.errors == []


def test_divider_by_fingers_on_a_phone(browser: chromium.Page, built: Path) -> None:
    browser.open(built, 390, 844, touch=True)
    assert browser.run("document.documentElement.scrollWidth") <= 390
    x, y = browser.place(".divider-handle")
    browser.touch([(x, y)], [(x - 20, y)], [(x - 80, y)])
    assert split(browser) < 40
    browser.touch([(x - 20, y), (x + 20, y)], [(x - 40, y), (x + 40, y)], [(x - 60, y), (x + 60, y)])
    assert scale(browser) > 2
    assert browser.errors == []


def test_metric_is_switched_by_keyboard(browser: chromium.Page, built: Path) -> None:
    browser.open(built, 1200, 900)
    title = "document.querySelector('#rd .ytitle').textContent"
    assert browser.run(title) == "SSIMULACRA2"
    browser.run("document.querySelector('#metrics input').focus()")
    browser.press("ArrowRight")
    browser.wait(f"{title} === 'PSNR, RGB (dB)'")
    assert browser.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    traces = "document.querySelectorAll('#rd .scatterlayer .trace').length"
    assert browser.run(traces) == DRAWN
    browser.run("document.querySelector('#codecs input').focus()")
    browser.press(" ")
    browser.wait(f"{traces} === {DRAWN - 1}")
    assert browser.run("[...document.querySelectorAll('#metrics label')].map(l => l.textContent)") == [
        "SSIMULACRA2", "PSNR RGB", "PSNR Y",
    ]  # fmt: skip
    assert browser.errors == []


def test_hovering_names_the_point(browser: chromium.Page, built: Path) -> None:
    browser.open(built, 1200, 900)
    x, y = browser.place("#rd .scatterlayer .trace:last-of-type .point:nth-of-type(4)")
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    browser.wait("document.querySelector('#rd .hoverlayer')?.textContent.includes('bpp')")


def test_follows_the_dark_and_asks_for_nothing(browser: chromium.Page, built: Path) -> None:
    browser.open(built, 1200, 900)
    bright = browser.run("getComputedStyle(document.body).backgroundColor")
    browser.open(built, 1200, 900, dark=True)
    assert browser.run("getComputedStyle(document.body).backgroundColor") != bright
    assert browser.requests
    assert not [r for r in browser.requests if not r.startswith(("file:", "data:", "blob:"))]
    assert browser.errors == []
