"""FORMAT.md's blocks are a decoder of their own, in plain Python. Step by step it gives what the code gives, over the whole range
of inputs; and as a whole it decodes the golden files to the same latents, and to pixels within one level."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from functools import cache
from io import BytesIO
from itertools import product
from typing import Any

import constriction
import numpy as np
import pytest
import vqbitstream
from PIL import Image
from support import FIXTURES, TINY, golden, picture
from support.document import DOC, as_array, model, refuses, section
from support.loud import LOUD, SHAPES, loud_tensors
from vqbitstream import Contents, Limits, Section, arithmetic, header, latent, prior, vectors
from vqbitstream.entropy import FrequencyTables, SectionReader, SectionWriter
from vqbitstream.geometry import Rect, latent_shape
from vqcodec.codec import Codec
from vqcodec.models.config import step_features
from vqcodec.models.weights_file import Arrays
from vqcodec.pictures.overlay import pack_overlay
from vqcodec.runtimes.numpy_runtime import NumpyRuntime
from vqcodec.runtimes.strips import Transforms

STEP_CODES = range(header.STEP_CODE_MIN, header.STEP_CODE_MAX + 1)
LOG2_SCALES = range(prior.LOG2_SCALE_MIN, prior.LOG2_SCALE_MAX + 1)


@cache
def tables() -> FrequencyTables:
    return FrequencyTables(loud_tensors()["quantizer.counts"])


@cache
def bounds() -> list[list[int]]:
    return [DOC.bounds_of(row) for row in tables().counts.tolist()]


@pytest.fixture(scope="module")
def exact() -> prior.Prior:
    """The prior in int64."""
    parts = {k.removeprefix("prior."): v for k, v in loud_tensors().items() if k.startswith("prior.")}
    return prior.Prior(parts, LOUD.groups, reference=True)


# Entropy coding


def test_frequencies_are_constrictions_at_both_ends_of_every_symbol() -> None:
    rng = np.random.default_rng(0)
    skewed = (np.exp(rng.normal(0, 4, (20, 290))) + 1).astype(np.int64)
    one = np.ones((1, 290), dtype=np.int64)
    one[0, 100] = (1 << 32) - 1
    shares = np.full((1, 290), 49)  # exact quotients are whole numbers here; those in float64 may lie below
    shares[0, -1] = 49 * ((1 << 24) - 290 - 289)
    for row in (*tables().counts, *skewed, *one, *shares):
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


def test_vectors_of_every_level_decode_through_escapes(loud: Codec, said: Any) -> None:
    rng = np.random.default_rng(3)
    scales = rng.integers(-192, 289, (4000, 2))
    residual = np.rint(rng.laplace(size=scales.shape) * 2.0 ** (scales / 32) * 256).astype(np.int64)
    residual[::50] *= 40
    writer = SectionWriter(tables())
    written = loud.tile_coder.latent_coder.chooser.encode(scales, residual, 0.0, writer)
    source = DOC.Symbols((writer.finish(), writer.index_crc), bounds())
    pairs = [tuple(pair) for pair in scales.tolist()]
    np.testing.assert_array_equal(DOC.read_vectors(pairs, source, said.tensors["quantizer.codebooks"]), written)
    source.close()


@pytest.mark.parametrize(("scale", "batch", "refused"), [(288, 1, True), (60, 2, True), (60, 1, False)])
def test_an_escape_where_none_may_be_is_refused(scale: int, batch: int, refused: bool) -> None:
    class OneEscape:
        batches = 0

        def batch(self, names: list[int]) -> list[int]:
            self.batches += bool(names)
            return [289 if self.batches == batch else 144 for _ in names]

    assert refuses(DOC.read_vectors, [(scale, scale)], OneEscape(), []) == refused


# The features and the prior


@pytest.mark.parametrize("tune", range(len(header.TUNES)))
def test_features_are_the_codes_for_every_step(tune: int) -> None:
    for code in STEP_CODES:
        assert DOC.file_features(code, tune) == prior.file_features(code, tune).tolist()
    for code in STEP_CODES[::37]:
        assert [f / 32 for f in DOC.file_features(code, tune)] == step_features(code, tune).tolist()


def test_tables_are_the_codes_and_no_entry_is_near_a_tie() -> None:
    assert arithmetic.EXP2.tolist() == DOC.EXP2
    assert arithmetic.GAIN_EXP2.tolist() == DOC.GAIN_EXP2
    assert arithmetic.COMPAND.tolist() == DOC.COMPAND
    exact = np.concatenate([
        2 ** (np.arange(4096) / 4096 + 16), 2 ** (np.arange(1, 32) / 32 + 12), 64 * np.arcsinh(np.arange(1, 458) / 128)
    ])  # fmt: skip
    assert np.abs(exact % 1 - 0.5).min() > 0.000005


@pytest.mark.parametrize(
    ("shift", "log2", "reach"),
    [(2, (-14, 19), prior.HEAD_MEAN_LIMIT), (6, (-11, 6), 5392384), (-8, (-8, 8), prior.LATENT_LIMIT)],
)
def test_scaling_rounds_as_the_code_rounds(shift: int, log2: tuple[int, int], reach: int) -> None:
    """Over all that can happen to means, to decoded values and to latents; the document's sums stay below 2^63."""
    rng = np.random.default_rng(0)
    low, high = (4096 * n for n in log2)
    logs = np.concatenate([[low, high], np.arange(low, high + 1, 13), rng.integers(low, high + 1, 4096)])
    for most in (3, 300, 70_000, reach):
        values = rng.integers(-most, most + 1, len(logs))
        values[:3] = -most, most, most
        gains = rng.integers(-prior.PLACE_GAIN_MAX, prior.PLACE_GAIN_MAX + 1, len(logs)) * (shift != -8)
        factors = arithmetic.power(logs, shift)
        rows = arithmetic.gain_power(gains)
        expected = [
            int(arithmetic.scaled(np.array([[v]]), f[None], None if shift == -8 else r[None])[0, 0])
            for v, f, r in zip(values, factors, rows, strict=True)
        ]
        each = list(zip(values.tolist(), logs.tolist(), gains.tolist(), strict=True))
        assert [DOC.scaled(v, n, gain, shift) for v, n, gain in each] == expected
        assert all(5 <= 28 - shift - n // 4096 - gain // 32 <= 44 for _, n, gain in each)
        assert all(abs(v * DOC.EXP2[n % 4096] * DOC.GAIN_EXP2[gain % 32]) < 2**60 for v, n, gain in each)


def test_layers_round_negative_sums_and_clamp_as_the_code_does() -> None:
    rng = np.random.default_rng(0)
    integers = arithmetic.Integers()
    for inputs, depthwise in ((90, False), (9, True)):
        weight = rng.integers(-127, 128, (inputs, 40))
        layer = arithmetic.Layer(weight, rng.integers(-(1 << 20), 1 << 20, 40), np.arange(40) % 21, depthwise)
        tensors = {f"prior.any.{part}": getattr(layer, part).tolist() for part in ("weight", "bias", "shift")}
        any_model, prepared = DOC.Record(tensors=tensors), integers.prepare(layer)
        if depthwise:
            x = rng.integers(-127, 128, (4, 5, 40))
            plane = {(row, column): x[row, column].tolist() for row in range(4) for column in range(5)}
            found = [DOC.depthwise(any_model, "any", plane, *place) for place in plane]
            expected = integers.depthwise(x, prepared).reshape(20, 40)  # clamped
        else:
            x = rng.integers(-127, 128, (20, 90))
            found = [DOC.layer(any_model, "any", row) for row in x.tolist()]
            assert found == integers.apply(x, prepared).tolist()
            assert [DOC.leaky(row) for row in found] == integers.leaky(x, prepared).tolist()
            expected = integers.clamped(x, prepared)
        assert [DOC.clamp(row) for row in found] == expected.tolist()


@pytest.mark.parametrize("tune", range(len(header.TUNES)))
def test_predictions_latents_and_contexts_are_the_codes_for_steps_all_over_the_range(
    tune: int, exact: prior.Prior, said: Any
) -> None:
    """And all their clips happen at both ends."""
    rng, seen = np.random.default_rng(tune), {}
    starts = np.cumsum([0, *exact.groups])
    for code in (*STEP_CODES[::1001], STEP_CODES[-1]):
        state, features = exact.begin(code, tune, (1, 1)), DOC.file_features(code, tune)
        for group in range(len(exact.groups)):
            channels = range(starts[group], starts[group + 1])
            sigma = [said.tensors["prior.sigma_log2"][c] for c in channels]
            steps = DOC.log2_steps(said, channels, code, features)
            assert steps == state.log2_step[channels].tolist()
            for _ in range(8):
                trunk = rng.integers(-127, 128, (1, LOUD.state))
                expected = exact.predict(group, trunk, state)
                gain, means, scales = DOC.predict(said, group, trunk[0].tolist(), features, sigma, steps)
                assert (gain, means, scales) == (
                    expected.gain[0], expected.mean[0].tolist(), expected.log2_scale[0].tolist()
                )  # fmt: skip
                for what, values in (("gain", [gain]), ("mean", means), ("scale", scales)):
                    seen.setdefault(what, set()).update(values)
            for reach in (300, 30_000, 5392384):
                values = rng.integers(-reach, reach + 1, (25, len(channels)))
                gains = rng.integers(-96, 97, 25)
                latents = exact.latent(group, values, gains, state)
                each = list(zip(values.tolist(), gains.tolist(), strict=True))
                assert [DOC.to_latent(row, steps, gain) for row, gain in each] == latents.tolist()
                seen.setdefault("latent", set()).update(latents.ravel().tolist())
                context = exact.context(group, latents)
                assert [DOC.companded(row, sigma) for row in latents.tolist()] == context.tolist()
                seen.setdefault("context", set()).update(context.ravel().tolist())
    assert (min(seen["gain"]), max(seen["gain"])) == (-prior.PLACE_GAIN_MAX, prior.PLACE_GAIN_MAX)
    assert (min(seen["mean"]), max(seen["mean"])) == (-prior.MEAN_LIMIT, prior.MEAN_LIMIT)
    assert (min(seen["scale"]), max(seen["scale"])) == (prior.LOG2_SCALE_MIN, prior.LOG2_SCALE_MAX)
    assert (min(seen["latent"]), max(seen["latent"])) == (-prior.LATENT_LIMIT, prior.LATENT_LIMIT)
    assert (min(seen["context"]), max(seen["context"])) == (arithmetic.COMPAND[0], arithmetic.COMPAND[-1])


@pytest.mark.parametrize("code", [header.STEP_CODE_MIN, 20000, header.STEP_CODE_MAX])
def test_means_of_heads_are_clipped_where_the_code_clips_them(code: int, said: Any) -> None:
    """Outputs as large as the bounds allow, where the means that follow are not yet at their own limit."""
    features, seen, most = DOC.file_features(code, 0), set(), prior.HEAD_MEAN_LIMIT
    for octaves in (-1, 0, 1, 2):  # between sigma and step
        changed = loud_tensors()
        changed["prior.sigma_log2"][:] = ((code - 32768) >> 7) + 32 * octaves
        changed["prior.channel_gain"][:] = 0
        for row in [(1 << 23, -(1 << 23)), (most + 4, -most - 4), (most, -most), (most - 4, 4 - most)]:
            changed["prior.heads.0.out.weight"][:] = 0
            changed["prior.heads.0.out.bias"][:] = (*row, *row, 0, 0, 0, 0)
            changed["prior.heads.0.out.shift"][:] = 0
            parts = {k.removeprefix("prior."): v for k, v in changed.items() if k.startswith("prior.")}
            exact = prior.Prior(parts, LOUD.groups, reference=True)
            expected = exact.predict(0, np.zeros((1, LOUD.state), dtype=np.int64), exact.begin(code, 0, (1, 1)))
            as_lists = DOC.Record(tensors={k: v.tolist() for k, v in changed.items() if k.startswith("prior.")})
            steps = DOC.log2_steps(as_lists, range(4), code, features)
            sigma = as_lists.tensors["prior.sigma_log2"][:4]
            _, means, _ = DOC.predict(as_lists, 0, [0] * LOUD.state, features, sigma, steps)
            assert means == expected.mean[0].tolist()
            seen.update(means)
    assert len(seen) > 12


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


def same_tile(codec: Codec, said: Any, shape: tuple[int, int], code: int, tune: int, layers: int) -> None:
    """The document and the code decode the same random symbols to the same latent."""
    sources = [Noise(seed) for seed in range(layers)]
    expected = codec.tile_coder.latent_coder.decode(shape, code, tune, sources)
    of = DOC.Record(step_code=code, tune=tune)
    found = as_array(DOC.decode_tile(said, of, *shape, [Noise(seed) for seed in range(layers)]))
    found, channels = found.reshape(len(expected), -1), expected.shape[1]
    np.testing.assert_array_equal(found[:, :channels], expected)
    assert found.shape[1] == codec.config.channels
    assert not found[:, channels:].any()


@pytest.mark.parametrize("tune", range(len(header.TUNES)))
@pytest.mark.parametrize("code", [4096, 15001, 23456, 31999, 40960])
@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (2, 3), (7, 5)])
def test_random_symbols_give_the_same_latent(
    shape: tuple[int, int], code: int, tune: int, loud: Codec, said: Any
) -> None:
    for layers in range(1, 5):
        same_tile(loud, said, shape, code, tune, layers)


