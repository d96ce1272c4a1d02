"""The decoder in pages of a headless Chromium: <vqc-img>, plain images, the service worker, the gallery, and the conformance set."""

from __future__ import annotations

import json
import struct
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import copy, copytree
from typing import Any

import numpy as np
import pytest
import vqcodec
from PIL import Image, ImageCms
from support import ROOT, TINY, picture
from support.chromium import Page, find
from vqbitstream import Header
from vqcodec.codec import Codec
from vqcodec.pictures.planes import Planes
from vqcodec.view import Gallery, serve, write_web

pytestmark = pytest.mark.skipif(find() is None, reason="no Chromium")
CONFORMANCE = ROOT / "tests/conformance"
go_on = threading.Event()  # set when the rest of slow.vqc may be sent
HEAD = '<!doctype html><link rel="icon" href="data:,"><script type="module" src="/vqc/vqc.js"></script>'


class _Handler(SimpleHTTPRequestHandler):
    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".vqc": "image/x-vqc", ".wasm": "application/wasm"}

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def do_GET(self) -> None:
        if self.path == "/broken.vqc":
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            with suppress(BrokenPipeError):  # an <img> sees that it is none of its kinds
                self.wfile.write((Path(self.directory) / "photo.vqc").read_bytes()[:-9])
                self.wfile.flush()
                time.sleep(2)  # the page decodes what it has; then the connection ends too early
            return
        if self.path != "/slow.vqc":
            super().do_GET()
            return
        data = (Path(self.directory) / "photo.vqc").read_bytes()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(data[: 2 * len(data) // 3])
        self.wfile.flush()
        go_on.wait(60)
        self.wfile.write(data[2 * len(data) // 3 :])

    def log_message(self, format: str, *args: Any) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]


class Site:
    """A folder of pages and a browser that shows them."""

    def __init__(self, folder: Path, profile: Path) -> None:
        self.folder = folder
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, directory=str(folder)))
        self.asked: list[str] = []
        self.server.asked = self.asked  # type: ignore[attr-defined]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        program = find()
        assert program is not None
        self.page = Page(program, profile)

    def show(self, body: str) -> None:
        """Open a page with this body."""
        (self.folder / "page.html").write_text(HEAD + body)
        self.go(f"http://127.0.0.1:{self.server.server_address[1]}/page.html")

    def go(self, url: str) -> None:
        self.page.run("window.old = true")
        self.page.call("Page.navigate", url=url)
        self.page.wait("window.old === undefined && document.readyState === 'complete'")

    def close(self) -> None:
        self.page.close()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    write_web(folder / "vqc", str(TINY))
    for name in ("files", "refused", "pixels"):
        copytree(CONFORMANCE / name, folder / name)
    loud, _ = write_web(folder / "loud", str(CONFORMANCE / "loud.safetensors"))[-1], None
    copy(loud, folder / "vqc" / "weights")
    codec = Codec(TINY)
    (folder / "photo.vqc").write_bytes(codec.encode_pixels(picture(300, 260), quality=75))
    alpha = np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))
    (folder / "alpha.vqc").write_bytes(codec.encode_planes(Planes(picture(64, 48), alpha), quality=75)[0])
    huge = Header(16000, 8000, False, False, False, 5000, 20480, 1, codec.model_id, 3).pack()
    (folder / "huge.vqc").write_bytes(huge)
    (folder / "unknown.vqc").write_bytes(Header(40, 40, False, False, True, 5000, 20480, 1, b"\1" * 8, 3).pack())
    whole = (folder / "photo.vqc").read_bytes()
    (folder / "cut.vqc").write_bytes(whole[:-9])
    drawing = codec.encode_pixels(np.repeat(np.repeat(picture(130, 5), 8, axis=0), 8, axis=1), exact="all")
    (folder / "drawing.vqc").write_bytes(drawing)
    (folder / "cut-drawing.vqc").write_bytes(drawing[:-9])
    Image.fromarray(picture(64, 48)).save(folder / "swapped.png", icc_profile=swapped_profile())
    Image.fromarray(picture(64, 48)[..., 0]).save(folder / "grey.png", icc_profile=grey_profile())
    for name in ("swapped", "grey"):
        (folder / f"{name}.vqc").write_bytes(codec.encode(folder / f"{name}.png", lossless=True))
    site = Site(folder, tmp_path_factory.mktemp("profile"))
    yield site
    site.close()


