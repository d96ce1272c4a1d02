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
from support import ROOT
from support.document import DOC, ENCODER, TEXT, model, prose, refuses, rows, ruler, section
from support.loud import LOUD, SHAPES, loud_tensors
from vqbitstream import Header, Limits, arithmetic, container, geometry, header, prior, vectors
from vqbitstream.alpha import _filtered, unpack_plane
from vqbitstream.geometry import Rect, latent_shape, tile_edges
from vqcodec.codec import Codec
from vqcodec.models.config import DECODER_SIZES, ModelConfig
from vqcodec.models.layout import FLOATS, layout
from vqcodec.models.store import find
from vqcodec.models.weights_file import LEAST_SIGMA, MOST_BLOCKS, MOST_HEAD_BYTES, MOST_MAGNITUDE, model_id


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
    exact = ("exact pixels", container.EXACT)
    assert tags == [*container.METADATA.items(), layer, ("alpha", container.ALPHA), exact, layer]
    least = header.HEADER_BYTES + container.LAYER_OVERHEAD_BYTES
    assert f"no metadata takes {least} bytes beyond its payload" in prose("Sections")


def test_the_drawing_of_the_flags_names_the_bits() -> None:
    drawn = re.search(r"^flags +\|(.*)\|$", section("Header"), re.M)
    assert drawn is not None
    names = [name.strip() for name in drawn[1].split("|")][::-1]
    bits = {"grey": header.FLAG_GREY, "single": header.FLAG_SINGLE_SECTION, "alpha": header.FLAG_ALPHA}
    bits["exact"] = header.FLAG_EXACT
    assert names == [*bits, *["0"] * 4]
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
    assert [f"{number} is {tune}" in text for number, tune in enumerate(header.TUNES)] == [True, True]
    formula = re.findall(r"log2\(step\) = (.*?), in", text)[0]
    assert eval(formula.replace("step code", "20001")) == header.log2_step(20001)