@pytest.mark.parametrize(("height", "width"), [(15, 14), (4, 13), (12, 3)])
def test_random_symbols_give_the_same_latent_in_large_tiles(height: int, width: int, loud: Codec, said: Any) -> None:
    same_tile(loud, said, (height, width), 26000, 1, 4)


def test_random_symbols_give_the_same_latent_in_every_small_tile(loud: Codec, said: Any) -> None:
    for shape in product(range(1, 7), repeat=2):
        same_tile(loud, said, shape, 30000, 0, 1)


@pytest.mark.parametrize("name", golden())
def test_the_documents_decoder_gives_the_golden_latents(name: str) -> None:
    data = (FIXTURES / f"{name}.vqc").read_bytes()
    found = as_array(DOC.decode_latent(data, tiny()))
    channels = sum(tiny().sizes["groups"][: DOC.read_header(data).layers])
    assert hashlib.sha256(found[..., :channels].astype("<i4").tobytes()).hexdigest() == golden()[name]["latent_sha256"]


@cache
def tiny() -> Any:
    return model(str(TINY), floats=True)


def test_the_documents_decoder_reads_a_file_of_the_shipped_model() -> None:
    codec = Codec("default")
    data = codec.encode_pixels(picture(33, 20), quality=97, effort=1)
    expected = codec.decode_latent(data)[0]
    found = as_array(DOC.decode_latent(data, model("default")))
    np.testing.assert_array_equal(found[..., : expected.shape[2]], expected)