def swapped_profile() -> bytes:
    """Of sRGB, but that red is blue and blue is red."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return data.replace(b"rXYZ", b"????", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"????", b"bXYZ", 1)


def grey_profile() -> bytes:
    """Linear grey: without it, pixels are far darker."""
    tags = [(b"wtpt", b"XYZ \0\0\0\0\0\0\xf6\xd6\0\1\0\0\0\0\xd3\x2d"), (b"kTRC", b"curv" + bytes(8))]
    tags.append((b"desc", b"desc\0\0\0\0\0\0\0\5grey\0" + bytes(79)))
    table, data = struct.pack(">I", len(tags)), b""
    for name, contents in tags:
        table += name + struct.pack(">II", 128 + 4 + 12 * len(tags) + len(data), len(contents))
        data += contents + bytes(-len(contents) % 4)
    body = table + data
    head = struct.pack(">I4sI4s4s4s12x4s", 128 + len(body), b"", 0x02100000, b"mntr", b"GRAY", b"XYZ ", b"acsp")
    return head.ljust(68, b"\0") + bytes.fromhex("0000f6d6 00010000 0000d32d") + bytes(48) + body


def pixels_of(codec: Codec, path: Path) -> Any:
    return np.asarray(codec.decode(path.read_bytes()).convert("RGBA")).astype(int)


def test_the_element_shows_a_file(site: Site, codec: Codec) -> None:
    site.show('<vqc-img id="a" src="photo.vqc" alt="A photo" style="width: 150px"></vqc-img>')
    site.page.wait("a.complete")
    assert site.page.run("[a.naturalWidth, a.naturalHeight, a.clientWidth, a.clientHeight]") == [300, 260, 150, 130]
    assert site.page.run("[a.getAttribute('role'), a.getAttribute('aria-label'), a.layersShown]") == [
        "img",
        "A photo",
        3,
    ]
    read = "Array.from(a.shadowRoot.querySelector('canvas').getContext('2d').getImageData(0, 0, 300, 260).data)"
    found = np.array(site.page.run(read)).reshape(260, 300, 4)
    assert np.abs(found - pixels_of(codec, site.folder / "photo.vqc")).max() <= 1
    assert site.page.errors == []


def test_a_picture_shows_before_its_file_is_there(site: Site) -> None:
    site.show('<vqc-img id="a" src="slow.vqc"></vqc-img>')
    site.page.wait("a.layersShown > 0")
    assert site.page.run("[a.complete, a.layersShown < a.header.layers]") == [False, True]
    sharp = "a.shadowRoot.querySelector('canvas').getContext('2d').getImageData(0, 0, 300, 260).data.join()"
    site.page.run(f"window.before = {sharp}")
    go_on.set()
    site.page.wait("a.complete")
    assert site.page.run(f"[a.layersShown, {sharp} === before]") == [3, False]


def test_a_slow_file_does_not_hold_up_others(site: Site, codec: Codec) -> None:
    go_on.clear()
    slow = "".join(f'<vqc-img id="a{n}" src="slow.vqc"></vqc-img>' for n in range(3))
    site.show(
        f'{slow}<vqc-img id="b" src="files/tiny-300x260.vqc"></vqc-img><vqc-img id="c" src="photo.vqc"></vqc-img>'
    )
    site.page.wait("b.complete && c.complete && a0.layersShown > 0")
    assert site.page.run("[a0.complete, b.error ?? null, c.error ?? null]") == [False, None, None]
    read = "Array.from(c.shadowRoot.querySelector('canvas').getContext('2d').getImageData(0, 0, 300, 260).data)"
    found = np.array(site.page.run(read)).reshape(260, 300, 4)
    assert np.abs(found - pixels_of(codec, site.folder / "photo.vqc")).max() <= 1
    go_on.set()


def test_elements_that_go_stop_their_downloads(site: Site) -> None:
    go_on.clear()
    slow = "".join('<vqc-img src="slow.vqc" class="slow"></vqc-img>' for _ in range(4))
    site.show(f'{slow}<vqc-img id="b" src="alpha.vqc"></vqc-img>')
    site.page.wait("[...document.querySelectorAll('.slow')].every(a => a.layersShown > 0)")
    site.page.run("document.querySelectorAll('.slow').forEach(a => a.remove())")  # as many as are loaded at a time
    site.page.wait("b.complete")
    assert site.page.run("b.error ?? null") is None
    go_on.set()


def test_weights_are_fetched_once(site: Site) -> None:
    site.show('<vqc-img id="a" src="photo.vqc"></vqc-img>')
    site.page.wait("a.complete")
    before = sum(path.endswith(".safetensors") for path in site.asked)
    site.show('<vqc-img id="a" src="photo.vqc"></vqc-img><vqc-img id="b" src="alpha.vqc"></vqc-img>')
    site.page.wait("a.complete && b.complete")
    assert site.page.run("[a.layersShown, b.naturalWidth]") == [3, 64]
    assert sum(path.endswith(".safetensors") for path in site.asked) == before


def test_other_weights_are_refused(site: Site, codec: Codec) -> None:
    (site.folder / "wrong").mkdir()
    name = f"{codec.model_id.hex()}.safetensors"
    data = bytearray((site.folder / "vqc/weights" / name).read_bytes())
    data[-1] ^= 1
    (site.folder / "wrong" / name).write_bytes(data)
    site.show('<meta name="vqc-weights" content="/wrong/"><vqc-img id="a" src="photo.vqc"></vqc-img>')
    site.page.wait("a.complete")
    assert "instead of" in site.page.run("a.error.message")


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("missing.vqc", "404"),
        ("huge.vqc", "limit"),
        ("unknown.vqc", "404"),
        ("cut.vqc", "ends"),
        ("page.html", "not a .vqc file"),
    ],
)
def test_a_bad_file_shows_its_alt_text_and_says_why(site: Site, name: str, word: str) -> None:
    site.show(
        '<script>addEventListener("error", e => { window.told = [e.target.id, e.message] }, true)</script>'
        f'<vqc-img id="a" src="{name}" alt="What it was"></vqc-img>'
    )
    site.page.wait("a.complete")
    assert word in site.page.run("a.error.message")
    assert site.page.run("told") == ["a", site.page.run("a.error.message")]
    assert site.page.run("a.shadowRoot.querySelector('canvas').hidden") is True
    assert site.page.run("a.shadowRoot.querySelector('span').checkVisibility()") is True
    assert site.page.run("a.shadowRoot.querySelector('span').textContent") == "What it was"


def canvas(name: str, width: int, height: int) -> str:
    return f"Array.from({name}.shadowRoot.querySelector('canvas').getContext('2d').getImageData(0, 0, {width}, {height}).data)"


def drawn(name: str, width: int, height: int) -> str:
    return (
        f"(c => (c.drawImage({name}, 0, 0), Array.from(c.getImageData(0, 0, {width}, {height}).data)))"
        f"(new OffscreenCanvas({width}, {height}).getContext('2d'))"
    )


def test_a_file_of_exact_pixels_needs_no_weights(site: Site, codec: Codec) -> None:
    asked = len(site.asked)
    site.show(
        '<meta name="vqc-weights" content="/nowhere/"><vqc-img id="a" src="drawing.vqc"></vqc-img><img id="b" src="drawing.vqc">'
    )
    site.page.wait("a.complete && b.dataset.vqc && b.naturalWidth")
    expected = pixels_of(codec, site.folder / "drawing.vqc").reshape(-1).tolist()
    assert site.page.run("[a.error, a.layersShown, a.header.layers]") == [None, 0, 0]
    assert site.page.run(canvas("a", 1040, 40)) == expected
    assert site.page.run(drawn("b", 1040, 40)) == expected
    assert not [path for path in site.asked[asked:] if "nowhere" in path]


def test_the_browser_reads_the_same_exact_pixels(site: Site, codec: Codec) -> None:
    """Chromium's own decoder of WebP, as a judge of ours."""
    (site.folder / "both.js").write_text(BOTH)
    site.show("")
    names = [path.stem for path in (site.folder / "files").glob("tiny-exact-*.vqc")]
    found = site.page.run(f"import('/both.js').then(m => m.both({json.dumps(names)}))")
    assert found["wrong"] == []
    assert found["tiles"] >= 15


