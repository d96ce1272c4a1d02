"""FORMAT.md is the law: its tables, drawings and blocks say what the code does with headers, sections, alpha and weights.

How its decoder gets from sections to pixels is compared in `test_format_decoder.py`.
"""

from __future__ import annotations

import dataclasses
import re
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import vqbitstream
from support import FIXTURES, ROOT, TINY, golden
from support.document import DOC, ENCODER, TEXT, model, prose, refuses, rows, ruler, section
from vqbitstream import Header, Limits, container, geometry, header, prior, vectors
from vqbitstream.alpha import _filtered, unpack_plane
from vqbitstream.geometry import Rect, latent_shape, tile_edges
from vqcodec.models.config import DECODER_SIZES, ModelConfig
from vqcodec.models.store import find
from vqcodec.models.weights_file import model_id, read_weights


def test_tables_and_drawings_give_the_layout_of_header_and_sections() -> None:
    fixed = [struct.calcsize("<" + item) for item in re.findall(r"\d*[a-zA-Z]", header._FIXED.format)]
    expected = [len(header.MAGIC), 1, *fixed, 4]
    fields = [row for row in rows("Header") if row[0].isdigit()]
    assert [int(row[1]) for row in fields] == expected
    assert [int(row[0]) for row in fields] == np.cumsum([0, *expected[:-1]]).tolist()
    assert ruler("Header") == np.cumsum([0, *expected]).tolist()
    assert fields[0][3] == header.MAGIC.hex(" ")
    assert section("Header").lstrip().startswith(f"{header.HEADER_BYTES} bytes:")

    expected = [*(struct.calcsize("<" + item) for item in container._SECTION.format[1:]), container._INDEX_CRC.size]
    assert [int(row[0]) for row in rows("Sections") if row[0].isdigit()] == expected
    assert ruler("Sections") == np.cumsum([0, *expected]).tolist()
    tags = [(row[1], row[0].encode()) for row in rows("Sections") if len(row[0]) == 1 and row[0].isalpha()]
    layer = ("layer", container.LAYER)
    assert tags == [*container.METADATA.items(), layer, ("alpha", container.ALPHA), layer]
    least = header.HEADER_BYTES + container.LAYER_OVERHEAD_BYTES
    assert f"no metadata takes {least} bytes beyond its payload" in prose("Sections")


def test_the_drawing_of_the_flags_names_the_bits() -> None:
    drawn = re.search(r"^flags +\|(.*)\|$", section("Header"), re.M)
    assert drawn is not None
    names = [name.strip() for name in drawn[1].split("|")][::-1]
    bits = {"grey": header.FLAG_GREY, "single": header.FLAG_SINGLE_SECTION, "alpha": header.FLAG_ALPHA}
    assert names == [*bits, *["0"] * 5]
    assert [1 << names.index(name) for name in bits] == list(bits.values())


def test_ranges_and_limits_in_the_prose_are_the_codes() -> None:
    limits, text = Limits(), prose("Header")
    assert f"{limits.max_pixels:,} pixels, sides of {limits.max_side_px:,} pixels, {limits.max_layers} layers" in text
    assert f"files of {limits.max_file_bytes >> 30} GiB" in text
    assert f"inflate to more than {limits.max_metadata_bytes >> 20} MiB each" in prose("Sections")
    side = header.TILE * header.PATCH_PX
    assert f"fewer than {header.SINGLE_SECTION_PIXELS:,} pixels whose sides are at most {side:,} pixels" in text
    assert f"in {header.STEP_CODE_MIN}..{header.STEP_CODE_MAX}. The step" in text
    assert "in hundredths: 100..10000, or 0" in text
    formula = re.findall(r"log2\(step\) = (.*?), in", text)[0]
    assert eval(formula.replace("step code", "20001")) == header.log2_step(20001)