@pytest.mark.parametrize("name", SHAPES)
def test_files_and_their_previews_decode_as_the_code_decodes_them(
    name: str, files: dict[str, bytes], loud: Codec, said: Any
) -> None:
    contents = vqbitstream.unpack(files[name], Limits())
    whole = Rect.of(latent_shape(contents.header.width, contents.header.height))
    for shown in (None, *range(1, contents.header.layers + 1)):
        expected, _ = loud.tile_coder.decode_area(contents, whole, shown or contents.header.layers, None)
        found = as_array(DOC.decode_latent(files[name], said, shown))
        channels = expected.shape[2]
        np.testing.assert_array_equal(found[..., :channels], expected)
        assert not found[..., channels:].any()


def test_the_files_here_are_of_every_kind(files: dict[str, bytes]) -> None:
    headers = [vqbitstream.unpack_header(data, Limits()) for data in files.values()]
    assert {h.layers for h in headers} == {0, 1, 2, 3, 4}
    assert {h.exact for h in headers} == {False, True}
    assert {h.tune for h in headers} == {0, 1}
    assert {h.single_section for h in headers} == {False, True}
    assert any(h.layers < 4 and not h.single_section for h in headers)


def test_files_of_another_model_or_of_more_layers_are_refused(files: dict[str, bytes], said: Any) -> None:
    assert refuses(DOC.decode_latent, files["dot"], DOC.Record(**vars(said) | {"id": bytes(8)}))
    sizes = said.sizes | {"groups": said.sizes["groups"][:3]}
    assert refuses(DOC.decode_latent, files["dot"], DOC.Record(**vars(said) | {"sizes": sizes}))
    assert not refuses(DOC.decode_latent, files["dot"], said)


