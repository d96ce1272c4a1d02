"""The mean curves as a picture, a panel for each metric; published ones stand behind where they are given."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np

from .codecs import OURS
from .results import Record
from .summary import scaled

mpl.use("Agg")
from matplotlib import pyplot as plt

LABELS = {
    "psnr_db": "PSNR, RGB (dB)",
    "psnr_y_db": "PSNR, luma (dB)",
    "ms_ssim": "MS-SSIM (dB, -10 log10(1 - x))",
    "ssimulacra2": "SSIMULACRA2",
    "butteraugli": "Butteraugli, 3-norm (negative)",
    "cvvdp": "ColorVideoVDP (JOD)",
}
RATES_BPP = (0.02, 3.5)
LEGEND_INCHES = 5


def published() -> list[Record]:
    """Curves of others over the Kodak pictures: name, source, points (bits per pixel, RGB PSNR in dB)."""
    curves: list[Record] = json.loads((Path(__file__).parent / "published.json").read_text())["curves"]
    return curves


def plot(curves: Mapping[str, Sequence[Record]], title: str, path: Path, references: Sequence[Record] = ()) -> None:
    """curves: as in summary.json. references: as `published` gives them, drawn thin and grey, beside PSNR only."""
    shown = [m for m in LABELS if all(row.get(m) is not None for rows in curves.values() for row in rows)]
    columns = min(2, len(shown))
    figure, panels = plt.subplots(
        -(-len(shown) // columns), columns, figsize=(7 * columns + LEGEND_INCHES, 11), squeeze=False
    )
    styles = dict(zip(curves, _styles(curves), strict=True))
    for axes, metric in zip(panels.flat, shown, strict=False):
        for number, curve in enumerate(references if metric == "psnr_db" else ()):
            style = {"color": str(0.3 + 0.4 * number / len(references)), "dashes": (6, 1 + number % 4)}
            axes.plot(*zip(*curve["points"], strict=True), linewidth=0.8, label=f"published: {curve['name']}", **style)
        for name, rows in curves.items():
            values = scaled(metric, np.array([row[metric] for row in rows]))
            axes.plot([row["bpp"] for row in rows], values, marker="o", markersize=3, label=name, **styles[name])
        axes.set(
            xscale="log", xlim=RATES_BPP, xlabel="bits per pixel (whole files)", ylabel=LABELS[metric], title=title
        )
        axes.grid(alpha=0.3, which="both")
    for axes in list(panels.flat)[len(shown) :]:
        axes.remove()
    handles, labels = panels[0][0].get_legend_handles_labels()
    ours_first = sorted(range(len(labels)), key=lambda i: (i < len(references), i))
    figure.legend(
        [handles[i] for i in ours_first], [labels[i] for i in ours_first], loc="center right", fontsize="small"
    )
    figure.tight_layout(rect=(0, 0, 1 - LEGEND_INCHES / (7 * columns + LEGEND_INCHES), 1))
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _styles(names: Iterable[str]) -> Iterator[Record]:
    """Ours black, told apart by their dashes; the others a colour each."""
    dashes, colours = iter(("-", "--", ":", "-.")), iter(mpl.color_sequences["tab10"])
    for name in names:
        yield {"color": "black", "linestyle": next(dashes)} if name in OURS else {"color": next(colours)}
