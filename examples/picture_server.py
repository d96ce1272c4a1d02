"""A web server for a folder of .vqc files: `python examples/picture_server.py DIR [--port 8000]`.

Any server of static files will do, if it sends `image/x-vqc` for .vqc. This one also serves those who run no scripts: who asks for
photo.vqc, but does not accept `image/x-vqc`, gets the same picture as AVIF or JPEG, whatever the `Accept` header allows. So one
`<img src="photo.vqc">` shows everywhere. Fall-backs are made once, and kept in DIR/.fallbacks.
"""

from __future__ import annotations

import argparse
import os
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock

import vqcodec
from PIL import features
from vqcodec.view import write_web

VQC = "image/x-vqc"
FALLBACKS = {"image/avif": (".avif", "AVIF", 60), "image/jpeg": (".jpg", "JPEG", 85)}
PAGE = """<!doctype html><meta name="viewport" content="width=device-width"><title>Pictures</title>
<script type="module" src="/vqc/vqc.js"></script>
<style>body {{ font: 16px system-ui; }} img {{ max-width: 100%; height: auto; display: block; margin: 1rem 0; }}</style>
{images}
"""
making = Lock()  # one fall-back at a time


def accepted(header: str, content_type: str) -> bool:
    """Whether an Accept header names a type itself. Wildcards do not count: every browser sends them."""
    return any(part.split(";")[0].strip() == content_type for part in header.split(","))


def fallback(path: Path, accept: str) -> tuple[Path, str]:
    """The picture in another format, and its type."""
    able = accepted(accept, "image/avif") and features.check("avif")
    content_type = "image/avif" if able else "image/jpeg"
    suffix, kind, quality = FALLBACKS[content_type]
    made = path.parent / ".fallbacks" / (path.stem + suffix)
    with making:
        if not made.exists() or made.stat().st_mtime < path.stat().st_mtime:
            image = vqcodec.decode(path)
            made.parent.mkdir(exist_ok=True)
            part = made.with_suffix(".part")
            image.convert("RGB" if kind == "JPEG" else image.mode).save(part, kind, quality=quality)
            part.replace(made)
    return made, content_type


class Handler(SimpleHTTPRequestHandler):
    """Static files of a folder, with fall-backs."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".vqc": VQC, ".wasm": "application/wasm"}

    def send_head(self):  # type: ignore[no-untyped-def]
        path = Path(self.translate_path(self.path))
        if path.suffix == ".vqc" and path.is_file() and not accepted(self.headers.get("Accept", ""), VQC):
            try:
                made, content_type = fallback(path, self.headers.get("Accept", ""))
            except vqcodec.VQCError as error:
                self.send_error(415, str(error))
                return None
            file = made.open("rb")
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(os.fstat(file.fileno()).st_size))
            self.end_headers()
            return file
        return super().send_head()

    def end_headers(self) -> None:
        self.send_header("Vary", "Accept")  # or caches would mix them up
        super().end_headers()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    write_web(options.folder / "vqc", "default")
    index = options.folder / "index.html"
    if not index.exists():
        names = sorted(path.name for path in options.folder.glob("*.vqc"))
        index.write_text(
            PAGE.format(images="\n".join(f'<img src="{name}" alt="{name}" loading="lazy">' for name in names))
        )
    server = ThreadingHTTPServer(("127.0.0.1", options.port), partial(Handler, directory=str(options.folder)))
    print(f"http://127.0.0.1:{server.server_address[1]}/")
    server.serve_forever()


if __name__ == "__main__":
    main()
