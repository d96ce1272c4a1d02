/**
 * Lossless WebP (RFC 9649, "WebP Lossless Bitstream"). The browser's own decoder is of no use here: a page gets its pixels only through a
 * canvas, where private modes and privacy browsers alter them.
 */

import { CorruptError } from "./errors.js";
import { undo } from "./webp-transforms.js";

const CODE_ORDER = [17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
const [LENGTHS, MOST_BITS, TABLE_BITS, MOST_TABLES] = [24, 15, 8, 1000];
const HASH = 0x1e35a7bd;
/** What the 120 short distances mean: rows up, then 8 minus columns left, 4 bits each. */
const NEAR = (
  "18071719280627291 61a262a380537391 51b363a252b480447491 41c353b464a242c58454b343c0357591 31d565a232d444c555b333d680267691 2"
  + "1e666a222e545c434d656b323e78017779535d111f646c424e767a212f757b313f636d525e00747c414f1020626e30737d515f40727e616f50717f6070"
).replaceAll(" ", "").match(/../g).map((pair) => parseInt(pair, 16));

class Bits {
  constructor(bytes, at) {
    this._end = bytes.length - at;
    this._bytes = new Uint8Array(this._end + 4);
    this._bytes.set(bytes.subarray(at));
    [this._at, this._bit] = [0, 0];
  }

  /** The next 25 bits at least; zeros after the end. */
  get next() {
    const [bytes, at] = [this._bytes, this._at];
    return (bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24)) >>> this._bit;
  }

  skip(count) {
    const bit = this._bit + count;
    this._at += bit >> 3;
    this._bit = bit & 7;
    if (this._at >= this._end && (this._at > this._end || this._bit)) throw new CorruptError("the exact pixels end too early");
  }

  /** At most 24 bits. */
  read(count) {
    const value = this.next & ((1 << count) - 1);
    this.skip(count);
    return value;
  }
}

/** A prefix code. lengths: of the code of each symbol, 0 if it has none. */
class Code {
  constructor(lengths, fast) {
    const counts = new Uint16Array(MOST_BITS + 1);
    let [used, last] = [0, 0];
    for (let symbol = 0; symbol < lengths.length; symbol++) {
      if (!lengths[symbol]) continue;
      counts[lengths[symbol]]++;
      used++;
      last = symbol;
    }
    if (used === 0) throw new CorruptError("the exact pixels have an empty code");
    this.only = used === 1 ? last : -1; // which takes no bits
    if (used === 1) return;
    const next = new Uint16Array(MOST_BITS + 2);
    let left = 1;
    for (let bits = 1; bits <= MOST_BITS; bits++) {
      left = 2 * left - counts[bits];
      if (left < 0) break;
      next[bits + 1] = next[bits] + counts[bits];
    }
    if (left) throw new CorruptError("the exact pixels have an impossible code");
    this._counts = counts;
    this._symbols = new Uint16Array(used);
    lengths.forEach((length, symbol) => length && (this._symbols[next[length]++] = symbol));
    this._table = fast ? this._tabled() : null;
  }

  /** By the next TABLE_BITS bits: the symbol and, in 4 bits, the length of its code; 0 if it is longer. */
  _tabled() {
    const table = new Uint16Array(1 << TABLE_BITS);
    for (let length = 1, code = 0, index = 0; length <= TABLE_BITS; length++, code <<= 1)
      for (let n = this._counts[length]; n > 0; n--, code++, index++) {
        let turned = 0;
        for (let bit = 0; bit < length; bit++) turned |= ((code >> bit) & 1) << (length - 1 - bit);
        for (let at = turned; at < table.length; at += 1 << length) table[at] = (this._symbols[index] << 4) | length;
      }
    return table;
  }

  read(bits) {
    if (this.only >= 0) return this.only;
    let left = bits.next;
    const entry = this._table ? this._table[left & ((1 << TABLE_BITS) - 1)] : 0;
    if (entry) {
      bits.skip(entry & 15);
      return entry >> 4;
    }
    let [code, first, index, length] = [left & 1, 0, 0, 1];
    while (code - first >= this._counts[length]) {
      index += this._counts[length];
      first = (first + this._counts[length]) << 1;
      left >>>= 1;
      code = (code << 1) | (left & 1);
      length++;
    }
    bits.skip(length);
    return this._symbols[index + code - first];
  }
}

function simpleLengths(bits, lengths) {
  const two = bits.read(1);
  const first = bits.read(bits.read(1) ? 8 : 1);
  if (first < lengths.length) lengths[first] = 1;
  const second = two ? bits.read(8) : first;
  if (second < lengths.length) lengths[second] = 1;
}

function codedLengths(bits, lengths) {
  const order = new Uint8Array(CODE_ORDER.length);
  const count = 4 + bits.read(4);
  for (let i = 0; i < count; i++) order[CODE_ORDER[i]] = bits.read(3);
  const code = new Code(order, false);
  let left = bits.read(1) ? 2 + bits.read(2 + 2 * bits.read(3)) : lengths.length;
  if (left > lengths.length) throw new CorruptError("the exact pixels have too many code lengths");
  let before = 8;
  for (let at = 0; at < lengths.length && left > 0; left--) {
    const symbol = code.read(bits);
    if (symbol < 16) {
      lengths[at++] = symbol;
      before = symbol || before;
      continue;
    }
    const times = symbol === 16 ? 3 + bits.read(2) : symbol === 17 ? 3 + bits.read(3) : 11 + bits.read(7);
    if (at + times > lengths.length) throw new CorruptError("the exact pixels have too many code lengths");
    lengths.fill(symbol === 16 ? before : 0, at, at + times);
    at += times;
  }
}

