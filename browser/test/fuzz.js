/**
 * Mutated files through the decoder: `node browser/test/fuzz.js [FILES] [SEED] [STATE]`. Only a VQCError may come out, and most files are
 * refused. With STATE, a file's name, a run can be stopped at any time, and the same command goes on.
 */

import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { crc32 } from "../src/checksum.js";
import { VQCError } from "../src/errors.js";
import { CONFORMANCE, bytesOf, decoderOf } from "./support.js";

const NOTED = 1000; // files between two notes of what is done

/** A small generator, so that a seed and a number make the same file again. */
function generator(seed, number) {
  let state = Math.imul(Math.imul(seed + 1, 0x9e3779b1) ^ (number + 1), 0x85ebca6b) >>> 0 || 1;
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

/** Decodes mutated files up to a number. Returns how many were refused and decoded; throws what is no VQCError. */
export async function fuzz(files, seed = 1, { counts = { refused: 0, decoded: 0 }, note = () => {} } = {}) {
  const names = readdirSync(join(CONFORMANCE, "files")).filter((name) => /^(tiny|loud)/.test(name));
  for (let i = counts.refused + counts.decoded; i < files; i++) {
    if (i % NOTED === 0) note(counts);
    const random = generator(seed, i);
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
  const [files = 10_000, seed = 1] = process.argv.slice(2, 4).map(Number);
  const state = process.argv[4];
  const counts = state && existsSync(state) ? JSON.parse(readFileSync(state)) : undefined;
  const found = await fuzz(files, seed, { counts, note: (now) => state && writeFileSync(state, JSON.stringify(now)) });
  if (state) writeFileSync(state, JSON.stringify(found));
  console.log(found);
}
