/** The tiles of a picture, which become latents as sections arrive (FORMAT.md, "Tiles" and "Sections"). */

import { positions, tilesOf } from "./geometry.js";
import { Tile } from "./latent.js";
import { STRIP } from "./synthesis.js";

export class Tiles {
  /**
   * @param {import("./latent.js").LatentDecoder} latents
   * @param {object} header
   */
  constructor(latents, header) {
    [this._latents, this._header] = [latents, header];
    this._file = latents.prior.begin(header.stepCode, header.tune);
    this._rects = tilesOf(header.width, header.height);
    this._tiles = this._rects.map(() => null);
    this._found = 0; // sections so far
    this.whole = { height: positions(header.height), width: positions(header.width) };
  }

  /** Number of layers that every tile has. */
  get ready() {
    return this._header.single ? this._found * this._header.layers : Math.floor(this._found / this._rects.length);
  }

  /** Decode a section; they come in the order of the file. Throws CorruptError. */
  section(section) {
    const { top, bottom, left, right } = this._rects[section.tile];
    this._tiles[section.tile] ??= new Tile(bottom - top, right - left, this._latents.prior, this._file);
    const tile = this._tiles[section.tile];
    this._latents.section(tile, section, this._file, this._header.single ? this._header.layers : 1);
    if (tile.layers === this._header.layers) tile.trunk = tile.context = null;
    this._found++;
  }

  /** The latent of a position, layer after layer, to `out`. */
  read(y, x, layers, out) {
    const number = this._numberOf(y, x);
    const { top, left } = this._rects[number];
    const tile = this._tiles[number];
    const position = (y - top) * tile.width + x - left;
    for (let layer = 0, at = 0; layer < layers; layer++) {
      const channels = this._latents.prior.groups[layer];
      out.set(tile.latents[layer].subarray(position * channels, (position + 1) * channels), at);
      at += channels;
    }
  }

  _numberOf(y, x) {
    const last = this._last ?? 0;
    if (contains(this._rects[last], y, x)) return last;
    this._last = this._rects.findIndex((rect) => contains(rect, y, x));
    return this._last;
  }

  /** Rectangles of at most STRIP x STRIP positions that cover the picture, row by row. */
  *strips() {
    const { height, width } = this.whole;
    for (let top = 0; top < height; top += STRIP)
      for (let left = 0; left < width; left += STRIP)
        yield { top, bottom: Math.min(top + STRIP, height), left, right: Math.min(left + STRIP, width) };
  }
}

function contains({ top, bottom, left, right }, y, x) {
  return y >= top && y < bottom && x >= left && x < right;
}
