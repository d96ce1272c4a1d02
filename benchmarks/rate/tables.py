"""The tables of a benchmark's results, written into the documents that show them.

    python -m benchmarks.tables [RESULTS_DIR]

The table NAME replaces what stands between `<!-- results: NAME -->` and `<!-- end -->`. RESULTS_DIR is where
`benchmarks.rate_distortion` wrote, benchmarks/results/kodak by default.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .summary import ANCHOR

ROOT = Path(__file__).parents[2]
KODAK_RECORD = ROOT / "benchmarks" / "results" / "kodak"
JUDGES_RECORD = (
    ROOT / "benchmarks" / "results" / "judges" / "summary.json"
)  # benchmarks.rate_distortion with all judges
COLD_RECORD = ROOT / "benchmarks" / "results" / "speed" / "cold.json"  # benchmarks.speed.cold
TASKS_RECORD = ROOT / "benchmarks" / "results" / "speed" / "tasks.json"  # benchmarks.speed.tasks
GALLERY_RECORD = ROOT / "benchmarks" / "results" / "gallery" / "gallery.json"  # benchmarks.gallery --record
DOCUMENTS = (
    "README.md", "weights/README.md", "benchmarks/README.md", "docs/choosing-quality.md", "docs/limits.md", "docs/gallery.md",
    "docs/perceptual.md",
)  # fmt: skip
MARKED = re.compile(r"(?<=<!-- results: )(\w+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)
FIRST = (
    "vqcodec", "vqcodec effort 9", "vqcodec effort 1", "vqcodec for PSNR", "AVIF", "AVIF for SSIMULACRA2", "AVIF for PSNR", "JPEG XL",
    "WebP", "JPEG 2000", "JPEG-O",
)  # fmt: skip
METRICS = {
    "ssimulacra2": "SSIMULACRA2",
    "psnr_db": "PSNR",
    "psnr_y_db": "PSNR Y",
    "ms_ssim": "MS-SSIM",
    "butteraugli": "Butteraugli",
    "cvvdp": "ColorVideoVDP",
}
Summary = Mapping[str, Any]


WORDS = {"codec", "command", "for", "picture", "settings", "task", "version"}  # heads of columns to the left
USES = {
    10: "placeholders", 20: "thumbnails", 30: "previews, mail", 40: "small screens", 50: "pages of many pictures",
    60: "pages", 70: "good at full size", 80: "hard to tell apart without zoom", 90: "archives: no difference at normal distance",
    100: "the finest there is",
}  # fmt: skip


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
    """BD-rates of the codecs that people compare first, by looks and by PSNR."""
    looks, rates = summary["bd_rate"].get("ssimulacra2", {}), summary["bd_rate"]["psnr_db"]
    rows = [
        [n, _percent(looks.get(n)), _percent(rates[n]), summary["run"]["codecs"][n]["settings"]] for n in FIRST if n in rates
    ]  # fmt: skip
    return source(summary) + _table(("codec", "SSIMULACRA2", "PSNR", "settings"), rows)


def curve(summary: Summary) -> str:
    """Our default effort, quality by quality."""
    rows = [
        [
            f"{r['quality']:g}", f"{r['bpp']:.3f}", f"{r['ssimulacra2']:.1f}", f"{r['psnr_db']:.2f}",
            *(f"{1e3 * r[t]:.0f}" for t in ("encode_s", "decode_s")),
        ]
        for r in summary["curves"]["vqcodec"]
    ]  # fmt: skip
    return _table(("q", "bpp", "SSIMULACRA2", "PSNR (dB)", "encode (ms)", "decode (ms)"), rows)


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


def qualities(summary: Summary) -> str:
    """What each quality gives on average, and what it is good for."""
    points = {round(p["quality"]): p for p in summary["curves"]["vqcodec"]}
    rows = [
        [str(q), f"{points[q]['bpp']:.2f}", f"{points[q]['ssimulacra2']:.0f}", f"{points[q]['psnr_db']:.1f}", use]
        for q, use in USES.items()
    ]
    return _table(("quality", "bits per pixel", "SSIMULACRA2", "PSNR (dB)", "for"), rows)


def looks(summary: Summary) -> str:
    """By looks: SSIMULACRA2."""
    rates = summary["bd_rate"]["ssimulacra2"]
    names = ("vqcodec", "AVIF", "AVIF for SSIMULACRA2", "JPEG XL", "WebP")
    return _table(
        ("codec", "BD-rate against JPEG-O at equal SSIMULACRA2"),
        [[name, _percent(rates[name])] for name in names if name in rates],
    )


def judges(_: Summary) -> str:
    """Bytes against AVIF's at equal value of five metrics, in two ranges of looks."""
    if not JUDGES_RECORD.exists():
        return "Not recorded yet.\n"
    summary = json.loads(JUDGES_RECORD.read_text())
    order = ("ssimulacra2", "cvvdp", "butteraugli", "ms_ssim", "psnr_db")
    rows = [
        [codec, *(" / ".join("-" if v is None else f"{v:+.0f}" for v in found[m]) + " %" for m in order if m in found)]
        for codec, found in summary["against_avif"].items()
    ]
    return source(summary) + _table(("codec", *(METRICS[m] for m in order)), rows)


