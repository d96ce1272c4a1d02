"""What a caller asks for, in the encoder's terms: the step of a quality, the search of an effort."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from numbers import Integral

import numpy as np
import numpy.typing as npt
from vqbitstream.errors import VQCError
from vqbitstream.header import STEP_CODE_MAX, STEP_CODE_MIN, TUNES

from vqcodec.arguments import checked_choice, checked_number

QUALITY_MIN, QUALITY_MAX = 1.0, 100.0
EFFORTS = range(1, 10)
DEFAULT_EFFORT, EFFORT_WITHOUT_TORCH = 5, 1
ROUNDS = (0, 0, 1, 1, 2, 3, 6, 12, 24, 60)  # of the encoder's search; index: effort
NOISY_ROUNDS = 10  # as many make use of noise
NOISE = 0.2  # steps
SEARCH_HALO = 2  # latent positions around what is searched that its picture is made with

Curve = npt.NDArray[np.float64]  # rows of quality, bits per pixel, PSNR in dB, SSIMULACRA2, rising
# Where the search starts: of each tune the mean of five photographs, with the shipped weights (of SSIMULACRA2, Kodak's).
# The curve of any one picture has about this shape.
TYPICAL: dict[str, Curve] = {
    "psnr": np.array([
        (1, 0.03, 23.4, -62.5), (10, 0.065, 25.8, -46.8), (20, 0.121, 27.4, -23.3), (30, 0.215, 29.1, 3.5),
        (40, 0.378, 31.0, 28.4), (50, 0.66, 33.4, 51.3), (60, 1.088, 35.9, 67.6), (70, 1.739, 38.7, 78.5),
        (80, 2.687, 41.8, 85.5), (90, 3.773, 44.8, 90.4), (100, 5.223, 47.7, 93.7),
    ]),
    "eye": np.array([
        (1, 0.029, 23.6, -58.0), (10, 0.047, 25.0, -38.5), (20, 0.081, 26.5, -7.8), (30, 0.136, 27.8, 18.1),
        (40, 0.182, 28.6, 30.5), (50, 0.246, 29.5, 41.6), (60, 0.364, 30.7, 53.8), (70, 0.568, 32.5, 65.3),
        (80, 1.007, 35.2, 77.0), (90, 2.407, 40.8, 88.6), (100, 4.267, 45.8, 93.4),
    ]),
}  # fmt: skip


class TargetError(VQCError):
    """The picture cannot be as small, or as good, as the target."""


class QualityScale:
    """Quality and tune -> step and layers.

    Args:
        step_codes: Step code of each tune and whole quality 1..100, uint16 [2, 100], not rising.
        layers: Likewise how many layers a file has, uint8 [2, 100].
        most_layers: Layers of the model.

    Raises:
        ValueError: They are not of this form.
    """

    def __init__(
        self, step_codes: npt.NDArray[np.integer], layers: npt.NDArray[np.integer], *, most_layers: int
    ) -> None:
        self._step_codes, self._layers = step_codes.astype(np.float64), layers.astype(np.int64)
        if self._step_codes.shape != (len(TUNES), 100) or (np.diff(self._step_codes) > 0).any():
            raise ValueError("encoder.step_codes must be 100 falling numbers for each tune")
        if self._step_codes.min() < STEP_CODE_MIN or self._step_codes.max() > STEP_CODE_MAX:
            raise ValueError(f"encoder.step_codes must lie in {STEP_CODE_MIN}..{STEP_CODE_MAX}")
        if self._layers.shape != self._step_codes.shape or self._layers.min() < 1:
            raise ValueError("encoder.layers must be 100 positive numbers for each tune")
        if self._layers.max() > most_layers:
            raise ValueError(f"encoder.layers must lie in 1..{most_layers}")

    def step_code(self, quality: float, tune: int) -> int:
        """The step code of a quality in 1..100. Raises ValueError for another quality."""
        quality = checked_number("quality", quality, QUALITY_MIN, QUALITY_MAX)
        return round(float(np.interp(quality, np.arange(1, 101), self._step_codes[tune])))

    def layers(self, quality: float, tune: int) -> int:
        """How many layers a file of this quality in 1..100 has."""
        return int(self._layers[tune, int(quality) - 1])


def tune_number(tune: str) -> int:
    """Index of a tune in `TUNES`. Raises ValueError for another name."""
    return TUNES.index(checked_choice("tune", tune, TUNES))


def torch_is_installed() -> bool:
    """Whether PyTorch can be imported. It is not imported to find out."""
    return find_spec("torch") is not None


def chosen_effort(effort: int | None) -> int:
    """The effort to encode with.

    Args:
        effort: 1..9. None is 5, or 1 with a warning if PyTorch is not installed.

    Raises:
        ValueError: Not an effort, or one that needs PyTorch where it is not installed.
    """
    if effort is None:
        if torch_is_installed():
            return DEFAULT_EFFORT
        warnings.warn(
            f"encoding with effort {EFFORT_WITHOUT_TORCH}, which makes files about 5 % larger: higher efforts need PyTorch "
            "(pip install 'vqcodec[torch]')", stacklevel=3,
        )  # fmt: skip
        return EFFORT_WITHOUT_TORCH
    if not isinstance(effort, Integral) or isinstance(effort, bool) or effort not in EFFORTS:
        raise ValueError(f"effort must be a whole number in 1..9, not {effort!r}")
    if ROUNDS[effort] and not torch_is_installed():
        raise ValueError(
            f"effort {effort} needs PyTorch: pip install 'vqcodec[torch]', or use effort {EFFORT_WITHOUT_TORCH}"
        )
    return int(effort)


def search_noise(rounds: int) -> float:
    """Standard deviation, in steps, of the noise in the first of this many rounds."""
    return NOISE if rounds >= NOISY_ROUNDS else 0.0
