/**
 * The layers of the decoder in plain JavaScript: the definition of what the kernels compute, and their fall-back.
 *
 * Every position has its channels padded with zeros to a multiple of 4. Arrays that kernels see come from an `Arena`.
 */

import { pad4 } from "./arithmetic.js";

export const [INTEGERS, CLAMPED, LEAKY, ADDED] = [0, 1, 2, 3]; // what becomes of an integer layer's sums
export const [FLOAT_LEAKY, FLOAT_ADDED] = [1, 2];

/** One block of memory, handed out from its beginning on. */
export class Arena {
  constructor(buffer, begin) {
    this.buffer = buffer;
    this.at = begin;
  }

  /** Zeros. Type: of the typed array. */
  take(Type, length) {
    const begin = (this.at + 15) & ~15;
    this.at = begin + length * Type.BYTES_PER_ELEMENT + 16; // a kernel may read one vector beyond
    if (this.at > this.buffer.byteLength) throw new RangeError("the decoder's memory is too small for this model");
    return new Type(this.buffer, begin, length).fill(0);
  }

  /** Runs `work`, and takes back what it took. */
  borrow(work) {
    const before = this.at;
    try {
      return work();
    } finally {
      this.at = before;
    }
  }
}

function clamp(y) {
  return y > 127 ? 127 : y < -127 ? -127 : y;
}

/** A layer of the prior: floor((sum of products + bias) / 2^shift + 1/2) for each output. */
class IntegerLayer {
  constructor(weight, bias, shift) {
    this.outputs = pad4(bias.length);
    this.inputs = weight.length / bias.length;
    this.weight = new Int16Array(this.inputs * this.outputs);
    this.bias = new Int32Array(this.outputs);
    this.shift = new Int32Array(this.outputs);
    for (let i = 0; i < weight.length; i++)
      this.weight[Math.floor(i / bias.length) * this.outputs + (i % bias.length)] = weight[i];
    for (let o = 0; o < bias.length; o++) {
      this.bias[o] = bias[o] + ((1 << shift[o]) >> 1);
      this.shift[o] = shift[o];
    }
  }

  /** x: int16 [rows, stride]; out: [rows, outputs], int32 of INTEGERS, else int16; ADDED adds int16 `add`, addStride apart. */
  apply(x, rows, stride, finish, out, add = null, addStride = 0) {
    const { inputs, outputs, weight, bias, shift } = this;
    const sums = new Int32Array(outputs);
    for (let row = 0; row < rows; row++) {
      sums.set(bias);
      for (let k = 0; k < inputs; k++) {
        const value = x[row * stride + k];
        if (value) for (let o = 0, w = k * outputs; o < outputs; o++, w++) sums[o] += value * weight[w];
      }
      for (let o = 0; o < outputs; o++) {
        let y = sums[o] >> shift[o];
        if (finish === LEAKY) y = Math.max(y, y >> 3);
        if (finish !== INTEGERS) y = clamp(y);
        if (finish === ADDED) y = clamp(y + add[row * addStride + o]);
        out[row * outputs + o] = y;
      }
    }
  }

  /** As a depthwise layer of 9 neighbours, clamped: int16 [height, width, outputs] to the same. */
  depthwise(x, height, width, out) {
    const { outputs, weight, bias, shift } = this;
    for (let y = 0; y < height; y++)
      for (let z = 0; z < width; z++)
        for (let o = 0; o < outputs; o++) {
          let sum = bias[o];
          for (let n = 0; n < 9; n++) {
            const [down, right] = [y + Math.floor(n / 3) - 1, z + (n % 3) - 1];
            if (down < 0 || down >= height || right < 0 || right >= width) continue;
            sum += weight[n * outputs + o] * x[(down * width + right) * outputs + o];
          }
          out[(y * width + z) * outputs + o] = clamp(sum >> shift[o]);
        }
  }
}

/** A layer of the synthesis. weight: [inputs, outputs], outputs a multiple of 4. */
class FloatLayer {
  constructor(weight, bias) {
    [this.weight, this.bias] = [weight, bias];
    this.outputs = bias.length;
    this.inputs = weight.length / bias.length;
  }

  /** See `float_layer` in kernels.c. x, out: {array, offset, row, stride}. inputs: how many of the first are seen. */
  apply(x, height, width, out, run, runStride, finish, { inputs = this.inputs, bias = this.bias } = {}) {
    const { outputs, weight } = this;
    const sums = new Float64Array(outputs);
    for (let y = 0; y < height; y++)
      for (let z = 0; z < width; z++) {
        const from = x.offset + y * x.row + z * x.stride;
        const to = out.offset + y * out.row + z * out.stride;
        sums.set(bias);
        for (let k = 0; k < inputs; k++) {
          const value = x.array[from + k];
          for (let o = 0, w = k * outputs; o < outputs; o++, w++) sums[o] += value * weight[w];
        }
        for (let o = 0; o < outputs; o++) {
          const at = to + Math.floor(o / run) * runStride + (o % run);
          const value = finish & FLOAT_LEAKY ? Math.max(sums[o], 0.1 * sums[o]) : sums[o];
          out.array[at] = finish & FLOAT_ADDED ? out.array[at] + value : value;
        }
      }
  }
}

/** What `WasmKernels` computes faster. */
export class PlainKernels {
  constructor(bytes) {
    this.arena = new Arena(new ArrayBuffer(bytes), 0);
  }

  integers(weight, bias, shift) {
    return new IntegerLayer(weight, bias, shift);
  }

  integersOfNeighbours(weight, bias, shift) {
    return new IntegerLayer(weight, bias, shift);
  }

  floats(weight, bias) {
    return new FloatLayer(weight, bias);
  }

  /** One row of a depthwise layer; see `float_depthwise` in kernels.c. */
  depthwise(x, xOffset, xRow, width, channels, weight, bias, out) {
    for (let z = 0; z < width; z++)
      for (let c = 0; c < channels; c++) {
        let sum = bias[c];
        for (let n = 0; n < 9; n++)
          sum += x[xOffset + Math.floor(n / 3) * xRow + (z + (n % 3)) * channels + c] * weight[n * channels + c];
        out[z * channels + c] = sum;
      }
  }

  /** to += factor * from */
  add(from, factor, to, toOffset, n) {
    for (let i = 0; i < n; i++) to[toOffset + i] += factor * from[i];
  }

  /** In place. */
  leaky(x, n) {
    for (let i = 0; i < n; i++) x[i] = Math.max(x[i], Math.fround(0.1) * x[i]);
  }

  /** A row of pixels around mid-grey, 3 floats each, to opaque RGBA. */
  levels(from, offset, width, grey, out) {
    const bytes = new Uint8ClampedArray(out.buffer, out.byteOffset, 4 * width); // it rounds halves to even, and clips
    for (let z = 0; z < width; z++) {
      const at = offset + 3 * z;
      const mean = (from[at] + from[at + 1] + from[at + 2]) / 3;
      for (let c = 0; c < 3; c++) bytes[4 * z + c] = ((grey ? mean : from[at + c]) + 0.5) * 255;
      bytes[4 * z + 3] = 255;
    }
  }
}
