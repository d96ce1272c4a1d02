/** The alpha plane, without loss (FORMAT.md, "Alpha"). */

import { CorruptError } from "./errors.js";
import { inflate } from "./inflate.js";

/**
 * @param {Uint8Array} payload Of the alpha section.
 * @returns {Uint8Array} width * height values, row by row; 255 is opaque.
 * @throws {CorruptError}
 */
export function readAlpha(payload, width, height) {
  if (!payload.length || payload[0] > 3) throw new CorruptError("the alpha section names no known filter");
  const plane = inflate(payload.subarray(1), width * height);
  if (plane?.length !== width * height) throw new CorruptError("the alpha section does not hold the picture's pixels");
  if (payload[0] & 2) for (let i = width; i < plane.length; i++) plane[i] += plane[i - width];
  if (payload[0] & 1)
    for (let row = 0; row < plane.length; row += width)
      for (let i = row + 1; i < row + width; i++) plane[i] += plane[i - 1];
  return plane;
}
