"""The example server: the right type, and a fall-back for those who do not accept .vqc."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from functools import partial
from http.server import ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

import pytest
import vqcodec
from PIL import Image, features
from support import picture

open_url = build_opener(ProxyHandler({})).open


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "photo.vqc").write_bytes(vqcodec.encode(picture(60, 40), effort=1))
    (tmp_path / "bad.vqc").write_bytes(b"nothing")
    handler = import_module("examples.picture_server").Handler
    handler.log_message = lambda *_: None
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def get(url: str, accept: str) -> tuple[str, bytes, str]:
    with open_url(Request(url, headers={"Accept": accept})) as answer:
        return answer.headers["Content-Type"], answer.read(), answer.headers["Vary"]


def test_who_accepts_vqc_gets_it(address: str) -> None:
    kind, data, vary = get(f"{address}/photo.vqc", "image/x-vqc, */*;q=0.1")
    assert (kind, vary) == ("image/x-vqc", "Accept")
    assert data == vqcodec.encode(picture(60, 40), effort=1)


@pytest.mark.parametrize("accept", ["image/avif,image/webp,*/*", "image/webp,*/*;q=0.8"])
def test_others_get_a_picture_that_they_can_show(address: str, accept: str) -> None:
    kind, data, vary = get(f"{address}/photo.vqc", accept)
    assert kind == ("image/avif" if "avif" in accept and features.check("avif") else "image/jpeg")
    assert vary == "Accept"
    assert Image.open(io.BytesIO(data)).size == (60, 40)


def test_a_bad_file_is_refused(address: str) -> None:
    with pytest.raises(HTTPError) as caught:
        get(f"{address}/bad.vqc", "*/*")
    assert caught.value.code == 415