BOTH = """
import { FileReader } from "/vqc/container.js";
import { tilesOf } from "/vqc/geometry.js";
import { readOverlay } from "/vqc/overlay.js";
export async function both(names) {
  const out = { tiles: 0, wrong: [] };
  for (const name of names) {
    const reader = new FileReader();
    reader.push(new Uint8Array(await (await fetch(`/files/${name}.vqc`)).arrayBuffer()));
    for (const { tag, payload } of reader.sections()) {
      if (tag !== "P" || !payload.length) continue;
      const bitmap = await createImageBitmap(new Blob([payload]), { premultiplyAlpha: "none", colorSpaceConversion: "none" });
      const { width, height } = bitmap;
      const context = new OffscreenCanvas(width, height).getContext("2d");
      context.drawImage(bitmap, 0, 0);
      const theirs = new Uint32Array(context.getImageData(0, 0, width, height).data.buffer);
      const ours = readOverlay(payload, { width, height, grey: false, all: false });
      out.tiles++;
      if (theirs.length !== ours.length || theirs.some((pixel, i) => pixel !== ours[i])) out.wrong.push(name);
    }
  }
  return out;
}
"""


def test_colours_are_those_of_the_icc_profile(site: Site, codec: Codec) -> None:
    names = ("swapped", "grey")
    body = "".join(
        f'<vqc-img id="{name}" src="{name}.vqc"></vqc-img><img id="plain_{name}" src="{name}.vqc">' for name in names
    )
    site.show(f'<img id="png" src="grey.png">{body}')
    site.page.wait(
        "[swapped, grey].every(a => a.complete) && [plain_swapped, plain_grey].every(b => b.dataset.vqc && b.naturalWidth)"
    )
    for element, plain in ((canvas("swapped", 64, 48), drawn("plain_swapped", 64, 48)),):
        expected = pixels_of(codec, site.folder / "swapped.vqc")[..., [2, 1, 0, 3]]
        for script in (element, plain):
            assert np.abs(np.array(site.page.run(script)).reshape(48, 64, 4) - expected).max() <= 3
    shown = np.array(site.page.run(drawn("png", 64, 48)))
    assert (
        np.abs(shown.reshape(48, 64, 4) - pixels_of(codec, site.folder / "grey.vqc")).max() > 30
    )  # Chromium applies it
    for script in (canvas("grey", 64, 48), drawn("plain_grey", 64, 48)):
        assert np.abs(np.array(site.page.run(script)) - shown).max() <= 3


