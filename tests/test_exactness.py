"""The golden files decode to the same indices on every kind of machine that can be emulated here, and so do layers as large
and sums as high as the bounds allow."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from support import FIXTURES, TINY, golden

PROGRAM = """
import hashlib, json, sys
import torch
threads, mkldnn, channels_last, fixtures, tiny = sys.argv[1:]
torch.set_num_threads(int(threads))
torch.backends.mkldnn.enabled = mkldnn == "1"
from pathlib import Path
from vqcodec.codec import Codec
codec = Codec(tiny)
import numpy as np
from vqcodec.prior import Layer, _NumpyOps, _TorchOps
rng = np.random.default_rng(0)
x, w = rng.choice([-127, 127], (2048, 1040)), rng.choice([-127, 127], (1040, 160))
x[0], w[:, 0] = 127, 127
zeros = np.zeros(160, dtype=np.int64)
layer = Layer(w, zeros + 77, zeros + 1)
layer.check("largest")
for n in (1, 2, 3, 5, 17, 2048):
    said = [o.numpy(o.apply(o.array(x[:n]), o.layer(layer))) for o in (_TorchOps(), _NumpyOps())]
    assert (said[0] == said[1]).all(), n
if channels_last == "0":
    codec.synthesis.to(memory_format=torch.contiguous_format)
out = {}
for path in sorted(Path(fixtures).glob("*.vqc")):
    latent, _ = codec.decode_latent(path.read_bytes())
    out[path.stem] = hashlib.sha256(latent.astype("<i4").tobytes()).hexdigest()
    codec.decode_pixels(path.read_bytes())
print(json.dumps(out))
"""

MACHINES = {
    "1 thread": {},
    "2 threads": {"threads": "2"},
    "mkldnn off": {"mkldnn": "0"},
    "contiguous transforms": {"channels_last": "0"},
    "AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
    "SSE4.1": {"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
}


@pytest.mark.parametrize("machine", MACHINES)
def test_same_indices(machine: str) -> None:
    settings = MACHINES[machine]
    environment = os.environ | {k: v for k, v in settings.items() if k.isupper()}
    arguments = [settings.get("threads", "1"), settings.get("mkldnn", "1"), settings.get("channels_last", "1")]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments, str(FIXTURES), str(TINY)],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == {name: facts["latent_sha256"] for name, facts in golden().items()}
