"""What a program around us sets in torch, NumPy or Python changes no index, and no pixel by more than a level; nor do we change it.

Each state is met twice: by a model that is loaded under it, and by one that was used before; afterwards both work as ever.
"""

from __future__ import annotations

import contextlib
import decimal
import gc
import hashlib
import inspect
import locale
import os
import random
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile
from support import FIXTURES, TINY, picture
from vqcodec.codec import Codec
from vqcodec.generate.interpolation import interpolate
from vqcodec.generate.sampling import sample

PIXELS = picture(50, 36)
SEARCHED = {"effort 5", "noisy search", "grey and alpha"}
Facts = dict[str, Any]


def searched(codec: Codec) -> Facts:
    return {
        "effort 5": codec.encode(PIXELS, effort=5, quality=60),
        "noisy search": codec.encode(PIXELS[:16, :20], effort=7, quality=60),
        "grey and alpha": codec.encode(PIXELS[..., :2], effort=2, quality=60),
    }


def facts(codec: Codec) -> Facts:
    """What the codec makes: exact facts, and pixels under names that end in "pixels"."""
    made: Facts = searched(codec) | {
        "effort 1": codec.encode(PIXELS, effort=1, quality=60),
        "target": codec.encode(PIXELS, effort=1, target_psnr=29.5),
        "sample": sample(codec, 70, 50, seed=3, temperature=0.7),
        "walk": interpolate(codec, PIXELS, PIXELS[::-1].copy(), 2),
    }
    for name in ("rgb", "odd"):
        data = (FIXTURES / f"{name}.vqc").read_bytes()
        made[f"{name} indices"] = hashlib.sha256(codec.decode_latent(data)[0].astype("<i4").tobytes()).hexdigest()
        made[f"{name} pixels"] = np.asarray(codec.decode(data), dtype=int)
    made["part pixels"] = np.asarray(codec.decode(made["effort 1"], layers=2, region=(3, 4, 40, 30)), dtype=int)
    codec.verify(made["effort 5"])
    return made


@pytest.fixture(scope="module")
def used() -> dict[str, tuple[Codec, Facts]]:
    """For each runtime a codec, and what it makes where nothing is set."""
    codecs = {runtime: Codec(TINY, runtime=runtime) for runtime in ("numpy", "torch")}
    return {runtime: (codec, facts(codec)) for runtime, codec in codecs.items()}


def check(found: Facts, expected: Facts, same_search: bool = True) -> None:
    for name, value in expected.items():
        if name.endswith("pixels"):
            assert np.abs(found[name] - value).max() <= 1, name
        elif same_search or name not in SEARCHED:
            assert found[name] == value, name


def state() -> dict[str, Any]:
    """What a program could have set, as far as it can be asked for."""
    return {
        "dtype": torch.get_default_dtype(),
        "device": torch.empty(0).device,
        "precision": torch.get_float32_matmul_precision(),
        "deterministic": (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "modes": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_anomaly_enabled()),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
        "mkldnn": torch.backends.mkldnn.enabled,
        "denormals": bool((torch.tensor(1e-38, dtype=torch.float32, device="cpu") * 0.01) != 0),
        "torch's random numbers": torch.get_rng_state().numpy().tobytes(),
        "NumPy's errors": (np.geterr(), np.geterrcall()),
        "NumPy's format": repr(np.get_printoptions()),
        "NumPy's random numbers": repr(np.random.get_state()),  # noqa: NPY002
        "Python's random numbers": random.getstate(),
        "warnings": list(warnings.filters),
        "locale": locale.setlocale(locale.LC_ALL),
        "decimal": repr(decimal.getcontext()),
        "limits": (sys.getrecursionlimit(), sys.getswitchinterval(), sys.get_int_max_str_digits(), gc.isenabled()),
        "Pillow": (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES),
        "environment": dict(os.environ),
        "process": (Path.cwd(), signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), list(sys.path)),
        "threads of Python": threading.active_count(),
    }  # fmt: skip


@contextmanager
def setting(change: Callable[[Any], object], value: object, before: object) -> Iterator[None]:
    """A global that is set by a function, and afterwards set to what it was."""
    change(value)
    try:
        yield
    finally:
        change(before)


@contextmanager
def errors_of_numpy(**kinds: Any) -> Iterator[None]:
    before = np.seterr(**kinds)
    try:
        yield
    finally:
        np.seterr(**before)


@contextmanager
def warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@contextmanager
def a_decimal_comma() -> Iterator[None]:
    before = locale.setlocale(locale.LC_ALL)
    for name in ("de_DE.UTF-8", "fr_FR.UTF-8", "C"):
        with contextlib.suppress(locale.Error):
            locale.setlocale(locale.LC_ALL, name)
            break
    try:
        yield
    finally:
        locale.setlocale(locale.LC_ALL, before)


@contextmanager
def seeds() -> Iterator[None]:
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002
    random.seed(7)
    yield


