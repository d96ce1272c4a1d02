/** Latents to pixels (FORMAT.md, "Synthesis"), in strips of bounded memory. */

import { FEATURES, fileFeatures, pad4 } from "./arithmetic.js";
import { PATCH_PX } from "./geometry.js";
import { FLOAT_ADDED, FLOAT_LEAKY } from "./plain.js";

export const STRIP = 64; // longest side of a strip, in latent positions
const [STRIDE_TAIL, COLOURS, BLOCK] = [4, 3, 768];
const RUN = PATCH_PX * COLOURS; // floats of a position in one row of pixels
const UNIT = 2 ** -14;

/** weight [outputs, inputs] -> [inputs, outputs], the outputs in the order of `from`; -1 is an output of zeros. */
function turned(weight, inputs, from) {
  const out = new Float32Array(inputs * from.length);
  from.forEach((output, o) => {
    if (output >= 0) for (let k = 0; k < inputs; k++) out[k * from.length + o] = weight[output * inputs + k];
  });
  return out;
}

/** Outputs (channel, row, column) of a depth-to-space layer in the order (row, column, channel), channels padded to `padded`. */
function spread(channels, factor, padded) {
  return Array.from({ length: factor * factor * padded }, (_, i) => {
    const channel = i % padded;
    return channel < channels ? channel * factor * factor + Math.floor(i / padded) : -1;
  });
}

function straight(outputs) {
  return Array.from({ length: pad4(outputs) }, (_, o) => (o < outputs ? o : -1));
}

function pick(bias, from) {
  return Float32Array.from(from, (output) => (output < 0 ? 0 : bias[output]));
}

/** Positions with a border of zeros. */
class Plane {
  constructor(arena, height, width, channels) {
    [this.height, this.width, this.channels] = [height, width, channels];
    this.row = (width + 2) * channels;
    this.array = arena.take(Float32Array, (height + 2) * this.row);
  }

  get inside() {
    return { array: this.array, offset: this.row + this.channels, row: this.row, stride: this.channels };
  }
}

class Block {
  constructor(kernels, tensors, name, width) {
    const padded = pad4(width);
    const part = (layer, kind) => tensors[`synthesis.${name}.${layer}.${kind}`];
    this._kernels = kernels;
    this._space = kernels.arena.take(Float32Array, 9 * padded);
    for (let n = 0; n < 9; n++) this._space.set(part("space", "weight").subarray(n * width, (n + 1) * width), n * padded);
    this._spaceBias = kernels.arena.take(Float32Array, padded);
    this._spaceBias.set(part("space", "bias"));
    const [wide, narrow] = [straight(2 * width), straight(width)];
    this._first = kernels.floats(turned(part("first", "weight"), width, wide), pick(part("first", "bias"), wide));
    this._second = kernels.floats(turned(part("second", "weight"), 2 * width, narrow), pick(part("second", "bias"), narrow));
  }

  /** x + second(leaky(first(depthwise(x)))) of a plane, to another. */
  apply(x, out) {
    const { arena } = this._kernels;
    const { width, channels } = x;
    arena.borrow(() => {
      const seen = { array: arena.take(Float32Array, width * channels), offset: 0, row: 0, stride: channels };
      const wide = this._first.outputs;
      const hidden = { array: arena.take(Float32Array, width * wide), offset: 0, row: 0, stride: wide };
      for (let y = 0; y < x.height; y++) {
        const own = { array: out.array, offset: (y + 1) * x.row + channels, row: 0, stride: channels };
        this._kernels.depthwise(x.array, y * x.row, x.row, width, channels, this._space, this._spaceBias, seen.array);
        this._first.apply(seen, 1, width, hidden, wide, 0, FLOAT_LEAKY);
        out.array.set(x.array.subarray(own.offset, own.offset + width * channels), own.offset);
        this._second.apply(hidden, 1, width, own, channels, 0, FLOAT_ADDED);
      }
    });
  }
}

