/** The prior: exact integers from what is decoded to means, log2-scales and gains (FORMAT.md, "Prior"). */

import { COMPAND, COMPAND_LIMIT, FEATURES, fileFeatures, gainPower, pad4, power } from "./arithmetic.js";
import { TILE } from "./geometry.js";
import { ADDED, CLAMPED, INTEGERS, LEAKY } from "./plain.js";

const CHUNK = 128; // positions at a time: their activations stay in the cache
const MOST_POSITIONS = TILE * TILE;
const [MEAN_LIMIT, HEAD_MEAN_LIMIT, LATENT_LIMIT] = [2 ** 22, 2 ** 18, 2 ** 30];

function clip(x, low, high) {
  return x < low ? low : x > high ? high : x;
}

/** The prior of a model. */
export class Prior {
  /**
   * @param {import("./weights.js").Model} model
   * @param {import("./plain.js").PlainKernels} kernels
   */
  constructor({ sizes, tensors }, kernels) {
    this.sizes = sizes;
    this.groups = sizes.groups;
    this.starts = [0];
    for (const channels of sizes.groups) this.starts.push(this.starts.at(-1) + channels);
    this.stride = pad4(sizes.state); // of a trunk
    this.sigmaLog2 = tensors["prior.sigma_log2"];
    this.channelGain = tensors["prior.channel_gain"];
    this.layers = {};
    for (const name of Object.keys(tensors)) {
      const match = /^prior\.(.*)\.weight$/.exec(name);
      if (!match) continue;
      const parts = ["weight", "bias", "shift"].map((part) => tensors[`prior.${match[1]}.${part}`]);
      this.layers[match[1]] = match[1].endsWith(".space") ? kernels.integersOfNeighbours(...parts) : kernels.integers(...parts);
    }
    const { arena } = kernels;
    const { groups, state, near, reduce, hidden } = sizes;
    const group = Math.max(...groups);
    this._row = pad4(Math.max(group + state, state + FEATURES, 4 * near)); // of the wide buffer
    this._wide = arena.take(Int16Array, CHUNK * this._row);
    this._hidden = arena.take(Int16Array, CHUNK * pad4(Math.max(hidden, reduce)));
    this._out = arena.take(Int32Array, CHUNK * pad4(2 * group));
    this._gain = arena.take(Int32Array, CHUNK * 4);
    this._told = arena.take(Int16Array, (MOST_POSITIONS + 1) * pad4(near));
    this._plane = arena.take(Int16Array, MOST_POSITIONS * pad4(reduce));
    this._spaced = arena.take(Int16Array, MOST_POSITIONS * pad4(reduce));
    this._chunk = arena.take(Int16Array, CHUNK * this.stride);
    this._result = arena.take(Int16Array, CHUNK * this.stride);
    this._start = arena.take(Int16Array, this.stride);
  }

  /** Bytes that a prior of these sizes takes, weights included. */
  static bytes({ groups, state, near, reduce, hidden }, tensors) {
    const group = Math.max(...groups);
    let bytes = 65536 + CHUNK * (2 * (group + 2 * state + 4 * near + hidden + reduce + 64) + 8 * group + 6 * state + 64);
    bytes += 2 * (MOST_POSITIONS + 1) * (near + 2 * reduce + 12);
    for (const [name, tensor] of Object.entries(tensors)) if (name.startsWith("prior.")) bytes += 8 * tensor.length + 512;
    return bytes;
  }

  /** What a file's step and tune make of the model: features, the start of every trunk, powers of the local steps. */
  begin(stepCode, tune) {
    const features = fileFeatures(stepCode, tune);
    this._wide.set(features);
    this.layers.start.apply(this._wide, 1, FEATURES, CLAMPED, this._start);
    const channels = this.starts.at(-1);
    const file = { features, ratio: new Int32Array(channels), mean: new Float64Array(channels), step: new Float64Array(channels) };
    file.start = this._start.slice();
    for (let c = 0; c < channels; c++) {
      let gain = 0;
      for (let f = 0; f < FEATURES; f++) gain += features[f] * this.channelGain[f * channels + c];
      const log2Step = stepCode - 32768 + 2 * gain;
      file.ratio[c] = 128 * this.sigmaLog2[c] - log2Step;
      file.mean[c] = power(file.ratio[c], 2);
      file.step[c] = power(log2Step, 6);
    }
    return file;
  }

