"""From points to what is read: mean curves, BD-rates with intervals, the low rates, times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .bd_rate import LOW_RATES_BPP, WINDOW_DB, Window, bd_psnr, bd_rate, bootstrap, common_rates, mean_psnr, overlap
from .codecs import OURS
from .metrics import LOWER_IS_BETTER, METRICS
from .results import Record

ANCHOR = "JPEG-O"
WINDOW_SSIMULACRA2 = (30.0, 85.0)  # below, pictures are too bad for the scale to mean much; above, none look different
LOOKS = (30.0, 60.0), (60.0, 85.0)  # ranges of AVIF's SSIMULACRA2: small files and good ones
MEANS = ("bpp", *METRICS, "encode_s", "decode_s")
Tables = dict[str, Any]  # codec -> points [images, qualities, (bpp, metric)]


def scaled(metric: str, values: Any) -> Any:
    """The axis on which a metric is interpolated, rising: MS-SSIM in dB, -10 log10(1 - x); distances negative; the others as they
    are."""
    if metric == "ms_ssim":
        return -10 * np.log10(np.maximum(1 - values, 1e-10))
    return -values if metric in LOWER_IS_BETTER else values


def curves(points: Iterable[Record]) -> dict[str, list[Record]]:
    """Per codec, by rising rate: means over images at each quality, medians of times; None where a value is missing."""
    groups: dict[str, dict[float, list[Record]]] = {}
    for point in points:
        groups.setdefault(point["codec"], {}).setdefault(point["quality"], []).append(point)
    out = {}
    for codec, qualities in groups.items():
        rows = []
        for quality, own in qualities.items():
            row: Record = {"quality": quality}
            for name in MEANS:
                values = [p.get(name) for p in own]
                middle = np.median if name.endswith("_s") else np.mean
                row[name] = None if None in values else float(middle(values))
            rows.append(row)
        out[codec] = sorted(rows, key=lambda r: r["bpp"])
    return out


def tables(points: Sequence[Record], metric: str) -> tuple[list[str], Tables]:
    """Images that every codec has been measured on at all its qualities, and the codecs' points of these."""
    found: dict[str, dict[str, dict[float, tuple[float, float]]]] = {}
    for p in points:
        if p.get(metric) is not None:
            found.setdefault(p["codec"], {}).setdefault(p["image"], {})[p["quality"]] = p["bpp"], p[metric]
    full = {codec: max(map(len, images.values())) for codec, images in found.items()}
    names = [
        n for n in dict.fromkeys(p["image"] for p in points) if all(len(found[c].get(n, ())) == full[c] for c in found)
    ]
    return names, {c: np.array([[i[n][q] for q in sorted(i[n])] for n in names]) for c, i in found.items() if names}


def on_scale(metric: str, curve: Any) -> Any:
    """A mean curve [qualities, 2] with its metric scaled."""
    return np.stack([curve[:, 0], scaled(metric, curve[:, 1])], axis=1)


def window(metric: str, anchor: Any, test: Any) -> Window:
    """Where two curves on the metric's scale are compared: PSNR 27 to 36 dB, SSIMULACRA2 30 to 85, others where both reach."""
    fixed = {"psnr_db": WINDOW_DB, "ssimulacra2": WINDOW_SSIMULACRA2}
    return fixed[metric] if metric in fixed else overlap(anchor, test)


def against_anchor(points: Sequence[Record], metric: str) -> dict[str, Record]:
    """Per codec: BD-rate in percent against JPEG-O, its interval, and the window on the metric's scale."""

    def delta(anchor: Any, test: Any) -> float | None:
        anchor, test = on_scale(metric, anchor), on_scale(metric, test)
        return bd_rate(anchor, test, window(metric, anchor, test))

    names, found = tables(points, metric)
    out: dict[str, Record] = {}
    for codec, test in found.items() if ANCHOR in found else ():
        anchor = found[ANCHOR]
        means = anchor.mean(axis=0), test.mean(axis=0)
        out[codec] = {
            "percent": delta(*means),
            "interval": None if codec == ANCHOR else bootstrap(anchor, test, delta),
            "window": window(metric, *(on_scale(metric, m) for m in means)),
            "images": len(names),
        }
    return out