function readCode(bits, symbols, fast) {
  const lengths = new Uint8Array(symbols);
  if (bits.read(1)) simpleLengths(bits, lengths);
  else codedLengths(bits, lengths);
  return new Code(lengths, fast);
}

/** The number that a symbol of a length or a distance begins. */
function readNumber(bits, symbol) {
  if (symbol < 4) return symbol + 1;
  const extra = (symbol - 2) >> 1;
  return ((2 + (symbol & 1)) << extra) + bits.read(extra) + 1;
}

function distance(number, width) {
  if (number > NEAR.length) return number - NEAR.length;
  const near = NEAR[number - 1];
  return Math.max(1, (near >> 4) * width + 8 - (near & 15));
}

/** Which of several sets of codes each block of pixels uses; null if there is one set. */
function readBlocks(bits, width, height) {
  if (!bits.read(1)) return null;
  const shift = bits.read(3) + 2;
  const across = Math.ceil(width / (1 << shift));
  const sets = readImage(bits, across, Math.ceil(height / (1 << shift)), false).map((pixel) => (pixel >>> 8) & 0xffff);
  return { shift, across, sets, count: sets.reduce((most, set) => Math.max(most, set), 0) + 1 };
}

/** An image in codes, as it stands in the stream: uint32 [height * width], alpha, red, green and blue from the highest byte. */
function readImage(bits, width, height, main) {
  const cacheBits = bits.read(1) ? bits.read(4) : -1;
  if (cacheBits === 0 || cacheBits > 11) throw new CorruptError("the exact pixels have a bad colour cache");
  const cache = cacheBits > 0 ? new Uint32Array(1 << cacheBits) : null;
  const blocks = main ? readBlocks(bits, width, height) : null;
  const count = blocks ? blocks.count : 1;
  const sizes = [256 + LENGTHS + (cache ? cache.length : 0), 256, 256, 256, 40]; // green, red, blue, alpha, distance
  const sets = Array.from({ length: count }, () => sizes.map((size) => readCode(bits, size, count <= MOST_TABLES)));
  const out = new Uint32Array(width * height);
  let [x, y, kept] = [0, 0, 0];
  for (let at = 0; at < out.length; ) {
    const [green, red, blue, alpha, far] = blocks ? sets[blocks.sets[(y >> blocks.shift) * blocks.across + (x >> blocks.shift)]] : sets[0];
    const symbol = green.read(bits);
    let length = 1;
    if (symbol < 256) out[at++] = (red.read(bits) << 16) | (symbol << 8) | blue.read(bits) | (alpha.read(bits) << 24);
    else if (symbol < 256 + LENGTHS) {
      length = readNumber(bits, symbol - 256);
      const back = distance(readNumber(bits, far.read(bits)), width);
      if (back > at || at + length > out.length) throw new CorruptError("the exact pixels copy what is not there");
      for (const end = at + length; at < end; at++) out[at] = out[at - back];
    } else {
      for (; kept < at; kept++) cache[Math.imul(HASH, out[kept]) >>> (32 - cacheBits)] = out[kept];
      out[at++] = cache[symbol - 256 - LENGTHS];
    }
    for (x += length; x >= width; x -= width) y++;
  }
  return out;
}

/** The palette of the picture: each colour is the difference from the one before. */
function readPalette(bits) {
  const colours = readImage(bits, bits.read(8) + 1, 1, false);
  for (let i = 1; i < colours.length; i++) {
    const [a, b] = [colours[i - 1], colours[i]];
    colours[i] = (((a & 0xff00ff00) + (b & 0xff00ff00)) & 0xff00ff00) | (((a & 0x00ff00ff) + (b & 0x00ff00ff)) & 0x00ff00ff);
  }
  return colours;
}

/** Transforms in the order of the stream, and the width of the image that follows them. */
function readTransforms(bits, width, height) {
  const found = [];
  while (bits.read(1)) {
    const kind = bits.read(2);
    if (found.some((other) => other.kind === kind)) throw new CorruptError("the exact pixels have the same transform twice");
    const transform = { kind, width, height, shift: 0, image: null };
    if (kind < 2) {
      transform.shift = bits.read(3) + 2;
      const unit = 1 << transform.shift;
      transform.image = readImage(bits, Math.ceil(width / unit), Math.ceil(height / unit), false);
    } else if (kind === 3) {
      transform.image = readPalette(bits);
      const colours = transform.image.length;
      transform.shift = colours <= 2 ? 3 : colours <= 4 ? 2 : colours <= 16 ? 1 : 0; // 2^shift pixels in one
      width = Math.ceil(width / (1 << transform.shift));
    }
    found.push(transform);
  }
  return { found, width };
}

/**
 * @param {Uint8Array} file A WebP file of one lossless chunk, whose head has been checked (see overlay.js). The byte that makes its length
 *     even may be read, as libwebp does.
 * @param {number} at Where its pixels begin, after signature and sizes.
 * @returns {Uint32Array} width * height pixels: alpha, red, green and blue from the highest byte.
 * @throws {CorruptError}
 */
export function readLossless(file, at, width, height) {
  const bits = new Bits(file, at);
  const transforms = readTransforms(bits, width, height);
  const image = readImage(bits, transforms.width, height, true);
  return transforms.found.reduceRight((pixels, transform) => undo(transform, pixels), image);
}