  /**
   * Predict a group of channels at some positions.
   * @param {number} group
   * @param {Int16Array} trunk
   * @param {Int32Array} rows Of the trunk.
   * @returns {{mean: Int32Array, scale: Int16Array, gain: Int32Array}} [rows, channels]; means in 1/256 of the local step,
   *     log2-scales and place gains in 1/32 octave.
   */
  predict(group, trunk, rows, file) {
    const { state } = this.sizes;
    const [channels, first] = [this.groups[group], this.starts[group]];
    const said = {
      mean: new Int32Array(rows.length * channels), scale: new Int16Array(rows.length * channels), gain: new Int32Array(rows.length),
    };
    const [hidden, out, gains] = ["hidden", "out", "gain"].map((part) => this.layers[`heads.${group}.${part}`]);
    const width = pad4(state + FEATURES);
    const octaves = Int32Array.from({ length: channels }, (_, c) => (file.ratio[first + c] + 64) >> 7);
    for (let begin = 0; begin < rows.length; begin += CHUNK) {
      const count = Math.min(CHUNK, rows.length - begin);
      for (let i = 0; i < count; i++) {
        const at = rows[begin + i] * this.stride;
        this._wide.set(trunk.subarray(at, at + state), i * width);
        this._wide.set(file.features, i * width + state);
        this._wide.fill(0, i * width + state + FEATURES, (i + 1) * width);
      }
      hidden.apply(this._wide, count, width, LEAKY, this._hidden);
      out.apply(this._hidden, count, hidden.outputs, INTEGERS, this._out);
      gains.apply(this._hidden, count, hidden.outputs, INTEGERS, this._gain);
      for (let i = 0; i < count; i++) {
        const gain = clip(this._gain[4 * i], -96, 96);
        const factor = gainPower(-gain);
        said.gain[begin + i] = gain;
        for (let c = 0, from = i * out.outputs, to = (begin + i) * channels; c < channels; c++, from++, to++) {
          const mean = clip(this._out[from], -HEAD_MEAN_LIMIT, HEAD_MEAN_LIMIT);
          said.mean[to] = clip(Math.floor(mean * file.mean[first + c] * factor + 0.5), -MEAN_LIMIT, MEAN_LIMIT);
          said.scale[to] = clip(this._out[from + channels] + octaves[c] - gain, -192, 288);
        }
      }
    }
    return said;
  }

  /** Means plus residuals, in 1/256 of the local step, to latents, in place. */
  toLatent(group, said, residuals, file) {
    const [channels, first] = [this.groups[group], this.starts[group]];
    for (let i = 0, at = 0; i < said.gain.length; i++) {
      const factor = gainPower(said.gain[i]);
      for (let c = first; c < first + channels; c++, at++) {
        const latent = Math.floor((said.mean[at] + residuals[at]) * file.step[c] * factor + 0.5);
        residuals[at] = clip(latent, -LATENT_LIMIT, LATENT_LIMIT);
      }
    }
    return residuals;
  }

  /** Latents [n, channels] of a group to the activations that trunks see. */
  companded(group, latents) {
    const [channels, first] = [this.groups[group], this.starts[group]];
    const factors = Float64Array.from({ length: channels }, (_, c) => power(-128 * this.sigmaLog2[first + c], -8));
    const out = new Int16Array(latents.length);
    for (let at = 0; at < latents.length; )
      for (let c = 0; c < channels; c++, at++)
        out[at] = COMPAND[clip(Math.floor(latents[at] * factors[c] + 0.5), -COMPAND_LIMIT, COMPAND_LIMIT) + COMPAND_LIMIT];
    return out;
  }

