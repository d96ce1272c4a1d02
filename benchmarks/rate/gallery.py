"""Pictures at three qualities beside AVIF and JPEG XL in the same bytes.

python -m benchmarks.gallery [FOLDER] --out gallery.html      a page of your pictures, or of scikit-image's photographs
python -m benchmarks.gallery --record                         docs/images/gallery-*.webp, and their figures for docs/gallery.md
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from html import escape
from importlib.metadata import version
from pathlib import Path
from string import Template

from rich.progress import track
from vqcodec.codec import Codec
from vqcodec.compare import divider
from vqcodec.compare.compare import Comparison
from vqcodec.compare.divider import STATIC

from .equal_bytes import JXL, QUALITIES, comparison, sheet, shown
from .images import ROOT, Source, sources
from .results import commit

BESIDE = ("AVIF", JXL)
RECORDED = {"coffee": (180, 60), "chelsea": (110, 20)}  # scikit-image's, CC0; the corner of what is shown
RECORD = ROOT / "benchmarks" / "results" / "gallery" / "gallery.json"
IMAGES = ROOT / "docs" / "images"


def compared(codec: Codec, chosen: list[Source]) -> dict[str, list[Comparison]]:
    """Name of a picture -> its comparisons, one for each quality."""
    pairs = [(source, quality) for source in chosen for quality in QUALITIES]
    found: dict[str, list[Comparison]] = {source.name: [] for source in chosen}
    for source, quality in track(pairs, "pictures at equal bytes"):
        found[source.name].append(comparison(codec, source.read(), quality, BESIDE))
    return found


def page(found: dict[str, list[Comparison]]) -> str:
    """A self-contained page: each picture at each quality, behind a divider."""
    parts = []
    for name, rows in found.items():
        parts.append(f"<section><h2>{escape(name)}</h2>")
        for quality, row in zip(QUALITIES, rows, strict=True):
            parts += [f"<p>{escape(line)}</p>" for line in row.left_out]
            parts.append(divider.figure(f"{name}, quality {quality}", shown(row), left=1, right=2))
        parts.append("</section>")
    template = Template(Path(__file__).with_name("gallery.html").read_text())
    style = (STATIC / "compare.css").read_text() + divider.STYLE
    return template.substitute(style=style, script=divider.SCRIPT, pictures="\n".join(parts))


def record(codec: Codec) -> None:
    """Write the pictures and figures that the documents show."""
    found = compared(codec, [Source(name) for name in RECORDED])
    figures = []
    for name, rows in found.items():
        titled = [(f"quality {quality}", row) for quality, row in zip(QUALITIES, rows, strict=True)]
        sheet(titled, RECORDED[name]).save(IMAGES / f"gallery-{name}.webp", lossless=True, method=6)
        figures += [
            {
                "picture": name, "quality": quality, "codec": v.name, "settings": v.settings, "bytes": v.file_bytes,
                "ssimulacra2": v.ssimulacra2, "psnr_db": v.psnr_db,
            }
            for quality, row in zip(QUALITIES, rows, strict=True)
            for v in row.versions
        ]  # fmt: skip
    RECORD.parent.mkdir(exist_ok=True)
    facts = {
        "command": "python -m benchmarks.gallery --record", "date": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit(),
        "model": codec.model_id.hex(), "versions": {p: version(p) for p in ("pillow", "imagecodecs")}, "figures": figures,
    }  # fmt: skip
    RECORD.write_text(json.dumps(facts, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--out", type=Path, default=Path("gallery.html"))
    parser.add_argument("--model", default="default")
    parser.add_argument("--record", action="store_true", help="what the documents show")
    options = parser.parse_args()
    if options.record and options.folder is not None:
        parser.error("--record is of scikit-image's photographs: it takes no folder")
    if options.folder is not None and not options.folder.is_dir():
        parser.error(f"{options.folder} is no folder")
    codec = Codec(options.model)
    if options.record:
        record(codec)
    else:
        options.out.write_text(page(compared(codec, sources(options.folder))))
        print(f"written: {options.out} ({options.out.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
