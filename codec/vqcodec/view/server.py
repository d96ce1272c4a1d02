"""A local web server with a gallery of .vqc files. It serves the files it was given, by number, and nothing else."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from vqbitstream.errors import VQCError, visible

from vqcodec.pictures.suffixes import FILE_SUFFIX
from vqcodec.view.web import browser_folder, decoder_weights, module_files

HOST = "127.0.0.1"
TYPES = {
    ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
    ".ts": "text/plain; charset=utf-8", ".wasm": "application/wasm", ".json": "application/json", FILE_SUFFIX: "image/x-vqc",
    ".safetensors": "application/octet-stream",
}  # fmt: skip
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class Gallery:
    """What the server offers.

    Args:
        source: A .vqc file, or a folder, whose .vqc files are shown, those in folders below it too.

    Attributes:
        title: Of the page.
        files: The .vqc files.

    Raises:
        VQCError: There is no such file, or there are no .vqc files in the folder.
    """

    def __init__(self, source: Path) -> None:
        self.title = visible(source.resolve().name or str(source))
        if source.is_dir():
            self.files = sorted(
                path for path in source.rglob("*") if path.suffix.lower() == FILE_SUFFIX and path.is_file()
            )
            self._root = source
            if not self.files:
                raise VQCError(f"{source}: no {FILE_SUFFIX} files in this folder")
        elif source.is_file():
            self.files, self._root = [source], source.parent
        else:
            raise VQCError(f"{source}: no such file or folder")

    def find(self, path: str) -> tuple[str, bytes] | None:
        """Suffix and contents of what a path of the server names; None if there is nothing. Raises OSError."""
        if path == "/files.json":
            return ".json", json.dumps({"title": self.title, "files": self._listed()}).encode()
        if match := re.fullmatch(r"/files/(\d{1,9})/[^/]+", path):
            number = int(match[1])
            return (FILE_SUFFIX, self.files[number].read_bytes()) if number < len(self.files) else None
        if match := re.fullmatch(r"/weights/([0-9a-f]{16})\.safetensors", path):
            return self._weights(match[1])
        if match := re.fullmatch(r"/(vqc|demo)/([a-z0-9.-]+)", path):
            found = module_files() if match[1] == "vqc" else {p.name: p for p in (browser_folder() / "demo").iterdir()}
            file = found.get(match[2])
            return (file.suffix, file.read_bytes()) if file else None
        return None

    def _listed(self) -> list[dict[str, Any]]:
        return [
            {
                "name": visible(str(path.relative_to(self._root))),
                "bytes": path.stat().st_size,
                "url": f"files/{number}/{quote(os.fsencode(path.name))}",
            }
            for number, path in enumerate(self.files)
            if path.is_file()  # still
        ]

    @staticmethod
    def _weights(model_id: str) -> tuple[str, bytes] | None:
        from vqcodec.models import store

        try:
            return ".safetensors", decoder_weights(store.find_id(bytes.fromhex(model_id)))[1]
        except VQCError:
            return None


class _Handler(BaseHTTPRequestHandler):
    """GET and HEAD. Other hosts' pages cannot read it: the Host header must be ours."""

    server: _Server

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        if self.headers.get("Host") not in self.server.hosts:
            self.send_error(403)
            return
        path = urlsplit(self.path).path
        if path == "/":
            self.send_response(302)
            self.send_header("Location", "/demo/index.html")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        try:
            found = self.server.gallery.find(path)
        except OSError:
            found = None
        if found is None:
            self.send_error(404)
            return
        suffix, data = found
        self.send_response(200)
        self.send_header("Content-Type", TYPES.get(suffix, "application/octet-stream"))
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-cache")
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not news."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, gallery: Gallery, port: int) -> None:
        super().__init__((HOST, port), _Handler)
        self.gallery = gallery
        self.port = int(self.server_address[1])
        self.hosts: Sequence[str] = (f"{HOST}:{self.port}", f"localhost:{self.port}")

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no error."""


def serve(gallery: Gallery, port: int = 0) -> _Server:
    """A server that listens, on this machine only; call its `serve_forever`.

    Args:
        gallery: What to show.
        port: 0 takes a free one.

    Raises:
        OSError: The port is taken.
    """
    return _Server(gallery, port)
