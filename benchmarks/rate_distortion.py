"""Rate-distortion of vqcodec beside JPEG, WebP and AVIF, on real file bytes.

    python -m benchmarks.rate_distortion [--images DIR] [--out DIR] [--model NAME|FILE] [--quick]

bpp is 8 * file bytes / pixels, PSNR that of the 8-bit RGB picture, both per image and then averaged over images.
Without --images: the photographs that come with scikit-image.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from vqcodec.codec import Codec

from .bd_rate import WINDOW_DB, bd_rate

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm"}
BUILT_IN = ("astronaut", "coffee", "chelsea", "rocket", "retina")


@dataclass(frozen=True)
class Method:
    """One codec: a name, its settings in words, qualities, and picture -> bytes at a quality, bytes -> picture.

    estimate: bytes that the codec's own prior says the last encode's entropy payload should take, and what it took.
    """

    name: str
    settings: str
    qualities: Sequence[float]
    encode: Callable[[Image.Image, float], bytes]
    decode: Callable[[bytes], Image.Image]
    estimate: Callable[[], tuple[float, int]] | None = None


@dataclass
class Point:
    """Means over images at one quality."""

    quality: float
    bpp: float
    psnr_db: float
    encode_s: float
    decode_s: float


def _pillow(name: str, settings: str, qualities: Sequence[float], **options: Any) -> Method:
    def encode(image: Image.Image, quality: float) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, format=name.split("-", maxsplit=1)[0], quality=int(quality), **options)
        return buffer.getvalue()

    def decode(data: bytes) -> Image.Image:
        return Image.open(io.BytesIO(data)).convert("RGB")

    return Method(name, settings, qualities, encode, decode)


def ours(model: str, qualities: Sequence[float], effort: int, rate_weight: float | None = None) -> Method:
    codec = Codec(model)

    def encode(image: Image.Image, quality: float) -> bytes:
        return codec.encode_pixels(np.asarray(image), quality=quality, effort=effort, rate_weight=rate_weight)

    def estimate() -> tuple[float, int]:
        assert codec.stats is not None
        return codec.stats.estimated_bits / 8, codec.stats.payload_bytes

    macs = sum(codec.macs_per_pixel().values()) / 1000
    settings = f"effort {effort}, verified, {torch.get_num_threads()} threads, {macs:.1f} kMAC/px, model {codec.model_id.hex()}"
    return Method("vqcodec", settings, qualities, encode, codec.decode, estimate)


def methods(model: str, effort: int, quick: bool, rate_weight: float | None) -> list[Method]:
    thin = slice(None, None, 3) if quick else slice(None)
    return [
        ours(model, [1, *range(10, 101, 10)] if not quick else [10, 30, 50, 70, 90], effort, rate_weight),
        _pillow("JPEG-O", "4:2:0, optimize", [3, 5, 8, 12, 18, 25, 35, 45, 55, 65, 75, 82, 88, 92, 95, 97][thin], optimize=True),
        _pillow("WEBP", "method 6", [1, 5, 12, 20, 30, 45, 60, 75, 85, 90, 94, 97][thin], method=6),
        _pillow("AVIF", "4:4:4, speed 6", [5, 12, 20, 30, 40, 50, 60, 70, 78, 85][thin], subsampling="4:4:4", speed=6),
    ]  # fmt: skip


def load_images(folder: Path | None) -> list[tuple[str, Image.Image]]:
    """Pictures of a folder, or scikit-image's, as RGB. Raises SystemExit with one line if there are none."""
    if folder is None:
        import skimage.data

        return [(n, Image.fromarray(getattr(skimage.data, n)()[..., :3])) for n in BUILT_IN if hasattr(skimage.data, n)]
    paths = sorted(p for p in folder.glob("*") if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise SystemExit(f"no pictures in {folder}")
    return [(p.name, Image.open(p).convert("RGB")) for p in paths]


def psnr(a: Image.Image, b: Image.Image) -> float:
    """RGB PSNR in dB of two 8-bit pictures."""
    error = np.square(np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-10)))


