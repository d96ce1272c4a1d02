"""The pictures that are measured: a folder's, the 24 of Kodak (found or downloaded, checksums verified), or scikit-image's."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from rich.progress import track

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm"}
BUILT_IN = ("astronaut", "coffee", "chelsea", "rocket", "retina")
ROOT = Path(__file__).parents[2]
TIMEOUT_S = 30
_KODAK = json.loads(Path(__file__).with_name("kodak.json").read_text())
KODAK = "kodak"  # what results call the folder of these pictures, wherever it is
KODAK_ADDRESS: str = _KODAK["address"]
KODAK_SHA256: dict[str, str] = _KODAK["sha256"]  # file name -> checksum of the file


@dataclass(frozen=True)
class Source:
    """Where a picture comes from: a file, or, without a path, scikit-image's photograph of that name."""

    name: str
    path: Path | None = None

    def read(self) -> Image.Image:
        """The pixels as RGB, and nothing else: a colour profile carried along would count as bytes of some codecs only."""
        if self.path is None:
            import skimage.data

            return Image.fromarray(getattr(skimage.data, self.name)()[..., :3])
        with Image.open(self.path) as image:
            return Image.fromarray(np.array(image.convert("RGB")))


def sources(folder: Path | None) -> list[Source]:
    """Pictures of a folder, by name, or scikit-image's. Raises SystemExit with one line if there are none."""
    if folder is None:
        import skimage.data

        return [Source(name) for name in BUILT_IN if hasattr(skimage.data, name)]
    paths = sorted(p for p in folder.glob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not paths:
        raise SystemExit(f"no pictures in {folder}")
    return [Source(p.name, p) for p in paths]


def load_images(folder: Path | None) -> list[tuple[str, Image.Image]]:
    """Names and pixels of `sources(folder)`."""
    return [(s.name, s.read()) for s in sources(folder)]


def is_kodak(names: Sequence[str]) -> bool:
    """Whether these are the 24 pictures, so that published means over them can stand beside."""
    return sorted(names) == sorted(KODAK_SHA256)


def kodak_sources(given: Path | None) -> list[Source]:
    """The 24 Kodak pictures, verified: in `given`, in ../shared/images/kodak beside the repository, or in the cache, where they
    are downloaded to if they are in none of these. Raises SystemExit with one line."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vqcodec" / "kodak"
    for folder in ([given] if given else []) + [ROOT.parent / "shared" / "images" / "kodak", cache]:
        if all((folder / name).exists() for name in KODAK_SHA256):
            break
    else:
        folder = cache
        download(folder, KODAK_ADDRESS)
    for name, expected in KODAK_SHA256.items():
        _check(folder / name, (folder / name).read_bytes(), expected)
    return [Source(name, folder / name) for name in KODAK_SHA256]


def download(folder: Path, address: str) -> None:
    """Fetch what `folder` lacks of the Kodak pictures; only files whose checksum holds are kept. Raises SystemExit with one line."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [name for name in KODAK_SHA256 if not (folder / name).exists()]
    for name in track(missing, f"Kodak pictures to {folder}"):
        request = urllib.request.Request(address + name, headers={"User-Agent": "vqcodec-benchmarks"})
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
                data = response.read()
        except (OSError, http.client.HTTPException) as error:  # URLError, time-outs, connections cut
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise SystemExit(
                f"cannot download {address}{name} ({reason}); without network, name a folder that holds the pictures: --images DIR"
            ) from None
        _check(f"{address}{name}", data, KODAK_SHA256[name])
        part = folder / f"{name}.part"
        part.write_bytes(data)
        part.rename(folder / name)


def _check(place: Path | str, data: bytes, expected: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise SystemExit(f"{place} is not the published picture: SHA-256 {found}, expected {expected}")
