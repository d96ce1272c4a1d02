"""What the tests share: the frozen tiny model, golden facts, and pictures."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).parents[2]  # of the repository
FIXTURES = ROOT / "tests" / "fixtures"
TINY = FIXTURES / "tiny.safetensors"


def _maker() -> Any:
    spec = importlib.util.spec_from_file_location("make_fixture", FIXTURES / "make_fixture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


maker = _maker()


def picture(width: int, height: int, seed: int = 5) -> npt.NDArray[np.uint8]:
    pixels: npt.NDArray[np.uint8] = maker.synthetic_picture(width, height, seed)
    return pixels


def golden() -> dict[str, dict[str, Any]]:
    facts: dict[str, dict[str, Any]] = json.loads((FIXTURES / "golden.json").read_text())
    return facts
