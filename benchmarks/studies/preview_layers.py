"""How many layers a small picture needs: `python -m benchmarks.studies.preview_layers PICTURE...`.

Compares a preview with the whole picture, both made smaller by Lanczos, in dB of PSNR. `layersFor` in browser/src/stream.js uses it:
above 45 dB nobody sees a difference.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import vqcodec
from PIL import Image

QUALITIES, FACTORS = (40, 75, 90), (2, 4, 8, 16)


def smaller(image: Image.Image, factor: int) -> np.ndarray:
    size = (image.width // factor, image.height // factor)
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS), dtype=np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", nargs="+", type=Path)
    codec, found = vqcodec.load_model("default"), defaultdict(list)
    for path in parser.parse_args().pictures:
        for quality in QUALITIES:
            data = codec.encode(Image.open(path), quality=quality, effort=1)
            whole = codec.decode(data)
            for layers in range(1, vqcodec.info(data).layers):
                preview = codec.decode(data, layers=layers)
                for factor in FACTORS:
                    error = np.mean((smaller(whole, factor) - smaller(preview, factor)) ** 2)
                    found[factor, layers].append(10 * np.log10(255**2 / max(error, 1e-9)))
    for (factor, layers), values in sorted(found.items()):
        print(f"1/{factor} of the size, {layers} layers: at least {min(values):.1f} dB, mean {np.mean(values):.1f} dB")


if __name__ == "__main__":
    main()