def against_avif(points: Sequence[Record]) -> dict[str, dict[str, list[float | None]]]:
    """codec -> metric -> percent of bytes more than AVIF's at equal value of the metric, picture by picture, then the mean of the
    logarithms over pictures; where AVIF's SSIMULACRA2 lies in each of `LOOKS`. None where fewer than half of the pictures have
    curves that overlap there."""
    found: dict[str, dict[str, list[Record]]] = {}
    for p in points:
        found.setdefault(p["codec"], {}).setdefault(p["image"], []).append(p)
    avif, out = found.get("AVIF", {}), {}
    measured = [m for m in METRICS if points and all(p.get(m) is not None for p in points)]
    for codec, images in found.items() if "ssimulacra2" in measured else ():
        if codec == "AVIF":
            continue
        out[codec] = {
            m: [_mean_change([_change(own, avif[name], m, looks) for name, own in images.items() if name in avif]) for looks in LOOKS]
            for m in measured
        }  # fmt: skip
    return out


def _change(test: Sequence[Record], avif: Sequence[Record], metric: str, looks: Window) -> float | None:
    """Mean change of log rate of one picture where AVIF's SSIMULACRA2 lies in a range, or None."""

    def curve(points: Sequence[Record], name: str) -> Any:
        rows = np.array([(p[name], np.log(p["bpp"])) for p in points])
        return np.array(sorted(zip(scaled(name, rows[:, 0]), rows[:, 1], strict=True))).T

    (by, rate), (own, own_rate) = curve(avif, metric), curve(test, metric)
    shown, shown_rate = curve(avif, "ssimulacra2")
    low, high = np.interp(np.interp(looks, shown, shown_rate), rate, by)
    low, high = max(low, by[0], own[0]), min(high, by[-1], own[-1])
    if high <= low:
        return None
    grid = np.linspace(low, high, 100)
    return float(np.mean(np.interp(grid, own, own_rate) - np.interp(grid, by, rate)))


def _mean_change(changes: Sequence[float | None]) -> float | None:
    found = [c for c in changes if c is not None]
    return 100 * float(np.expm1(np.mean(found))) if 2 * len(found) > len(changes) else None


def at_low_rates(points: Sequence[Record]) -> dict[str, Record]:
    """Per codec at 0.05 to 0.25 bits per pixel: mean PSNR there, and PSNR gained on JPEG-O where both curves reach, in dB."""
    _, found = tables(points, "psnr_db")
    out: dict[str, Record] = {}
    for codec, test in found.items():
        row: Record = {"mean_psnr_db": mean_psnr(test.mean(axis=0))}
        if ANCHOR in found:
            means = found[ANCHOR].mean(axis=0), test.mean(axis=0)
            row |= {"gain_db": bd_psnr(*means), "window_bpp": common_rates(*means)}
            row["interval"] = None if codec == ANCHOR else bootstrap(found[ANCHOR], test, bd_psnr)
        out[codec] = row
    return out


def per_image(points: Sequence[Record]) -> dict[str, dict[str, float | None]]:
    """codec -> image -> PSNR BD-rate in percent against JPEG-O, over the range of PSNR that the two cover on that image."""
    names, found = tables(points, "psnr_db")
    return {
        codec: {n: bd_rate(a, t, overlap(a, t)) for n, a, t in zip(names, found[ANCHOR], test, strict=True)}
        for codec, test in (found.items() if ANCHOR in found else ())
        if codec != ANCHOR
    }


def payload_excess(points: Sequence[Record]) -> Record | None:
    """Percent of entropy payload over the prior's own estimate, of vqcodec at the quality that is nearest to 50."""
    own = [p for p in points if p["codec"] == OURS[0]]
    if not own:
        return None
    quality = min((p["quality"] for p in own), key=lambda q: abs(q - 50))
    own = [p for p in own if p["quality"] == quality]
    ratio = sum(p["payload_bytes"] for p in own) / sum(p["estimated_payload_bytes"] for p in own)
    return {"quality": quality, "percent": 100 * (ratio - 1)}


