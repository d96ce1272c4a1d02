"""Small C kernels that compute what the NumPy code computes, many times as fast; they are optional.

`pip` compiles them if there is a C compiler (GCC or Clang), once for every processor in `LEVELS`. `library` loads the one for this
machine through ctypes. Without it everything works the same, in NumPy, which is the definition. The environment variable
VQCODEC_KERNELS chooses: "numpy", or the name of a level.
"""

from __future__ import annotations

import ctypes
import os
import warnings
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

LEVELS = ("plain", "avx2", "avx512")  # from slow to fast
VERSION = 3  # of the functions' arguments, the same as in simd.h: a library that was compiled from another version is left alone
VARIABLE = "VQCODEC_KERNELS"
PANEL = 3  # vectors of outputs, COLUMNS in simd.h

_P, _N, _I, _F, _D = ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int, ctypes.c_float, ctypes.c_double
SIGNATURES: dict[str, tuple[Any, ...]] = {
    "prior_layer": (_P, _N, _N, _N, _P, _P, _P, _P, _N, _I, _P),
    "prior_depthwise": (_P, _N, _N, _N, _P, _P, _P, _P),
    "prior_scale": (_P, _N, _N, _N, ctypes.c_int32, _P, _P, _D, _P),
    "ans_read": (_P, _N, _N, _N, _P, _P, _P, _P, _P, _P, _P, _P),
    "float_layer": (_P, _N, _N, _N, _N, _N, _N, _P, _P, _P, _N, _N, _N, _N, _I),
    "float_block": (_P, _N, _N, _N, _N, _N, _I, _P, _P, _P, _P, _P, _P, _P, _P),
    "float_paint": (_P, _N, _N, _N, _N, _P, _P, _F, _P, _P, _N),
    "float_compand": (_P, _N, _N, _N, _P, _P),
    "float_levels": (_P, _N, _N, _N, _I, _P, _N),
}
SEARCH: dict[str, tuple[Any, ...]] = {  # a library that was compiled before there were these does the rest
    "search_pass": (_N, _N, _P, _P, _P, _P, _P, _P, _P, _P, _P),
    "search_activation": (_N, _P, _I, _P, _P),
    "distortion_light": (_N, _P, _P, _P),
    "distortion_xyb": (_N, _P, _P, _P),
    "distortion_xyb_back": (_N, _P, _P, _P, _P),
    "distortion_products": (_N, _P, _P, _P),
    "distortion_products_back": (_N, _P, _P, _P, _P),
    "distortion_contrast": (_N, _P, _P, _P, _P, _P, _P, _P),
    "distortion_contrast_back": (_N, _P, _P, _P, _P, _P, _P, _P, _P, _P),
    "distortion_maps": (_N, _P, _P),
    "distortion_maps_back": (_N, _P, _P, _P, _P, _P, _P),
    "distortion_seen": (_N, _P, _P, _P, _P, _P),
    "distortion_seen_back": (_N, _P, _P, _P, _P, _P, _P, _P),
    "distortion_blur": (_N, _N, _N, _P, _P, _P, _P, _P),
    "search_pass_back": (_N, _N, _P, _P, _P, _P, _P, _P, _F, _P, _P, _P, _P),
}


class Library:
    """The kernels for one kind of processor; the C functions are attributes.

    Args:
        level: One of `LEVELS`.

    Attributes:
        lanes: 32-bit numbers in a vector.
        best: Index in `LEVELS` of the best library for this machine.
        searches: It has the parts of the encoder's search.

    Raises:
        OSError: It was not compiled, or not from this version of the source.
    """

    def __init__(self, level: str) -> None:
        paths = [Path(__file__).parent / (level + suffix) for suffix in EXTENSION_SUFFIXES]
        path = next((p for p in paths if p.exists()), None)
        if path is None:
            raise OSError(f"the kernels {level!r} were not compiled")
        functions = ctypes.CDLL(str(path))
        try:
            if functions.kernels_version() != VERSION:
                raise OSError(f"{path.name} was compiled from another version")
            self.level, self.lanes, self.best = level, functions.kernels_lanes(), functions.kernels_best()
            self.searches = all(hasattr(functions, name) for name in SEARCH)
            for name, arguments in (SIGNATURES | (SEARCH if self.searches else {})).items():
                function = getattr(functions, name)
                function.argtypes = arguments
                function.restype = ctypes.c_double if name == "search_pass" else function.restype
                setattr(self, name, function)
        except AttributeError as error:
            raise OSError(f"{path.name} lacks a function ({error})") from None

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)

    def padded(self, count: int) -> int:
        """A number of outputs, rounded up to whole vectors."""
        return -(-count // self.lanes) * self.lanes

    def panels(self, weight: npt.NDArray[Any], group: int = 1) -> npt.NDArray[Any]:
        """A layer's weight in the order in which the kernels read it.

        Args:
            weight: [inputs, outputs]
            group: Inputs that lie side by side; they are padded to a multiple of it.

        Returns:
            Flat: for every PANEL vectors of outputs, for every group of inputs, [outputs, group].
        """
        inputs, outputs = weight.shape
        whole = np.zeros((-(-inputs // group) * group, self.padded(outputs)), dtype=weight.dtype)
        whole[:inputs, :outputs] = weight
        grouped = whole.reshape(-1, group, whole.shape[1]).swapaxes(1, 2)  # (inputs / group, outputs, group)
        width = PANEL * self.lanes
        parts = [grouped[:, first : first + width].reshape(-1) for first in range(0, whole.shape[1], width)]
        return np.concatenate(parts)

    def pad(self, values: npt.NDArray[Any], dtype: Any) -> npt.NDArray[Any]:
        """Values of the outputs, padded with zeros to whole vectors along the last axis."""
        whole = np.zeros((*values.shape[:-1], self.padded(values.shape[-1])), dtype=dtype)
        whole[..., : values.shape[-1]] = values
        return whole


@cache
def _compiled(level: str) -> Library | None:
    try:
        return Library(level)
    except OSError:
        return None


def usable() -> tuple[str, ...]:
    """The levels that were compiled and run on this machine, from slow to fast."""
    plain = _compiled("plain")
    return tuple(level for level in LEVELS[: plain.best + 1] if _compiled(level)) if plain else ()


def library() -> Library | None:
    """The fastest kernels that were compiled and run on this machine, or the ones that VQCODEC_KERNELS names; None is NumPy."""
    wanted = os.environ.get(VARIABLE, "")
    if wanted == "numpy":
        return None
    if not wanted:
        names = usable()
        return _compiled(names[-1]) if names else None
    if wanted in usable():
        return _compiled(wanted)
    warnings.warn(f"{VARIABLE}: no kernels {wanted!r} here; using NumPy", stacklevel=2)
    return None


def address(array: npt.NDArray[Any]) -> int:
    """Where an array's numbers begin. It must be contiguous, and outlive the call."""
    return array.__array_interface__["data"][0]
