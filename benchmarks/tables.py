"""The tables of a benchmark's results, written into the documents that show them.

    python -m benchmarks.tables [RESULTS_DIR]

Between `<!-- results: NAME -->` and `<!-- end -->` in README.md, weights/README.md and benchmarks/README.md stands the table of that
name. RESULTS_DIR: where `benchmarks.rate_distortion` wrote, benchmarks/results/kodak by default.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .summary import ANCHOR

ROOT = Path(__file__).parent.parent
KODAK_RECORD = ROOT / "benchmarks" / "results" / "kodak"
DOCUMENTS = ("README.md", "weights/README.md", "benchmarks/README.md")
MARKED = re.compile(r"(?<=<!-- results: )(\w+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)
FIRST = ("vqcodec effort 9", "vqcodec", "vqcodec effort 1", "AVIF", "AVIF for PSNR", "WebP", "JPEG 2000", "JPEG-O")
METRICS = {"psnr_db": "PSNR", "psnr_y_db": "PSNR Y", "ms_ssim": "MS-SSIM", "ssimulacra2": "SSIMULACRA2"}
WORDS = ("codec", "settings", "version")  # columns of text
Summary = Mapping[str, Any]


def _table(head: tuple[str, ...], rows: list[list[str]]) -> str:
    rule = ["---" if title in WORDS else "--:" for title in head]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, rule, *rows))


def _percent(rate: Summary | None) -> str:
    if rate is None or rate["percent"] is None:
        return "-"
    interval = rate["interval"]
    return f"{rate['percent']:+.1f} %" + (f" [{interval[0]:+.1f}, {interval[1]:+.1f}]" if interval else "")


def source(summary: Summary) -> str:
    """When, with what, of what."""
    run = summary["run"]
    versions = ", ".join(f"{name} {run['versions'][name]}" for name in ("torch", "pillow"))
    return (
        f"{run['date'][:10]}, {len(summary['images'])} pictures, whole files, model {run['model']}, commit {run['commit']}, "
        f"{versions}, {run['machine']['processor']}, {run['machine']['cores']} cores:\n\n"
    )


def bd_rates(summary: Summary) -> str:
    """PSNR BD-rates of the codecs that people compare first."""
    rates = summary["bd_rate"]["psnr_db"]
    rows = [[n, _percent(rates[n]), summary["run"]["codecs"][n]["settings"]] for n in FIRST if n in rates]
    return source(summary) + _table(("codec", "BD-rate against JPEG-O", "settings"), rows)


def curve(summary: Summary) -> str:
    """Our default effort, quality by quality."""
    rows = [
        [f"{r['quality']:g}", f"{r['bpp']:.3f}", f"{r['psnr_db']:.2f}", *(f"{1e3 * r[t]:.0f}" for t in ("encode_s", "decode_s"))]
        for r in summary["curves"]["vqcodec"]
    ]  # fmt: skip
    return _table(("q", "bpp", "PSNR (dB)", "encode (ms)", "decode (ms)"), rows)


def metrics(summary: Summary) -> str:
    """BD-rates of all codecs in all metrics, and the low rates."""
    found = {name: title for name, title in METRICS.items() if name in summary["bd_rate"]}
    rows = []
    for codec, low in summary["low_rates"].items():
        rates = [_percent(summary["bd_rate"][m].get(codec)) for m in found]
        gain = low.get("gain_db")
        cells = ["-" if low["mean_psnr_db"] is None else f"{low['mean_psnr_db']:.2f} dB"]
        reach = "-".join(f"{rate:.2f}" for rate in low.get("window_bpp") or ())
        rows.append(
            [codec, *rates, *cells, "-" if gain is None or codec == ANCHOR else f"{gain:+.2f} dB ({reach} bpp)"]
        )
    return source(summary) + _table(("codec", *found.values(), "0.05-0.25 bpp", "gain on JPEG-O there"), rows)


def times(summary: Summary) -> str:
    """Median seconds per picture over all qualities, one thread, the other jobs beside it; settings and versions."""
    rows = []
    for codec, points in summary["curves"].items():
        facts = summary["run"]["codecs"][codec]
        ranges = (sorted(1e3 * p[t] for p in points) for t in ("encode_s", "decode_s"))
        spread = [f"{values[0]:.0f}-{values[-1]:.0f}" for values in ranges]
        rows.append([codec, facts["settings"], facts["version"], *spread])
    return _table(("codec", "settings", "version", "encode (ms)", "decode (ms)"), rows)


TABLES: dict[str, Callable[[Summary], str]] = {"bd": bd_rates, "curve": curve, "metrics": metrics, "times": times}


def filled(text: str, summary: Summary) -> str:
    """A document with its tables made anew."""
    return MARKED.sub(lambda match: f"{match[1]}{match[2]}{TABLES[match[1]](summary)}", text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="?", default=KODAK_RECORD)
    folder = parser.parse_args().results
    summary = json.loads((folder / "summary.json").read_text())
    for name in DOCUMENTS:
        path = ROOT / name
        path.write_text(filled(path.read_text(), summary))
        print(f"written: {name}")


if __name__ == "__main__":
    main()
