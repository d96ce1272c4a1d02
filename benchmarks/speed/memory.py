"""Peak memory and time of `vqcodec encode`, from 0.1 to 24 megapixels: a table in Markdown.

    python -m benchmarks.speed.memory [--efforts 1 5 9] [--megapixels 0.1 0.4 1 4 24] [--threads N]

Every encode is a process of its own, at the default quality, of photographs (`benchmarks.speed.child.photograph`) in a PNG. Peak memory
is the most that was resident, with Python, the libraries and the picture, as the kernel counts it for the process.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile

from .child import photograph
from .cold import environment, run_cold


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--efforts", type=int, nargs="+", default=[1, 5, 9])
    parser.add_argument("--megapixels", type=float, nargs="+", default=[0.1, 0.4, 1, 4, 24])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    print("| megapixels | " + " | ".join(f"effort {effort}" for effort in options.efforts) + " |")
    print("|--:|" + "--:|" * len(options.efforts), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for megapixels in options.megapixels:
            width = round(math.sqrt(1.5e6 * megapixels))
            photograph(width, round(width / 1.5)).save(f"{folder}/a.png")
            cells = []
            for effort in options.efforts:
                command = [sys.executable, "-m", "vqcodec.cli", "encode", f"{folder}/a.png", f"{folder}/a.vqc", "-f"]
                cost = run_cold(
                    [*command, "-e", str(effort), "--threads", str(options.threads)],
                    environment(options.threads) | {"PYTHONPATH": ":".join(filter(None, sys.path))},
                )
                cells.append(f"{cost.peak_mib:.0f} MiB, {cost.cpu_s:.1f} s")
            print(f"| {megapixels:g} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
