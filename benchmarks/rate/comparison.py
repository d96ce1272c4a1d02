"""One picture beside JPEG at the same number of bytes: `python -m benchmarks.comparison [IMAGE] --out FILE.png`.

IMAGE: a path, or the name of a photograph of scikit-image (astronaut by default). Crops are shown at full size.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
import vqcodec
from PIL import Image, ImageDraw, ImageFont
from vqcodec.compare.compare import jpeg_file, largest_within
from vqcodec.pictures.psnr import psnr

CROP_PX = 256
MARGIN_PX = 22


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", nargs="?", default="astronaut")
    parser.add_argument("--quality", type=float, default=40)
    parser.add_argument("--crop", type=int, nargs=2, default=(130, 30), metavar=("X", "Y"))
    parser.add_argument("--out", type=Path, default=Path("comparison.png"))
    options = parser.parse_args()
    if Path(options.image).exists():
        image = Image.open(options.image).convert("RGB")
    else:
        import skimage.data

        image = Image.fromarray(getattr(skimage.data, options.image)())
    ours = vqcodec.encode(image, quality=options.quality)
    _, jpeg = largest_within(lambda quality: jpeg_file(image, quality), len(ours))
    shown = {
        "original": (image, None),
        "vqcodec": (vqcodec.decode(ours), len(ours)),
        "JPEG": (Image.open(io.BytesIO(jpeg)).convert("RGB"), len(jpeg)),
    }
    x, y = options.crop
    sheet = Image.new("RGB", (len(shown) * CROP_PX, CROP_PX + MARGIN_PX), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for column, (name, (picture, size)) in enumerate(shown.items()):
        sheet.paste(picture.crop((x, y, x + CROP_PX, y + CROP_PX)), (column * CROP_PX, MARGIN_PX))
        value = "" if size is None else f"  {size} bytes, {psnr(np.asarray(image), np.asarray(picture)):.1f} dB"
        draw.text((column * CROP_PX + 4, 4), name + value, fill="black", font=font)
        print(name + value)
    sheet.save(options.out)


if __name__ == "__main__":
    main()
