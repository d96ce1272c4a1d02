/**
 * Powers of two, the compander and features, as tables of integers (FORMAT.md, "Prior").
 *
 * Products of a value below 2^23, an entry of EXP2 and one of GAIN_EXP2 have at most 53 bits, which a double holds: so they are
 * computed in doubles, times exact powers of two.
 */

const EXP2 = Float64Array.from({ length: 4096 }, (_, i) => Math.floor(2 ** (i / 4096) * 65536 + 0.5));
const GAIN_EXP2 = Float64Array.from({ length: 32 }, (_, i) => Math.floor(2 ** (i / 32) * 4096 + 0.5));
export const COMPAND_LIMIT = 457;
export const COMPAND = Int16Array.from({ length: 2 * COMPAND_LIMIT + 1 }, (_, i) =>
  Math.floor(64 * Math.asinh((i - COMPAND_LIMIT) / 128) + 0.5));
export const FEATURES = 16;

/** 2^(log2 / 4096 + shift), with 16 fractional bits. */
export function power(log2, shift) {
  return EXP2[log2 & 4095] * 2 ** ((log2 >> 12) + shift - 16);
}

/** 2^(gain / 32), with 12 fractional bits. */
export function gainPower(gain) {
  return GAIN_EXP2[gain & 31] * 2 ** ((gain >> 5) - 12);
}

/** What all networks see of a file's step and tune: 16 numbers 0..64. */
export function fileFeatures(stepCode, tune) {
  const place = (Math.min(Math.max(stepCode - 8192, 0), 28672) + 32) >> 6;
  const features = new Int16Array(FEATURES);
  for (let k = 0; k < 8; k++) features[8 * tune + k] = Math.max(64 - Math.abs(place - 64 * k), 0);
  return features;
}

/** Up to a multiple of 4, to which all positions are padded with zeros. */
export function pad4(n) {
  return (n + 3) & ~3;
}
