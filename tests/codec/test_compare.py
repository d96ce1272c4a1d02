"""`vqcodec compare`: equal bytes, the figures, the sheet, and the page in a headless Chromium."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from click.testing import CliRunner, Result
from PIL import Image
from support import TINY, chromium, picture
from vqcodec.cli.main import main
from vqcodec.codec import Codec
from vqcodec.compare import compare, others
from vqcodec.pictures.psnr import psnr

from benchmarks.rate import metrics


def run(*arguments: str | Path, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["compare", *map(str, arguments), "-m", str(TINY)], input=stdin)


@pytest.fixture(scope="module")
def image() -> Image.Image:
    return Image.fromarray(picture(400, 340, 3))


def test_jpeg_of_a_whole_quality_is_pillows(image: Image.Image) -> None:
    for mode in ("RGB", "L"):
        for quality in (1, 49, 50, 88, 100):
            expected = io.BytesIO()
            image.convert(mode).save(expected, format="JPEG", quality=quality, optimize=True, subsampling="4:2:0")
            assert others.jpeg_file(image.convert(mode), quality) == expected.getvalue()


def test_nearest_is_the_nearest_of_all() -> None:
    sizes = [10, 20, 40, 80, 160, 320]
    for wanted in (1, 10, 29, 31, 90, 250, 999):
        setting, data = others.nearest(lambda s: bytes(sizes[int(s)]), range(len(sizes)), wanted)
        assert abs(len(data) - wanted) == min(abs(size - wanted) for size in sizes)
        assert len(data) == sizes[int(setting)]


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("wanted", [8_000, 20_000])
def test_all_have_the_wanted_bytes(mode: str, wanted: int) -> None:
    photograph = Image.fromarray(skimage.data.astronaut()).convert(mode)
    for name in others.OTHERS:
        coded = others.coded(name, photograph, wanted)
        assert abs(len(coded.data) / wanted - 1) <= others.TOLERANCE, (name, coded.settings)
        assert coded.decode(mode).mode == mode


def test_a_codec_that_cannot_take_part_is_said(codec: Codec) -> None:
    long = Image.fromarray(picture(others.MOST_PX["WebP"] + 1, 2))
    found = compare.compare(codec, long, effort=1, names=("JPEG", "WebP"))
    assert [v.name for v in found.versions] == ["vqcodec", "JPEG"]
    assert found.lines[-1] == "WebP left out: its sides have at most 16383 pixels"
    assert "<p>WebP left out" in compare.page(found, "long")


def test_figures_are_those_of_the_files(codec: Codec, image: Image.Image) -> None:
    found = compare.compare(codec, image, quality=80)
    data = codec.encode(image, quality=80)
    decoded = codec.decode(data)
    assert found.ours.file_bytes == len(data)
    assert found.ours.psnr_db == psnr(np.asarray(image), np.asarray(decoded))
    assert found.ours.ssimulacra2 == pytest.approx(metrics.ssimulacra2(image, decoded), abs=0.05)
    assert found.ours.bpp == 8 * len(data) / (400 * 340)
    jpeg = found.others[0]
    quality = float(jpeg.settings.split(",")[0].removeprefix("quality "))
    file = others.jpeg_file(image, quality)
    assert jpeg.file_bytes == len(file)
    assert jpeg.psnr_db == psnr(np.asarray(image), np.asarray(Image.open(io.BytesIO(file))))
    for other in found.others:
        assert (abs(other.file_bytes / len(data) - 1) <= others.TOLERANCE) == (other.note == "")
    assert found.lines[0] == "original: 400x340 RGB"
    assert [line.split(",")[0] for line in found.lines[1:]] == ["vqcodec", "JPEG", "WebP", "AVIF"]


def test_what_is_the_original_has_no_finite_psnr(codec: Codec) -> None:
    flat = compare.compare(codec, Image.new("L", (300, 200), 8), effort=1, quality=100, names=())
    assert flat.ours.figures.endswith(" bpp, SSIMULACRA2 100.0, inf dB")
    assert "<h1>flat" in compare.page(flat, "flat")


def test_crops_lie_where_the_difference_is() -> None:
    first = np.zeros((500, 700, 3), np.uint8)
    second = first.copy()
    second[330:340, 490:500] = 200
    second[10:20, 10:20] = 100
    boxes = compare.where_they_differ(Image.fromarray(first), Image.fromarray(second))
    assert boxes[:2] == [(480, 320, 640, 480), (0, 0, 160, 160)]
    assert len(boxes) == compare.CROPS
    small = Image.fromarray(first[:5, :7])
    assert compare.where_they_differ(small, small) == [(0, 0, 7, 5)]


def test_without_output_the_figures_are_printed(photo: Path, tmp_path: Path) -> None:
    done = run(photo)
    assert done.exit_code == 0
    assert re.fullmatch(
        r"original: 90x70 RGB\nvqcodec, quality 75, effort 5: [\d,]+ bytes, [\d.]+ bpp, SSIMULACRA2 -?[\d.]+, [\d.]+ dB\n"
        r"(\w+, quality [\d.]+, [^:]+(:\d:\d)?[^:]*: [\d,]+ bytes( \([+-][\d.]+ %, its nearest\))?, [\d.]+ bpp, "
        r"SSIMULACRA2 -?[\d.]+, [\d.]+ dB\n){3}",
        done.stdout,
    )
    assert list(tmp_path.iterdir()) == [photo]
    assert run("-", stdin=photo.read_bytes()).stdout == done.stdout


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (3, 2000), (90, 70), (700, 500)])
def test_a_sheet_of_any_picture(mode: str, size: tuple[int, int], tmp_path: Path) -> None:
    source, out = tmp_path / "a.png", tmp_path / "out.png"
    Image.fromarray(picture(*size)).convert(mode).save(source)
    done = run(source, "-o", out)
    assert done.exit_code == 0
    assert ("only the colours are compared" in done.stderr) == (mode == "RGBA")
    with Image.open(out) as sheet:
        assert (sheet.mode, sheet.width) == ("RGB", 5 * 480 + 6 * compare.MARGIN_PX)
        assert min(480 * size[1] // size[0], 900) < sheet.height < 3500


def test_what_cannot_be_written_or_read(photo: Path, tmp_path: Path) -> None:
    assert run(photo, "-o", tmp_path / "out.gif").exit_code == 2
    out = tmp_path / "out.html"
    out.write_text("precious")
    done = run(photo, "-o", out)
    assert (done.exit_code, done.stderr) == (1, f"vqcodec: {out}: exists already; -f overwrites it\n")
    assert out.read_text() == "precious"
    assert run(photo, "-o", out, "-f").exit_code == 0
    done = run(tmp_path / "none.png")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert run(photo, "-o", photo, "-f").exit_code == 1


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="names are Unicode there")
def test_a_name_that_is_no_unicode(image: Image.Image, tmp_path: Path) -> None:
    source = tmp_path / os.fsdecode(b"caf\xe9.png")
    image.save(source)
    done = run(source, "-o", tmp_path / "out.html")
    assert (done.exit_code, done.stderr) == (0, "")
    assert r"<h1>caf\xe9.png</h1>" in (tmp_path / "out.html").read_text()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, image: Image.Image) -> Path:
    folder = tmp_path_factory.mktemp("compare")
    source = folder / "a <b>.png"
    image.save(source)
    assert run(source, "-o", folder / "out.html").exit_code == 0
    return folder / "out.html"


def test_the_page_needs_nothing_else(page: Path) -> None:
    text = page.read_text()
    markup = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r"(src|href|url)\s*[=(]\s*[\"']?(https?:)?//", markup)
    assert not re.search(r"<script[^>]*\ssrc|<link|@import", markup)
    assert "$" not in re.sub(r"data:image/webp;base64,[^\"]+", "", markup)
    assert markup.count("data:image/webp;base64,") == 5 + 5 * compare.CROPS
    assert "<h1>a &lt;b&gt;.png</h1>" in markup


def test_a_large_picture_is_cut_to_its_middle(codec: Codec) -> None:
    wide = Image.fromarray(picture(compare.PAGE_PX + 200, 40))
    html = compare.page(compare.compare(codec, wide, effort=1, names=("JPEG",)), "wide")
    assert f"Shown is the middle {compare.PAGE_PX}×40." in html
    assert f'<img width="{compare.PAGE_PX}" height="40"' in html


@pytest.fixture(scope="module")
def browser(page: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Page]:
    program = chromium.find()
    if program is None:
        pytest.skip(f"none of {', '.join(chromium.NAMES)} is installed")
    opened = chromium.Page(program, tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


def test_the_page_in_a_browser(browser: chromium.Page, page: Path) -> None:
    browser.open(page, 1200, 900)
    split = "Number(document.querySelector('.divider-handle').getAttribute('aria-valuenow'))"
    names = "[...document.querySelectorAll('.divider-tag b')].map(b => b.textContent)"
    assert browser.run(names) == ["vqcodec", "AVIF"]
    assert browser.run(split) == 50
    box = "(s => document.querySelector(s).getBoundingClientRect())"
    assert browser.run(f"{box}('.divider-tags').bottom <= {box}('.divider-stage').top")  # tags do not cover the picture
    width = browser.run("document.querySelector('.divider-stage').clientWidth")
    browser.drag(browser.place(".divider-stage"), (width / 4, 0))
    assert browser.run(split) == pytest.approx(75, abs=1)
    browser.press("Home")
    assert browser.run(split) == 0
    crops = "[...document.querySelectorAll('.crops img')]"
    assert browser.run(f"{crops}.length") == 5 * compare.CROPS
    assert browser.run(f"{crops}.every(i => i.complete && i.naturalWidth === 160)")
    assert browser.run(f"getComputedStyle({crops}[0]).imageRendering") == "pixelated"
    browser.open(page, 390, 844, touch=True)
    assert browser.run("document.documentElement.scrollWidth") <= 390
    assert not [r for r in browser.requests if not r.startswith(("file:", "data:", "blob:"))]
    assert browser.errors == []