/** The synthesis of a model. */
export class Synthesis {
  /**
   * @param {import("./weights.js").Model} model
   * @param {import("./plain.js").PlainKernels} kernels
   */
  constructor({ sizes, tensors }, kernels) {
    [this.sizes, this._kernels, this._tensors] = [sizes, kernels, tensors];
    const weight = (name) => tensors[`synthesis.${name}.weight`];
    const bias = (name) => tensors[`synthesis.${name}.bias`];
    const { body, tail, lapped } = sizes;
    this._latent = sizes.groups.reduce((sum, n) => sum + n);
    const pixels = spread(COLOURS, PATCH_PX, COLOURS);
    const zeros = new Float32Array(BLOCK);
    const window = turned(weight("lapped"), 4 * lapped, pixels);
    this._lapped = [0, 1, 2, 3].map((n) => kernels.floats(window.subarray(n * lapped * BLOCK, (n + 1) * lapped * BLOCK), zeros));
    this._fine = kernels.floats(turned(weight("fine"), this._latent - lapped, pixels), zeros);
    this._enter = kernels.floats(turned(weight("enter"), sizes.shown, straight(body)), new Float32Array(pad4(body)));
    this._body = Array.from({ length: sizes.body_blocks }, (_, n) => new Block(kernels, tensors, `body.${n}`, body));
    const rise = spread(tail, STRIDE_TAIL, pad4(tail));
    this._rise = kernels.floats(turned(weight("rise"), body, rise), pick(bias("rise"), rise));
    this._tail = Array.from({ length: sizes.tail_blocks }, (_, n) => new Block(kernels, tensors, `tail.${n}`, tail));
    const out = spread(COLOURS, STRIDE_TAIL, COLOURS);
    this._out = kernels.floats(turned(weight("out"), tail, out), pick(bias("out"), out));
    this._stepBias = kernels.arena.take(Float32Array, pad4(body));
  }

  /** How many positions around a pixel's own the synthesis looks at. */
  get halo() {
    return this.sizes.body_blocks + Math.ceil(this.sizes.tail_blocks / STRIDE_TAIL);
  }

  /** Bytes that a synthesis of these sizes takes, weights and buffers included. */
  static bytes({ groups, lapped, shown, body, body_blocks: bodyBlocks, tail, tail_blocks: tailBlocks }) {
    const latent = groups.reduce((sum, n) => sum + n);
    const [wide, narrow] = [pad4(body), pad4(tail)];
    const halo = bodyBlocks + Math.ceil(tailBlocks / STRIDE_TAIL);
    const side = STRIP + 2 * halo + 2;
    const outer = STRIP + 2 * Math.ceil(tailBlocks / STRIDE_TAIL);
    const tailSide = STRIDE_TAIL * outer + 2;
    let floats = BLOCK * (4 * lapped + latent - lapped + 5) + shown * wide;
    floats += bodyBlocks * wide * (4 * wide + 4 * 4 + 16) + tailBlocks * narrow * (4 * narrow + 32) + 16 * narrow * (wide + 1);
    floats += 48 * (narrow + 1) + 2 * side * side * wide + 2 * tailSide * tailSide * narrow + 3 * tailSide * (narrow + 48);
    floats += 3 * side * 4 * wide + side * side * (lapped + latent + shown + 12) + (STRIP + 1) ** 2 * BLOCK + 100_000;
    return 4 * floats;
  }

  /**
   * Prepare for a file.
   * @param {object} header
   */
  begin(header) {
    const { body } = this.sizes;
    const [features, weight] = [fileFeatures(header.stepCode, header.tune), this._tensors["synthesis.step_bias.weight"]];
    for (let o = 0; o < body; o++) {
      let sum = this._tensors["synthesis.step_bias.bias"][o] + this._tensors["synthesis.enter.bias"][o];
      for (let f = 0; f < FEATURES; f++) sum += (weight[o * FEATURES + f] * features[f]) / 32;
      this._stepBias[o] = sum;
    }
    this._strength = 0.3 * 2 ** ((header.stepCode / 4096 - 8 + 2.75) / 2);
    this._grey = header.grey;
  }

