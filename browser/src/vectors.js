/** Residual vectors: the symbols of a pass to pairs of numbers (FORMAT.md, "Symbols"). */

import { CorruptError } from "./errors.js";

const ESCAPE = 289;
const ESCAPE_SCALE = 256;

function clip(x, low, high) {
  return x < low ? low : x > high ? high : x;
}

function ratioBin(difference) {
  return (difference > -48) + (difference > -16) + (difference > 16) + (difference > 48);
}

function levelOf(top) {
  return (top > 8) + (top > 104) + (top > 200);
}

function lowTable(mean, ratio, level, a, b) {
  return 260 + 90 * (a !== 0) + 45 * (b !== 0) + 5 * clip((mean - 96 * level + 24) >> 4, 0, 8) + ratio;
}

function codebookOf(table) {
  return (table >= 80) + (table >= 100) + (table >= 110);
}

/** A vector of the integer grid, times a power of two; its sign is turned where the coordinate is negative so far. */
function refine(residuals, i, index, unit) {
  const [a, b] = [Math.floor(index / 17) - 8, (index % 17) - 8];
  residuals[i] += unit * (residuals[i] < 0 ? -a : a);
  residuals[i + 1] += unit * (residuals[i + 1] < 0 ? -b : b);
}

/**
 * Read the residuals of a pass.
 * @param {Int16Array} scales The prior's log2-scales in 1/32 octave, two of each pair.
 * @param {import("./entropy.js").Symbols} symbols
 * @param {Int16Array} codebooks [4, 289, 2]
 * @returns {Int32Array} In 1/256 of the local step, like `scales`.
 * @throws {CorruptError} An escape symbol where no encoder writes one.
 */
export function readVectors(scales, symbols, codebooks) {
  const pairs = scales.length / 2;
  const [tables, levels, residuals] = [new Uint16Array(pairs), new Uint8Array(pairs), new Int32Array(2 * pairs)];
  let most = 0;
  for (let i = 0; i < pairs; i++) {
    const [first, second] = [scales[2 * i], scales[2 * i + 1]];
    const level = levelOf(first > second ? first : second);
    const bin = clip((((first + second) >> 1) - 96 * level + 192) >> 3, 0, 25);
    tables[i] = 5 * bin + ratioBin(first - second) + (level > 0 ? 130 : 0);
    levels[i] = level;
    if (level > most) most = level;
  }
  const top = symbols.batch(tables);
  const escaped = [];
  for (let i = 0; i < pairs; i++) {
    const index = top[i];
    if (index === ESCAPE) {
      if (levels[i] === 3) throw new CorruptError("escape symbol in the coarsest level");
      escaped.push(i);
    } else if (levels[i] === 0) {
      const at = 2 * (289 * codebookOf(tables[i]) + index);
      residuals[2 * i] = codebooks[at];
      residuals[2 * i + 1] = codebooks[at + 1];
    } else refine(residuals, 2 * i, index, 256 * 8 ** levels[i]);
  }
  for (let level = most - 1; level >= 0; level--) readLow(level, scales, levels, top, residuals, symbols);
  if (escaped.length) {
    const again = readVectors(new Int16Array(2 * escaped.length).fill(ESCAPE_SCALE), symbols, codebooks);
    escaped.forEach((pair, i) => residuals.set(again.subarray(2 * i, 2 * i + 2), 2 * pair));
  }
  return residuals;
}

/** The vectors at one level below the top. */
function readLow(level, scales, levels, top, residuals, symbols) {
  const rows = [];
  for (let i = 0; i < levels.length; i++) if (levels[i] > level && top[i] !== ESCAPE) rows.push(i);
  const tables = Uint16Array.from(rows, (i) => {
    const [first, second] = [scales[2 * i], scales[2 * i + 1]];
    return lowTable((first + second) >> 1, ratioBin(first - second), level, residuals[2 * i], residuals[2 * i + 1]);
  });
  const low = symbols.batch(tables);
  rows.forEach((pair, i) => {
    if (low[i] === ESCAPE) throw new CorruptError("escape symbol in a fine stage");
    refine(residuals, 2 * pair, low[i], 256 * 8 ** level);
  });
}