def test_numbers_in_the_prose_are_the_codes() -> None:
    low, high, octave = prior.LOG2_SCALE_MIN, prior.LOG2_SCALE_MAX, prior.OCTAVE
    first = prior.STEP_KNOT_MIN
    last = first + prior.STEP_KNOTS - 1
    for title, phrases in {
        "Tiles": [
            f"for every {geometry.PATCH_PX}x{geometry.PATCH_PX} pixels", f"at most {geometry.TILE} x {geometry.TILE} positions",
            f"multiples of {geometry.SIDE_FACTOR}",
        ],
        "Entropy coding": [f"{vectors.TABLES} tables of {vectors.SYMBOLS} positive counts"],
        "Symbols": [
            f"1/{octave} octave, {low}..{high}", f"in units of 1/{vectors.ONE} of the step", f"one symbol, 0..{vectors.CODEWORDS - 1},",
            f"Symbol {vectors.ESCAPE} escapes", f"as if both its log2-scales were {vectors.ESCAPE_LOG2_SCALE}.",
            f"times {1 << vectors.LEVEL_LOG2}^L", f"escape at level {vectors.LEVELS - 1} or below the top vector",
        ],
        "Prior": [
            f"in -{prior.MAX_ACTIVATION}..{prior.MAX_ACTIVATION}", "no sum reaches 2^24", f"from 2^{first} to 2^{last}",
            f"log2(sigma) in 1/{octave} octave", f"log2(sigma / step) in 1/{header.STEP_LOG2_FRACTION} octave",
        ],
        "Order of symbols": [f"each {geometry.SIDE_FACTOR} x {geometry.SIDE_FACTOR} positions", "(row + column even)"],
        "Synthesis": ["`synthesis_blocks` + 1 positions around it"],
    }.items():  # fmt: skip
        assert [phrase for phrase in phrases if phrase not in prose(title)] == []
    config = ModelConfig()
    assert config.synthesis_halo == config.synthesis_blocks + 1
    assert prior.EXACT_LIMIT == 1 << 24


def test_headers_read_as_the_code_reads_them() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        width, height = (int(n) for n in rng.integers(1, 6000, 2))
        single = rng.random() < 0.5 and max(width, height) <= 1024
        grey, alpha = (bool(flag) for flag in rng.integers(0, 2, 2))
        quality = int(rng.choice([0, 100, 4567, 10000]))
        code = int(rng.integers(header.STEP_CODE_MIN, header.STEP_CODE_MAX + 1))
        said = Header(width, height, grey, alpha, single, quality, code, rng.bytes(8), int(rng.integers(1, 65)))
        assert vqbitstream.unpack_header(said.pack(), Limits()) == said
        read = DOC.read_header(said.pack())
        assert (read.width, read.height, read.quality, read.step_code) == (width, height, quality, code)
        assert (read.grey, read.alpha, read.single) == (grey, alpha, single)
        assert (read.model_id, read.layers) == (said.model_id, said.layers)


def test_headers_are_refused_where_the_code_refuses_them() -> None:
    data = (FIXTURES / "odd.vqc").read_bytes()
    sound = vqbitstream.unpack_header(data, Limits())
    values = {
        "width": (0, 1, 1024, 1025), "height": (0, 1, 1024, 1025), "layers": (0, 1),
        "quality_centi": (0, 1, 99, 100, 10000, 10001, 65535), "step_code": (0, 8191, 8192, 40960, 40961, 65535),
    }  # fmt: skip
    cases = [dataclasses.replace(sound, **{field: value}).pack() for field in values for value in values[field]]  # type: ignore[arg-type]
    for at, value in [(0, 0x88), (7, 0x0B), (8, 1), *((9, 1 << bit) for bit in range(8))]:
        body = bytearray(data[: header.HEADER_BYTES - 4])
        body[at] = value
        cases.append(bytes(body) + struct.pack("<I", zlib.crc32(body)))
    cases += [data[:n] for n in range(header.HEADER_BYTES + 1)] + [data[:10] + b"\1" + data[11:]]
    verdicts = [refuses(vqbitstream.unpack_header, case, Limits()) for case in cases]
    assert 9 < sum(verdicts) < len(cases) - 9
    assert [refuses(DOC.read_header, case) for case in cases] == verdicts


def test_tile_edges_are_the_codes_and_the_drawing_shows_some() -> None:
    for pixels in (*range(1, 9000), *range(9000, 65536, 97), 65535):
        assert DOC.edges(pixels) == tile_edges(pixels)
        assert DOC.positions(pixels) == latent_shape(pixels, 1)[1]
    for width, height in ((1, 1), (2000, 1100), (5000, 900), (1024, 1025)):
        said = Header(width, height, False, False, False, 0, 20000, bytes(8), 1)
        assert [Rect(*tile) for tile in DOC.tiles(said)] == said.tiles
    width, height = (int(n) for n in re.findall(r"picture of (\d+) x (\d+) pixels", section("Tiles"))[0])
    drawn = section("Tiles").split("```")[-2]
    assert ruler("Tiles") == tile_edges(width)
    assert [int(n) for n in re.findall(r"^ *(\d+) \+", drawn, re.M)] == tile_edges(height)
    assert drawn.count("tile ") == (len(tile_edges(width)) - 1) * (len(tile_edges(height)) - 1)


