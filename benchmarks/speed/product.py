"""Figures of the tool itself: overhead, cold starts, memory, and how well targets are hit.

    python -m benchmarks.product [--images DIR] [--every N] [--model NAME|FILE] [--out FILE] [--only PART ...]

Parts: overhead, cold, memory (1, 24 and 100 megapixels, each command in a process of its own), targets (five of each kind on every
picture of DIR, scikit-image's photographs by default), verify, tiles (against one piece). Run it with nothing else on the machine
if you want times or memory.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image
from vqbitstream.limits import Limits
from vqcodec.codec import Codec
from vqcodec.pictures.psnr import psnr
from vqcodec.pictures.reading import to_planes
from vqcodec.runtimes.threads import limit_threads

from benchmarks.rate.images import load_images

OVERHEAD_SIZES = ((1, 1), (16, 16), (100, 100), (256, 256), (512, 768), (2000, 3000))
MEGAPIXELS = ((1250, 800), (6000, 4000), (10000, 10000))
TARGETS = {"target_bpp": (0.1, 0.25, 0.5, 1.0, 1.5), "target_psnr": (28, 30, 32, 34, 36)}


def photograph(width: int, height: int) -> Image.Image:
    """scikit-image's astronaut, mirrored until it fills the size."""
    import skimage.data

    tile = skimage.data.astronaut()[: min(512, height), : min(512, width)]
    pair = np.concatenate([tile, tile[:, ::-1]], axis=1)
    four = np.concatenate([pair, pair[::-1]])
    rows, columns = -(-height // four.shape[0]), -(-width // four.shape[1])
    return Image.fromarray(np.tile(four, (rows, columns, 1))[:height, :width])


_CHILD = """
import atexit, pathlib, sys
def peak():
    status = pathlib.Path("/proc/self/status")
    if status.exists():  # of this program alone; ru_maxrss also knows the process that started it
        kilobytes = int(status.read_text().split("VmHWM:")[1].split()[0])
    else:
        import resource
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    pathlib.Path(sys.argv.pop(1)).write_text(str(kilobytes))
atexit.register(peak)
place = sys.argv[1]
from vqcodec.cli.main import main
main(sys.argv[2:])
"""


def run(*arguments: str) -> tuple[float, float]:
    """A vqcodec command in a process of its own -> seconds, peak resident memory in MB."""
    with tempfile.NamedTemporaryFile() as file:
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", _CHILD, file.name, *arguments], stdout=subprocess.DEVNULL, check=True)
        seconds = time.perf_counter() - begun
        return seconds, int(Path(file.name).read_text()) / 1024


def overhead(codec: Codec, _: Any) -> list[dict[str, Any]]:
    rows = []
    for height, width in OVERHEAD_SIZES:
        data, stats = codec.encode_planes(to_planes(photograph(width, height), Limits()))
        extra = len(data) - stats.payload_bytes
        rows.append({"pixels": f"{width}x{height}", "file_bytes": len(data), "overhead_bytes": extra})
    return rows


def cold(codec: Codec, _: Any) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        source, file = f"{folder}/a.png", f"{folder}/a.vqc"
        photograph(768, 512).save(source)
        commands = {
            "--version": ["--version"],
            "--help": ["--help"],
            "models": ["models"],
            "encode (768x512)": ["encode", source, file, "-f", "-m", codec.name],
            "info": ["info", file],
            "decode (768x512)": ["decode", file, f"{folder}/b.png", "-f", "-m", codec.name],
        }
        run(*commands["encode (768x512)"])
        return [
            {"command": name, "seconds": round(sorted(run(*c)[0] for _ in range(5))[2], 3)}
            for name, c in commands.items()
        ]


def memory(codec: Codec, _: Any) -> list[dict[str, Any]]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for width, height in MEGAPIXELS:
            source, file = f"{folder}/a.jpg", f"{folder}/a.vqc"
            photograph(width, height).save(source, quality=95)
            encode = run("encode", source, file, "-f", "-m", codec.name)
            decode = run("decode", file, f"{folder}/b.jpg", "-f", "-m", codec.name)
            crop = run("decode", file, f"{folder}/c.png", "-f", "--crop", "400,300,512,400", "-m", codec.name)
            for name, (seconds, megabytes) in {
                "encode": encode,
                "decode": decode,
                "decode --crop 512x400": crop,
            }.items():
                rows.append(
                    {
                        "megapixels": width * height / 1e6,
                        "command": name,
                        "seconds": round(seconds, 1),
                        "peak_mb": round(megabytes),
                    }
                )
    return rows


def targets(codec: Codec, images: list[tuple[str, Image.Image]]) -> list[dict[str, Any]]:
    rows = []
    for name, image in images:
        pixels = np.asarray(image)
        ends = [codec.encode(image, quality=q, verify=False) for q in (1, 100)]
        low, high = (len(e) for e in ends)
        reach = [psnr(pixels, np.asarray(codec.decode(e))) for e in ends]
        wanted = [("target_bytes", round(low * (high / low) ** share)) for share in (0.1, 0.3, 0.5, 0.7, 0.9)]
        wanted += [(kind, value) for kind, values in TARGETS.items() for value in values]
        for kind, value in wanted:
            size = value if kind == "target_bytes" else value * pixels.shape[0] * pixels.shape[1] / 8
            inside = reach[0] <= value <= reach[1] if kind == "target_psnr" else low <= size <= high
            if not inside:
                continue
            with patch.object(codec.encoder, "encode", wraps=codec.encoder.encode) as counted:
                data = codec.encode(image, verify=False, **{kind: value})  # type: ignore[arg-type]
            encodes = counted.call_count
            if kind == "target_psnr":
                miss = abs(psnr(pixels, np.asarray(codec.decode(data))) - value)
                hit = miss <= 0.1
            else:
                miss = 1 - len(data) / size
                hit = 0 <= miss <= 0.02
            rows.append(
                {"image": name, "kind": kind, "value": value, "miss": round(miss, 4), "hit": hit, "encodes": encodes}
            )
    return rows


def verify(codec: Codec, images: list[tuple[str, Image.Image]]) -> list[dict[str, Any]]:
    rows = []
    for checked in (True, False):
        seconds = []
        for _ in range(2):
            begun = time.perf_counter()
            for _, image in images:
                codec.encode(image, verify=checked)
            seconds.append((time.perf_counter() - begun) / len(images))
        rows.append({"verify": checked, "seconds_per_image": round(min(seconds), 3)})
    return rows


def tiles(codec: Codec, images: list[tuple[str, Image.Image]]) -> list[dict[str, Any]]:
    """Coded in one piece against coded in tiles of 256x256 pixels, 16 times smaller than real ones: what the seams cost."""
    rows = []
    for quality in (30, 60, 90):
        sizes, errors, changed = [0, 0], [0.0, 0.0], 0.0
        for _, image in images:
            pixels = np.asarray(image)
            decoded = []
            for number, side in enumerate((1 << 16, 16)):
                with patch("vqbitstream.geometry.TILE", side), patch("vqbitstream.header.TILE", side):
                    data = codec.encode_pixels(pixels, quality=quality, effort=1)
                    decoded.append(codec.decode_pixels(data).astype(int))
                sizes[number] += len(data)
                errors[number] += np.square(decoded[number] - pixels).mean() / len(images)
            changed += (np.abs(decoded[1] - decoded[0]) > 1).mean() / len(images)
        loss = 10 * np.log10(errors[1] / errors[0])
        rows.append(
            {
                "quality": quality, "bytes": f"{100 * (sizes[1] / sizes[0] - 1):+.2f} %", "psnr_db": f"{-loss:+.3f}",
                "samples_more_than_one_level_apart": f"{100 * changed:.1f} %",
            }
        )  # fmt: skip
    return rows


PARTS = {"tiles": tiles, "overhead": overhead, "cold": cold, "verify": verify, "targets": targets, "memory": memory}


def summary(part: str, rows: list[dict[str, Any]]) -> str:
    if part != "targets":
        return "\n".join("  ".join(f"{k} {v}" for k, v in row.items()) for row in rows)
    out = io.StringIO()
    for kind in dict.fromkeys(r["kind"] for r in rows):
        own = [r for r in rows if r["kind"] == kind]
        print(
            f"{kind}: {sum(r['hit'] for r in own)} of {len(own)} hit, worst miss {max(r['miss'] for r in own):.4f}, "
            f"encodes mean {np.mean([r['encodes'] for r in own]):.2f}, most {max(r['encodes'] for r in own)}",
            file=out,
        )
    return out.getvalue().rstrip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--every", type=int, default=1, help="take only every n-th picture")
    parser.add_argument("--model", default="default")
    parser.add_argument("--out", type=Path, help="JSON")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    limit_threads(options.threads)
    codec = Codec(options.model)
    results = {}
    for part in options.only:
        results[part] = PARTS[part](
            codec, load_images(options.images)[:: options.every] if part in ("targets", "verify", "tiles") else []
        )
        print(f"\n{part}\n{summary(part, results[part])}", flush=True)
    if options.out:
        options.out.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