def measure(method: Method, images: Sequence[tuple[str, Image.Image]]) -> tuple[list[Point], list[dict[str, Any]]]:
    """The method's curve, and one record per image and quality."""
    curve, records = [], []
    method.decode(method.encode(images[0][1], method.qualities[0]))  # warm up
    for quality in method.qualities:
        rows = []
        for name, image in images:
            begun = time.perf_counter()
            data = method.encode(image, quality)
            encoded = time.perf_counter()
            decoded = method.decode(data)
            done = time.perf_counter()
            rows.append(
                (8 * len(data) / (image.width * image.height), psnr(image, decoded), encoded - begun, done - encoded)
            )
            record = {
                "codec": method.name,
                "quality": quality,
                "image": name,
                "bytes": len(data),
                "psnr_db": rows[-1][1],
            }
            if method.estimate:
                record["estimated_payload_bytes"], record["payload_bytes"] = method.estimate()
            records.append(record)
        means = np.mean(rows, axis=0)
        times = np.median(rows, axis=0)
        curve.append(Point(quality, float(means[0]), float(means[1]), float(times[2]), float(times[3])))
        print(f"{method.name:8} q {quality:5}  {means[0]:7.4f} bpp  {means[1]:6.2f} dB  "
              f"encode {1e3 * times[2]:6.0f} ms  decode {1e3 * times[3]:6.0f} ms", flush=True)  # fmt: skip
    return curve, records


def plot(curves: dict[str, list[Point]], title: str, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5.5))
    for name, curve in curves.items():
        axes.plot([p.bpp for p in curve], [p.psnr_db for p in curve], marker="o", markersize=3, label=name)
    axes.set(xscale="log", xlabel="bits per pixel (whole files)", ylabel="PSNR, RGB (dB)", title=title)
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def _commit() -> str | None:
    try:
        return subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of pictures; scikit-image's photographs if left out")
    parser.add_argument(
        "--out", type=Path, default=Path("benchmark-results"), help="folder for results.json and plot.png"
    )
    parser.add_argument("--model", default="default")
    parser.add_argument("--effort", type=int, default=5)
    parser.add_argument("--rate-weight", type=float, help="override the effort's rate weight (experiments)")
    parser.add_argument("--quick", action="store_true", help="two pictures, few qualities")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    images = load_images(options.images)
    if options.quick:
        images = images[:2]
    curves: dict[str, list[Point]] = {}
    records: list[dict[str, Any]] = []
    used = methods(options.model, options.effort, options.quick, options.rate_weight)
    for method in used:
        curves[method.name], rows = measure(method, images)
        records += rows
    anchor = [(p.bpp, p.psnr_db) for p in curves["JPEG-O"]]
    rates = {n: bd_rate(anchor, [(p.bpp, p.psnr_db) for p in c]) for n, c in curves.items()}
    low, high = WINDOW_DB
    print(f"\nBD-rate against JPEG-O, {low:g}-{high:g} dB, {len(images)} images")
    for method in used:
        rate = rates[method.name]
        print(f"{method.name:8} {'window not covered' if rate is None else f'{rate:+.1f} %':>10}  ({method.settings})")
    at_50 = [r for r in records if r["codec"] == "vqcodec" and r["quality"] == 50]
    excess = sum(r["payload_bytes"] for r in at_50) / sum(r["estimated_payload_bytes"] for r in at_50) - 1
    print(f"vqcodec at quality 50: entropy payload {100 * excess:+.2f} % over the prior's own estimate")
    options.out.mkdir(parents=True, exist_ok=True)
    result = {
        "date": date.today().isoformat(),
        "commit": _commit(),
        "images": [n for n, _ in images],
        "machine": {"processor": platform.machine(), "threads": options.threads},
        "versions": {p: version(p) for p in ("vqcodec", "torch", "numpy", "pillow", "constriction")},
        "settings": {m.name: m.settings for m in used},
        "bd_rate_percent": rates,
        "curves": {n: [asdict(p) for p in c] for n, c in curves.items()},
        "records": records,
    }
    (options.out / "results.json").write_text(json.dumps(result, indent=1))
    plot(curves, f"{len(images)} images", options.out / "plot.png")
    print(f"\nwritten: {options.out / 'results.json'}, {options.out / 'plot.png'}")


if __name__ == "__main__":
    main()
