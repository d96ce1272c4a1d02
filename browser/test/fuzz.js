/**
 * Mutated files through the decoder: `node browser/test/fuzz.js [FILES] [SEED]`. Only a VQCError may come
 * out, and most files are refused.
 */

import { readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { crc32 } from "../src/checksum.js";
import { VQCError } from "../src/errors.js";
import { CONFORMANCE, bytesOf, decoderOf } from "./support.js";

/** A small generator, so that a seed makes the same files again. */
function generator(seed) {
  let state = seed >>> 0 || 1;
  return (n) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % n;
  };
}

/** Where sections begin, and their tags. */
function sectionsOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const out = [];
  for (let at = 36; at < bytes.length; ) {
    const begin = at + (bytes[at] === 0x4c ? 13 : 9);
    out.push({ at, begin, end: begin + view.getUint32(at + 1, true) });
    at = out.at(-1).end;
  }
  return out;
}

/** A file with some bytes changed, and, mostly, checksums that say that it is sound. */
export function mutated(original, random) {
  let bytes = original.slice();
  const sections = sectionsOf(bytes);
  for (let i = 0; i <= random(3); i++) {
    const where = random(4);
    const { begin, end } = sections[random(sections.length)];
    const at = where === 0 ? 8 + random(28) : where < 3 && end > begin ? begin + random(end - begin) : random(bytes.length);
    bytes[at] = random(2) ? bytes[at] ^ (1 << random(8)) : random(256);
  }
  if (random(10) === 0) bytes = bytes.slice(0, random(bytes.length));
  if (random(4) && bytes.length === original.length) {
    const view = new DataView(bytes.buffer);
    view.setUint32(32, crc32(bytes.subarray(0, 32)), true);
    for (const { at, begin, end } of sections)
      view.setUint32(at + 5, crc32(bytes.subarray(begin, end), crc32(bytes.subarray(at, at + 1))), true);
  }
  return bytes;
}

/** Decodes so many mutated files. Returns how many were refused and decoded; throws what is no VQCError. */
export async function fuzz(files, seed = 1) {
  const random = generator(seed);
  const names = readdirSync(join(CONFORMANCE, "files")).filter((name) => /^(tiny|loud)/.test(name));
  const counts = { refused: 0, decoded: 0 };
  for (let i = 0; i < files; i++) {
    const name = names[random(names.length)];
    const decoder = await decoderOf(name.slice(0, 4));
    const bytes = mutated(bytesOf(CONFORMANCE, "files", name), random);
    try {
      const picture = decoder.open();
      picture.push(bytes);
      picture.close();
      for (const strip of picture.strips()) if (!strip.pixels.length) throw new Error("an empty strip");
      counts.decoded++;
    } catch (error) {
      if (!(error instanceof VQCError)) throw new Error(`file ${i} of seed ${seed}, from ${name}`, { cause: error });
      counts.refused++;
    }
  }
  return counts;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [files = 10_000, seed = 1] = process.argv.slice(2).map(Number);
  console.log(await fuzz(files, seed));
}
