/** The grid of latent positions over a picture, and its tiles (FORMAT.md, "Tiles"). */

export const PATCH_PX = 16; // side of the pixels of one latent position
export const TILE = 64; // largest side of a tile, in latent positions
const CELL = 4;

/** Number of latent positions along a side. */
export function positions(pixels) {
  return Math.ceil(pixels / PATCH_PX);
}

/** Number of tiles along a side. */
export function tileCount(pixels) {
  return Math.ceil(positions(pixels) / TILE);
}

/** Where the tiles along a side begin and end, in latent positions. */
export function edges(pixels) {
  const all = positions(pixels);
  const count = tileCount(pixels);
  const cells = Math.ceil(all / CELL);
  return Array.from({ length: count + 1 }, (_, i) => Math.min(all, CELL * Math.floor((cells * i) / count)));
}

/** Every tile, row by row: {top, bottom, left, right} in latent positions, the ends excluded. */
export function tilesOf(width, height) {
  const [rows, columns] = [edges(height), edges(width)];
  return rows.slice(1).flatMap((bottom, i) =>
    columns.slice(1).map((right, j) => ({ top: rows[i], bottom, left: columns[j], right })));
}
