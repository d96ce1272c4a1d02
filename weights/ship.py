"""Ship a trained model: copy its weights file here and enter it in manifest.json.

    python weights/ship.py runs/model/model.safetensors                       the model `general`, in place of the one before
    python weights/ship.py runs/faces/model.safetensors --name faces          a second model beside it
    python weights/ship.py runs/faces/model.safetensors --name faces --default    the same, as the default

The first model of the manifest is the default. Before 1.0 only the current weights of each name are kept.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from pathlib import Path

from vqcodec.atomic import write
from vqcodec.models.weights_file import model_id, read_weights

HERE = Path(__file__).parent
LICENSE = "Apache-2.0"


def ship(source: Path, name: str = "general", *, default: bool = False, folder: Path = HERE) -> Path:
    """Ship a weights file under a name; a model of that name is replaced. Returns the shipped file.

    Raises:
        ModelError: The source is not a sound weights file.
        ValueError: The name cannot be used, or another name has the same weights.
    """
    if name == "default" or not re.fullmatch(r"[a-z][a-z0-9-]{0,31}", name):
        raise ValueError(f"{name!r} is not a name for a shipped model: up to 32 lower-case letters, digits and dashes")
    manifest = folder / "manifest.json"
    entries = json.loads(manifest.read_text())["models"] if manifest.exists() else []
    identity = model_id(*read_weights(source)).hex()
    if twin := next((e["name"] for e in entries if e["model_id"] == identity and e["name"] != name), None):
        raise ValueError(f"these weights are shipped already, as {twin!r}")
    data = source.read_bytes()
    target = folder / f"{name}-{identity}.safetensors"
    entry = {
        "name": name,
        "file": target.name,
        "sha256": hashlib.sha256(data).hexdigest(),
        "model_id": identity,
        "license": LICENSE,
    }
    place = next((n for n, e in enumerate(entries) if e["name"] == name), len(entries))
    before = entries[place : place + 1]
    entries[place : place + 1] = [entry]
    if default:
        entries.insert(0, entries.pop(place))
    text = json.dumps({"models": entries}, indent=1) + "\n"
    write(str(target), lambda file: file.write(data), force=True)
    write(str(manifest), lambda file: file.write(text.encode()), force=True)
    for old in before:
        if old["file"] != target.name:
            (folder / old["file"]).unlink(missing_ok=True)
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a weights file")
    parser.add_argument("--name", default="general")
    parser.add_argument("--default", action="store_true", help="make it the first of the manifest")
    options = parser.parse_args()
    target = ship(options.source, options.name, default=options.default)
    print(f"{target.name}: {target.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
