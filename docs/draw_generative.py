"""Draw what a glyph model makes: `python docs/draw_generative.py --model MODEL --out FILE.png`.

Rows: held-out letters; the same through the model's Gaussian bottleneck; a pixel cross-fade between two typefaces; the walk through
the bottleneck; samples of the integer prior; samples of the bottleneck's Normal prior. Needs `pip install ".[pictures]"`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from vqcodec.codec import Codec
from vqcodec.generate import interpolation, sampling
from vqcodec.models.weights_file import ModelError

sys.path.insert(0, str(Path(__file__).parent.parent))
from benchmarks.pictures.fonts import font_files
from benchmarks.pictures.glyphs import SIDE_PX, glyph

COLUMNS, LABEL_PX = 9, 150
LETTERS = "Rages2024"


def rows(codec: Codec, quality: float) -> dict[str, list[Image.Image]]:
    """Labels and pictures of 64x64, nine a row. Raises ModelError for a model without a bottleneck."""
    interpolation.require_vae(codec)
    fonts = font_files(True)
    real = [glyph(fonts[n % len(fonts)], letter, 44) for n, letter in enumerate(LETTERS)]
    through = [interpolation.interpolate(codec, np.asarray(g), np.asarray(g), 2, quality=quality)[0] for g in real]
    ends = [np.asarray(glyph(font, "R", 44)).astype(float) for font in (fonts[0], fonts[-1])]
    shares = np.linspace(0, 1, COLUMNS)
    fade = [Image.fromarray(np.rint((1 - s) * ends[0] + s * ends[1]).astype(np.uint8)) for s in shares]
    walk = interpolation.interpolate(codec, *(e.astype(np.uint8) for e in ends), COLUMNS, quality=quality)
    seeds = range(COLUMNS)
    prior = [sampling.sample(codec, SIDE_PX, SIDE_PX, seed=s, quality=quality) for s in seeds]
    normal = [interpolation.sample_gaussian(codec, SIDE_PX, SIDE_PX, seed=s, quality=quality) for s in seeds]
    return {
        "held-out letters": real,
        "through the VAE": [codec.decode(f) for f in through],
        "cross-fade of pixels": fade,
        "walk through the VAE": [codec.decode(f) for f in walk],
        "samples: prior": [codec.decode(f) for f in prior],
        "samples: Normal": [codec.decode(f) for f in normal],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="name or weights file, with a Gaussian bottleneck")
    parser.add_argument("--quality", type=float, default=60)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "images" / "generative.png")
    options = parser.parse_args()
    try:
        drawn = rows(Codec(options.model), options.quality)
    except (ModelError, FileNotFoundError) as error:
        raise SystemExit(str(error)) from None
    sheet = Image.new("RGB", (LABEL_PX + COLUMNS * SIDE_PX, len(drawn) * SIDE_PX), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for row, (label, pictures) in enumerate(drawn.items()):
        draw.text((6, row * SIDE_PX + SIDE_PX / 2 - 6), label, fill="black", font=font)
        for column, picture in enumerate(pictures):
            sheet.paste(picture.convert("RGB"), (LABEL_PX + column * SIDE_PX, row * SIDE_PX))
    sheet.save(options.out)


if __name__ == "__main__":
    main()