def test_numbers_in_the_prose_are_the_codes() -> None:
    low, high, octave = prior.LOG2_SCALE_MIN, prior.LOG2_SCALE_MAX, arithmetic.OCTAVE
    most = arithmetic.MAX_ACTIVATION
    for title, phrases in {
        "Tiles": [
            f"for every {geometry.PATCH_PX}x{geometry.PATCH_PX} pixels", f"at most {geometry.TILE} x {geometry.TILE} positions",
            f"multiples of {geometry.CELL}",
        ],
        "Entropy coding": [f"{vectors.TABLES} tables of {vectors.SYMBOLS} positive counts"],
        "Symbols": [
            f"1/{octave} octave, {low}..{high}", f"in units of 1/{vectors.ONE} of the", f"one symbol, 0..{vectors.CODEWORDS - 1},",
            f"Symbol {vectors.ESCAPE} escapes", f"as if both its log2-scales were {vectors.ESCAPE_LOG2_SCALE}.",
            f"times {1 << vectors.LEVEL_LOG2}^L", f"escape at level {vectors.LEVELS - 1} or below the top vector",
            f"in 1/{vectors.ONE} of the local step.",
        ],
        "Features": [
            f"the same {prior.FEATURES} numbers 0..64", f"from 2^{prior.KNOT_MIN} to 2^{prior.KNOT_MIN + prior.KNOTS - 1},",
            f"divided by {prior.ACTIVATION_UNIT}.", "in the first half if the tune is 0 and in the second half if it is 1",
        ],
        "Prior": [
            f"in -{most}..{most}", "no sum reaches 2^24", "slope 1/8", f"with {arithmetic.EXP2_LOG2} fractional bits",
            f"`GAIN_EXP2` with {arithmetic.GAIN_EXP2_LOG2}", f"log2(sigma) in 1/{octave} octave",
            f"Latents are in 2^-{prior.LATENT_LOG2} of",
            f"the channel's gain, in 1/{header.STEP_LOG2_FRACTION} octave", f"means in 1/{1 << prior.MEAN_LOG2} sigma",
            f"means in 1/{vectors.ONE} of the local step", "its four nearest known positions",
        ],
        "Order of symbols": ["in five passes in the first layer, and in two in each of the others"],
        "Synthesis": ["`body_blocks` + ceil(`tail_blocks` / 4) positions around it", f"times 2^-{prior.LATENT_LOG2}, is used"],
    }.items():  # fmt: skip
        assert [phrase for phrase in phrases if phrase not in prose(title)] == []
    assert arithmetic.EXACT_LIMIT == 1 << 24
    assert (prior.FIRST_PASSES, prior.NEIGHBOURS) == (5, 4)
    for body, tail in ((1, 1), (4, 2), (2, 4), (3, 5), (1, 16)):
        config = dataclasses.replace(ModelConfig(), body_blocks=body, tail_blocks=tail)
        assert config.synthesis_halo == body + -(-tail // 4)


def test_the_sizes_of_the_document_are_those_of_the_code() -> None:
    ranges = {row[0]: row[2] for row in rows("Weights") if row[0] in DECODER_SIZES}
    most = arithmetic.MAX_FAN_IN
    assert list(ranges) == list(DECODER_SIZES)
    assert ranges.pop("groups") == "1 to 16 even numbers in 2..1024"
    assert ranges.pop("state") == f"1..1024; plus the largest group at most {most}"
    assert ranges.pop("near") == f"1..{most // 4}"
    assert (ranges.pop("lapped"), ranges.pop("shown")) == ("1..1024, less than latent", "1..1024, at most latent")
    assert {name for name, words in ranges.items() if words == f"1..{MOST_BLOCKS}"} == {"body_blocks", "tail_blocks"}
    assert {words for name, words in ranges.items() if not name.endswith("_blocks")} == {"1..1024"}


def test_headers_read_as_the_code_reads_them() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        width, height = (int(n) for n in rng.integers(1, 6000, 2))
        single = rng.random() < 0.5 and max(width, height) <= 1024
        grey, alpha = (bool(flag) for flag in rng.integers(0, 2, 2))
        quality = int(rng.choice([0, 100, 4567, 10000]))
        code = int(rng.integers(header.STEP_CODE_MIN, header.STEP_CODE_MAX + 1))
        tune, exact = int(rng.integers(0, 2)), bool(rng.random() < 0.5)
        layers = int(rng.integers(0 if exact and not single else 1, 65))
        said = Header(width, height, grey, alpha, single, quality, code, tune, rng.bytes(8), layers, exact)
        assert vqbitstream.unpack_header(said.pack(), Limits()) == said
        read = DOC.read_header(said.pack())
        assert (read.width, read.height, read.quality, read.step_code) == (width, height, quality, code)
        assert (read.grey, read.alpha, read.single, read.exact) == (grey, alpha, single, exact)
        assert (read.tune, read.model_id, read.layers) == (said.tune, said.model_id, said.layers)


def test_headers_are_refused_where_the_code_refuses_them(files: dict[str, bytes]) -> None:
    data = files["odd"]
    sound = vqbitstream.unpack_header(data, Limits())
    values = {
        "width": (0, 1, 1024, 1025), "height": (0, 1, 1024, 1025), "layers": (0, 1),
        "quality_centi": (0, 1, 99, 100, 10000, 10001, 65535), "step_code": (0, 4095, 4096, 40960, 40961, 65535),
        "tune": (0, 1, 2, 255),
    }  # fmt: skip
    cases = [dataclasses.replace(sound, **{field: value}).pack() for field in values for value in values[field]]  # type: ignore[arg-type]
    cases += [
        dataclasses.replace(sound, layers=0, exact=True, single_section=single).pack() for single in (False, True)
    ]
    for at, value in [(0, 0x88), (7, 0x0B), (8, 1), *((9, 1 << bit) for bit in range(8))]:
        body = bytearray(data[: header.HEADER_BYTES - 4])
        body[at] = value
        cases.append(bytes(body) + struct.pack("<I", zlib.crc32(body)))
    cases += [data[:n] for n in range(header.HEADER_BYTES + 1)] + [data[:10] + b"\1" + data[11:]]
    first_generation = header.MAGIC + struct.pack("<BBIIHHQB", 0, 2, 33, 17, 5000, 20000, 1, 3)
    cases.append(first_generation + struct.pack("<I", zlib.crc32(first_generation)) + bytes(100))
    verdicts = [refuses(vqbitstream.unpack_header, case, Limits()) for case in cases]
    assert verdicts[-1]
    assert len(first_generation) + 4 == 35
    assert "whose header had 35 bytes, are no longer read" in prose("Versions")
    assert 9 < sum(verdicts) < len(cases) - 9
    assert [refuses(DOC.read_header, case) for case in cases] == verdicts


def test_tile_edges_are_the_codes_and_the_drawing_shows_some() -> None:
    for pixels in (*range(1, 9000), *range(9000, 65536, 97), 65535):
        assert DOC.edges(pixels) == tile_edges(pixels)
        assert DOC.positions(pixels) == latent_shape(pixels, 1)[1]
    for width, height in ((1, 1), (2000, 1100), (5000, 900), (1024, 1025)):
        said = Header(width, height, False, False, False, 0, 20000, 0, bytes(8), 1)
        assert [Rect(*tile) for tile in DOC.tiles(said)] == said.tiles
    width, height = (int(n) for n in re.findall(r"picture of (\d+) x (\d+) pixels", section("Tiles"))[0])
    drawn = section("Tiles").split("```")[-2]
    assert ruler("Tiles") == tile_edges(width)
    assert [int(n) for n in re.findall(r"^ *(\d+) \+", drawn, re.M)] == tile_edges(height)
    assert drawn.count("tile ") == (len(tile_edges(width)) - 1) * (len(tile_edges(height)) - 1)


@pytest.mark.parametrize("name", [*SHAPES, "page", "drawing"])
def test_sections_read_as_the_code_reads_them(name: str, files: dict[str, bytes]) -> None:
    data = files[name]
    contents = vqbitstream.unpack(data, Limits())
    metadata, layers, alpha, exact = DOC.read_sections(data, DOC.read_header(data))
    assert metadata == {container.METADATA[key]: value for key, value in contents.metadata.items()}
    assert layers == [(part.payload, part.index_crc) for part in contents.sections if part]
    assert alpha == contents.alpha
    assert exact == list(contents.exact)


def test_damaged_sections_are_refused_where_the_code_refuses_them(files: dict[str, bytes]) -> None:
    rgb, tiles, first = files["rgb"], files["tiles"], header.HEADER_BYTES
    cases = [data[:n] for data in (rgb, tiles) for n in (*range(500), *range(500, len(data), 11), len(data))]
    cases += [rgb + b"\0", tiles + tiles[first:]]
    rng = np.random.default_rng(0)
    for _ in range(200):  # bits of an index checksum may change: that shows only when the symbols are decoded
        damaged = bytearray(rgb)
        damaged[rng.integers(first, len(rgb))] ^= 1 << rng.integers(8)
        cases.append(bytes(damaged))
    head, icc, exif, rest = (part for part in re.split(rb"(?=[IEX].\0\0\0)", rgb, maxsplit=3, flags=re.S) if part)
    cases += [head + exif + icc + rest, head + icc + icc + exif + rest, head + icc + rest, head + rest]
    verdicts = [refuses(vqbitstream.unpack, case, Limits()) for case in cases]
    assert verdicts[-4:] == [True, True, False, False]
    assert [refuses(lambda data: DOC.read_sections(data, DOC.read_header(data)), case) for case in cases] == verdicts


def test_metadata_are_refused_where_the_code_refuses_them(files: dict[str, bytes]) -> None:
    contents = vqbitstream.unpack(files["dot"], Limits())
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


@pytest.mark.parametrize("config", [LOUD, ModelConfig(), ModelConfig(groups=(4,), lapped=2, shown=4)])
def test_tables_name_every_tensor_of_the_decoder(config: ModelConfig) -> None:
    kinds = {kind: (kind,) for kind in ("int16", "uint32", "int8", "int32", "uint8")} | {"float": FLOATS}
    parts = re.findall(r"`prior\.NAME\.(\w+)` \((\w+), \[([\w, ]+)\]\)", prose("Weights"))
    sizes = dataclasses.asdict(config) | {"latent": config.channels}
    last = len(config.groups) - 1
    expected: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {}

    def shape(text: str, **more: Any) -> tuple[int, ...]:
        return tuple(eval(f"[{text}]", {**sizes, **more}))

    for first, second, third, *remark in rows("Weights"):
        if remark and first not in ("NAME", "---"):
            assert ("depthwise" in remark[0]) == first.endswith(".space")
            numbers = range(4) if ".P." in first else range(last + 1) if ".G." in first else range(1)
            skipped = {
                number for number, which in ((0, "first"), (last, "last")) if f"not for the {which} G" in remark[0]
            }
            for number in set(numbers) - skipped:
                inputs, outputs = shape(f"{second}, {third}", G=number)
                for part, kind, sides in parts:
                    key = f"prior.{re.sub('[.][GP][.]', f'.{number}.', first)}.{part}"
                    expected[key] = kinds[kind], shape(sides, inputs=inputs, outputs=outputs)
        elif second in kinds:
            blocks = config.body_blocks if ".body.B." in first else config.tail_blocks
            for block in range(blocks if ".B." in first else 1):
                expected[first.replace(".B.", f".{block}.")] = kinds[second], shape(third)
    assert {key: kind for key, kind in layout(config).items() if not key.startswith(ENCODER)} == expected
    assert "float is float16 or float32, of magnitude at most 65504; sigmas are at least 2^-24." in prose("Weights")
    assert (MOST_MAGNITUDE, LEAST_SIGMA, MOST_HEAD_BYTES) == (65504, 2**-24, 2**20)
    assert "has at most 2^20 bytes" in prose("Weights")
    assert FLOATS == ("float16", "float32")


def test_model_ids_are_the_codes(loud: Codec, said: Any) -> None:
    assert said.id == loud.model_id == model_id(loud_tensors(), LOUD.to_dict())
    text = prose("Weights")
    assert all(f"`{size}`" in text for size in (*DECODER_SIZES, "vqcodec_config"))
    assert f"First come the {['ten', 'eleven', 'twelve'][len(DECODER_SIZES) - 10]} sizes" in text
    decoder = {kind for name, (kind, _, _) in said.raw.items() if not name.startswith(ENCODER)}
    assert all(f"`{kind}`" in text for kind in decoder)


def test_the_shipped_models_id_is_the_documents() -> None:
    assert model("default").id.hex() in find("default").path.name


def test_bounds_of_a_model_are_those_that_the_code_enforces(said: Any) -> None:
    tensors = said.tensors
    DOC.check_model(tensors)

    def sound(weight: Any, bias: int, shift: int) -> bool:
        layer = arithmetic.Layer(np.asarray(weight), np.array([bias]), np.array([shift]))
        parts = {"weight": layer.weight.tolist(), "bias": [bias], "shift": [shift]}
        others = {name: [] for name in tensors if not name.endswith((".weight", ".bias", ".shift"))}
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
    most, gain = prior.SIGMA_LOG2_MAX, prior.CHANNEL_GAIN_MAX
    assert not refuses(
        DOC.check_model, tensors | {"prior.sigma_log2": [-most, most], "prior.channel_gain": [[-gain, gain]]}
    )
    books = np.array(tensors["quantizer.codebooks"])
    books[3, vectors.ZERO] = 0, 1
    with pytest.raises(ValueError, match="zero vector"):
        vectors.Vectors(books)
    for name, value in {
        "prior.sigma_log2": [most + 1], "prior.channel_gain": [[gain + 1]], "quantizer.counts": [[0] * 290],
        "quantizer.codebooks": books.tolist(), "synthesis.sigma": [0.0],
    }.items():  # fmt: skip
        assert refuses(DOC.check_model, tensors | {name: value})
    for name, value in {"prior.sigma_log2": [-most - 1], "prior.channel_gain": [[-gain - 1]]}.items():
        assert refuses(DOC.check_model, tensors | {name: value})


def test_the_code_cites_sections_that_exist() -> None:
    sources = [
        *(ROOT / "bitstream").rglob("*.py"),
        *(ROOT / "codec").rglob("*.py"),
        ROOT / "codec" / "vqcodec" / "desktop" / "vqc.magic",
    ]
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
