/** The exact pixels of a tile (FORMAT.md, "Exact pixels"). */

import { CorruptError, TruncatedError } from "./errors.js";
import { PATCH_PX, tilesOf } from "./geometry.js";
import { readLossless } from "./webp.js";

const HEAD_BYTES = 25; // RIFF, bytes after it, WEBP, VP8L, bytes of the chunk, signature, sizes and flags

function ascii(bytes, at) {
  return String.fromCharCode(...bytes.subarray(at, at + 4));
}

/** Throws CorruptError unless this is a WebP file of one lossless chunk and of this size. Returns whether it has alpha. */
function checkHead(bytes, width, height) {
  if (bytes.length < HEAD_BYTES) throw new CorruptError("the exact pixels are cut");
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const bits = view.getUint32(21, true);
  if (ascii(bytes, 0) !== "RIFF" || ascii(bytes, 8) + ascii(bytes, 12) !== "WEBPVP8L" || bytes[20] !== 0x2f || bits >>> 29)
    throw new CorruptError("the exact pixels are not lossless WebP");
  const [length, chunk] = [view.getUint32(4, true), view.getUint32(16, true)];
  if (length + 8 !== bytes.length || chunk + (chunk % 2) + 12 !== length)
    throw new CorruptError("the exact pixels do not end where they should");
  if ((bits & 0x3fff) + 1 !== width || ((bits >>> 14) & 0x3fff) + 1 !== height)
    throw new CorruptError("the exact pixels are not of the tile's size");
  return (bits >>> 28) & 1;
}

/**
 * @param {Uint8Array} payload Of the section, not empty.
 * @param {{width: number, height: number, grey: boolean, all: boolean}} tile Its size in pixels. grey: green counts. all: every pixel
 *     must be exact.
 * @returns {Uint32Array} RGBA of width * height pixels; 0 where the pixel is not exact.
 * @throws {CorruptError}
 */
export function readOverlay(payload, { width, height, grey, all }) {
  const alpha = checkHead(payload, width, height);
  const pixels = readLossless(payload, HEAD_BYTES, width, height);
  for (let at = 0; at < pixels.length; at++) {
    const pixel = pixels[at];
    const opacity = alpha ? pixel >>> 24 : 255;
    if (opacity === 0) {
      if (all) throw new CorruptError("a tile without layers has pixels that are not exact");
      pixels[at] = 0;
      continue;
    }
    if (opacity < 255) throw new CorruptError("the exact pixels are neither opaque nor clear");
    const green = (pixel >>> 8) & 255;
    pixels[at] = 0xff000000 | (grey ? green * 0x10101 : (green << 8) | ((pixel >>> 16) & 255) | ((pixel & 255) << 16));
  }
  return pixels;
}

/** The exact pixels of all tiles of a picture, as they arrive. */
export class Overlays {
  constructor(header) {
    this._header = header;
    this._tiles = tilesOf(header.width, header.height).map(({ top, bottom, left, right }) => ({
      x: PATCH_PX * left, y: PATCH_PX * top, pixels: null,
      width: Math.min(PATCH_PX * right, header.width) - PATCH_PX * left,
      height: Math.min(PATCH_PX * bottom, header.height) - PATCH_PX * top,
    }));
  }

  /** Number of tiles that have exact pixels. */
  get count() {
    return this._tiles.filter(({ pixels }) => pixels).length;
  }

  /** Decode a section. Throws CorruptError. */
  section({ tile, payload }) {
    const { grey, layers } = this._header;
    if (payload.length) this._tiles[tile].pixels = readOverlay(payload, { ...this._tiles[tile], grey, all: !layers });
    else if (!layers) throw new TruncatedError("exact pixels are missing");
  }

  /** The tiles as strips of opaque black, for pictures that have nothing else. */
  *strips() {
    for (const { x, y, width, height } of this._tiles)
      yield { x, y, width, height, pixels: new Uint8ClampedArray(new Uint32Array(width * height).fill(0xff000000).buffer) };
  }

  /** Lay exact pixels over a strip. strip: {x, y, width, height, pixels}; its pixels are changed. */
  lay(strip) {
    const words = new Uint32Array(strip.pixels.buffer);
    for (const { x, y, width, height, pixels } of this._tiles) {
      if (!pixels) continue;
      const [left, right] = [Math.max(x, strip.x), Math.min(x + width, strip.x + strip.width)];
      const [top, bottom] = [Math.max(y, strip.y), Math.min(y + height, strip.y + strip.height)];
      for (let row = top; row < bottom; row++) {
        let [to, from] = [(row - strip.y) * strip.width + left - strip.x, (row - y) * width + left - x];
        for (let column = left; column < right; column++, to++, from++) if (pixels[from]) words[to] = pixels[from];
      }
    }
  }
}
