"""Make a weights file the shipped default: `python weights/ship.py runs/model/model.safetensors`."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from vqcodec.registry import model_id, read_weights

HERE = Path(__file__).parent
LICENSE = "Apache-2.0"


def main(source: Path) -> None:
    tensors, config = read_weights(source)
    identity = model_id(tensors, config).hex()
    for old in HERE.glob("*.safetensors"):  # before 1.0 only the current weights are kept
        old.unlink()
    target = HERE / f"general-{identity}.safetensors"
    target.write_bytes(source.read_bytes())
    entry = {
        "name": "general",
        "file": target.name,
        "sha256": hashlib.sha256(target.read_bytes()).hexdigest(),
        "model_id": identity,
        "license": LICENSE,
    }
    (HERE / "manifest.json").write_text(json.dumps({"models": [entry]}, indent=1) + "\n")
    print(f"{target.name}: {target.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
