/** A file, section by section, as its bytes arrive (FORMAT.md, "Sections"). */

import { crc32 } from "./checksum.js";
import { CorruptError, LimitError, TruncatedError, VQCError } from "./errors.js";
import { HEADER_BYTES, isVqc, readHeader } from "./header.js";

import { inflate } from "./inflate.js";
import { Limits } from "./limits.js";

const METADATA = { I: "icc", E: "exif", X: "xmp" };

/** What comes next: metadata that is present; the first layer, alpha and exact pixels; the other layers. */
function* order(header) {
  for (const tag of Object.keys(METADATA)) yield { tag, what: METADATA[tag], optional: true };
  const layers = header.single ? 1 : header.layers;
  function* tiles(tag, what, layer) {
    for (let tile = 0; tile < header.tiles; tile++) yield { tag, what, layer, tile };
  }
  if (layers) yield* tiles("L", "layer 1", 0);
  if (header.alpha) yield { tag: "A", what: "alpha" };
  if (header.exact) yield* tiles("P", "exact pixels");
  for (let layer = 1; layer < layers; layer++) yield* tiles("L", `layer ${layer + 1}`, layer);
}

/**
 * Reads a file while it arrives. `push` bytes, take what `sections` yields, and `close` after the last byte.
 * @property {import("./vqc.js").Header | null} header null until its bytes are there.
 */
export class FileReader {
  constructor(limits = new Limits()) {
    this.limits = limits;
    this.header = null;
    this.received = 0;
    this._bytes = new Uint8Array(1 << 16);
    this._at = HEADER_BYTES;
    this._order = null;
    this._next = null;
  }

  /** More bytes of the file. Throws a VQCError if they cannot be one's. */
  push(chunk) {
    this.limits.checkFile(this.received + chunk.length);
    if (this.received + chunk.length > this._bytes.length) {
      const larger = new Uint8Array(Math.max(this.received + chunk.length, 2 * this._bytes.length));
      larger.set(this._bytes.subarray(0, this.received));
      this._bytes = larger;
    }
    this._bytes.set(chunk, this.received);
    this.received += chunk.length;
    if (this.header) return;
    if (this.received >= HEADER_BYTES) {
      this.header = readHeader(this._held, this.limits);
      this._order = order(this.header);
      this._advance();
    } else if (this.received && !isVqc(this._held)) throw new VQCError("not a .vqc file");
  }

  /** The sections that are complete: {tag, payload, indexChecksum, layer, tile}; metadata is inflated. Throws a VQCError. */
  *sections() {
    while (this._next) {
      const tag = this._at < this.received ? String.fromCharCode(this._bytes[this._at]) : null;
      if (tag === null) return;
      if (tag !== this._next.tag) {
        if (!this._next.optional) throw new CorruptError(`tag ${JSON.stringify(tag)} where ${this._next.what} should be`);
        this._advance();
        continue;
      }
      const section = this._section(tag);
      if (!section) return;
      const expected = this._next;
      this._advance();
      if (expected.optional) section.payload = this._metadata(section.payload, expected.what);
      yield { ...expected, ...section };
    }
    if (this.header && this._at < this.received)
      throw new CorruptError(`${this.received - this._at} bytes follow the last section`);
  }

  /** Throws TruncatedError if the file is not whole. */
  close() {
    if (!this.header) readHeader(this._held, this.limits);
    if (this._next) throw new TruncatedError(`the file ends before or inside ${this._missing}`);
  }

  get _held() {
    return this._bytes.subarray(0, this.received);
  }

  get _missing() {
    if (!this._next.optional) return this._next.what;
    return this.header.layers ? "its first layer" : "its exact pixels";
  }

  _advance() {
    this._next = this._order.next().value ?? null;
  }

  /** The section that begins here, or null if it is not complete. */
  _section(tag) {
    const begin = this._at + (tag === "L" ? 13 : 9);
    if (begin > this.received) return null;
    const view = new DataView(this._bytes.buffer);
    const length = view.getUint32(this._at + 1, true);
    if (begin + length > this.received) return null;
    const payload = this._bytes.slice(begin, begin + length);
    const expected = view.getUint32(this._at + 5, true);
    if (crc32(payload, crc32(this._bytes.subarray(this._at, this._at + 1))) !== expected)
      throw new CorruptError(`${this._next.what} is damaged (checksum mismatch)`);
    const indexChecksum = tag === "L" ? view.getUint32(this._at + 9, true) : 0;
    this._at = begin + length;
    return { payload, indexChecksum };
  }

  _metadata(payload, name) {
    const found = inflate(payload, this.limits.maxMetadataBytes);
    if (!found) throw new LimitError(`${name} of more than the limit of ${this.limits.maxMetadataBytes} bytes`);
    return found;
  }
}
