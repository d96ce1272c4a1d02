/** The header of a .vqc file (FORMAT.md, "Header"). */

import { crc32 } from "./checksum.js";
import { CorruptError, TruncatedError, UnsupportedError, VQCError } from "./errors.js";
import { tileCount } from "./geometry.js";

export const HEADER_BYTES = 36;
export const FORMAT_VERSION = 0;
const MAGIC = [0x89, 0x56, 0x51, 0x43, 0x0d, 0x0a, 0x1a, 0x0a];
const TUNES = ["psnr", "eye"];

/** Whether the bytes can be the beginning of a .vqc file. */
export function isVqc(bytes) {
  return bytes.length > 0 && MAGIC.slice(0, bytes.length).every((byte, i) => byte === bytes[i]);
}

/**
 * Read and check the header at the start of a file.
 * @param {Uint8Array} bytes
 * @param {import("./limits.js").Limits} limits
 * @returns {import("./vqc.js").Header}
 * @throws {VQCError} The bytes do not start with a header that this version reads, or it exceeds the limits.
 */
export function readHeader(bytes, limits) {
  if (!isVqc(bytes)) throw new VQCError("not a .vqc file");
  if (bytes.length > MAGIC.length && bytes[8] !== FORMAT_VERSION)
    throw new UnsupportedError(`format version ${bytes[8]}; this decoder reads version ${FORMAT_VERSION}`);
  if (bytes.length < HEADER_BYTES) throw new TruncatedError("the file ends inside its header");
  const view = new DataView(bytes.buffer, bytes.byteOffset, HEADER_BYTES);
  if (crc32(bytes.subarray(0, 32)) !== view.getUint32(32, true)) throw new CorruptError("the header is damaged (checksum mismatch)");
  const flags = bytes[9];
  if (flags >> 4) throw new UnsupportedError(`reserved header flags are set (${flags})`);
  const header = {
    width: view.getUint32(10, true),
    height: view.getUint32(14, true),
    grey: (flags & 1) > 0,
    single: (flags & 2) > 0,
    alpha: (flags & 4) > 0,
    exact: (flags & 8) > 0,
    quality: view.getUint16(18, true) / 100,
    stepCode: view.getUint16(20, true),
    tune: bytes[22],
    modelId: Array.from(bytes.subarray(23, 31), (byte) => byte.toString(16).padStart(2, "0")).join(""),
    layers: bytes[31],
  };
  check(header);
  header.tiles = tileCount(header.width) * tileCount(header.height);
  if (header.single && header.tiles > 1) throw new CorruptError("a picture of several tiles has a single section");
  if (header.single && !header.layers) throw new CorruptError("a section for layers in a file that has none");
  limits.checkSize(header.width, header.height);
  limits.checkLayers(header.layers);
  return header;
}

function check({ width, height, layers, exact, quality, stepCode, tune }) {
  if (!width || !height || !(layers || exact)) throw new CorruptError(`header holds an empty picture (${width}x${height}, ${layers} layers)`);
  if (quality && !(quality >= 1 && quality <= 100)) throw new CorruptError(`quality ${quality} is outside 1..100`);
  if (stepCode < 4096 || stepCode > 40960) throw new CorruptError(`step code ${stepCode} is outside 4096..40960`);
  if (tune >= TUNES.length) throw new UnsupportedError(`tune ${tune} is unknown`);
}