def test_payloads_changed_under_sound_checksums_are_refused(files: dict[str, bytes], said: Any) -> None:
    contents = vqbitstream.unpack(files["dot"], Limits())
    only = contents.sections[0]
    assert only is not None
    for changed in (b"", only.payload[:-1] + b"\7", only.payload * 2):
        data = vqbitstream.pack(Contents(contents.header, [Section(changed, only.index_crc)]))
        assert refuses(DOC.decode_latent, data, said)
        assert refuses(DOC.decode_latent, data, said, 1)


def test_a_preview_does_not_need_the_layers_after_it(files: dict[str, bytes], loud: Codec, said: Any) -> None:
    contents = vqbitstream.unpack(files["tiles"], Limits())
    sections = [s for s in contents.sections if s]
    sections[-1] = Section(sections[-1].payload + bytes([0, 0, 0, 1]), 0)
    data = vqbitstream.pack(Contents(contents.header, sections))
    np.testing.assert_array_equal(*(as_array(DOC.decode_latent(d, said, 1)) for d in (data, files["tiles"])))
    assert refuses(DOC.decode_latent, data, said)
    assert refuses(loud.decode_latent, data)


def test_the_drawn_order_of_positions_is_the_codes() -> None:
    drawn = section("Order of symbols").split("```")[1]
    lines = re.findall(r"((?:\d ){7}\d)   ((?:\d ){7}\d)", drawn)
    shape = len(lines), 8
    for column, passes in enumerate((latent.hierarchy(shape)[0], latent.checkerboard(shape))):
        cells = np.array([line[column].split() for line in lines], dtype=int).ravel()
        found = [np.flatnonzero(cells == number).tolist() for number in range(cells.max() + 1)]
        assert found == [p.tolist() for p in passes]


