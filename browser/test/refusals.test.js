/** Refusals that a later check would hide. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { crc32 } from "../src/checksum.js";
import { FrequencyTables, SYMBOLS, Symbols, TABLES } from "../src/entropy.js";
import { VQCError } from "../src/errors.js";
import { readHeader } from "../src/header.js";
import { Limits } from "../src/limits.js";
import { bytesOf } from "../src/models.js";
import { readVectors } from "../src/vectors.js";
import { CONFORMANCE, bytesOf as fileOf } from "./support.js";

function header(change) {
  const bytes = fileOf(CONFORMANCE, "files", "tiny-16x16.vqc").slice(0, 36);
  const view = new DataView(bytes.buffer);
  change(view);
  view.setUint32(32, crc32(bytes.subarray(0, 32)), true);
  return readHeader(bytes, new Limits());
}

test("every field of a header is checked", () => {
  assert.equal(header(() => {}).width, 16);
  const wrong = [
    [(v) => v.setUint8(0, 0), "VQCError", /not a .vqc file/], [(v) => v.setUint8(8, 1), "UnsupportedError", /version 1/],
    [(v) => v.setUint8(9, 16), "UnsupportedError", /flags/], [(v) => v.setUint32(10, 0, true), "CorruptError", /empty/],
    [(v) => v.setUint32(14, 0, true), "CorruptError", /empty/], [(v) => v.setUint16(18, 99, true), "CorruptError", /quality/],
    [(v) => v.setUint16(18, 10001, true), "CorruptError", /quality/], [(v) => v.setUint16(20, 4095, true), "CorruptError", /step/],
    [(v) => v.setUint16(20, 40961, true), "CorruptError", /step/], [(v) => v.setUint8(22, 2), "UnsupportedError", /tune/],
    [(v) => v.setUint8(31, 0), "CorruptError", /empty/], [(v) => v.setUint8(31, 65), "LimitError", /layers/],
    [(v) => v.setUint32(10, 65536, true), "CorruptError", /single/],
    [(v) => [v.setUint8(9, 0), v.setUint32(10, 65536, true)], "LimitError", /side/],
    [(v) => [v.setUint8(9, 0), v.setUint32(10, 60000, true), v.setUint32(14, 60000, true)], "LimitError", /pixels/],
  ];
  for (const [change, name, message] of wrong) assert.throws(() => header(change), { name, message });
  for (const change of [(v) => v.setUint16(18, 0, true), (v) => v.setUint16(20, 40960, true), (v) => v.setUint16(20, 4096, true)])
    header(change);
});

test("a payload holds its symbols and nothing else", () => {
  const tables = new FrequencyTables(new Uint32Array(TABLES * SYMBOLS).fill(1));
  const close = (payload) => new Symbols({ payload: Uint8Array.from(payload), indexChecksum: 0 }, tables).close();
  close([]);
  for (const payload of [[1, 0, 0, 0], [0, 0, 0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0]])
    assert.throws(() => close(payload), { name: "CorruptError" });
});

test("an escape is refused where no encoder writes one", () => {
  const symbols = (...batches) => ({ batch: (tables) => new Uint16Array(tables.length).fill(batches.shift() ?? 144) });
  const codebooks = new Int16Array(4 * 289 * 2);
  const [low, high] = [Int16Array.of(0, 0), Int16Array.of(201, 0)];
  assert.deepEqual([...readVectors(low, symbols(289), codebooks)], [0, 0]); // once it may
  for (const [scales, ...batches] of [[high, 289], [low, 289, 289], [high, 144, 289], [high, 144, 144, 289], [high, 144, 144, 144, 289]])
    assert.throws(() => readVectors(scales, symbols(...batches), codebooks), { name: "CorruptError", message: /escape/ });
});

test("weights are read only as far as the limit, whatever their server says", async () => {
  const endless = () => new ReadableStream({ pull: (sink) => sink.enqueue(new Uint8Array(1000)) });
  const claimed = { headers: { "content-length": "9999" } };
  for (const response of [new Response(endless()), new Response(endless(), claimed), new Response(new Uint8Array(4001))])
    await assert.rejects(bytesOf(response, "weights", 4000), { name: "ModelError", message: /too large/ });
  assert.equal((await bytesOf(new Response(new Uint8Array(4000)), "weights", 4000)).length, 4000);
  await assert.rejects(bytesOf(new Response("", { status: 404 }), "weights"), { name: "UnsupportedError" });
});

test("an error is one line", () => {
  assert.equal(new VQCError("a\nb\u001b[31m \u0007c").message, "a b [31m c");
});
