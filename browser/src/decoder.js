/** A loaded model, which turns the bytes of files into pictures as they arrive. */

import { readAlpha } from "./alpha.js";
import { FileReader } from "./container.js";
import { FrequencyTables } from "./entropy.js";
import { CorruptError, UnsupportedError } from "./errors.js";
import { makeKernels } from "./kernels.js";
import { LatentDecoder } from "./latent.js";
import { Limits } from "./limits.js";
import { Overlays } from "./overlay.js";
import { Prior } from "./prior.js";
import { Synthesis } from "./synthesis.js";
import { Tiles } from "./tiles.js";

/** A picture that is put together from strips; its pixels are allocated with the first. */
export class Canvas {
  constructor({ width, height }) {
    [this.width, this.height, this.pixels] = [width, height, null];
  }

  /** strip: {x, y, width, height, pixels} */
  add({ x, y, width, height, pixels }) {
    this.pixels ??= new Uint8ClampedArray(4 * this.width * this.height);
    for (let row = 0; row < height; row++)
      this.pixels.set(pixels.subarray(4 * row * width, 4 * (row + 1) * width), 4 * ((y + row) * this.width + x));
  }
}

export class Decoder {
  /**
   * @param {import("./weights.js").Model} model
   * @param {WebAssembly.Module | null} [module] See `compileKernels`; null computes in plain JavaScript.
   */
  constructor(model, module = null) {
    this.modelId = model.id;
    this.layers = model.sizes.groups.length;
    const kernels = makeKernels(module, Prior.bytes(model.sizes, model.tensors) + Synthesis.bytes(model.sizes));
    this.prior = new Prior(model, kernels);
    this.synthesis = new Synthesis(model, kernels);
    const tables = new FrequencyTables(model.tensors["quantizer.counts"]);
    this.latents = new LatentDecoder(this.prior, tables, model.tensors["quantizer.codebooks"]);
  }

  /** A file that will arrive. */
  open(limits = new Limits()) {
    return new Picture(this, limits);
  }

  /**
   * Decode a whole file.
   * @param {Uint8Array} bytes
   * @param {{layers?: number, limits?: Limits}} [options] layers: how many to decode; all by default.
   * @returns {{width, height, pixels: Uint8ClampedArray, header, metadata}} pixels: RGBA.
   * @throws {import("./errors.js").VQCError}
   */
  decode(bytes, { layers, limits } = {}) {
    const picture = this.open(limits);
    picture.push(bytes);
    picture.close();
    return picture.render(layers);
  }
}

/**
 * One file. `push` its bytes as they arrive; `showable` tells when there is something to show, `ready` how many layers are whole; `render`
 * makes pixels of them.
 */
export class Picture {
  /** decoder: may be null for a file without layers. */
  constructor(decoder, limits = new Limits()) {
    this._decoder = decoder;
    this._reader = new FileReader(limits);
    this._sections = this._reader.sections();
    this._tiles = this._alpha = this._overlays = null;
    this._missing = Infinity; // sections of the first layer, of alpha and of exact pixels
    this.metadata = {};
    this.sections = []; // {what, layer, bytes} of each that has arrived
  }

  /** See FORMAT.md, "Header". null until its bytes are there. */
  get header() {
    return this._reader.header;
  }

  /** Number of layers of which every tile has arrived and is decoded. */
  get ready() {
    return this._tiles ? this._tiles.ready : 0;
  }

  /** Whether the first layer, alpha and the exact pixels are there, as far as the file has them. */
  get showable() {
    return this._missing === 0;
  }

  /** More bytes; what they complete is decoded to latents. Throws a VQCError. */
  push(chunk) {
    this.receive(chunk);
    while (this.step());
  }

  /** More bytes, which `step` will decode. Throws a VQCError. */
  receive(chunk) {
    this._reader.push(chunk);
    if (this.header && this._missing === Infinity) this._begin();
  }

  /** Decode one section that has arrived; false if there is none. Throws a VQCError. */
  step() {
    if (!this.header) return false;
    const { value: section, done } = this._sections.next();
    if (done) {
      this._sections = this._reader.sections();
      return false;
    }
    this.sections.push({ what: section.what, layer: section.layer, tile: section.tile, bytes: section.payload.length });
    if (section.tag === "L") this._tiles.section(section);
    else if (section.tag === "A") this._alpha = readAlpha(section.payload, this.header.width, this.header.height);
    else if (section.tag === "P") this._overlays.section(section);
    else this.metadata[section.what] = section.payload;
    if (!section.optional && !this.showable) this._missing--;
    return true;
  }

