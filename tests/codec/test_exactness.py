"""Every kind of file decodes to the same indices on every kind of machine that can be emulated here, and to pixels within one
level; so do layers as large and sums as high as the bounds allow."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import FIXTURES, golden, picture
from support import machine as another
from support.machine import Facts, decode_all, same
from vqcodec.codec import Codec

MACHINES: dict[str, dict[str, Any]] = {
    "1 thread": {},
    "2 threads": {"threads": 2},
    "4 threads": {"threads": 4},
    "Haswell": {"OPENBLAS_CORETYPE": "Haswell"},
    "Nehalem": {"OPENBLAS_CORETYPE": "Nehalem"},
    "no SIMD in NumPy": {"NPY_DISABLE_CPU_FEATURES": "AVX2 FMA3 AVX512F AVX512_SKX"},
    "NumPy without kernels": {"VQCODEC_KERNELS": "numpy"},
    "kernels without AVX": {"VQCODEC_KERNELS": "plain"},
    "kernels for AVX2": {"VQCODEC_KERNELS": "avx2"},
    "int64": {"options": {"reference": True}},
    "torch": {"options": {"runtime": "torch"}},
    "torch, 4 threads": {"options": {"runtime": "torch"}, "threads": 4},
    "torch, mkldnn off": {"options": {"runtime": "torch"}, "mkldnn": False},
    "torch, AVX2": {
        "options": {"runtime": "torch"}, "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2",
        "capability": ["AVX2", "DEFAULT", "NO AVX"],
    },
    "torch, SSE4.1": {
        "options": {"runtime": "torch"}, "ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "capability": ["DEFAULT", "NO AVX"],
    },
    "forked after two threads": {"threads": 2, "fork": True},
}  # fmt: skip


@pytest.fixture(scope="module")
def files(codec: Codec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden files, and new ones: every tenth quality, efforts, odd sizes, tiles; two by the shipped model."""
    folder = tmp_path_factory.mktemp("files")
    for path in FIXTURES.glob("*.vqc"):
        shutil.copy(path, folder)
    for quality in (1, *range(10, 101, 10)):
        (folder / f"q{quality}.vqc").write_bytes(
            codec.encode_pixels(picture(75, 50, quality), quality=quality, exact="none")
        )
    for effort in range(1, 10):
        (folder / f"e{effort}.vqc").write_bytes(codec.encode_pixels(picture(49, 33), effort=effort, exact="none"))
    for width, height in ((1, 1), (1, 40), (31, 1), (17, 15), (65, 64), (300, 257), (1025, 9), (9, 1090)):
        (folder / f"{width}x{height}.vqc").write_bytes(
            codec.encode_pixels(picture(width, height), quality=70, exact="none")
        )
    shipped = Codec("default")
    (folder / "shipped.vqc").write_bytes(shipped.encode_pixels(picture(301, 230), exact="none"))
    (folder / "shipped-tiles.vqc").write_bytes(
        shipped.encode_pixels(picture(1100, 33)[..., 0], quality=90, exact="none")
    )
    return folder


@pytest.fixture(scope="module")
def here(files: Path) -> Facts:
    return decode_all(str(files))


def test_golden_indices(here: Facts) -> None:
    for name, facts in golden().items():
        assert here[name][0] == facts["latent_sha256"]


@pytest.mark.parametrize("machine", MACHINES)
def test_same_picture(machine: str, files: Path, here: Facts, tmp_path: Path) -> None:
    settings = MACHINES[machine]
    environment = os.environ | {k: v for k, v in settings.items() if k.isupper()}
    program = [sys.executable, another.__file__]
    done = subprocess.run(
        [*program, str(files), str(tmp_path / "pixels.npz"), json.dumps(settings)],
        env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pixels = np.load(tmp_path / "pixels.npz")
    assert same(here, {name: (digest, pixels[name]) for name, digest in json.loads(done.stdout).items()})


def test_spawned_worker(files: Path, here: Facts) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert same(here, pool.apply(decode_all, (str(files),)))
