"""FORMAT.md's blocks are a decoder of their own, in plain Python. Step by step it gives what the code gives, over the whole range
of inputs; and as a whole it decodes the golden files to the same latents, and to pixels within one level."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from typing import Any

import constriction
import numpy as np
import pytest
import vqbitstream
from support import FIXTURES, TINY, golden, picture
from support.document import DOC, as_array, model, refuses, section
from vqbitstream import Contents, Limits, Section, header, prior, vectors
from vqbitstream.entropy import FrequencyTables, SectionReader, SectionWriter
from vqbitstream.geometry import Rect, latent_shape
from vqbitstream.latent import passes
from vqcodec.codec import Codec
from vqcodec.models.config import step_features
from vqcodec.models.weights_file import read_weights

STEP_CODES = range(header.STEP_CODE_MIN, header.STEP_CODE_MAX + 1)
LOG2_SCALES = range(prior.LOG2_SCALE_MIN, prior.LOG2_SCALE_MAX + 1)


@pytest.fixture(scope="module")
def tiny() -> Any:
    return model(str(TINY), floats=True)


@cache
def tables() -> FrequencyTables:
    return FrequencyTables(read_weights(TINY)[0]["quantizer.counts"])


@cache
def bounds() -> list[list[int]]:
    return [DOC.bounds_of(row) for row in tables().counts.tolist()]


def exact_prior() -> prior.Prior:
    """The tiny model's, in int64."""
    tensors, config = read_weights(TINY)
    parts = {k.removeprefix("prior."): v for k, v in tensors.items() if k.startswith("prior.")}
    return prior.Prior(parts, tuple(config["groups"]), reference=True)


# Entropy coding


def test_frequencies_are_constrictions_at_both_ends_of_every_symbol() -> None:
    rng = np.random.default_rng(0)
    skewed = (np.exp(rng.normal(0, 4, (20, 290))) + 1).astype(np.int64)
    one = np.ones((1, 290), dtype=np.int64)
    one[0, 100] = (1 << 32) - 1
    shares = np.full((1, 290), 49)  # exact quotients are whole numbers here; those in float64 may lie below
    shares[0, -1] = 49 * ((1 << 24) - 290 - 289)
    for row in (*tables().counts, *model("default").tensors["quantizer.counts"], *skewed, *one, *shares):
        table = constriction.stream.model.Categorical(np.array(row, dtype=np.float64), perfect=False)
        ends = DOC.bounds_of([int(n) for n in row])
        assert (ends[0], ends[290]) == (0, 1 << 24)
        for symbol in range(290):
            for quantile in (ends[symbol], ends[symbol + 1] - 1):
                words = np.array([quantile, 1], dtype=np.uint32)
                assert constriction.stream.stack.AnsCoder(words).decode(table) == symbol


@pytest.mark.parametrize("batches", [[], [1], [3], [1000, 0, 1, 70, 2000]])
def test_a_stream_of_constriction_decodes_by_the_documents_algorithm(batches: list[int]) -> None:
    rng = np.random.default_rng(1)
    writer = SectionWriter(tables())
    written = [(rng.integers(0, 440, size), rng.integers(0, 290, size)) for size in batches]
    for names, symbols in written:
        writer.write(names, symbols)
    payload = writer.finish()
    source = DOC.Symbols((payload, writer.index_crc), bounds())
    for names, symbols in written:
        assert source.batch(names.tolist()) == symbols.tolist()
    source.close()
    assert not source.words
    source.expected_checksum ^= 1
    assert refuses(source.close)
    early = DOC.Symbols((payload, 0), bounds())
    assert refuses(early.close) == bool(payload)


@pytest.mark.parametrize(
    "payload", [b"", b"\1", b"\1\0\0", b"\0" * 4, b"\1\0\0\0", b"\1" + b"\0" * 7, b"\0\0\0\0\1\0\0\0"]
)
def test_payloads_that_no_coder_writes_are_refused(payload: bytes) -> None:
    refused = len(payload) % 4 != 0 or payload.endswith(bytes(4))
    assert refuses(DOC.Symbols, (payload, 0), []) == refused
    assert refuses(SectionReader, payload, tables(), 0) == refused


# Symbols


def test_levels_and_top_tables_are_the_codes_for_every_pair_of_scales() -> None:
    scales = np.array([(a, b) for a in LOG2_SCALES for b in LOG2_SCALES])
    pairs = vectors.Pairs.of(scales)
    classes = [DOC.classify(a, b) for a, b in scales.tolist()]
    assert [DOC.top_table(*each) for each in classes] == pairs.tables.tolist()
    assert [classes[row] for row in pairs.coarse] == list(
        zip(pairs.mean.tolist(), pairs.ratio.tolist(), pairs.level.tolist(), strict=True)
    )
    assert sum(level > 0 for _, _, level in classes) == len(pairs.coarse)


