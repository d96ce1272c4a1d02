"""python -m benchmarks.pictures {pages,glyphs} --out DIR"""

from __future__ import annotations

import argparse
from pathlib import Path

from . import __doc__ as description
from .fonts import FAMILIES, font_files
from .glyphs import glyphs
from .pages import pages, words


def main() -> None:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.pictures", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=("pages", "glyphs", "fonts"), help="fonts: list the typefaces and licences")
    parser.add_argument("--split", choices=("train", "held-out"), default="train")
    parser.add_argument(
        "--count", type=int, help="so many at random; left out: 40 pages, or every character of every font"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("pictures"), help="folder")
    options = parser.parse_args()
    if options.kind == "fonts":
        for family in FAMILIES:
            files = f"{len(family.files())} files"
            print(f"{family.name}: {family.license}, {files}, {'held out' if family.held_out else 'train'}")
        return
    held_out = options.split == "held-out"
    try:
        fonts = font_files(held_out)
    except FileNotFoundError as error:
        raise SystemExit(str(error)) from None
    options.out.mkdir(parents=True, exist_ok=True)
    if options.kind == "pages":
        drawn = pages(fonts, words(held_out), 40 if options.count is None else options.count, options.seed)
    else:
        drawn = glyphs(fonts, options.count, options.seed)
    written = 0
    for name, image in drawn:
        image.save(options.out / f"{name}.png")
        written += 1
    print(f"{written} pictures in {options.out}, {len(fonts)} font files")


if __name__ == "__main__":
    main()