def test_the_drawn_neighbours_are_the_codes() -> None:
    drawn = section("Order of symbols").split("```")[3]
    lines = [re.findall(r"(?:[nx.] ){4}[nx.]", line) for line in drawn.splitlines()]
    for column, (distance, directions) in enumerate(latent.REACHES):
        cells = [line[column].split() for line in lines if line]
        assert cells[2][2] == "x"
        found = [(row - 2, at - 2) for row, line in enumerate(cells) for at, cell in enumerate(line) if cell == "n"]
        assert found == [(distance * y, distance * x) for y, x in directions] == DOC.NEIGHBOURS[column]


# Pixels


def of_picture(width: int, height: int, code: int, tune: int, grey: bool) -> Any:
    return header.Header(width, height, grey, False, False, 0, code, tune, bytes(8), 1)


def pixels_of_both(tensors: Arrays, latents: Any, head: header.Header) -> tuple[Any, Any]:
    shape = (head.height, head.width) if head.grey else (head.height, head.width, 3)
    expected = Transforms(NumpyRuntime(tensors, LOUD)).synthesise(latents, head, shape).astype(np.int32)
    zeros = [0] * (LOUD.channels - latents.shape[2])
    plane = {(y, x): row.tolist() + zeros for y, line in enumerate(latents) for x, row in enumerate(line)}
    floats = {k: v.tolist() for k, v in tensors.items() if k.startswith("synthesis.")}
    found = as_array(DOC.synthesise(DOC.Record(tensors=floats, sizes=LOUD.to_dict()), plane, head))
    return found, expected.reshape(found.shape)


@pytest.mark.parametrize(
    ("layers", "code", "tune", "grey"),
    [(1, 4096, 0, False), (2, 20000, 1, True), (3, 30000, 0, False), (4, 40960, 1, False), (4, 14000, 0, True)],
)
def test_pixels_are_within_one_level(layers: int, code: int, tune: int, grey: bool) -> None:
    head = of_picture(54 - layers, 33 + 16 * layers, code, tune, grey)
    channels, tensors = sum(LOUD.groups[:layers]), loud_tensors()
    shape = *latent_shape(head.width, head.height), channels
    latents = np.rint(np.random.default_rng(code).laplace(size=shape) * 4000).astype(np.int32)
    for part in ("weight", "bias"):
        tensors[f"synthesis.out.{part}"] /= 16  # or most of the pixels would be black or white
    found, expected = pixels_of_both(tensors, latents, head)
    inside = (expected > 0) & (expected < 255)
    assert inside.mean() > 0.5
    difference = np.abs(found - expected)
    assert difference.max() <= 1
    assert difference.mean() < 0.01


