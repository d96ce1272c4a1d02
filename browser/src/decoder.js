/** A loaded model, which turns the bytes of files into pictures as they arrive. */

import { readAlpha } from "./alpha.js";
import { FileReader } from "./container.js";
import { FrequencyTables } from "./entropy.js";
import { CorruptError, UnsupportedError } from "./errors.js";
import { makeKernels } from "./kernels.js";
import { LatentDecoder } from "./latent.js";
import { Limits } from "./limits.js";
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

/** One file. `push` its bytes as they arrive; `ready` tells how many layers are whole; `render` makes pixels of them. */
export class Picture {
  constructor(decoder, limits) {
    this._decoder = decoder;
    this._reader = new FileReader(limits);
    this._sections = this._reader.sections();
    this._tiles = null;
    this._alpha = null;
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

  /** More bytes; what they complete is decoded to latents. Throws a VQCError. */
  push(chunk) {
    this.receive(chunk);
    while (this.step());
  }

  /** More bytes, which `step` will decode. Throws a VQCError. */
  receive(chunk) {
    this._reader.push(chunk);
    if (this.header && !this._tiles) this._begin();
  }

  /** Decode one section that has arrived; false if there is none. Throws a VQCError. */
  step() {
    if (!this._tiles) return false;
    const { value: section, done } = this._sections.next();
    if (done) {
      this._sections = this._reader.sections();
      return false;
    }
    this.sections.push({ what: section.what, layer: section.layer, tile: section.tile, bytes: section.payload.length });
    if (section.tag === "L") this._tiles.section(section);
    else if (section.tag === "A") this._alpha = readAlpha(section.payload, this.header.width, this.header.height);
    else this.metadata[section.what] = section.payload;
    return true;
  }

  /** The last byte was pushed. Throws TruncatedError if the file is not whole. */
  close() {
    this._reader.close();
  }

  _begin() {
    const { modelId, layers } = this.header;
    if (modelId !== this._decoder.modelId)
      throw new UnsupportedError(`the file needs model ${modelId}, this is ${this._decoder.modelId}`);
    if (layers > this._decoder.layers) throw new CorruptError(`${layers} layers in the file, ${this._decoder.layers} in the model`);
    this._tiles = new Tiles(this._decoder.latents, this.header);
  }

  /**
   * The rectangles of pixels of the picture, from top to bottom, as they are computed.
   * @param {number} [layers] How many of the layers that are ready; all by default.
   * @yields {{x, y, width, height, pixels: Uint8ClampedArray}} pixels: RGBA, not premultiplied.
   */
  *strips(layers = this.ready) {
    if (!(layers >= 1 && layers <= this.ready)) throw new RangeError(`layers must lie in 1..${this.ready}, not ${layers}`);
    const { synthesis } = this._decoder;
    for (const rect of this._tiles.strips()) {
      synthesis.begin(this.header); // another picture may have been painted in between
      const channels = this._decoder.prior.starts[layers];
      const found = synthesis.strip(rect, this._tiles.whole, channels, (y, x, out) => this._tiles.read(y, x, layers, out));
      yield this._cropped(rect, found);
    }
  }

  /** The pixels of a strip that are inside the picture, with their alpha. */
  _cropped(rect, found) {
    const [x, y] = [16 * rect.left, 16 * rect.top];
    const width = Math.min(16 * rect.right, this.header.width) - x;
    const height = Math.min(16 * rect.bottom, this.header.height) - y;
    const full = 16 * (rect.right - rect.left);
    const pixels = new Uint8ClampedArray(4 * width * height);
    const words = new Uint32Array(pixels.buffer);
    for (let row = 0; row < height; row++) words.set(found.subarray(row * full, row * full + width), row * width);
    if (this._alpha)
      for (let row = 0; row < height; row++)
        for (let i = 0; i < width; i++)
          pixels[4 * (row * width + i) + 3] = this._alpha[(y + row) * this.header.width + x + i];
    return { x, y, width, height, pixels };
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
