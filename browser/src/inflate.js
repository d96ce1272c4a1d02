/**
 * zlib streams (RFC 1950 and 1951). The browser's own DecompressionStream cannot stop at a limit without a race, and Node's
 * does not notice bytes after the end of a stream, which the format forbids.
 */

import { adler32 } from "./checksum.js";
import { CorruptError } from "./errors.js";

const LENGTH_BASE = [3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258];
const LENGTH_EXTRA = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
const DISTANCE_BASE = [
  1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289,
  16385, 24577,
];
const DISTANCE_EXTRA = [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13];
const CODE_ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
const MOST_BITS = 15;

class Bits {
  constructor(bytes) {
    this.bytes = bytes;
    this.at = 0;
    this.held = 0;
    this.count = 0;
  }

  need(count) {
    while (this.count < count) {
      if (this.at === this.bytes.length) throw new CorruptError("a compressed section ends too early");
      this.held |= this.bytes[this.at++] << this.count;
      this.count += 8;
    }
  }

  read(count) {
    if (count === 0) return 0;
    this.need(count);
    const value = this.held & ((1 << count) - 1);
    this.held >>>= count;
    this.count -= count;
    return value;
  }

  /** To the next whole byte. */
  align() {
    this.held = this.count = 0;
  }
}

/** A Huffman code. lengths: of the code of each symbol, 0 if it has none. */
class Code {
  constructor(lengths, mayBeIncomplete) {
    this.counts = new Uint16Array(MOST_BITS + 1);
    for (const length of lengths) this.counts[length]++;
    this.counts[0] = 0;
    let left = 1;
    for (let bits = 1; bits <= MOST_BITS; bits++) {
      left = 2 * left - this.counts[bits];
      if (left < 0) throw new CorruptError("a compressed section has an impossible code");
    }
    const used = lengths.filter((length) => length > 0).length;
    if (left > 0 && !(mayBeIncomplete && used <= 1 && this.counts[1] === used))
      throw new CorruptError("a compressed section has an incomplete code");
    const next = new Uint16Array(MOST_BITS + 2);
    for (let bits = 1; bits <= MOST_BITS; bits++) next[bits + 1] = next[bits] + this.counts[bits];
    this.symbols = new Uint16Array(used);
    lengths.forEach((length, symbol) => length && (this.symbols[next[length]++] = symbol));
  }

  read(bits) {
    let code = 0;
    let first = 0;
    let index = 0;
    for (let length = 1; length <= MOST_BITS; length++) {
      if (bits.count === 0) bits.need(1);
      code |= bits.held & 1;
      bits.held >>>= 1;
      bits.count--;
      const count = this.counts[length];
      if (code - first < count) return this.symbols[index + code - first];
      index += count;
      first = (first + count) << 1;
      code <<= 1;
    }
    throw new CorruptError("a compressed section has an unknown code");
  }
}

class Output {
  constructor(limit) {
    this.limit = limit;
    this.bytes = new Uint8Array(Math.min(limit, 1 << 16));
    this.length = 0;
  }

  /** Whether `more` bytes are within the limit; makes room for them. */
  room(more) {
    const needed = this.length + more;
    if (needed > this.limit) return false;
    if (needed > this.bytes.length) {
      const larger = new Uint8Array(Math.min(this.limit, Math.max(needed, 2 * this.bytes.length)));
      larger.set(this.bytes.subarray(0, this.length));
      this.bytes = larger;
    }
    return true;
  }
}

let fixedCodes;

function fixed() {
  fixedCodes ??= [
    new Code(Array.from({ length: 288 }, (_, n) => (n < 144 ? 8 : n < 256 ? 9 : n < 280 ? 7 : 8))),
    new Code(new Array(32).fill(5)),
  ];
  return fixedCodes;
}