def test_lower_tables_are_the_codes_for_every_class() -> None:
    mean, ratio, a, b = (
        n.ravel() for n in np.meshgrid(LOG2_SCALES, range(5), (-256, 0, 512), (-1, 0, 3), indexing="ij")
    )
    every = np.arange(len(mean))
    pairs = vectors.Pairs(every, every, mean, ratio, every)
    classes = list(zip(mean.tolist(), ratio.tolist(), a.tolist(), b.tolist(), strict=True))
    for level in range(vectors.LEVELS - 1):
        expected = pairs.low_tables(every, level, np.stack([a, b], axis=1)).tolist()
        assert [DOC.low_table(m, r, level, *above) for m, r, *above in classes] == expected


def test_codebooks_and_grid_are_the_codes() -> None:
    assert [DOC.codebook(table) for table in range(vectors.SINGLE_TABLES)] == vectors.single_table_book().tolist()
    grid = [[vectors.ONE * x for x in DOC.grid(index)] for index in range(vectors.CODEWORDS)]
    assert grid == vectors.grid_codebook().tolist()


def test_vectors_of_every_level_decode_through_escapes(codec: Codec, tiny: Any) -> None:
    rng = np.random.default_rng(3)
    scales = rng.integers(-192, 289, (4000, 2))
    residual = np.rint(rng.laplace(size=scales.shape) * 2.0 ** (scales / 32) * 256).astype(np.int64)
    residual[::50] *= 40
    writer = SectionWriter(tables())
    written = codec.tile_coder.latent_coder.chooser.encode(scales, residual, 0.0, writer)
    source = DOC.Symbols((writer.finish(), writer.index_crc), bounds())
    pairs = [tuple(pair) for pair in scales.tolist()]
    np.testing.assert_array_equal(DOC.read_vectors(pairs, source, tiny.tensors["quantizer.codebooks"]), written)
    source.close()


@pytest.mark.parametrize(("scale", "batch", "refused"), [(288, 1, True), (60, 2, True), (60, 1, False)])
def test_an_escape_where_none_may_be_is_refused(scale: int, batch: int, refused: bool) -> None:
    class OneEscape:
        batches = 0

        def batch(self, names: list[int]) -> list[int]:
            self.batches += bool(names)
            return [289 if self.batches == batch else 144 for _ in names]

    assert refuses(DOC.read_vectors, [(scale, scale)], OneEscape(), []) == refused


# The prior


def test_power_and_compander_tables_are_the_codes() -> None:
    assert prior.EXP2.tolist() == DOC.EXP2
    assert prior.COMPAND.tolist() == DOC.COMPAND


@pytest.mark.parametrize("shift", [2, -2])
def test_scaling_rounds_as_the_code_rounds(shift: int) -> None:
    rng = np.random.default_rng(0)
    logs = np.concatenate([np.arange(-57344, 57345, 13), rng.integers(-57344, 57345, 4096)])
    for reach in (3, 300, 70_000, (1 << 24) + 256 * 5000):
        values = rng.integers(-reach, reach + 1, len(logs))
        expected = prior.rounded(values, prior.power(logs, shift)).tolist()
        assert [DOC.scaled(v, n, shift) for v, n in zip(values.tolist(), logs.tolist(), strict=True)] == expected


def test_step_features_are_the_codes_for_every_step() -> None:
    for code in STEP_CODES:
        assert DOC.step_features(code) == prior.Prior.step_features(code).tolist()
    for code in STEP_CODES[::37]:
        assert [f / 32 for f in DOC.step_features(code)] == step_features(header.log2_step(code)).tolist()


def test_layers_round_negative_sums_and_clamp_as_the_code_does() -> None:
    rng = np.random.default_rng(0)
    layer = prior.Layer(rng.integers(-127, 128, (90, 40)), rng.integers(-(1 << 20), 1 << 20, 40), np.arange(40) % 21)
    integers, x = prior._Integers(), rng.integers(-127, 128, (20, 90))
    expected = integers.apply(x, integers.prepare(layer))
    tensors = {f"prior.any.{part}": getattr(layer, part).tolist() for part in ("weight", "bias", "shift")}
    said = [DOC.layer(DOC.Record(tensors=tensors), "any", row) for row in x.tolist()]
    assert said == expected.tolist()
    assert [DOC.leaky(row) for row in said] == exact_prior()._leaky(expected).tolist()
    assert [DOC.clamp(row) for row in said] == prior._clamp(expected).tolist()