  /** Rows of [context, trunk] through a layer with leaky ReLU: to `out`, [rows, outputs]. */
  _reduced(layer, context, channels, trunk, rows, out) {
    const { state } = this.sizes;
    const width = pad4(channels + state);
    const count = rows ? rows.length : trunk.length / this.stride;
    for (let begin = 0; begin < count; begin += CHUNK) {
      const some = Math.min(CHUNK, count - begin);
      for (let i = 0; i < some; i++) {
        const row = rows ? rows[begin + i] : begin + i;
        this._wide.set(context.subarray(row * channels, (row + 1) * channels), i * width);
        this._wide.set(trunk.subarray(row * this.stride, row * this.stride + state), i * width + channels);
        this._wide.fill(0, i * width + channels + state, (i + 1) * width);
      }
      layer.apply(this._wide, some, width, LEAKY, out.subarray(begin * layer.outputs));
    }
  }

  /**
   * The trunk of new positions from their four nearest known ones, in the first group; changes `trunk`.
   * @param {number} step 0..3, for passes 1..4.
   * @param {Int32Array} known Positions that are known.
   * @param {Int32Array} rows New positions.
   * @param {Int32Array} neighbours Four of each, as indices into `known`, whose length stands for "outside the tile".
   */
  hear(step, context, trunk, known, rows, neighbours, file) {
    const [reduce, listen, mix] = ["reduce", "near", "mix"].map((part) => this.layers[`near.${step}.${part}`]);
    const { near } = this.sizes;
    this._reduced(reduce, context, this.groups[0], trunk, known, this._told);
    this._told.fill(0, known.length * reduce.outputs, (known.length + 1) * reduce.outputs);
    this._start.set(file.start);
    const width = pad4(4 * near);
    for (let begin = 0; begin < rows.length; begin += CHUNK) {
      const count = Math.min(CHUNK, rows.length - begin);
      for (let i = 0; i < count; i++) {
        for (let n = 0; n < 4; n++) {
          const at = neighbours[4 * (begin + i) + n] * reduce.outputs;
          this._wide.set(this._told.subarray(at, at + near), i * width + n * near);
        }
        this._wide.fill(0, i * width + 4 * near, (i + 1) * width);
      }
      listen.apply(this._wide, count, width, LEAKY, this._hidden);
      mix.apply(this._hidden, count, listen.outputs, ADDED, this._result, this._start, 0);
      this._scatter(count, rows.subarray(begin), trunk);
    }
  }

  /**
   * The trunk after more of a group is known, at some rows; all by default.
   * @returns {Int16Array} Of `rows`, [rows, stride].
   */
  refine(kind, group, context, trunk, height, width, rows = null) {
    const [reduce, space, mix] = ["reduce", "space", "mix"].map((part) => this.layers[`${kind}.${group}.${part}`]);
    this._reduced(reduce, context, this.groups[group], trunk, null, this._plane);
    space.depthwise(this._plane, height, width, this._spaced);
    const count = rows ? rows.length : height * width;
    const out = new Int16Array(count * this.stride);
    for (let begin = 0; begin < count; begin += CHUNK) {
      const some = Math.min(CHUNK, count - begin);
      for (let i = 0; i < some; i++) {
        const row = rows ? rows[begin + i] : begin + i;
        this._chunk.set(trunk.subarray(row * this.stride, (row + 1) * this.stride), i * this.stride);
        this._hidden.set(this._spaced.subarray(row * space.outputs, (row + 1) * space.outputs), i * space.outputs);
      }
      mix.apply(this._hidden, some, space.outputs, ADDED, this._result, this._chunk, this.stride);
      out.set(this._result.subarray(0, some * this.stride), begin * this.stride);
    }
    return out;
  }

  _scatter(count, rows, trunk) {
    for (let i = 0; i < count; i++)
      trunk.set(this._result.subarray(i * this.stride, (i + 1) * this.stride), rows[i] * this.stride);
  }
}
