/** Parts that have a second definition to compare with. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { deflateSync, constants, crc32 as theirs } from "node:zlib";

import { adler32, crc32 } from "../src/checksum.js";
import { toBmp } from "../src/picture-file.js";
import { VQCError, revived } from "../src/errors.js";
import { edges } from "../src/geometry.js";
import { inflate } from "../src/inflate.js";
import { Limits } from "../src/limits.js";
import { WasmKernels } from "../src/kernels.js";
import { PlainKernels } from "../src/plain.js";
import { layersFor } from "../src/stream.js";
import { readModel } from "../src/weights.js";
import { ROOT, bytesOf, wasm } from "./support.js";

function noise(length, values = 256) {
  let state = 1;
  return Uint8Array.from({ length }, () => (state = (state * 48271) % 2147483647) % values);
}

test("inflate undoes what zlib makes, at every level and strategy", () => {
  for (const data of [new Uint8Array(0), noise(1), noise(70_000), noise(70_000, 3), new Uint8Array(100_000)])
    for (const level of [0, 1, 6, 9])
      for (const strategy of [constants.Z_DEFAULT_STRATEGY, constants.Z_FIXED, constants.Z_HUFFMAN_ONLY]) {
        const packed = new Uint8Array(deflateSync(data, { level, strategy }));
        assert.deepEqual(inflate(packed, data.length), data);
        if (data.length) assert.equal(inflate(packed, data.length - 1), null);
        assert.throws(() => inflate(packed.slice(0, -1), data.length), VQCError);
        assert.throws(() => inflate(Uint8Array.of(...packed.slice(0, 50), ...packed.slice(50), 0), data.length), VQCError);
      }
});

test("checksums are those of RFC 1950 and 1952", () => {
  const data = new TextEncoder().encode("123456789");
  assert.equal(crc32(data), 0xcbf43926);
  assert.equal(crc32(data.subarray(4), crc32(data.subarray(0, 4))), 0xcbf43926);
  assert.equal(adler32(new TextEncoder().encode("Wikipedia")), 0x11e60398);
  if (theirs) assert.equal(crc32(noise(5000)), theirs(noise(5000)));
});

test("kernels compute what plain JavaScript computes", () => {
  const [plain, fast] = [new PlainKernels(1 << 22), new WasmKernels(wasm, 1 << 22)];
  for (const [inputs, outputs, rows] of [[1, 1, 1], [7, 5, 9], [16, 12, 4], [33, 50, 7], [144, 192, 5]]) {
    const weight = Int8Array.from(noise(inputs * outputs), (n) => Math.max(n - 128, -127));
    const bias = Int32Array.from(noise(outputs), (n) => (n - 128) * 1000);
    const shift = noise(outputs, 12);
    const stride = (inputs + 4) & ~3;
    for (const finish of [0, 1, 2, 3]) {
      const results = [plain, fast].map((kernels) => kernels.arena.borrow(() => {
        const layer = kernels.integers(weight, bias, shift);
        const x = kernels.arena.take(Int16Array, rows * stride);
        for (let r = 0; r < rows; r++) x.set(noise(inputs).map((n) => n - 127), r * stride);
        const add = kernels.arena.take(Int16Array, layer.outputs).fill(100);
        const out = kernels.arena.take(finish ? Int16Array : Int32Array, rows * layer.outputs);
        layer.apply(x, rows, stride, finish, out, add, 0);
        return out.slice();
      }));
      assert.deepEqual(results[1], results[0], `${inputs} x ${outputs}, finish ${finish}`);
    }
  }
});

test("the tiles of the format's example", () => {
  assert.deepEqual(edges(2000), [0, 64, 125]);
  assert.deepEqual(edges(1100), [0, 36, 69]);
});

test("a model with other bytes is refused", async () => {
  const bytes = bytesOf(ROOT, "tests/fixtures/tiny.safetensors");
  const { id } = await readModel(bytes);
  await assert.rejects(readModel(bytes, "0".repeat(16)), { name: "ModelError" });
  for (let at = 0; at < bytes.length; at += 4999) {
    const other = bytes.slice();
    other[at] ^= 1;
    const found = await readModel(other, id).then(() => "read", (error) => error);
    if (found !== "read") assert.ok(found instanceof VQCError, String(found)); // the encoder's tensors do not count
  }
  for (const length of [0, 8, 100, bytes.length - 1]) await assert.rejects(readModel(bytes.slice(0, length)), { name: "ModelError" });
});

test("limits have names", () => {
  assert.equal(new Limits({ maxPixels: 5 }).maxPixels, 5);
  assert.throws(() => new Limits({ pixels: 5 }), TypeError);
  assert.throws(() => new Limits({ maxPixels: 5 }).checkSize(2, 3), { name: "LimitError" });
});

test("errors cross threads", () => {
  const error = revived("TruncatedError", "cut");
  assert.ok(error instanceof VQCError);
  assert.deepEqual([error.name, error.message], ["TruncatedError", "cut"]);
});

test("small boxes need fewer layers", () => {
  assert.deepEqual([undefined, 800, 400, 200, 100, 50].map((box) => layersFor(box, 1000)), [Infinity, Infinity, 5, 4, 3, 2]);
});

test("a BMP holds the pixels as they are", async () => {
  const bytes = new Uint8Array(await toBmp({ width: 1, height: 2, pixels: Uint8ClampedArray.of(1, 2, 3, 4, 5, 6, 7, 8) }).arrayBuffer());
  assert.deepEqual([...bytes.subarray(-8)], [1, 2, 3, 4, 5, 6, 7, 8]);
  assert.equal(new DataView(bytes.buffer).getInt32(22, true), -2);
});