def layers(summary: Summary) -> str:
    """Prefixes of our files, beside JPEG at the same number of bytes (interpolated over the logarithm of the rate)."""
    points, jpeg = summary["curves"]["vqcodec layers"], summary["curves"][ANCHOR]
    rate, decibels = np.log([p["bpp"] for p in jpeg]), [p["psnr_db"] for p in jpeg]
    rows = [
        [
            f"{p['quality']:.0f}", f"{p['bpp'] / points[-1]['bpp']:.0%}".replace("%", " %"), f"{p['psnr_db']:.1f}",
            f"{np.interp(np.log(p['bpp']), rate, decibels):.1f}",
        ]
        for p in points
    ]  # fmt: skip
    return _table(("layers", "bytes", "PSNR (dB)", "JPEG-O at these bytes (dB)"), rows)


def payload(summary: Summary) -> str:
    """How far the coder is from what the prior promises."""
    excess = summary["payload_excess"]
    return (
        f"At quality {excess['quality']:g} the entropy-coded bytes of all files exceed the prior's own estimate by "
        f"{excess['percent']:.2f} %.\n"
    )


def _cost(found: Summary | None) -> str:
    if found is None:
        return "-"
    peak = f", {found['peak_mib']:.0f} MiB" if "peak_mib" in found else ""
    return f"{found['wall_s']:.2f} s{peak}"


def cold(_: Summary) -> str:
    """Cold and warm commands of the installations that were measured together: wall time, peak memory, size on disk."""
    if not COLD_RECORD.exists():
        return "Not recorded yet.\n"
    record = json.loads(COLD_RECORD.read_text())
    names = list(record["installations"])
    rows = []
    for kind, ending in (("cold", ""), ("warm", ", warm")):
        for operation in dict.fromkeys(key.partition("/")[2] for key in record[kind]):
            rows.append([operation + ending, *(_cost(record[kind].get(f"{name}/{operation}")) for name in names)])
    sizes = [f"{record['installations'][name]['site_packages_bytes'] / 1e6:.0f} MB" for name in names]
    threads = "1 thread" if record["threads"] == 1 else f"{record['threads'] or 'all'} threads"
    return (
        f"{record['date'][:10]}, {record['machine']['processor']}, {threads}, "
        f"medians of {record['repeat']} runs, "
        f"others used {record['others_percent']} % of a core meanwhile:\n\n"
        + _table(("command", *names), [*rows, ["site-packages", *sizes]])
    )


def installs(_: Summary) -> str:
    """What installations weigh, of the cold record."""
    if not COLD_RECORD.exists():
        return "Not recorded yet.\n"
    found = json.loads(COLD_RECORD.read_text())["installations"].values()
    ours = sorted(i["site_packages_bytes"] / 1e6 for i in found if "vqcodec" in i.get("versions", i))
    return f"An environment takes {ours[0]:.0f} MB without PyTorch, {ours[-1]:.0f} MB with a build of PyTorch for CPUs alone.\n"


def tasks(_: Summary) -> str:
    """Seconds of a user's tasks."""
    if not TASKS_RECORD.exists():
        return "Not recorded yet.\n"
    record = json.loads(TASKS_RECORD.read_text())
    names = list(record["rows"][0]["seconds"])
    rows = [
        [row["task"], *(f"{row['seconds'][name]:.2f} s" if name in row["seconds"] else "-" for name in names)]
        for row in record["rows"]
    ]
    return (
        f"{record['date'][:10]}, {record['machine']['processor']}, {record['machine']['cores']} cores, a folder of "
        f"{record['pictures']} pictures, the least of {record['repeat']} runs, load of the machine before them "
        f"{record['load_before']:.1f}, Pillow {record['versions']['pillow']}:\n\n" + _table(("task", *names), rows)
    )


def gallery(_: Summary) -> str:
    """Figures of the pictures of the gallery."""
    if not GALLERY_RECORD.exists():
        return "Not recorded yet.\n"
    record = json.loads(GALLERY_RECORD.read_text())
    rows = [
        [f"{f['picture']}, quality {f['quality']}", f["codec"], f"{f['ssimulacra2']:.1f}", f"{f['psnr_db']:.1f}",
            f"{f['bytes']:,}", f["settings"]]
        for f in record["figures"]
    ]  # fmt: skip
    head = ("picture", "codec", "SSIMULACRA2", "PSNR (dB)", "bytes", "settings")
    return f"{record['date'][:10]}, model {record['model']}, Pillow {record['versions']['pillow']}:\n\n{_table(head, rows)}"


TABLES: dict[str, Callable[[Summary], str]] = {
    "bd": bd_rates, "cold": cold, "curve": curve, "gallery": gallery, "installs": installs,
    "judges": judges, "layers": layers, "looks": looks, "metrics": metrics,
    "payload": payload, "qualities": qualities, "tasks": tasks, "times": times,
}  # fmt: skip


def filled(text: str, summary: Summary) -> str:
    """A document with its tables replaced."""
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