def test_pixels_are_clipped_as_the_code_clips_them() -> None:
    latents = np.random.default_rng(0).integers(-(1 << 20), 1 << 20, (2, 2, LOUD.channels)).astype(np.int32)
    found, expected = pixels_of_both(loud_tensors(), latents, of_picture(32, 32, 20000, 0, False))
    assert np.abs(found - expected).max() <= 1
    assert (found.min(), found.max()) == (expected.min(), expected.max()) == (0, 255)


@pytest.mark.parametrize("name", ["dot", "odd", "one"])
def test_the_documents_pixels_of_files_are_within_one_level(
    name: str, files: dict[str, bytes], loud: Codec, said: Any
) -> None:
    found = as_array(DOC.synthesise(said, DOC.decode_latent(files[name], said), DOC.read_header(files[name])))
    expected = loud.decode_pixels(files[name]).astype(np.int32)
    difference = np.abs(found - expected.reshape(found.shape))
    assert difference.max() <= 1
    assert difference.mean() < 0.01


def test_the_documents_exact_pixels_are_the_codes(files: dict[str, bytes], loud: Codec) -> None:
    for name in ("page", "drawing"):
        data, head = files[name], DOC.read_header(files[name])
        expected = loud.decode_pixels(data)
        contents = vqbitstream.unpack(data, Limits())
        under = (
            np.zeros_like(expected)
            if not head.layers
            else loud.decode_pixels(vqbitstream.pack(without_exact(contents)))
        )
        pixels = {p: list(np.atleast_1d(under[p])) for p in np.ndindex(*expected.shape[:2])}
        found = as_array(DOC.lay_exact(head, DOC.read_sections(data, head)[3], pixels))
        np.testing.assert_array_equal(found, expected.reshape(found.shape))
        assert (found != under.reshape(found.shape)).any()


def without_exact(contents: Contents) -> Contents:
    return dataclasses.replace(contents, header=dataclasses.replace(contents.header, exact=False), exact=())


def test_exact_pixels_are_refused_where_the_code_refuses_them(files: dict[str, bytes], loud: Codec) -> None:
    contents = vqbitstream.unpack(files["drawing"], Limits())
    first, second = contents.exact
    assert first and second
    lossy, whole = BytesIO(), np.full((*contents.header.tiles[0].scale(16).shape, 3), 9, dtype=np.uint8)
    Image.fromarray(whole).save(lossy, "WEBP")
    cases = [
        b"",
        first[:-1],
        first + b"\0",
        second,
        lossy.getvalue(),
        pack_overlay(whole[:70], np.eye(70, whole.shape[1], dtype=bool)),
    ]
    for at in (0, 4, 8, 15, 16, 20, 21, 22, 23, 24):
        changed = bytearray(first)
        changed[at] ^= 0x40
        cases.append(bytes(changed))
    for case in cases:
        damaged = dataclasses.replace(contents, exact=[case, second])
        head = DOC.read_header(vqbitstream.pack(damaged))
        assert refuses(loud.decode_pixels, vqbitstream.pack(damaged))
        assert refuses(DOC.lay_exact, head, [case, second], {})
    assert not refuses(DOC.lay_exact, head, [first, second], {})


@pytest.mark.parametrize("name", ["dot", "odd", "rgb"])
def test_the_documents_pixels_of_golden_files_are_within_one_level(name: str, codec: Codec) -> None:
    data = (FIXTURES / f"{name}.vqc").read_bytes()
    found = as_array(DOC.synthesise(tiny(), DOC.decode_latent(data, tiny()), DOC.read_header(data)))
    expected = codec.decode_pixels(data).astype(np.int32)
    difference = np.abs(found - expected.reshape(found.shape))
    assert difference.max() <= 1
    assert difference.mean() < 0.01