STATES: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "nothing": contextlib.nullcontext,
    **{
        f"torch's default dtype {dtype}": lambda dtype=dtype: setting(torch.set_default_dtype, dtype, torch.float32)  # type: ignore[misc]
        for dtype in (torch.float64, torch.float16, torch.bfloat16)
    },
    "torch's default device": lambda: setting(torch.set_default_device, "meta", None),
    "torch's matmul precision medium": lambda: setting(torch.set_float32_matmul_precision, "medium", "highest"),
    "torch's convolutions in bfloat16": lambda: torch.backends.mkldnn.flags(enabled=True, fp32_precision="bf16"),
    "torch flushes denormals": lambda: setting(torch.set_flush_denormal, True, False),
    "torch autocasts to bfloat16": lambda: torch.autocast("cpu", torch.bfloat16),
    "torch autocasts to float16": lambda: torch.autocast("cpu", torch.float16),
    "torch's inference mode": torch.inference_mode,
    "torch without gradients": torch.no_grad,
    "torch detects anomalies": torch.autograd.detect_anomaly,
    "torch deterministic": lambda: setting(torch.use_deterministic_algorithms, True, False),
    "torch with three threads": lambda: setting(torch.set_num_threads, 3, 1),
    "torch without mkldnn": lambda: torch.backends.mkldnn.flags(enabled=False),
    "NumPy's errors raise": lambda: errors_of_numpy(all="raise"),
    "NumPy prints little": lambda: np.printoptions(precision=1, threshold=3, sign="+", legacy="1.13"),
    "warnings are errors": warnings_are_errors,
    "a decimal comma": a_decimal_comma,
    "a decimal context of 2 digits": lambda: decimal.localcontext(decimal.Context(prec=2, traps=[decimal.Inexact])),
    "seeds": seeds,
    "a low recursion limit": lambda: setting(sys.setrecursionlimit, 250, 1000),
    "a high recursion limit": lambda: setting(sys.setrecursionlimit, 100_000, 1000),
    "few digits": lambda: setting(sys.set_int_max_str_digits, 640, 4300),
    "no garbage collection": lambda: setting(lambda on: gc.enable() if on else gc.disable(), False, True),
}
if "fp32_precision" not in inspect.signature(torch.backends.mkldnn.flags).parameters:
    del STATES["torch's convolutions in bfloat16"]  # older versions of torch cannot be set so
OTHER_SEARCH = {
    "torch's matmul precision medium",
    "torch's convolutions in bfloat16",
    "torch without mkldnn",
    "torch with three threads",
}


@pytest.mark.parametrize(
    ("runtime", "name"),
    [("numpy", name) for name in STATES] + [("torch", name) for name in STATES if name.startswith("torch")],
)
def test_a_state_changes_nothing_and_stays_as_it_is(
    runtime: str, name: str, used: dict[str, tuple[Codec, Facts]]
) -> None:
    codec, expected = used[runtime]
    same_search = name not in OTHER_SEARCH  # floating point that the encoder alone uses
    with STATES[name]():
        before = state()
        fresh = Codec(TINY, runtime=runtime)
        check(facts(fresh), expected, same_search)
        check(facts(codec), expected, same_search)
        assert state() == before
    assert searched(fresh) == searched(codec) == {name: expected[name] for name in SEARCHED}


def run(program: str, *flags: str, **environment: str) -> str:
    """What a program prints, run by a Python of these flags."""
    done = subprocess.run(
        [sys.executable, *flags, "-c", program], env=os.environ | environment, capture_output=True, text=True, check=False, timeout=120
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


DIGESTS = f"""
import hashlib, numpy as np, vqcodec
picture = np.add.outer(np.arange(40), 2 * np.arange(60))[..., None] % [97, 89, 83] + np.zeros((40, 60, 3), int)
for effort in (1, 5):
    data = vqcodec.encode(picture.astype(np.uint8), effort=effort)
    print(hashlib.sha256(data).hexdigest(), hashlib.sha256(vqcodec.decode(data).tobytes()).hexdigest())
print(vqcodec.load_model({str(TINY)!r}).decode({str(FIXTURES / "rgb.vqc")!r}).size)
"""


@pytest.mark.parametrize("flags", [("-OO", "-bb"), ("-X", "dev", "-W", "error"), ("-I", "-X", "utf8=0")], ids=" ".join)
def test_pythons_flags_change_nothing(flags: tuple[str, ...]) -> None:
    program = f"import sys; sys.path[:0] = {sys.path!r}\n{DIGESTS}"
    assert run(program, *flags) == run(program)


def test_a_forked_child_searches_though_its_parent_has_used_threads() -> None:
    """It has none of its parent's threads, and would wait for them forever."""
    program = """
import os, numpy as np, torch, vqcodec
torch.set_num_threads(2)
picture = np.random.default_rng(0).integers(0, 256, (160, 160, 3), dtype=np.uint8)
expected = vqcodec.encode(picture, effort=2)
torch.exp(torch.ones(1 << 20))
if child := os.fork():
    print(os.waitpid(child, 0)[1])
    assert torch.get_num_threads() == 2
else:
    os._exit(0 if abs(len(vqcodec.encode(picture, effort=2)) - len(expected)) < 50 else 1)
"""
    assert run(program) == "0\n"


def test_threads_that_differ_in_what_they_set_do_not_meet(used: dict[str, tuple[Codec, Facts]]) -> None:
    """One thread encodes in torch's inference mode with autocast, one without, at the same time."""
    codec, expected = used["torch"]
    found = []

    def work(around: Callable[[], AbstractContextManager[object]]) -> None:
        with around():
            for _ in range(3):
                found.append(searched(codec))

    threads = [
        threading.Thread(target=work, args=[STATES[name]]) for name in STATES if "mode" in name or "cast" in name
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [{name: expected[name] for name in SEARCHED}] * 3 * len(threads)


def test_a_warning_that_is_made_an_error_leaves_the_codec_sound(codec: Codec) -> None:
    """What is worth a warning may raise then; nothing else may."""
    data = codec.encode(picture(300, 260))
    with warnings_are_errors(), pytest.raises(UserWarning, match="incomplete picture"):
        codec.decode(data[:-5], allow_partial=True)
    assert codec.decode(data).size == (300, 260)
