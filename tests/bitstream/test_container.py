"""Header, sections and entropy coder: round trips, exact words, and every way to damage a file."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import vqbitstream
from support import FIXTURES, golden
from vqbitstream import (
    Contents,
    CorruptError,
    Header,
    LimitError,
    Limits,
    Section,
    TruncatedError,
    UnsupportedError,
    VQCError,
    alpha,
)
from vqbitstream.alpha import pack_plane, unpack_plane
from vqbitstream.entropy import FrequencyTables, SectionReader, SectionWriter
from vqbitstream.geometry import TILE, tile_edges
from vqbitstream.header import HEADER_BYTES, STEP_CODE_MAX, STEP_CODE_MIN

HEADER = Header(640, 480, False, False, False, 5000, 30000, 1, b"12345678", 3)
SECTIONS = [Section(b"abcd" * n, n) for n in (1, 2, 3)]
FILE = Contents(HEADER, SECTIONS, None, {"icc": b"profile" * 9, "xmp": b"<x/>"})


def tables() -> FrequencyTables:
    return FrequencyTables(np.array([[900, 50, 40, 10], [1, 1, 1, 1], [10, 10, 30000, 1]]))


def coded(count: int = 400) -> tuple[list[tuple[np.ndarray, np.ndarray]], SectionWriter]:
    rng = np.random.default_rng(1)
    writer = SectionWriter(tables())
    batches = []
    for size in (count, 0, 7):
        which, symbols = rng.integers(0, 3, size), rng.integers(0, 4, size)
        writer.write(which, symbols)
        batches.append((which, symbols))
    return batches, writer


def test_header_round_trip() -> None:
    assert vqbitstream.unpack_header(HEADER.pack(), Limits()) == HEADER
    assert len(HEADER.pack()) == HEADER_BYTES


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"width": 0}, CorruptError),
        ({"layers": 0}, CorruptError),
        ({"step_code": STEP_CODE_MIN - 1}, CorruptError),
        ({"step_code": STEP_CODE_MAX + 1}, CorruptError),
        ({"width": 1025, "single_section": True}, CorruptError),
        ({"quality_centi": 65535}, CorruptError),
        ({"tune": 2}, UnsupportedError),
        ({"width": 1 << 31, "height": 1 << 31}, LimitError),
        ({"width": 60000, "height": 60000}, LimitError),
    ],
)
def test_header_values_are_checked(changes: dict[str, int], error: type[VQCError]) -> None:
    with pytest.raises(error):
        vqbitstream.unpack_header(dataclasses.replace(HEADER, **changes).pack(), Limits())


def test_newer_format_version_is_named() -> None:
    data = bytearray(HEADER.pack())
    data[8] = 7
    with pytest.raises(UnsupportedError, match="version 7"):
        vqbitstream.unpack_header(bytes(data), Limits())


def test_container_round_trip() -> None:
    assert vqbitstream.unpack(vqbitstream.pack(FILE), Limits()) == FILE
    with_alpha = dataclasses.replace(FILE, header=dataclasses.replace(HEADER, alpha=True), alpha=b"\x00alpha")
    assert vqbitstream.unpack(vqbitstream.pack(with_alpha), Limits()) == with_alpha
    with_exact = dataclasses.replace(
        with_alpha, header=dataclasses.replace(with_alpha.header, exact=True), exact=(b"pixels",)
    )
    assert vqbitstream.unpack(vqbitstream.pack(with_exact), Limits()) == with_exact
    only = dataclasses.replace(
        with_exact, header=dataclasses.replace(with_exact.header, layers=0, single_section=False), sections=[]
    )
    assert vqbitstream.unpack(vqbitstream.pack(only), Limits()) == only
    for wrong in (dataclasses.replace(with_exact, exact=()), dataclasses.replace(FILE, exact=(b"pixels",))):
        with pytest.raises(ValueError, match="exact pixels are not those"):
            vqbitstream.pack(wrong)


def test_truncated_anywhere_is_an_error() -> None:
    data = vqbitstream.pack(FILE)
    for end in range(len(data)):
        with pytest.raises(VQCError if end < 9 else TruncatedError):
            vqbitstream.unpack(data[:end], Limits())


def test_appended_bytes_are_an_error() -> None:
    with pytest.raises(CorruptError, match="1 bytes follow"):
        vqbitstream.unpack(vqbitstream.pack(FILE) + b"x", Limits())


def test_every_single_bit_flip_of_a_real_file_is_an_error(codec) -> None:  # type: ignore[no-untyped-def]
    data = (FIXTURES / "dot.vqc").read_bytes()
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << (bit % 8)
        with pytest.raises(VQCError):
            codec.decode_pixels(bytes(damaged))


def test_single_bit_flips_of_metadata_and_alpha_are_errors(codec) -> None:  # type: ignore[no-untyped-def]
    data = (FIXTURES / "rgb.vqc").read_bytes()
    rng = np.random.default_rng(0)
    for bit in rng.choice(8 * len(data), 300, replace=False):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << (bit % 8)
        with pytest.raises(VQCError):
            codec.decode_planes(bytes(damaged))


def test_partial_reading_keeps_what_is_sound() -> None:
    data = vqbitstream.pack(FILE)
    cut = vqbitstream.unpack(data[:-3], Limits(), partial=True)
    assert list(cut.sections) == [SECTIONS[0], SECTIONS[1], None]
    assert cut.metadata == FILE.metadata
    assert cut.problems == ("the file ends inside layer section 3 of 3",)
    damaged = bytearray(data)
    damaged[vqbitstream.header.HEADER_BYTES + 12] ^= 1
    assert set(vqbitstream.unpack(bytes(damaged), Limits(), partial=True).metadata) == {"xmp"}


@pytest.mark.parametrize("limit", [8, 62])
def test_metadata_beyond_the_limit_is_refused_without_inflating_it(limit: int) -> None:
    with pytest.raises(LimitError, match="ICC"):
        vqbitstream.unpack(vqbitstream.pack(FILE), Limits(max_metadata_bytes=limit))
    bomb = dataclasses.replace(FILE, metadata={"exif": bytes(40_000_000)})
    with pytest.raises(LimitError, match="EXIF"):
        vqbitstream.unpack(vqbitstream.pack(bomb), Limits())


@pytest.mark.parametrize("side_px", [1, 16, 17, 1024, 1025, 1040, 2048, 5000, 65535])
def test_tiles_cover_a_side_evenly(side_px: int) -> None:
    edges = tile_edges(side_px)
    sizes = np.diff(edges)
    assert edges[0] == 0
    assert edges[-1] == -(-side_px // 16)
    assert sizes.min() > 0
    assert sizes.max() <= TILE
    assert len(edges) == -(-edges[-1] // TILE) + 1
    assert all(e % 4 == 0 for e in edges[:-1])


@pytest.mark.parametrize("kind", ["flat", "ramp", "noise", "mask"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (37, 53)])
@pytest.mark.parametrize("small", [False, True])
def test_alpha_is_lossless(kind: str, shape: tuple[int, int], small: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if small:  # bands of 16 rows, and a few bytes at a time
        monkeypatch.setattr(alpha, "_BAND_PIXELS", 1)
        monkeypatch.setattr(alpha, "_FED_BYTES", 7)
    rng = np.random.default_rng(0)
    y, x = np.indices(shape)
    plane = {
        "flat": np.full(shape, 7),
        "ramp": (3 * x + 5 * y) % 256,
        "noise": rng.integers(0, 256, shape),
        "mask": 255 * ((x - 20) ** 2 + (y - 20) ** 2 < 200),
    }[kind].astype(np.uint8)
    data = pack_plane(plane)
    np.testing.assert_array_equal(unpack_plane(data, *shape), plane)
    for other in ((shape[0] + 1, shape[1]), (shape[0], shape[1] + 1)):
        with pytest.raises(CorruptError):
            unpack_plane(data, *other)
    for damaged in (b"", b"\x09" + data[1:], data[:-1], data + b"x", data[:1] + b"zz"):
        with pytest.raises(CorruptError):
            unpack_plane(damaged, *shape)


def test_a_smooth_alpha_is_small() -> None:
    y, x = np.indices((200, 300))
    assert len(pack_plane(((3 * x + 5 * y) % 256).astype(np.uint8))) < 600


def test_entropy_round_trip_and_estimate() -> None:
    batches, writer = coded(4000)
    payload = writer.finish()
    assert abs(8 * len(payload) - writer.estimated_bits) < 0.001 * writer.estimated_bits + 64
    reader = SectionReader(payload, tables(), writer.index_crc)
    for which, symbols in batches:
        np.testing.assert_array_equal(reader.read(which), symbols)
    reader.close()


def test_entropy_words_are_pinned() -> None:
    """One dtype, one flag, one order: other words would make every file unreadable."""
    writer = SectionWriter(tables())
    writer.write(np.array([0, 1, 2, 1, 0]), np.array([0, 3, 2, 1, 1]))
    assert writer.finish().hex() == "cef8cc27"
    assert writer.index_crc == 2171246778


def test_a_stream_with_symbols_left_or_wrong_checksum_is_an_error() -> None:
    batches, writer = coded()
    payload = writer.finish()
    reader = SectionReader(payload, tables(), writer.index_crc)
    reader.read(batches[0][0][:100])
    with pytest.raises(CorruptError, match="more than its symbols"):
        reader.close()
    reader = SectionReader(payload, tables(), writer.index_crc ^ 1)
    for which, _ in batches:
        reader.read(which)
    with pytest.raises(CorruptError, match="checksum"):
        reader.close()


@pytest.mark.parametrize("payload", [b"abc", b"\0\0\0\0"])
def test_payload_that_no_coder_writes(payload: bytes) -> None:
    with pytest.raises(CorruptError):
        SectionReader(payload, tables(), 0)


def test_counts_must_be_positive_and_fit_32_bits() -> None:
    for counts in ([[1, 0]], [[1, -1]], [[1, 1 << 32]]):
        with pytest.raises(ValueError, match=r"all in 1\.\.2\^32 - 1"):
            FrequencyTables(np.array(counts))


def test_hostile_files_with_sound_checksums_reach_the_decoder_and_raise_only_ours(codec) -> None:  # type: ignore[no-untyped-def]
    """Payload, lengths and header values are changed and every checksum is made right again."""
    contents = vqbitstream.unpack((FIXTURES / "odd.vqc").read_bytes(), Limits())
    header, sections = contents.header, contents.sections
    assert sections[0] is not None
    rng = np.random.default_rng(0)
    for _ in range(100):
        payload = bytearray(sections[0].payload)
        for _ in range(rng.integers(1, 6)):
            payload[rng.integers(len(payload))] = rng.integers(256)
        changes = (
            {"width": int(rng.integers(1, 200)), "step_code": int(rng.integers(8192, 40961))}
            if rng.random() < 0.5
            else {}
        )
        cut = bytes(payload[: rng.integers(0, len(payload) // 4 + 1) * 4])
        data = vqbitstream.pack(Contents(dataclasses.replace(header, **changes), [Section(cut, sections[0].index_crc)]))
        for layers in (None, 1):
            with pytest.raises(CorruptError):
                codec.decode_pixels(data, layers=layers)


def test_golden_files_are_whole() -> None:
    for name, facts in golden().items():
        data = (FIXTURES / f"{name}.vqc").read_bytes()
        assert len(data) == facts["bytes"]
        vqbitstream.unpack(data, Limits())


@pytest.mark.parametrize(
    ("width", "height", "single"),
    [
        (1, 1, True), (255, 257, True), (256, 255, True), (1024, 63, True), (1, 1024, True),
        (256, 256, False), (65537, 1, False), (1025, 1, False), (1, 1025, False), (1024, 64, False), (129, 512, False),
    ],
)  # fmt: skip
def test_pictures_of_up_to_65535_pixels_and_one_tile_have_a_single_section(
    width: int, height: int, single: bool
) -> None:
    header = Header.for_picture(width, height, step_code=20_000, tune=1, model_id=bytes(8), layers=5)
    assert header.single_section == single
    assert header.sections == (1 if single else 5 * len(header.tiles))
