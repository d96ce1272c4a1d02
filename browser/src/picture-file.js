/** Pixels as a file that every browser shows: a BMP, or, with an ICC profile, a PNG. Neither is compressed. */

import { adler32, crc32 } from "./checksum.js";

const BMP_HEADER_BYTES = 14 + 108; // of the file, and of the picture: BITMAPV4HEADER, which knows alpha
const PNG_SIGNATURE = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
const PROFILE_NAME = new TextEncoder().encode("icc\0\0"); // its name, and the one way to compress it
const STORED_BYTES = 65535; // in one block of a zlib stream
const SPACE = 16; // where a profile names its colour space

/** The ICC profile of a picture, if it is one for its kind of pixels; else undefined. */
export function profileOf({ header, metadata }) {
  const icc = metadata?.icc;
  const space = icc && icc.length >= 128 ? String.fromCharCode(...icc.subarray(SPACE, SPACE + 4)) : "";
  return space === "RGB " || (space === "GRAY" && header.grey) ? icc : undefined;
}

/**
 * @param {{width: number, height: number, pixels: Uint8ClampedArray}} picture RGBA.
 * @returns {Blob}
 */
export function toBmp({ width, height, pixels }) {
  const view = new DataView(new ArrayBuffer(BMP_HEADER_BYTES));
  view.setUint16(0, 0x424d); // "BM"
  view.setUint32(2, BMP_HEADER_BYTES + pixels.length, true);
  view.setUint32(10, BMP_HEADER_BYTES, true);
  view.setUint32(14, 108, true);
  view.setInt32(18, width, true);
  view.setInt32(22, -height, true); // from top to bottom
  view.setUint16(26, 1, true);
  view.setUint16(28, 32, true);
  view.setUint32(30, 3, true); // the masks say where the colours are
  view.setUint32(34, pixels.length, true);
  [0xff, 0xff00, 0xff0000, 0xff000000].forEach((mask, i) => view.setUint32(54 + 4 * i, mask, true));
  view.setUint32(70, 0x73524742, true); // sRGB
  return new Blob([view, pixels], { type: "image/bmp" });
}

/** A zlib stream of stored blocks, in front of which `ahead` stands. */
function stored(data, ahead = new Uint8Array(0)) {
  const blocks = Math.max(1, Math.ceil(data.length / STORED_BYTES));
  const out = new Uint8Array(ahead.length + 2 + 5 * blocks + data.length + 4);
  const view = new DataView(out.buffer);
  out.set(ahead);
  view.setUint16(ahead.length, 0x7801);
  let to = ahead.length + 2;
  for (let from = 0, left = blocks; left > 0; left--, from += STORED_BYTES) {
    const part = data.subarray(from, from + STORED_BYTES);
    out[to] = left === 1 ? 1 : 0;
    view.setUint16(to + 1, part.length, true);
    view.setUint16(to + 3, ~part.length, true);
    out.set(part, to + 5);
    to += 5 + part.length;
  }
  view.setUint32(to, adler32(data));
  return out;
}

function chunk(name, contents) {
  const head = new Uint8Array(8);
  new DataView(head.buffer).setUint32(0, contents.length);
  head.set(new TextEncoder().encode(name), 4);
  const check = new DataView(new ArrayBuffer(4));
  check.setUint32(0, crc32(contents, crc32(head.subarray(4))));
  return [head, contents, check];
}

/** Rows as PNG has them: the filter "none", and the pixels. grey: their first channel and alpha. */
function rows(width, height, pixels, grey) {
  const out = new Uint8Array(height * (1 + (grey ? 2 : 4) * width));
  for (let y = 0, to = 0; y < height; y++) {
    to++;
    const row = pixels.subarray(4 * y * width, 4 * (y + 1) * width);
    if (!grey) out.set(row, to);
    else for (let x = 0; x < width; x++) [out[to + 2 * x], out[to + 2 * x + 1]] = [row[4 * x], row[4 * x + 3]];
    to += (grey ? 2 : 4) * width;
  }
  return out;
}

/** A PNG file with an ICC profile. */
function toPng({ width, height, pixels }, icc) {
  const grey = String.fromCharCode(icc[SPACE]) === "G";
  const head = new DataView(new ArrayBuffer(13));
  head.setUint32(0, width);
  head.setUint32(4, height);
  head.setUint16(8, grey ? 0x0804 : 0x0806); // 8 bits, with alpha
  const parts = [["IHDR", new Uint8Array(head.buffer)], ["iCCP", stored(icc, PROFILE_NAME)],
    ["IDAT", stored(rows(width, height, pixels, grey))], ["IEND", new Uint8Array(0)]];
  return new Blob([PNG_SIGNATURE, ...parts.flatMap(([name, contents]) => chunk(name, contents))], { type: "image/png" });
}

/**
 * @param {{width: number, height: number, pixels: Uint8ClampedArray, header: object, metadata: object}} picture RGBA.
 * @returns {Blob} Which has the profile of the picture.
 */
export function toFile(picture) {
  const icc = profileOf(picture);
  return icc ? toPng(picture, icc) : toBmp(picture);
}
