/**
 * Reads files for tests/fuzz/readers.py: `node browser/test/reader.js`. Standard input: of each file, its length (uint32) and its bytes.
 * Standard output: of each, a line of JSON, {outcome, latent, pixels}, and so many bytes of pixels. outcome: "decoded", the name of the error,
 * or "crash: ..." for what is no VQCError. latent: CRC32 of the latent, 0 if there is none.
 */

import { writeSync } from "node:fs";

import { crc32 } from "../src/checksum.js";
import { VQCError } from "../src/errors.js";
import { decoderOf } from "./support.js";

function latentOf(picture) {
  const { height, width } = picture._tiles.whole;
  let crc = 0;
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) crc = crc32(new Uint8Array(picture.latent(y, x).buffer), crc);
  return crc;
}

function read(decoder, bytes) {
  try {
    const picture = decoder.open();
    picture.push(bytes);
    picture.close();
    const { pixels } = picture.render();
    return { outcome: "decoded", latent: picture.header.layers ? latentOf(picture) : 0, data: pixels };
  } catch (error) {
    const ours = error instanceof VQCError && error.message && !error.message.includes("\n");
    return { outcome: ours ? error.name : `crash: ${error.stack}`, latent: 0, data: new Uint8Array(0) };
  }
}

function write(bytes) {
  for (let at = 0; at < bytes.length; )
    try {
      at += writeSync(1, bytes, at);
    } catch (error) {
      if (error.code !== "EAGAIN") throw error;
    }
}

const decoder = await decoderOf("tiny", process.argv[2]);
let held = Buffer.alloc(0);
for await (const chunk of process.stdin) {
  held = Buffer.concat([held, chunk]);
  while (held.length >= 4 && held.length >= 4 + held.readUInt32LE()) {
    const end = 4 + held.readUInt32LE();
    const { outcome, latent, data } = read(decoder, new Uint8Array(held.subarray(4, end)));
    held = held.subarray(end);
    write(Buffer.from(`${JSON.stringify({ outcome, latent, pixels: data.length })}\n`));
    write(data);
  }
}