  /**
   * Nothing more will come: what is there becomes showable, if that is the first layer of every tile, or the exact pixels of at least half
   * of them in a file without layers.
   * @returns {boolean} Whether there is something to show.
   */
  salvage() {
    const enough = this.header?.layers ? this.ready > 0 : this._overlays && 2 * this._overlays.count >= this.header.tiles;
    if (enough) this._missing = 0;
    return Boolean(enough);
  }

  /** The last byte was pushed. Throws TruncatedError if the file is not whole. */
  close() {
    this._reader.close();
  }

  _begin() {
    const { modelId, layers, tiles, alpha, exact } = this.header;
    this._missing = (layers ? tiles : 0) + (alpha ? 1 : 0) + (exact ? tiles : 0);
    if (exact) this._overlays = new Overlays(this.header);
    if (!layers) return;
    if (modelId !== this._decoder?.modelId)
      throw new UnsupportedError(`the file needs model ${modelId}, this is ${this._decoder?.modelId ?? "none"}`);
    if (layers > this._decoder.layers) throw new CorruptError(`${layers} layers in the file, ${this._decoder.layers} in the model`);
    this._tiles = new Tiles(this._decoder.latents, this.header);
  }

  /**
   * The rectangles of pixels of the picture, from top to bottom, as they are computed.
   * @param {number} [layers] How many of the layers that are ready; all by default.
   * @yields {{x, y, width, height, pixels: Uint8ClampedArray}} pixels: RGBA, not premultiplied.
   */
  *strips(layers = this.ready) {
    if (!this.showable) throw new RangeError("the first layer, alpha or exact pixels are not there yet");
    const least = this.header.layers ? 1 : 0;
    if (!(layers >= least && layers <= this.ready)) throw new RangeError(`layers must lie in ${least}..${this.ready}, not ${layers}`);
    for (const strip of layers ? this._painted(layers) : this._overlays.strips()) {
      this._overlays?.lay(strip);
      if (this._alpha) this._layAlpha(strip);
      yield strip;
    }
  }

  /** What the model paints. */
  *_painted(layers) {
    const { synthesis } = this._decoder;
    for (const rect of this._tiles.strips()) {
      synthesis.begin(this.header); // another picture may have been painted in between
      const channels = this._decoder.prior.starts[layers];
      const found = synthesis.strip(rect, this._tiles.whole, channels, (y, x, out) => this._tiles.read(y, x, layers, out));
      yield this._cropped(rect, found);
    }
  }

  /** The pixels of a strip that are inside the picture. */
  _cropped(rect, found) {
    const [x, y] = [16 * rect.left, 16 * rect.top];
    const width = Math.min(16 * rect.right, this.header.width) - x;
    const height = Math.min(16 * rect.bottom, this.header.height) - y;
    const full = 16 * (rect.right - rect.left);
    const pixels = new Uint8ClampedArray(4 * width * height);
    const words = new Uint32Array(pixels.buffer);
    for (let row = 0; row < height; row++) words.set(found.subarray(row * full, row * full + width), row * width);
    return { x, y, width, height, pixels };
  }

  _layAlpha({ x, y, width, height, pixels }) {
    for (let row = 0; row < height; row++)
      for (let i = 0; i < width; i++) pixels[4 * (row * width + i) + 3] = this._alpha[(y + row) * this.header.width + x + i];
  }

  /** All strips as one picture. */
  render(layers = this.ready) {
    const canvas = new Canvas(this.header);
    for (const strip of this.strips(layers)) canvas.add(strip);
    const { width, height, pixels } = canvas;
    return { width, height, pixels, header: this.header, metadata: this.metadata };
  }

  /** The latent of a position in 2^-14 of the unit of pixels, int32 [channels of `layers`]. */
  latent(y, x, layers = this.ready) {
    const out = new Int32Array(this._decoder.prior.starts[layers]);
    this._tiles.read(y, x, layers, out);
    return out;
  }
}
