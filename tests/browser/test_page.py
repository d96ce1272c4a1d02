"""The decoder in pages of a headless Chromium: <vqc-img>, plain images, the service worker, the gallery, and the conformance set."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from shutil import copy, copytree
from typing import Any

import numpy as np
import pytest
import vqcodec
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
    site = Site(folder, tmp_path_factory.mktemp("profile"))
    yield site
    site.close()


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
    sound = [entry["name"] for entry in index["sound"] if entry["model"] != "default"]
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
  for (const name of sound) {
    const { pixels } = await decode(`/files/${name}.vqc`);
    const theirs = (await fetch(`/pixels/${name}.z`)).body.pipeThrough(new DecompressionStream("deflate"));
    const expected = new Uint8Array(await new Response(theirs).arrayBuffer());
    if (expected.length === pixels.length && expected.every((value, i) => Math.abs(value - pixels[i]) <= 1)) out.decoded++;
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