function dynamic(bits) {
  const [literals, distances, count] = [bits.read(5) + 257, bits.read(5) + 1, bits.read(4) + 4];
  if (literals > 286 || distances > 30) throw new CorruptError("a compressed section has too many symbols");
  const order = new Array(19).fill(0);
  for (let i = 0; i < count; i++) order[CODE_ORDER[i]] = bits.read(3);
  const code = new Code(order);
  const lengths = [];
  while (lengths.length < literals + distances) {
    const symbol = code.read(bits);
    if (symbol < 16) {
      lengths.push(symbol);
      continue;
    }
    if (symbol === 16 && lengths.length === 0) throw new CorruptError("a compressed section repeats nothing");
    const repeated = symbol === 16 ? lengths.at(-1) : 0;
    const times = symbol === 16 ? 3 + bits.read(2) : symbol === 17 ? 3 + bits.read(3) : 11 + bits.read(7);
    for (let i = 0; i < times; i++) lengths.push(repeated);
  }
  if (lengths.length > literals + distances || lengths[256] === 0) throw new CorruptError("a compressed section has bad code lengths");
  return [new Code(lengths.slice(0, literals), true), new Code(lengths.slice(literals), true)];
}

/** One block; false if the output reached its limit. */
function compressed(bits, out, [literal, distance]) {
  for (;;) {
    const symbol = literal.read(bits);
    if (symbol === 256) return true;
    if (symbol < 256) {
      if (!out.room(1)) return false;
      out.bytes[out.length++] = symbol;
      continue;
    }
    if (symbol > 285) throw new CorruptError("a compressed section has an unknown length");
    const length = LENGTH_BASE[symbol - 257] + bits.read(LENGTH_EXTRA[symbol - 257]);
    const far = distance.read(bits);
    if (far > 29) throw new CorruptError("a compressed section has an unknown distance");
    const back = DISTANCE_BASE[far] + bits.read(DISTANCE_EXTRA[far]);
    if (back > out.length) throw new CorruptError("a compressed section looks back too far");
    if (!out.room(length)) return false;
    for (let i = 0; i < length; i++, out.length++) out.bytes[out.length] = out.bytes[out.length - back];
  }
}

function stored(bits, out) {
  bits.align();
  const [length, inverse] = [bits.read(16), bits.read(16)];
  if (length !== (~inverse & 0xffff)) throw new CorruptError("a compressed section has a bad length");
  if (bits.at + length > bits.bytes.length) throw new CorruptError("a compressed section ends too early");
  if (!out.room(length)) return false;
  out.bytes.set(bits.bytes.subarray(bits.at, bits.at + length), out.length);
  bits.at += length;
  out.length += length;
  return true;
}

/**
 * Undo zlib.
 * @param {Uint8Array} payload One stream, which must end where the payload ends.
 * @param {number} limit Most bytes to inflate.
 * @returns {Uint8Array | null} null if there are more.
 * @throws {CorruptError}
 */
export function inflate(payload, limit) {
  const sound = payload.length >= 2 && (payload[0] & 15) === 8 && payload[0] >> 4 <= 7 && !(payload[1] & 32);
  if (!sound || (payload[0] * 256 + payload[1]) % 31) throw new CorruptError("a compressed section is no zlib stream");
  const bits = new Bits(payload);
  const out = new Output(limit);
  bits.at = 2;
  for (let last = 0; !last; ) {
    last = bits.read(1);
    const kind = bits.read(2);
    if (kind === 3) throw new CorruptError("a compressed section has an unknown block");
    if (!(kind === 0 ? stored(bits, out) : compressed(bits, out, kind === 1 ? fixed() : dynamic(bits)))) return null;
  }
  const end = bits.at - (bits.count >> 3);
  const found = out.bytes.subarray(0, out.length);
  if (payload.length !== end + 4) throw new CorruptError("a compressed section does not end where it should");
  const expected = new DataView(payload.buffer, payload.byteOffset + end, 4).getUint32(0);
  if (adler32(found) !== expected) throw new CorruptError("a compressed section has a wrong checksum");
  return found;
}
