"""What a decoder promises of any bytes at all."""

from __future__ import annotations

import collections
import dataclasses
import resource
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import vqbitstream
import vqcodec
from PIL import Image
from vqbitstream.errors import VQCError
from vqcodec.codec import Codec

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


class Growth:
    """How far memory in use rose above where it was at `reset`, at its peak: exact on Linux, elsewhere only new records."""

    def __init__(self) -> None:
        self._linux = _CLEAR.exists()
        self.reset()

    def _peak(self) -> float:
        if self._linux:
            return (
                next(int(line.split()[1]) for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
                / 1e3
            )
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3

    def reset(self) -> None:
        if self._linux:
            _CLEAR.write_text("5")
        self._start = self._peak()

    def megabytes(self) -> float:
        return self._peak() - self._start


def check(codec: Codec, data: bytes) -> collections.Counter[str]:
    """Read a file in every way there is. Anything but a picture or a VQCError of one line comes out as it is.

    Returns what happened: "sound" (the plain decode gave a picture), "picture" (another way did), or the error's name.
    """
    outcomes: collections.Counter[str] = collections.Counter()
    ways: list[Callable[[], object]] = [
        lambda: codec.decode(data),
        lambda: codec.decode(data, layers=1),
        lambda: codec.decode(data, allow_partial=True),
        lambda: codec.decode(data, region=(0, 0, 1, 1)),
        lambda: codec.decode(data, scale=1 / 4),
        lambda: codec.verify(data),
        lambda: vqcodec.info(data),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning of NumPy's, say an overflow, is a finding
        warnings.filterwarnings("ignore", "incomplete picture|.*its EXIF is damaged, and left out")
        for way in ways:
            try:
                got = way()
            except VQCError as error:
                if not str(error) or "\n" in str(error):
                    raise AssertionError(f"not one line: {error!r}") from None
                outcomes[type(error).__name__] += 1
            else:
                if isinstance(got, Image.Image):
                    np.asarray(got)
                outcomes["sound" if way is ways[0] else "picture"] += 1
        if outcomes["sound"]:  # then it is sound all through, and says nothing that it does not mean
            codec.verify(data)
            whole, last = codec.decode(data), codec.decode(data, region=_last_corner(data))
            corner = np.asarray(whole).astype(int)[-last.height :, -last.width :]
            assert abs(corner - np.asarray(last)).max() <= 1, "a part is not what the whole is"
            facts, contents = vqcodec.info(data), vqbitstream.unpack(data, vqcodec.Limits())
            assert (0 if sum(facts.exact_tiles) else 1) <= facts.layers <= len(codec.config.groups)
            assert 2**-7 <= facts.step <= 4
            assert all(len(value) <= vqcodec.Limits().max_metadata_bytes for value in contents.metadata.values())
            again = vqbitstream.unpack(vqbitstream.pack(contents), vqcodec.Limits())
            assert dataclasses.replace(again, metadata=contents.metadata) == contents
            assert again.metadata == contents.metadata
    return outcomes


def _last_corner(data: bytes) -> tuple[int, int, int, int]:
    """A region at the lower right edge."""
    facts = vqcodec.info(data)
    width, height = min(facts.width, 17), min(facts.height, 17)
    return facts.width - width, facts.height - height, width, height
