"""How long a browser takes to show a file: `python -m benchmarks.speed.browser FILE.vqc...`.

Headless Chromium decodes in one thread (a worker). Measured from the moment when the page has the file's bytes: until the first preview
can be painted, and until the whole picture is. Python, one thread, decodes the same bytes in the same run. Least of several.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from pathlib import Path

import vqcodec
from vqcodec.runtimes.threads import limit_threads
from vqcodec.view import Gallery, serve

from tests.support.chromium import Page, find

RUNS = 7
SCRIPT = """
(async () => {
  const { decodeInWorker } = await import("/vqc/client.js");
  const { configure } = await import("/vqc/vqc.js");
  configure({ weights: "/weights/" });
  const bytes = new Uint8Array(await (await fetch("/files/NUMBER/x.vqc")).arrayBuffer());
  const least = [Infinity, Infinity];
  let fetched = 0;
  for (let run = 0; run < RUNS; run++) {
    const begin = performance.now();
    let first = 0;
    let whole = 0;
    await decodeInWorker(bytes, { on: (event) => {
      if (event.type !== "shown") return;
      whole = performance.now() - begin;
      first ||= whole;
    } });
    if (run === 0) fetched = whole;
    least[0] = Math.min(least[0], first);
    least[1] = Math.min(least[1], whole);
  }
  return [fetched, ...least];
})()
"""


def in_browser(page: Page, number: int) -> list[float]:
    """Seconds: the first picture of a page, weights included; then first paint and whole picture."""
    found = page.run(SCRIPT.replace("NUMBER", str(number)).replace("RUNS", str(RUNS)))
    return [milliseconds / 1000 for milliseconds in found]


def in_python(codec: vqcodec.Codec, data: bytes) -> float:
    """Seconds, one thread."""
    seconds = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        codec.decode(data)
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    program = find()
    if program is None:
        raise SystemExit("no Chromium")
    limit_threads(1)
    codec = vqcodec.load_model("default")
    for path in parser.parse_args().files:
        with serve(Gallery(path)) as server, tempfile.TemporaryDirectory() as profile:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            page = Page(program, Path(profile))
            page.call("Page.navigate", url=f"http://127.0.0.1:{server.port}/files.json")
            page.wait("document.readyState === 'complete'")
            cold, first, whole = in_browser(page, 0)
            page.close()
            server.shutdown()
        data = path.read_bytes()
        facts = vqcodec.info(data)
        python = in_python(codec, data)
        print(json.dumps({
            "file": path.name, "pixels": facts.width * facts.height, "bytes": len(data), "browser_with_weights_s": round(cold, 3),
            "browser_first_paint_s": round(first, 3), "browser_whole_s": round(whole, 3), "python_s": round(python, 3),
        }))  # fmt: skip


if __name__ == "__main__":
    main()
