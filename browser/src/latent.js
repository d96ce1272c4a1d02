/** The walk over one tile: layers, and the passes of each (FORMAT.md, "Order of symbols"). */

import { Symbols } from "./entropy.js";
import { readVectors } from "./vectors.js";

const STRAIGHT = [[-1, 0], [0, -1], [0, 1], [1, 0]];
const DIAGONAL = [[-1, -1], [-1, 1], [1, -1], [1, 1]];
const NEIGHBOURS = [[2, DIAGONAL], [2, STRAIGHT], [1, DIAGONAL], [1, STRAIGHT]];

function passOf(group, y, x) {
  if (group > 0) return (y + x) % 2;
  if (y % 2 || x % 2) return y % 2 && x % 2 ? 3 : 4;
  return y % 4 || x % 4 ? (y % 4 && x % 4 ? 1 : 2) : 0;
}

/** The flat positions of each pass, row by row. */
function passes(group, height, width) {
  const out = Array.from({ length: group ? 2 : 5 }, () => []);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) out[passOf(group, y, x)].push(y * width + x);
  return out.map((rows) => Int32Array.from(rows));
}

/** Which of the known positions are the new ones' neighbours; known.length stands for those outside the tile. */
function neighboursOf(step, known, rows, height, width) {
  const index = new Int32Array(height * width).fill(known.length);
  known.forEach((row, i) => (index[row] = i));
  const [distance, four] = NEIGHBOURS[step];
  const out = new Int32Array(4 * rows.length);
  rows.forEach((row, i) =>
    four.forEach(([down, right], n) => {
      const [y, x] = [Math.floor(row / width) + distance * down, (row % width) + distance * right];
      const inside = y >= 0 && y < height && x >= 0 && x < width;
      out[4 * i + n] = inside ? index[y * width + x] : known.length;
    }));
  return out;
}

/** A tile that is decoded layer by layer. latents: of each layer so far, int32 [positions, channels]. */
export class Tile {
  constructor(height, width, prior, file) {
    [this.height, this.width] = [height, width];
    this.latents = [];
    this.trunk = new Int16Array(height * width * prior.stride);
    for (let i = 0; i < height * width; i++) this.trunk.set(file.start, i * prior.stride);
    this.context = null; // what is known of the last layer
  }

  get layers() {
    return this.latents.length;
  }
}

/** Decodes the layers of tiles. */
export class LatentDecoder {
  /**
   * @param {import("./prior.js").Prior} prior
   * @param {import("./entropy.js").FrequencyTables} tables
   * @param {Int16Array} codebooks
   */
  constructor(prior, tables, codebooks) {
    [this.prior, this.tables, this.codebooks] = [prior, tables, codebooks];
  }

  /** One section: the tile's next layer, or `count` of them that share it. Throws CorruptError. */
  section(tile, section, file, count = 1) {
    const symbols = new Symbols(section, this.tables);
    for (let i = 0; i < count; i++) this._layer(tile, symbols, file);
    symbols.close();
  }

  _layer(tile, symbols, file) {
    const { prior } = this;
    const { height, width } = tile;
    const group = tile.layers;
    if (group > 0) tile.trunk = prior.refine("refine_full", group - 1, tile.context, tile.trunk, height, width);
    const channels = prior.groups[group];
    const latent = new Int32Array(height * width * channels);
    tile.context = new Int16Array(height * width * channels);
    const read = (rows, trunk, trunkRows) => {
      const said = prior.predict(group, trunk, trunkRows, file);
      const found = prior.toLatent(group, said, readVectors(said.scale, symbols, this.codebooks), file);
      const seen = prior.companded(group, found);
      for (let i = 0; i < rows.length; i++) {
        latent.set(found.subarray(i * channels, (i + 1) * channels), rows[i] * channels);
        tile.context.set(seen.subarray(i * channels, (i + 1) * channels), rows[i] * channels);
      }
    };
    const [first, ...others] = passes(group, height, width);
    read(first, tile.trunk, first);
    if (group === 0) this._hierarchy(tile, first, others, file, read);
    else if (others[0].length) {
      const trunk = prior.refine("refine_half", group, tile.context, tile.trunk, height, width, others[0]);
      read(others[0], trunk, others[0].map((_, i) => i));
    }
    tile.latents.push(latent);
  }

  _hierarchy(tile, known, others, file, read) {
    others.forEach((rows, step) => {
      if (rows.length) {
        const neighbours = neighboursOf(step, known, rows, tile.height, tile.width);
        this.prior.hear(step, tile.context, tile.trunk, known, rows, neighbours, file);
        read(rows, tile.trunk, rows);
      }
      known = Int32Array.from([...known, ...rows]);
    });
  }
}
