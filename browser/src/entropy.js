/** Integer frequency tables, and symbols out of ANS words (FORMAT.md, "Entropy coding"). */

import { crc32 } from "./checksum.js";
import { CorruptError } from "./errors.js";

export const TABLES = 440;
export const SYMBOLS = 290;
const STRIDE = SYMBOLS + 1;
const PRECISION = 2 ** 24;
const COARSE = 257;

/** The model's tables: of each the bounds of its symbols, and the symbol that owns every 2^16th number. */
export class FrequencyTables {
  /** @param {Uint32Array} counts Positive, [440, 290]. */
  constructor(counts) {
    this.bounds = new Uint32Array(TABLES * STRIDE);
    this.starts = new Uint16Array(TABLES * COARSE);
    for (let table = 0; table < TABLES; table++) {
      const own = counts.subarray(table * SYMBOLS, (table + 1) * SYMBOLS);
      const bounds = this.bounds.subarray(table * STRIDE, (table + 1) * STRIDE);
      const scale = (PRECISION - SYMBOLS) / own.reduce((sum, count) => sum + count, 0);
      for (let i = 0, before = 0; i < SYMBOLS; before += own[i++]) bounds[i] = Math.trunc(before * scale) + i;
      bounds[SYMBOLS] = PRECISION;
      for (let i = 0, symbol = 0; i < COARSE; i++) {
        while (symbol < SYMBOLS - 1 && bounds[symbol + 1] <= i * 65536) symbol++;
        this.starts[table * COARSE + i] = symbol;
      }
    }
  }
}

/** The symbols of one layer section, batch by batch; `close` proves that the payload held exactly those. */
export class Symbols {
  /**
   * @param {{payload: Uint8Array, indexChecksum: number}} section
   * @param {FrequencyTables} tables
   */
  constructor({ payload, indexChecksum }, tables) {
    if (payload.length % 4) throw new CorruptError(`entropy payload of ${payload.length} bytes is not a whole number of words`);
    const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
    this._words = Uint32Array.from({ length: payload.length / 4 }, (_, i) => view.getUint32(4 * i, true));
    this._left = this._words.length;
    if (this._left && !this._words[this._left - 1]) throw new CorruptError("entropy payload does not end in a non-zero word");
    this._expected = indexChecksum;
    this._checksum = 0;
    this._tables = tables;
    this._high = 0; // of the 64-bit state
    this._low = 0;
    for (let i = 0; i < 2 && this._left; i++) [this._high, this._low] = [this._low, this._words[--this._left]];
    this._begins = new Int32Array(TABLES + 1);
  }

  /**
   * The next batch.
   * @param {Uint16Array} tables Of each symbol; all below 440.
   * @returns {Uint16Array} The symbols.
   */
  batch(tables) {
    const count = tables.length;
    const [symbols, order, begins] = [new Uint16Array(count), new Int32Array(count), this._begins.fill(0)];
    for (let i = 0; i < count; i++) begins[tables[i] + 1]++;
    for (let table = 0; table < TABLES; table++) begins[table + 1] += begins[table];
    for (let i = 0; i < count; i++) order[begins[tables[i]]++] = i;
    this._decode(tables, order, symbols);
    this._checksum = crc32(new Uint8Array(symbols.buffer), this._checksum);
    return symbols;
  }

  /** Symbols in an order. The state's products have 64 bits, and are computed in two parts, each exact in a double. */
  _decode(tables, order, symbols) {
    const { bounds, starts } = this._tables;
    const words = this._words;
    let [high, low, left] = [this._high, this._low, this._left];
    for (let i = 0; i < order.length; i++) {
      const table = tables[order[i]];
      const base = table * STRIDE;
      const quantile = low & 0xffffff;
      const coarse = table * COARSE + (quantile >>> 16);
      let symbol = starts[coarse];
      for (let end = starts[coarse + 1]; symbol < end; ) {
        const middle = (symbol + end + 1) >> 1;
        if (bounds[base + middle] <= quantile) symbol = middle;
        else end = middle - 1;
      }
      const begin = bounds[base + symbol];
      const width = bounds[base + symbol + 1] - begin;
      const upper = (high >>> 8) * width; // below 2^48
      const rest = (((high & 255) << 8) | (low >>> 24)) * width + (quantile - begin); // below 2^41
      const carry = Math.floor(upper / 65536);
      const lower = (upper - carry * 65536) * 65536 + rest;
      const overflow = Math.floor(lower / 4294967296);
      high = carry + overflow;
      low = (lower - overflow * 4294967296) >>> 0;
      if (high === 0 && left > 0) {
        high = low;
        low = words[--left];
      }
      symbols[order[i]] = symbol;
    }
    [this._high, this._low, this._left] = [high, low, left];
  }

  /** Throws CorruptError unless every bit was used and the symbols have the file's checksum. */
  close() {
    if (this._high || this._low || this._left) throw new CorruptError("entropy payload holds more than its symbols");
    if (this._checksum !== this._expected) throw new CorruptError("decoded indices have a wrong checksum");
  }
}