def test_means_scales_and_contexts_are_the_codes_for_steps_all_over_the_range(tiny: Any) -> None:
    exact, rng = exact_prior(), np.random.default_rng(0)
    starts = np.cumsum([0, *exact.groups])
    for code in (*STEP_CODES[::501], STEP_CODES[-1]):
        state = exact.begin(np.zeros((1, 1, exact.side_channels), dtype=np.int64), code, 1, 1)
        state.trunk = rng.integers(-127, 128, state.trunk.shape)
        for group, count in enumerate(exact.groups):
            ratio = DOC.ratios(tiny, range(starts[group], starts[group + 1]), code)
            means, scales = exact.predict(group, state.trunk, state)
            said = DOC.predict(tiny, group, state.trunk[0].tolist(), DOC.step_features(code), ratio)
            assert said == (means[0].tolist(), scales[0].tolist())
            for reach in (300, 30_000, 1 << 24):
                values = rng.integers(-reach, reach + 1, (50, count))
                expected = exact.context(group, values, code).tolist()
                assert [DOC.companded(row, ratio) for row in values.tolist()] == expected


@pytest.mark.parametrize("code", [header.STEP_CODE_MIN, 20000, header.STEP_CODE_MAX])
def test_means_and_scales_are_clipped_where_the_code_clips_them(code: int, tiny: Any) -> None:
    """A head whose outputs are as large as the bounds allow."""
    exact = exact_prior()
    hidden = prior.Layer(np.ones((23, 1), dtype=np.int64), np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.int64))
    most = np.array([1 << 23, -(1 << 23), 900, -900])
    out = prior.Layer(np.ones((1, 4), dtype=np.int64), most, np.zeros(4, dtype=np.int64))
    tensors = {}
    for name, layer in (("heads.0.hidden", hidden), ("heads.0.out", out)):
        exact._layers[name] = exact._arithmetic.prepare(layer)
        tensors |= {f"prior.{name}.{part}": getattr(layer, part).tolist() for part in ("weight", "bias", "shift")}
    steps = DOC.step_features(code)
    state = prior.PriorState(np.zeros((1, 16), dtype=np.int64), np.array([steps]), code, (1, 1))
    means, scales = exact.predict(0, state.trunk, state)
    said = DOC.predict(DOC.Record(tensors=tensors), 0, [0] * 16, steps, DOC.ratios(tiny, (0, 1), code))
    assert said == (means[0].tolist(), scales[0].tolist())
    assert scales[0].tolist() == [prior.LOG2_SCALE_MAX, prior.LOG2_SCALE_MIN]


@pytest.mark.parametrize("code", STEP_CODES[::4001])
def test_scales_of_the_side_grid_are_the_codes(code: int) -> None:
    exact = exact_prior()
    exact._side_log2_scale = np.random.default_rng(code).integers(-260, 360, (7, 500))
    tensors = {"prior.side_log2_scale": exact._side_log2_scale.tolist()}
    said = DOC.side_scales(DOC.Record(tensors=tensors), DOC.step_features(code))
    assert said == exact.side_scales(code).tolist()
    assert {prior.LOG2_SCALE_MIN, prior.LOG2_SCALE_MAX} < set(said)


def test_the_first_trunk_rounds_the_side_grid_as_the_code_does(tiny: Any) -> None:
    rng, code, shape = np.random.default_rng(0), 20000, (30, 30)
    books = (64 * rng.integers(-6, 6, (4, 289, 2)) + rng.choice([31, 32], (4, 289, 2))).astype(np.int16)  # near halves
    books[:, vectors.ZERO] = 0
    exact, scales = exact_prior(), np.full((7, 2), -20, dtype=np.int64)  # level 0: vectors of the codebooks alone
    exact._side_log2_scale = scales
    side = vectors.Vectors(books).decode(np.repeat(exact.side_scales(code)[None], 64, axis=0), Noise(0))
    expected = exact.begin(side.reshape(8, 8, 2), code, *shape).trunk
    changed = tiny.tensors | {"prior.side_log2_scale": scales.tolist(), "quantizer.codebooks": books.tolist()}
    trunk = DOC.first_trunk(DOC.Record(tensors=changed), DOC.step_features(code), *shape, Noise(0))
    np.testing.assert_array_equal(as_array(trunk).reshape(expected.shape), expected)


# The whole