  /**
   * The pixels of a rectangle of at most STRIP x STRIP positions.
   * @param {{top, bottom, left, right}} rect Latent positions.
   * @param {{height, width}} whole Of the picture, in latent positions.
   * @param {number} channels The first channels; the others are zero.
   * @param {(y, x, out, at) => void} read Writes the latent of a position, int32 [channels], to `out` from `at` on.
   * @returns {Uint32Array} RGBA of [16 height, 16 width] pixels.
   */
  strip(rect, whole, channels, read) {
    return this._kernels.arena.borrow(() => {
      const outer = grown(rect, this.halo, whole);
      const latent = this._gather(outer, channels, read);
      const picture = this._linear(rect, outer, latent, channels);
      this._correct(rect, outer, whole, latent, channels, picture);
      return this._levels(picture);
    });
  }

  /** Latents in the unit of pixels, [outer height, outer width, channels]. */
  _gather(outer, channels, read) {
    const [height, width] = [outer.bottom - outer.top, outer.right - outer.left];
    const array = this._kernels.arena.take(Float32Array, height * width * channels);
    const row = new Int32Array(channels);
    for (let y = 0, at = 0; y < height; y++)
      for (let x = 0; x < width; x++, at += channels) {
        read(outer.top + y, outer.left + x, row, 0);
        for (let c = 0; c < channels; c++) array[at + c] = row[c] * UNIT;
      }
    return { array, row: width * channels };
  }

  /** What the linear layers paint: [16 (height + 1), 16 (width + 1), 3], which begins 8 pixels above and left of the picture. */
  _linear(rect, outer, latent, channels) {
    const { arena } = this._kernels;
    const lapped = Math.min(channels, this.sizes.lapped);
    const [height, width] = [rect.bottom - rect.top, rect.right - rect.left];
    const picture = { array: arena.take(Float32Array, (height + 1) * (width + 1) * BLOCK + 4), row: PATCH_PX * (width + 1) * COLOURS };
    picture.begin = (PATCH_PX / 2) * (picture.row + COLOURS);
    [picture.height, picture.width] = [height * PATCH_PX, width * PATCH_PX];
    arena.borrow(() => {
      const padded = { array: arena.take(Float32Array, (height + 2) * (width + 2) * lapped), row: (width + 2) * lapped };
      for (let y = Math.max(rect.top - 1, outer.top); y < Math.min(rect.bottom + 1, outer.bottom); y++)
        for (let x = Math.max(rect.left - 1, outer.left); x < Math.min(rect.right + 1, outer.right); x++) {
          const from = (y - outer.top) * latent.row + (x - outer.left) * channels;
          padded.array.set(latent.array.subarray(from, from + lapped), (y - rect.top + 1) * padded.row + (x - rect.left + 1) * lapped);
        }
      const blocks = { array: picture.array, offset: 0, row: PATCH_PX * picture.row, stride: RUN };
      const seen = { array: padded.array, offset: 0, row: padded.row, stride: lapped };
      for (const [n, layer] of this._lapped.entries()) {
        const from = { ...seen, offset: (n >> 1) * padded.row + (n & 1) * lapped };
        layer.apply(from, height + 1, width + 1, blocks, RUN, picture.row, n ? FLOAT_ADDED : 0, { inputs: lapped });
      }
    });
    if (channels > lapped) {
      const offset = (rect.top - outer.top) * latent.row + (rect.left - outer.left) * channels + lapped;
      const own = { array: picture.array, offset: picture.begin, row: PATCH_PX * picture.row, stride: RUN };
      const from = { array: latent.array, offset, row: latent.row, stride: channels };
      this._fine.apply(from, height, width, own, RUN, picture.row, FLOAT_ADDED, { inputs: channels - lapped });
    }
    return picture;
  }