@pytest.mark.parametrize("name", golden())
def test_sections_read_as_the_code_reads_them(name: str) -> None:
    data = (FIXTURES / f"{name}.vqc").read_bytes()
    contents = vqbitstream.unpack(data, Limits())
    metadata, layers, alpha = DOC.read_sections(data, DOC.read_header(data))
    assert metadata == {container.METADATA[key]: value for key, value in contents.metadata.items()}
    assert layers == [(part.payload, part.index_crc) for part in contents.sections if part]
    assert alpha == contents.alpha


def test_damaged_sections_are_refused_where_the_code_refuses_them() -> None:
    rgb, tiles = ((FIXTURES / f"{name}.vqc").read_bytes() for name in ("rgb", "tiles"))
    cases = [data[:n] for data in (rgb, tiles) for n in range(len(data) + 1)] + [rgb + b"\0", tiles + tiles[35:]]
    rng = np.random.default_rng(0)
    for _ in range(200):  # bits of an index checksum may change: that shows only when the symbols are decoded
        damaged = bytearray(rgb)
        damaged[rng.integers(35, len(rgb))] ^= 1 << rng.integers(8)
        cases.append(bytes(damaged))
    head, icc, exif, rest = (part for part in re.split(rb"(?=[IEX].\0\0\0)", rgb, maxsplit=3, flags=re.S) if part)
    cases += [head + exif + icc + rest, head + icc + icc + exif + rest, head + icc + rest, head + rest]
    verdicts = [refuses(vqbitstream.unpack, case, Limits()) for case in cases]
    assert verdicts[-4:] == [True, True, False, False]
    assert [refuses(lambda data: DOC.read_sections(data, DOC.read_header(data)), case) for case in cases] == verdicts


def test_metadata_are_refused_where_the_code_refuses_them() -> None:
    contents = vqbitstream.unpack((FIXTURES / "dot.vqc").read_bytes(), Limits())
    for more, refused in ((0, False), (1, True)):
        large = dataclasses.replace(contents, metadata={"xmp": bytes(Limits().max_metadata_bytes + more)})
        data = vqbitstream.pack(large)
        assert refuses(vqbitstream.unpack, data, Limits()) == refused
        assert refuses(DOC.read_sections, data, DOC.read_header(data)) == refused


@pytest.mark.parametrize("kind", range(5))
def test_alpha_reads_as_the_code_reads_it(kind: int) -> None:
    plane = np.random.default_rng(kind).integers(0, 256, (11, 7), dtype=np.uint8)
    packed = bytes([kind]) + zlib.compress(_filtered(plane, kind).tobytes())
    broken = [packed[:-1], packed + b"\0", packed[:1], b"", *(packed[:1] + zlib.compress(bytes(n)) for n in (76, 78))]
    if kind < 4:
        assert DOC.read_alpha(packed, 7, 11) == unpack_plane(packed, 11, 7).tobytes() == plane.tobytes()
    else:
        broken.append(packed)
    for payload in broken:
        assert refuses(unpack_plane, payload, 11, 7)
        assert refuses(DOC.read_alpha, payload, 7, 11)


@pytest.mark.parametrize("name", [str(TINY), "default"])
def test_tables_name_every_tensor_of_the_decoder(name: str) -> None:
    said = model(name)
    groups, blocks = said.sizes["groups"], said.sizes["synthesis_blocks"]
    kinds = {"int16": "<i2", "uint32": "<u4", "int8": "|i1", "int32": "<i4", "uint8": "|u1", "float": "<f2"}
    parts = re.findall(r"`prior\.NAME\.(\w+)` \((\w+), \[([\w, ]+)\]\)", prose("Weights"))
    expected: dict[str, tuple[str, tuple[int, ...]]] = {}

    def shape(text: str, **more: Any) -> tuple[int, ...]:
        return tuple(eval(f"[{text}]", {**said.sizes, "latent": sum(groups), **more}))

    for first, second, third, *remark in rows("Weights"):
        if remark and first not in ("NAME", "---"):
            last = len(groups) - ("not for the last G" in remark[0])
            for group in range(last if ".G." in first else 1):
                inputs, outputs = shape(f"{second}, {third}", G=group)
                for part, kind, sides in parts:
                    key = f"prior.{first.replace('.G.', f'.{group}.')}.{part}"
                    expected[key] = kinds[kind], shape(sides, inputs=inputs, outputs=outputs)
        elif second in kinds:
            for block in range(blocks if ".B." in first else 1):
                expected[first.replace(".B.", f".{block}.")] = kinds[second], shape(third)
    assert {key: value[:2] for key, value in said.raw.items() if not key.startswith(ENCODER)} == expected