@pytest.mark.parametrize(("name", "layers"), [("cut.vqc", 2), ("broken.vqc", 2), ("cut-drawing.vqc", 0)])
def test_what_there_is_of_a_cut_file_is_shown_on_request(site: Site, codec: Codec, name: str, layers: int) -> None:
    path = site.folder / ("cut.vqc" if layers else name)
    site.show(f'<vqc-img id="a" src="{name}" alt="A photo" partial></vqc-img><img id="b" src="{name}" data-partial>')
    site.page.wait("a.complete && b.dataset.vqc && b.naturalWidth")
    assert site.page.run("[a.error, a.layersShown, a.getAttribute('aria-label')]") == [
        None,
        layers,
        "A photo (incomplete)",
    ]
    reason = site.page.run("a.incomplete")
    assert "broke off" in reason if name == "broken.vqc" else "ends" in reason
    assert site.page.run("[a.shadowRoot.querySelector('canvas').title, b.title, b.dataset.incomplete]") == [reason] * 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = np.asarray(codec.decode(path.read_bytes(), allow_partial=True).convert("RGBA")).astype(int)
    height, width, _ = expected.shape
    for script in (canvas("a", width, height), drawn("b", width, height)):
        assert np.abs(np.array(site.page.run(script)).reshape(expected.shape) - expected).max() <= 1


def test_plain_images_just_work(site: Site, codec: Codec) -> None:
    site.show('<img id="a" src="alpha.vqc" alt="A" width="32"><p id="p"></p>')
    site.page.wait("a.dataset.vqc && a.complete")
    assert site.page.run("[a.naturalWidth, a.width, a.alt]") == [64, 32, "A"]
    draw = "(c => (c.drawImage(a, 0, 0), Array.from(c.getImageData(0, 0, 64, 48).data)))"
    found = np.array(site.page.run(f"{draw}(new OffscreenCanvas(64, 48).getContext('2d'))")).reshape(48, 64, 4)
    expected = pixels_of(codec, site.folder / "alpha.vqc")
    assert np.array_equal(found[..., 3], expected[..., 3])
    opaque = expected[..., 3] > 128  # a canvas keeps the colours of the others less precisely
    assert np.abs(found - expected)[opaque].max() <= 3
    site.page.run("p.innerHTML = '<img id=b src=photo.vqc>'")  # one that comes later
    site.page.wait("window.b && b.dataset.vqc && b.naturalWidth === 300")


def test_an_image_may_be_lazy_broken_or_in_a_picture(site: Site) -> None:
    site.show(
        '<picture><source srcset="photo.vqc" type="image/x-vqc"><img id="a" src="data:image/gif;base64,R0lGODlhAQABAAAAACw="></picture>'
        '<img id="c" src="cut.vqc" alt="Cut"><div style="height: 5000px"></div><img id="b" src="alpha.vqc" loading="lazy">'
    )
    site.page.run("c.addEventListener('error', e => { if (e.message) window.told = e.message })")
    site.page.wait("a.naturalWidth === 300")
    assert site.page.run("b.dataset.vqc") is None
    site.page.run("b.scrollIntoView()")
    site.page.wait("b.naturalWidth === 64")
    assert site.page.run("[c.alt, c.dataset.vqc ?? null]") == ["Cut", None]