  /** Adds the correction. */
  _correct(rect, outer, whole, latent, channels, picture) {
    const kernels = this._kernels;
    const { arena } = kernels;
    let plane = this._entered(outer, latent, channels);
    plane = through(arena, this._body, plane);
    const inner = grown(rect, Math.ceil(this.sizes.tail_blocks / STRIDE_TAIL), whole);
    plane = through(arena, this._tail, this._risen(plane, outer, inner));
    const [top, left] = [STRIDE_TAIL * (rect.top - inner.top), STRIDE_TAIL * (rect.left - inner.left)];
    const width = picture.width / STRIDE_TAIL;
    const painted = { array: arena.take(Float32Array, width * 48), offset: 0, row: 0, stride: 12 };
    const active = { array: arena.take(Float32Array, width * plane.channels), offset: 0, row: 0, stride: plane.channels };
    for (let y = 0; y < picture.height / STRIDE_TAIL; y++) {
      const from = (top + y + 1) * plane.row + (left + 1) * plane.channels;
      active.array.set(plane.array.subarray(from, from + active.array.length));
      kernels.leaky(active.array, active.array.length);
      this._out.apply(active, 1, width, painted, 12, 12 * width, 0);
      for (let i = 0; i < STRIDE_TAIL; i++)
        kernels.add(painted.array.subarray(i * 12 * width), this._strength, picture.array,
          picture.begin + (STRIDE_TAIL * y + i) * picture.row, 12 * width);
    }
  }

  _entered(outer, latent, channels) {
    const { arena } = this._kernels;
    const shown = Math.min(channels, this.sizes.shown);
    const [height, width] = [outer.bottom - outer.top, outer.right - outer.left];
    const plane = new Plane(arena, height, width, pad4(this.sizes.body));
    const sigma = this._tensors["synthesis.sigma"];
    const inverse = Float64Array.from({ length: shown }, (_, c) => 0.5 / sigma[c]);
    arena.borrow(() => {
      const companded = { array: arena.take(Float32Array, height * width * shown), offset: 0, row: width * shown, stride: shown };
      for (let p = 0, to = 0; p < height * width; p++)
        for (let c = 0, from = p * channels; c < shown; c++, from++, to++) {
          const value = latent.array[from];
          if (value === 0) continue;
          const y = Math.abs(value) * inverse[c];
          const found = 2 * Math.log(y + Math.sqrt(y * y + 1));
          companded.array[to] = value < 0 ? -found : found;
        }
      const options = { inputs: shown, bias: this._stepBias };
      this._enter.apply(companded, height, width, plane.inside, plane.channels, 0, FLOAT_LEAKY, options);
    });
    return plane;
  }

  /** Four times as many positions along a side, of the inner rectangle. */
  _risen(plane, outer, inner) {
    const [height, width] = [inner.bottom - inner.top, inner.right - inner.left];
    const channels = pad4(this.sizes.tail);
    const out = new Plane(this._kernels.arena, STRIDE_TAIL * height, STRIDE_TAIL * width, channels);
    const from = plane.inside;
    from.offset += (inner.top - outer.top) * plane.row + (inner.left - outer.left) * plane.channels;
    const run = STRIDE_TAIL * channels;
    const to = { ...out.inside, row: STRIDE_TAIL * out.row, stride: run };
    this._rise.apply(from, height, width, to, run, out.row, FLOAT_LEAKY);
    return out;
  }

  _levels(picture) {
    const { arena } = this._kernels;
    const line = arena.take(Uint32Array, picture.width);
    const out = new Uint32Array(picture.width * picture.height);
    for (let y = 0; y < picture.height; y++) {
      this._kernels.levels(picture.array, picture.begin + y * picture.row, picture.width, this._grey, line);
      out.set(line, y * picture.width);
    }
    return out;
  }
}

/** Larger by `margin` on each side, but never beyond the picture. */
function grown({ top, bottom, left, right }, margin, { height, width }) {
  return {
    top: Math.max(top - margin, 0), bottom: Math.min(bottom + margin, height),
    left: Math.max(left - margin, 0), right: Math.min(right + margin, width),
  };
}

/** One block after the other. */
function through(arena, blocks, plane) {
  let other = new Plane(arena, plane.height, plane.width, plane.channels);
  for (const block of blocks) {
    block.apply(plane, other);
    [plane, other] = [other, plane];
  }
  return plane;
}
