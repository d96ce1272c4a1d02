"""Draw docs/images/pipeline.svg: `python docs/draw_pipeline.py`."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.patches import FancyBboxPatch

OUT = Path(__file__).parent / "images" / "pipeline.svg"
LEARNED, EXACT, PLAIN = "#dbe9f6", "#dcefdc", "#f2f2f2"
BOXES = {  # name: (column, row, text, colour)
    "picture": (0, 1, "picture", PLAIN),
    "analysis": (1, 1, "analysis\n(float)", LEARNED),
    "quantiser": (2, 1, "nearest cheap\nvector", EXACT),
    "ans": (3, 1, "ANS", EXACT),
    "file": (4, 0.5, ".vqc", PLAIN),
    "prior": (2, 0.5, "integer prior:\nmeans and scales", EXACT),
    "back": (3, 0, "ANS", EXACT),
    "vectors": (2, 0, "mean + vectors\n= decoded latent", EXACT),
    "synthesis": (1, 0, "synthesis\n(float)", LEARNED),
    "shown": (0, 0, "picture", PLAIN),
}
ARROWS = [
    ("picture", "analysis", "pixels"), ("analysis", "quantiser", "latent"), ("quantiser", "ans", "indices"), ("ans", "file", ""),
    ("file", "back", ""), ("back", "vectors", "indices"), ("vectors", "synthesis", "latent"), ("synthesis", "shown", "pixels"),
    ("prior", "quantiser", ""), ("prior", "vectors", ""), ("vectors", "prior", ""),
]  # fmt: skip


def main() -> None:
    mpl.rcParams["svg.hashsalt"] = "vqcodec"  # the same file every time
    figure, axes = plt.subplots(figsize=(11, 4.2))
    place = {name: (3.2 * x, 3.4 * y) for name, (x, y, _, _) in BOXES.items()}
    for name, (_, _, text, colour) in BOXES.items():
        x, y = place[name]
        axes.add_patch(
            FancyBboxPatch(
                (x - 1.2, y - 0.42), 2.4, 0.84, boxstyle="round,pad=0.04", facecolor=colour, edgecolor="#555555"
            )
        )
        axes.text(x, y, text, ha="center", va="center", fontsize=9)
    for begin, end, label in ARROWS:
        (x0, y0), (x1, y1) = place[begin], place[end]
        side = 1.24 if x1 > x0 else -1.24
        if abs(x1 - x0) > 1:
            start, stop = (x0 + side, y0), (x1 - side, y1)
        else:  # up and down between prior and vectors, side by side
            up = 0.46 if y1 > y0 else -0.46
            shift = {("prior", "vectors"): 0.2, ("vectors", "prior"): -0.2}.get((begin, end), 0.0)
            start, stop = (x0 + shift, y0 + up), (x1 + shift, y1 - up)
        axes.annotate("", xy=stop, xytext=start, arrowprops={"arrowstyle": "->", "color": "#333333"})
        if label:
            axes.text(
                (start[0] + stop[0]) / 2,
                (start[1] + stop[1]) / 2 + 0.14,
                label,
                ha="center",
                fontsize=8,
                color="#333333",
            )
    axes.text(
        8.4,
        1.7,
        "green: integers, exact everywhere\nblue: floating point; pixels may\ndiffer by one level",
        fontsize=8,
        va="center",
    )
    axes.set(xlim=(-1.4, 14.2), ylim=(-0.95, 4.0))
    axes.axis("off")
    figure.savefig(OUT, bbox_inches="tight", metadata={"Date": None})


if __name__ == "__main__":
    main()
