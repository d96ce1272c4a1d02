/** The decoder against the conformance set: the same integers always, pixels within one level, the same refusals. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { inflateSync } from "node:zlib";

import { CONFORMANCE, INDEX, bytesOf, decoderOf, wasm } from "./support.js";

function latentHash(picture) {
  const { height, width } = picture._tiles.whole;
  const hash = createHash("sha256");
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) hash.update(new Uint8Array(picture.latent(y, x).buffer));
  return hash.digest("hex");
}

function decoded(decoder, bytes) {
  const picture = decoder.open();
  picture.push(bytes);
  picture.close();
  return picture;
}

test("the kernels compile", () => assert.ok(wasm));

for (const kind of ["wasm", "plain"])
  for (const { name, model, latent_sha256: expected, model_id: id } of INDEX.sound) {
    if (kind === "plain" && model === "default") continue; // minutes
    test(`${kind} decodes ${name}`, async (context) => {
      const decoder = await decoderOf(model, kind);
      if (id !== undefined && id !== decoder.modelId) return context.skip("other weights ship: make.py --shipped");
      const picture = decoded(decoder, bytesOf(CONFORMANCE, "files", `${name}.vqc`));
      if (expected) assert.equal(latentHash(picture), expected);
      const { pixels } = picture.render();
      const theirs = inflateSync(bytesOf(CONFORMANCE, "pixels", `${name}.z`));
      assert.equal(pixels.length, theirs.length);
      const differences = new Uint32Array(256);
      for (let i = 0; i < pixels.length; i++) differences[Math.abs(pixels[i] - theirs[i])]++;
      const most = differences.findLastIndex((n) => n > 0);
      assert.ok(most <= (expected ? 1 : 0), `pixels differ by ${most} levels`);
      assert.ok(differences[1] <= 0.01 * pixels.length + 4, "many pixels differ");
    });
  }

for (const { name, error } of INDEX.refused)
  test(`refuses ${name}`, async () => {
    const decoder = await decoderOf("tiny");
    const bytes = bytesOf(CONFORMANCE, "refused", `${name}.vqc`);
    assert.throws(() => decoded(decoder, bytes).render(), (found) => {
      assert.equal(found.name, error, found.message);
      assert.doesNotMatch(found.message, /\n/);
      return true;
    });
  });

test("a file may arrive in any pieces", async () => {
  const decoder = await decoderOf("tiny");
  const bytes = bytesOf(CONFORMANCE, "files", "tiny-everything.vqc");
  const whole = decoded(decoder, bytes).render();
  for (const piece of [1, 7, 100]) {
    const picture = decoder.open();
    const ready = [];
    for (let at = 0; at < bytes.length; at += piece) {
      picture.push(bytes.subarray(at, at + piece));
      if (picture.ready !== ready.at(-1)) ready.push(picture.ready);
    }
    picture.close();
    assert.deepEqual(picture.render().pixels, whole.pixels);
    if (piece === 1) assert.deepEqual(ready, [0, 1, 2, 3]); // it could be shown after each layer
  }
});

test("a preview is the picture of its first layers", async () => {
  const picture = decoded(await decoderOf("loud"), bytesOf(CONFORMANCE, "files", "loud-layered-q100.vqc"));
  const previews = [1, 2, 3, 4].map((layers) => picture.render(layers).pixels);
  for (const [i, preview] of previews.slice(1).entries()) assert.notDeepEqual(preview, previews[i]);
  assert.throws(() => picture.render(5), RangeError);
});
