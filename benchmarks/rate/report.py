"""One self-contained page of a benchmark's results: curves, BD-rates, every picture, and three to look at.

    python -m benchmarks.report RESULTS_DIR --out report.html [--images DIR] [--model NAME|FILE] [--quality Q]

RESULTS_DIR: where `benchmarks.rate_distortion` wrote. The three pictures are those on which vqcodec gains least, in the middle, and
most on JPEG-O; they are coded anew. Without --images: from where the results were measured; if they are not there, scikit-image's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from rich.progress import track
from vqcodec.codec import Codec
from vqcodec.compare import divider
from vqcodec.models.weights_file import ModelError

from .bd_rate import WINDOW_DB
from .equal_bytes import comparison, shown
from .images import KODAK, Source, is_kodak, kodak_sources, sources
from .metrics import METRICS
from .results import FILE, Record, lines, measured, with_others
from .summary import ANCHOR, against_anchor, curves, per_image

HERE = Path(__file__).parent
PUBLISHED = HERE / "published.json"
PLOTLY = HERE / "plotly-basic.min.js"  # plotly.js-basic-dist-min 3.7.0 of npm, MIT
TITLES = {
    "ssimulacra2": "SSIMULACRA2", "psnr_db": "PSNR RGB", "psnr_y_db": "PSNR Y", "ms_ssim": "MS-SSIM", "butteraugli": "Butteraugli",
    "cvvdp": "ColorVideoVDP",
}  # fmt: skip
HEADINGS = TITLES | {"ms_ssim": "MS-SSIM (dB)", "butteraugli": "Butteraugli (negative)"}  # as they are interpolated
MIDDLE_DB = sum(WINDOW_DB) / 2
OTHERS = ("JPEG", "AVIF", "JPEG XL")
INSTEAD = ("coffee", "chelsea", "astronaut")


def load(folder: Path) -> tuple[Record, list[Record], Record]:
    """The newest run, its points, and what summary.json says of them (computed where it is not there). Raises SystemExit."""
    path = folder / FILE
    runs = [r for r in lines(path) if r["kind"] == "run"]
    run = with_others(path, runs[-1]) if runs else {}
    points = list(measured(path, run).values()) if runs else []
    if not points:
        raise SystemExit(f"no results in {path}; run python -m benchmarks.rate_distortion --out {folder}")
    if (folder / "summary.json").exists():
        summary = json.loads((folder / "summary.json").read_text())
        if summary["run"].get("id") == run.get("id"):  # else that run was not finished
            return run, [p for p in points if p["image"] in summary["images"]], summary
    rates = {m: against_anchor(points, m) for m in METRICS if any(p.get(m) is not None for p in points)}
    summary = {"curves": curves(points), "bd_rate": rates, "per_image_bd_rate": per_image(points)}
    return run, points, summary


def references(images: Sequence[str]) -> list[Record]:
    """Published curves, where the pictures are those that they were measured on."""
    if not is_kodak(images) or not PUBLISHED.exists():
        return []
    found = json.loads(PUBLISHED.read_text())
    return found["curves"] if isinstance(found, dict) else found


def jpeg_bpp(points: Sequence[Record]) -> dict[str, float | None]:
    """image -> bits per pixel of JPEG-O in the middle of the PSNR window; None where it does not reach that."""
    own: dict[str, list[tuple[float, float]]] = {}
    for point in points:
        if point["codec"] == ANCHOR:
            own.setdefault(point["image"], []).append((point["psnr_db"], point["bpp"]))
    out: dict[str, float | None] = {}
    for image, pairs in own.items():
        psnr, bpp = zip(*sorted(pairs), strict=True)
        inside = psnr[0] <= MIDDLE_DB <= psnr[-1]
        out[image] = float(np.exp(np.interp(MIDDLE_DB, psnr, np.log(bpp)))) if inside else None
    return out


def table(name: str, head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """Cells are HTML; the first of each row names it. name: for those who hear it; it scrolls, by keyboard too."""
    body = []
    for first, *cells in rows:
        ours = ' class="ours"' if first == "vqcodec" else ""
        body.append(f'<tr{ours}><th scope="row">{first}</th>{"".join(f"<td>{c}</td>" for c in cells)}</tr>')
    top = "".join(f'<th scope="col">{h}</th>' for h in head)
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{name}"><table class="{kind}"><thead><tr>{top}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def rates_table(summary: Record) -> str:
    metrics = [m for m in HEADINGS if m in summary["bd_rate"]]
    rows = []
    for codec, curve in summary["curves"].items():
        cells = [_rate(summary["bd_rate"][m].get(codec), codec) for m in metrics]
        times = [f"{1e3 * np.median([row[t] for row in curve]):.0f}" for t in ("encode_s", "decode_s")]
        rows.append([escape(codec), *cells, *times])
    return table("BD-rates", ["codec", *(HEADINGS[m] for m in metrics), "encode ms", "decode ms"], rows)


def _rate(rate: Record | None, codec: str) -> str:
    if codec == ANCHOR:
        return "0"
    if rate is None or rate["percent"] is None:
        return '<span class="faint">not covered</span>'
    ends = "" if rate["interval"] is None else f"<small>[{', '.join(map(_signed, rate['interval']))}]</small>"
    return f"{_signed(rate['percent'])} %{ends}"


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


def numbers_table(summary: Record) -> str:
    metrics = [m for m in HEADINGS if m in summary["bd_rate"]]
    rows = []
    for codec, curve in summary["curves"].items():
        for row in curve:
            values = ["–" if row[m] is None else f"{row[m]:.{4 if m == 'ms_ssim' else 2}f}" for m in metrics]
            rows.append([escape(codec), f"{row['quality']:g}", f"{row['bpp']:.4f}", *values])
    return table("Mean curves", ["codec", "setting", "bpp", *(TITLES[m] for m in metrics)], rows)


def record(run: Record, images: Sequence[str], published: Sequence[Record]) -> str:
    """What was run, where, when, with what."""
    machine = run["machine"]
    place = ", ".join(f"{k} {v}" for k, v in machine.items()) if isinstance(machine, dict) else str(machine)
    facts = {
        "command": f"<code>{escape(run['command'])}</code>",
        "date": escape(run["date"]),
        "commit": f"<code>{escape(str(run['commit']))}</code>",
        "model": f"<code>{escape(str(run['model']))}</code>",
        "machine": escape(f"{place}; {run['jobs']} jobs"),
        "versions": escape(", ".join(f"{k} {v}" for k, v in run["versions"].items())),
        "pictures": escape(", ".join(images)),
    }
    settings = [[escape(n), escape(c["settings"]), escape(c["version"])] for n, c in run["codecs"].items()]
    out = table("Settings", ["codec", "settings", "version"], settings, "words")
    if published:
        out += table(
            "Published curves",
            ["published", "source"],
            [[escape(c["name"]), escape(c["source"])] for c in published],
            "words",
        )
    return out + table("Run", ["run", ""], [[k, v] for k, v in facts.items()], "words")


def chosen(gains: dict[str, float | None], images: Sequence[str]) -> list[str]:
    """Least, middle and most gain; by name where there is none."""
    known = sorted((n for n in images if gains.get(n) is not None), key=lambda n: -float(gains[n] or 0))
    names = known if len(known) >= 3 else list(images)
    return list(dict.fromkeys((names[0], names[len(names) // 2], names[-1])))


def look(
    pictures: dict[str, Source],
    names: Sequence[str],
    gains: dict[str, Any],
    model: str,
    quality: float,
    measured_model: str | None,
) -> str:
    """The pictures of these names, each as every codec has it in the same bytes."""
    codec, left_out = Codec(model), []
    which = "The pictures are those on which ours gains least, in the middle, and most on JPEG-O"
    if missing := [n for n in names if n not in pictures]:
        which = f"{', '.join(missing)} could not be found (--images DIR): shown are photographs of scikit-image instead"
        pictures = {name: Source(name) for name in INSTEAD}
        names, gains = INSTEAD, {}
    if measured_model not in (None, codec.model_id.hex()):
        left_out.append(f"The curves are of model {measured_model}, these pictures of {codec.model_id.hex()}.")
    out = [
        f"<p>Ours at quality {quality:g}; the others in the same bytes within 1 %, where they can. {escape(which)}. Shown is "
        "the middle of each. Drag the divider, or use the arrow keys. Zoom by pinching, + and −, a double click, or the wheel "
        "once the picture was clicked; drag or Shift + arrows "
        "to move about, 0 to see all.</p>",
        *(f"<p>{escape(line)}</p>" for line in left_out),
    ]
    for name in track(names, "pictures at equal bytes"):
        gain = gains.get(name)
        title = name if gain is None else f"{name}: BD-rate of ours against JPEG-O {_signed(gain)} %"
        found = comparison(codec, pictures[name].read(), quality, OTHERS)
        out += [f"<p>{escape(line)}</p>" for line in found.left_out]
        out.append(divider.figure(title, shown(found), left=1, right=2))
    return "\n".join(out)


def page(folder: Path, images: Path | None, model: str, quality: float) -> str:
    """The HTML. Raises SystemExit with one line, ModelError."""
    run, points, summary = load(folder)
    names = list(dict.fromkeys(p["image"] for p in points))
    published, per_picture = references(names), summary["per_image_bd_rate"]
    found: dict[str, Source] = {}
    if run["images_folder"] == KODAK:
        with suppress(SystemExit):  # neither found nor to be had: the page does without
            found = {s.name: s for s in kodak_sources(images)}
    else:
        place = images or (Path(run["images_folder"]) if run["images_folder"] else None)
        found = {s.name: s for s in sources(place)} if place is None or place.is_dir() else {}
    gains = per_picture.get("vqcodec", {})
    data = {
        "curves": summary["curves"],
        "references": published,
        "per_image": per_picture,
        "jpeg_bpp": jpeg_bpp(points),
    }
    about = f"{len(names)} {'Kodak pictures' if published else 'pictures'}, measured {run['date'][:10]} at commit {run['commit']}."
    return Template((HERE / "report.html").read_text()).substitute(
        style=(HERE / "report.css").read_text() + divider.STYLE,
        about=escape(about),
        numbers=numbers_table(summary),
        window=f"{WINDOW_DB[0]:g}–{WINDOW_DB[1]:g}",
        middle=f"{MIDDLE_DB:g}",
        rates=rates_table(summary),
        look=look(found, chosen(gains, names), gains, model, quality, run["model"]),
        record=record(run, names, published),
        data=json.dumps(data).replace("<", "\\u003c"),
        plotly=PLOTLY.read_text().replace("</script", "<\\/script"),
        script=(HERE / "report.js").read_text() + divider.SCRIPT,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, metavar="RESULTS_DIR")
    parser.add_argument("--out", type=Path, default=Path("report.html"))
    parser.add_argument("--images", type=Path, help="folder of the pictures; where they were measured if left out")
    parser.add_argument("--model", default="default", help="of the pictures that are shown")
    parser.add_argument("--quality", type=float, default=60, help="at which they are shown (default 60)")
    options = parser.parse_args()
    try:
        text = page(options.results, options.images, options.model, options.quality)
    except ModelError as error:
        raise SystemExit(str(error)) from None
    options.out.write_text(text)
    print(f"written: {options.out} ({options.out.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
