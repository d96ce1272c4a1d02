"""Another machine: decodes a folder of files and says what came out. Run by `test_exactness.py`, in other processes."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Facts = dict[str, tuple[str, npt.NDArray[np.uint8]]]  # file -> SHA-256 of its latent, pixels


def decode_all(folder: str, options: dict[str, Any] | None = None) -> Facts:
    """Every .vqc file of a folder, with the model whose id it has: the tests' or a shipped one. options: of `Codec`."""
    from vqbitstream import Limits, unpack_header
    from vqcodec.codec import Codec

    from support import TINY

    codecs = [Codec(model, **(options or {})) for model in (TINY, "default")]
    facts = {}
    for path in sorted(Path(folder).glob("*.vqc")):
        data = path.read_bytes()
        codec = next(c for c in codecs if c.model_id == unpack_header(data, Limits()).model_id)
        latent, _ = codec.decode_latent(data)
        facts[path.stem] = (hashlib.sha256(latent.astype("<i4").tobytes()).hexdigest(), codec.decode_pixels(data))
    return facts


def largest_sums() -> None:
    """Layers as large, and sums as high, as the prior's bounds allow."""
    from vqbitstream.arithmetic import Floats, Integers, Layer

    rng = np.random.default_rng(0)
    x, w = rng.choice([-127, 127], (2048, 1040)), rng.choice([-127, 127], (1040, 160))
    x[0], w[:, 0] = 127, 127
    zeros = np.zeros(160, dtype=np.int64)
    layer = Layer(w, zeros + 77, zeros + 1)
    layer.check("largest")
    for n in (1, 2, 3, 5, 17, 2048):
        said = [a.apply(x[:n].astype(a.dtype), a.prepare(layer)) for a in (Floats(), Integers())]
        assert (said[0] == said[1]).all(), n


def fork_after_threads(folder: str) -> bool:
    """Two threads at work in this process, then a forked child that decodes too: it neither hangs nor differs."""
    import multiprocessing

    here = decode_all(folder)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        there = pool.map_async(decode_all, [folder, folder]).get(timeout=120)
    return all(same(here, facts) for facts in there)


def same(first: Facts, second: Facts) -> bool:
    """Equal indices, and pixels within one level."""
    return first.keys() == second.keys() and all(
        first[name][0] == second[name][0]
        and np.abs(first[name][1].astype(int) - second[name][1].astype(int)).max() <= 1
        for name in first
    )


def main() -> None:
    import torch
    from threadpoolctl import threadpool_limits

    folder, out, settings = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    sys.path.insert(0, str(Path(__file__).parents[1]))
    torch.set_num_threads(settings.get("threads", 1))
    threadpool_limits(settings.get("threads", 1))
    torch.backends.mkldnn.enabled = settings.get("mkldnn", True)
    if expected := settings.get("capability"):
        assert torch.backends.cpu.get_cpu_capability() in expected, torch.backends.cpu.get_cpu_capability()
    if settings.get("fork"):
        assert fork_after_threads(folder)
    largest_sums()
    facts = decode_all(folder, settings.get("options"))
    np.savez(out, **{name: pixels for name, (_, pixels) in facts.items()})
    print(json.dumps({name: digest for name, (digest, _) in facts.items()}))


if __name__ == "__main__":
    main()