def summarise(run: Record, points: Sequence[Record]) -> Record:
    """What summary.json holds."""
    measured = [m for m in METRICS if m in run["metrics"]]
    return {
        "run": run,
        "images": list(dict.fromkeys(p["image"] for p in points)),
        "curves": curves(points),
        "bd_rate": {m: rates for m in measured if (rates := against_anchor(points, m))},
        "against_avif": against_avif(points),
        "low_rates": at_low_rates(points),
        "per_image_bd_rate": per_image(points),
        "payload_excess": payload_excess(points),
    }


def _with_interval(value: float | None, interval: Sequence[float] | None, unit: str) -> str:
    if value is None:
        return "window not covered"
    return f"{value:+.2f} {unit}" + (f" [{interval[0]:+.2f}, {interval[1]:+.2f}]" if interval else "")


def text(summary: Mapping[str, Any]) -> str:
    """The summary for a terminal."""
    out = []
    for codec, rows in summary["curves"].items():
        out.append(
            f"\n{codec} ({summary['run']['codecs'][codec]['settings']}; {summary['run']['codecs'][codec]['version']})"
        )
        for row in rows:
            values = (
                f"{m} {row[m]:.4f}" if m == "ms_ssim" else f"{m} {row[m]:.2f}" for m in METRICS if row[m] is not None
            )
            out.append(f"  {row['quality']:6g}  {row['bpp']:.4f} bpp  {'  '.join(values)}  "
                       f"encode {1e3 * row['encode_s']:.0f} ms  decode {1e3 * row['decode_s']:.0f} ms")  # fmt: skip
    for metric, rates in summary["bd_rate"].items():
        scale = ", in dB" if metric == "ms_ssim" else ""
        fixed = {"psnr_db": "27-36 dB", "ssimulacra2": "30-85"}
        over = fixed.get(metric, f"over the range in common{scale}")
        out.append(f"\nBD-rate against {ANCHOR}, {metric}, {over} [95 % of resampled images]")
        for codec, rate in rates.items():
            compared = "" if metric == "psnr_db" else f"  ({rate['window'][0]:.1f}-{rate['window'][1]:.1f})"
            out.append(f"  {codec:24} {_with_interval(rate['percent'], rate['interval'], '%')}{compared}")
    for codec, changes in summary["against_avif"].items():
        shown = (
            f"{m} {' / '.join('-' if c is None else f'{c:+.1f}' for c in found)} %" for m, found in changes.items()
        )
        out.append(f"bytes against AVIF's where its SSIMULACRA2 is 30-60 / 60-85, {codec}: {', '.join(shown)}")
    low, high = LOW_RATES_BPP
    out.append(f"\n{low:g}-{high:g} bpp: mean PSNR over log rate; gain on {ANCHOR} in the part that both curves reach")
    for codec, row in summary["low_rates"].items():
        mean = "not covered" if row["mean_psnr_db"] is None else f"{row['mean_psnr_db']:.2f} dB"
        gain = ""
        if row.get("gain_db") is not None:
            reach = "-".join(f"{rate:.3f}" for rate in row["window_bpp"])
            gain = f"{_with_interval(row['gain_db'], row['interval'], 'dB')}  ({reach} bpp)"
        out.append(f"  {codec:24} {mean:12} {gain}")
    if rates := summary["per_image_bd_rate"]:
        out.append(f"\nPSNR BD-rate against {ANCHOR} on each image, over the range in common, %")
        out.append(" " * 16 + "".join(f"  {codec:>8}" for codec in rates))
        for image in next(iter(rates.values())):
            cells = ("-" if own[image] is None else f"{own[image]:+.1f}" for own in rates.values())
            row = "".join(f"  {cell:>{max(8, len(codec))}}" for cell, codec in zip(cells, rates, strict=True))
            out.append(f"{image:16}{row}")
    out.append(f"\nimages: {len(summary['images'])}")
    if excess := summary["payload_excess"]:
        out.append(
            f"vqcodec at quality {excess['quality']:g}: entropy payload {excess['percent']:+.2f} % over the prior's own estimate"
        )
    return "\n".join(out)