def test_the_service_worker_serves_images_that_every_page_shows(site: Site) -> None:
    (site.folder / "page.html").write_text('<link rel="icon" href="data:,"><p>')
    site.go(f"http://127.0.0.1:{site.server.server_address[1]}/page.html")
    script = "navigator.serviceWorker.register('/vqc/service-worker.js', {type: 'module', scope: '/vqc/'})"
    site.page.run(f"{script}.then(r => new Promise(done => {{ const w = r.installing ?? r.waiting ?? r.active;"
                  "const look = () => w.state === 'activated' && done(); w.onstatechange = look; look() }))")  # fmt: skip
    (site.folder / "vqc" / "plain.html").write_text(
        '<link rel="icon" href="data:,"><img id="a" src="/photo.vqc"><img id="b" src="/cut.vqc">'
    )
    site.go(f"http://127.0.0.1:{site.server.server_address[1]}/vqc/plain.html")
    site.page.wait("a.complete && b.complete")
    assert site.page.run("[a.naturalWidth, a.naturalHeight, b.naturalWidth]") == [300, 260, 0]
    site.page.run("navigator.serviceWorker.getRegistrations().then(all => Promise.all(all.map(r => r.unregister())))")


def test_the_conformance_set_in_a_browser(site: Site) -> None:
    index = json.loads((CONFORMANCE / "index.json").read_text())
    sound = [[e["name"], int("latent_sha256" in e)] for e in index["sound"] if e["model"] != "default"]
    site.show("")
    (site.folder / "check.js").write_text(CHECK)
    found = site.page.run(
        f"import('/check.js').then(m => m.check({json.dumps(sound)}, {json.dumps(index['refused'])}))"
    )
    assert found == {"decoded": len(sound), "refused": len(index["refused"]), "wrong": []}


CHECK = """
import { decode } from "/vqc/vqc.js";
export async function check(sound, refused) {
  const out = { decoded: 0, refused: 0, wrong: [] };
  for (const [name, tolerance] of sound) {
    const { pixels } = await decode(`/files/${name}.vqc`);
    const theirs = (await fetch(`/pixels/${name}.z`)).body.pipeThrough(new DecompressionStream("deflate"));
    const expected = new Uint8Array(await new Response(theirs).arrayBuffer());
    if (expected.length === pixels.length && expected.every((value, i) => Math.abs(value - pixels[i]) <= tolerance)) out.decoded++;
    else out.wrong.push(name);
  }
  for (const { name, error } of refused)
    try {
      await decode(`/refused/${name}.vqc`);
      out.wrong.push(name);
    } catch (found) {
      if (found.name === error) out.refused++;
      else out.wrong.push(`${name}: ${found}`);
    }
  return out;
}
"""


def test_the_gallery(site: Site, tmp_path: Path) -> None:
    for name, width, height in (("layers", 280, 240), ("small", 60, 40)):
        (tmp_path / f"{name}.vqc").write_bytes(vqcodec.encode(picture(width, height), effort=1))
    (tmp_path / "bad.vqc").write_bytes(b"nothing")
    page = site.page
    with serve(Gallery(tmp_path)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page.call("Emulation.setDeviceMetricsOverride", width=1100, height=700, deviceScaleFactor=1, mobile=False)
        site.go(f"http://127.0.0.1:{server.port}/")
        page.wait("document.querySelectorAll('main vqc-img').length === 3")
        page.wait("[...document.querySelectorAll('main vqc-img')].every(i => i.complete)")
        assert page.run("document.querySelector('main').textContent").count("not a .vqc file") == 1
        page.run("document.querySelectorAll('main button')[1].focus()")
        page.press(" ")
        page.wait("picture.complete && picture.naturalWidth === 280")
        assert page.run("viewer.open && facts.textContent").startswith("280 × 240")
        assert page.run("bytes.rows.length") == page.run("picture.header.layers")
        page.run("layers.value = 1; layers.dispatchEvent(new Event('input'))")
        page.wait("picture.complete && picture.layersShown === 1")
        page.run("picture.focus()")
        page.press("ArrowRight")
        page.wait("picture.complete && picture.naturalWidth === 60")
        page.run("document.getElementById('close').click()")
        assert page.run("viewer.open") is False
        server.shutdown()
    assert page.errors == []