class Noise:
    """Symbols at random, half of them zero vectors; equal seeds give equal symbols to the document and to the code."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def read(self, names: Any) -> Any:
        return np.where(self.rng.random(len(names)) < 0.5, vectors.ZERO, self.rng.integers(0, 289, len(names)))

    def batch(self, names: list[int]) -> list[int]:
        return self.read(names).tolist()

    def close(self) -> None:
        pass


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (7, 5)])
@pytest.mark.parametrize("code", [8192, 15001, 23456, 31999, 40960])
def test_random_symbols_give_the_same_latent(shape: tuple[int, int], code: int, codec: Codec, tiny: Any) -> None:
    for shown in (1, 3):
        sources = [Noise(seed) for seed in range(shown)]
        expected = codec.tile_coder.latent_coder.decode(shape, code, sources)
        said = as_array(DOC.decode_tile(tiny, code, *shape, [Noise(seed) for seed in range(shown)]))
        np.testing.assert_array_equal(said.reshape(expected.shape), expected)


@pytest.mark.parametrize("name", golden())
def test_the_documents_decoder_gives_the_golden_latents(name: str, tiny: Any) -> None:
    latent = as_array(DOC.decode_latent((FIXTURES / f"{name}.vqc").read_bytes(), tiny))
    assert hashlib.sha256(latent.astype("<i4").tobytes()).hexdigest() == golden()[name]["latent_sha256"]


def test_the_documents_decoder_reads_a_file_of_the_shipped_model() -> None:
    codec = Codec("default")
    data = codec.encode_pixels(picture(33, 20), quality=97, effort=1)
    latent = as_array(DOC.decode_latent(data, model("default")))
    np.testing.assert_array_equal(latent, codec.decode_latent(data)[0])


@pytest.mark.parametrize("name", ["layers", "rgb"])
@pytest.mark.parametrize("shown", [1, 2])
def test_previews_are_the_codes(name: str, shown: int, codec: Codec, tiny: Any) -> None:
    data = (FIXTURES / f"{name}.vqc").read_bytes()
    contents = vqbitstream.unpack(data, Limits())
    whole = Rect.of(latent_shape(contents.header.width, contents.header.height))
    expected, _ = codec.tile_coder.decode_area(contents, whole, shown, None)
    np.testing.assert_array_equal(as_array(DOC.decode_latent(data, tiny, shown)), expected)


def test_payloads_changed_under_sound_checksums_are_refused(tiny: Any) -> None:
    contents = vqbitstream.unpack((FIXTURES / "dot.vqc").read_bytes(), Limits())
    only = contents.sections[0]
    assert only is not None
    for changed in (b"", only.payload[:-1] + b"\7", only.payload * 2):
        data = vqbitstream.pack(Contents(contents.header, [Section(changed, only.index_crc)]))
        assert refuses(DOC.decode_latent, data, tiny)
        assert refuses(DOC.decode_latent, data, tiny, 1)


def test_the_drawn_order_of_positions_is_the_codes() -> None:
    drawn = section("Order of symbols").split("```")[1]
    lines = re.findall(r"((?:[\d.]  ){4}[\d.]) {5,}((?:[\d.]  ){4}[\d.])", drawn)
    for column, expected in enumerate(passes(len(lines), 5)):
        cells = " ".join(line[column] for line in lines).split()
        assert [place for place, cell in enumerate(cells) if cell != "."] == expected.tolist()
        assert [int(cell) for cell in cells if cell != "."] == list(range(1, len(expected) + 1))


@pytest.mark.parametrize("name", ["dot", "odd", "rgb"])
def test_the_documents_pixels_are_within_one_level(name: str, codec: Codec, tiny: Any) -> None:
    data = (FIXTURES / f"{name}.vqc").read_bytes()
    pixels = as_array(DOC.synthesise(tiny, DOC.decode_latent(data, tiny), DOC.read_header(data)))
    expected = codec.decode_pixels(data).astype(np.int32)
    difference = np.abs(pixels - expected.reshape(pixels.shape))
    assert difference.max() <= 1
    assert difference.mean() < 0.01


def test_pixels_are_clipped_as_the_code_clips_them(codec: Codec, tiny: Any) -> None:
    said = DOC.read_header((FIXTURES / "dot.vqc").read_bytes())
    said.width = said.height = 32
    latent = np.random.default_rng(0).integers(-(1 << 14), 1 << 14, (2, 2, 16)).astype(np.int32)
    log2_step = header.log2_step(said.step_code)
    expected = codec.transforms.synthesise(latent, log2_step, (32, 32, 3)).astype(np.int32)
    plane = {(y, x): latent[y, x].tolist() for y in range(2) for x in range(2)}
    pixels = as_array(DOC.synthesise(tiny, plane, said))
    assert np.abs(pixels - expected).max() <= 1
    assert (pixels.min(), pixels.max()) == (expected.min(), expected.max()) == (0, 255)
