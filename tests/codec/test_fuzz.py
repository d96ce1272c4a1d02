"""The fuzzer's short form, and every file that it ever found. SECURITY.md has the long form."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
import vqcodec
from fuzz.__main__ import Report
from fuzz.cases import File, bomb, boundless_header, case, seeds
from fuzz.claims import KINDS, claimed
from fuzz.promises import Growth, check
from support import ROOT
from vqcodec.codec import Codec

FINDINGS = sorted((ROOT / "tests" / "fuzz" / "findings").glob("*.vqc"))
MAX_GROWTH_MB = 200
FILES, BLOCK = 1500, 300


@pytest.fixture(scope="module")
def files(codec: Codec) -> list[bytes]:
    return seeds(codec)


@pytest.mark.parametrize("path", FINDINGS, ids=lambda p: p.stem)
def test_findings(path: Path, codec: Codec) -> None:
    growth = Growth()
    check(codec, path.read_bytes())
    assert growth.megabytes() < MAX_GROWTH_MB


@pytest.mark.parametrize("begin", range(0, FILES, BLOCK))
def test_mutated_files_raise_only_ours(begin: int, codec: Codec, files: list[bytes]) -> None:
    growth = Growth()
    outcomes: dict[str, int] = {}
    for number in range(begin, begin + BLOCK):
        for name, count in check(codec, case(number, codec, files, seed=1)).items():
            outcomes[name] = outcomes.get(name, 0) + count
    assert growth.megabytes() < MAX_GROWTH_MB
    assert {"sound", "picture", "CorruptError", "TruncatedError", "LimitError", "UnsupportedError"} <= set(outcomes)


def test_a_case_is_always_the_same(codec: Codec, files: list[bytes]) -> None:
    assert [case(n, codec, files) for n in range(50)] == [case(n, codec, files) for n in range(50)]


def test_every_cut_every_flipped_bit_and_every_appended_byte_is_an_error(codec: Codec, files: list[bytes]) -> None:
    for data in files[:3]:
        for length in range(len(data)):
            with pytest.raises(vqcodec.VQCError):
                codec.decode(data[:length])
        for bit in range(8 * len(data)):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            with pytest.raises(vqcodec.VQCError):
                codec.decode(bytes(flipped))
        for byte in range(256):
            with pytest.raises(vqcodec.CorruptError, match="follow"):
                codec.decode(data + bytes([byte]))


def test_a_boundless_header_is_refused_before_anything_is_allocated(codec: Codec) -> None:
    data = boundless_header() + bytes(100)
    tracemalloc.start()
    for partial in (False, True):
        with pytest.raises(vqcodec.LimitError, match="2147483648x2147483648"):
            codec.decode(data, allow_partial=partial)
    with pytest.raises(vqcodec.TruncatedError):
        vqcodec.info(boundless_header())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("tag", [b"I", b"A"])
def test_a_bomb_is_not_inflated(tag: bytes, codec: Codec, files: list[bytes]) -> None:
    file = File.parse(files[3])
    file.pieces = [replace(p, payload=b"\0" * (tag == b"A") + bomb()) if p.tag == tag else p for p in file.pieces]
    growth = Growth()
    with pytest.raises(vqcodec.VQCError):
        codec.decode(file.pack())
    assert growth.megabytes() < 100


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "all layers"])
def test_a_part_of_a_huge_picture_takes_memory_for_that_part(kind: str, codec: Codec) -> None:
    data = claimed(codec, 11_300, 11_300, kind)
    assert len(data) < (150_000 if "alpha" in kind else 8_000)
    for options, size in (({"region": (11_000, 5_000, 16, 16)}, (16, 16)), ({"scale": 1 / 16}, (707, 707))):
        growth = Growth()
        assert codec.decode(data, **options).size == size  # type: ignore[arg-type]
        assert growth.megabytes() < 40  # a plane of 128 megapixels has 128 MB
    growth = Growth()
    codec.verify(data)
    assert growth.megabytes() < 40


@pytest.mark.parametrize("kind", KINDS)
def test_memory_grows_with_the_pixels_that_are_shown(kind: str, codec: Codec) -> None:
    data = claimed(codec, 3000, 3000, kind)
    growth = Growth()
    assert codec.decode(data).size == (3000, 3000)
    assert growth.megabytes() < 12 * 9 + 40


def test_what_follows_another_format_is_not_read(tmp_path: Path) -> None:
    class Endless:
        def __init__(self, begin: bytes) -> None:
            self.begin, self.given = begin, 0

        def read(self, count: int) -> bytes:
            self.given += count
            return self.begin + bytes(count - len(self.begin))

    file = Endless(b"")
    with pytest.raises(vqcodec.VQCError, match=r"not a \.vqc file"):
        vqcodec.decode(file)  # type: ignore[arg-type]
    assert file.given < 100
    if Path("/dev/zero").exists():
        growth = Growth()
        for read in (vqcodec.decode, vqcodec.info):
            with pytest.raises(vqcodec.VQCError, match=r"not a \.vqc file"):
                read("/dev/zero")
        assert growth.megabytes() < 10


def test_a_run_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    assert Report.load(None) == Report.load(path) == Report()
    report = Report(done=7, seconds=2.5, findings={"3": "hung"})
    for name, number in (("sound", 2), ("sound", 3), ("picture", 1)):
        report.count(name, number)
    for value, number in ((1.0, 4), (3.0, 5), (2.0, 6)):
        report.note("seconds", value, number, 100 * number)
    report.save(path)
    again = Report.load(path)
    assert str(again) == str(report)
    assert again.outcomes == {"sound": 5, "picture": 1}
    assert tuple(again.worst["seconds"]) == (3.0, 5, 500)
    assert again.done == 7