def test_model_ids_are_the_codes() -> None:
    path = find(str(TINY)).path
    tensors, config = read_weights(path)
    assert model(str(TINY)).id == model_id(tensors, config)
    assert model("default").id.hex() in find("default").path.name
    text = prose("Weights")
    assert all(f"`{size}`" in text for size in (*DECODER_SIZES, "vqcodec_config"))
    decoder = {kind for name, (kind, _, _) in model("default").raw.items() if not name.startswith(ENCODER)}
    assert all(f"`{kind}`" in text for kind in decoder)


def test_bounds_of_a_model_are_those_that_the_code_enforces() -> None:
    tensors = model(str(TINY)).tensors
    DOC.check_model(tensors)

    def sound(weight: Any, bias: int, shift: int) -> bool:
        layer = prior.Layer(np.asarray(weight), np.array([bias]), np.array([shift]))
        parts = {"weight": layer.weight.tolist(), "bias": [bias], "shift": [shift]}
        others = {"prior.sigma_log2": [], "quantizer.codebooks": [], "quantizer.counts": []}
        verdict = not refuses(DOC.check_model, {f"prior.any.{part}": value for part, value in parts.items()} | others)
        try:
            layer.check("any")
        except ValueError:
            assert not verdict
        else:
            assert verdict
        return verdict

    full, free = np.full((1040, 1), 127), (1 << 24) - 1 - 127 * 127 * 1040
    assert [sound(full, free + more, 0) for more in (0, 1)] == [True, False]
    assert [sound(-full, 512 - free - more, 10) for more in (0, 1)] == [True, False]
    assert [sound(np.ones((rows, 1), dtype=int), 0, 0) for rows in (1040, 1041)] == [True, False]
    assert [sound([[weight]], 0, 0) for weight in (127, 128, -127, -128)] == [True, False, True, False]
    assert [sound([[1]], 0, shift) for shift in (0, 20, 21, -1)] == [True, True, False, False]
    most = prior.SIGMA_LOG2_MAX
    assert not refuses(DOC.check_model, tensors | {"prior.sigma_log2": [-most, most]})
    books = np.array(tensors["quantizer.codebooks"])
    books[3, vectors.ZERO] = 0, 1
    with pytest.raises(ValueError, match="zero vector"):
        vectors.Vectors(books)
    for name, value in {
        "prior.sigma_log2": [most + 1], "quantizer.counts": [[0] * 290], "quantizer.codebooks": books.tolist(),
    }.items():  # fmt: skip
        assert refuses(DOC.check_model, tensors | {name: value})


def test_the_code_cites_sections_that_exist() -> None:
    sources = [*(ROOT / "bitstream").rglob("*.py"), *(ROOT / "codec").rglob("*.py"), ROOT / "desktop" / "vqc.magic"]
    groups = re.findall(r"FORMAT\.md, ((?:\"[^\"]+\"(?: and )?)+)", "\n".join(path.read_text() for path in sources))
    cited = {title for group in groups for title in re.findall(r'"([^"]+)"', group)}
    unimplemented = {"Versions", "Conventions", "What a reader refuses", "Previews and damaged files"}
    assert cited | unimplemented == set(re.findall(r"^## (.*)$", TEXT, re.M))


def test_links_inside_the_document_lead_somewhere() -> None:
    anchors = {title.lower().replace(" ", "-") for title in re.findall(r"^#+ (.*)$", TEXT, re.M)}
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= anchors


def test_the_history_has_the_version_that_is_written() -> None:
    versions = [int(row[0]) for row in rows("Versions") if row[0].isdigit()]
    assert versions == list(range(versions[-1] + 1))
    assert header.FORMAT_VERSION in versions
    assert TEXT.startswith(f"# The .vqc file, format version {header.FORMAT_VERSION}\n")
