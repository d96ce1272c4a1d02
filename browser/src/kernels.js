/** The layers of the decoder in WebAssembly SIMD (kernels/kernels.c), with the interface of `PlainKernels`. */

import { pad4 } from "./arithmetic.js";
import { Arena, PlainKernels } from "./plain.js";

const RESERVED_BYTES = 1 << 17; // the module's own stack
const PAGE_BYTES = 1 << 16;
const PANEL = 12; // outputs that lie side by side

/** A layer's weight [inputs, outputs] in the order in which kernels read it. `group` inputs lie side by side. */
function panels(weight, inputs, outputs, out, group) {
  const padded = pad4(outputs);
  for (let first = 0, at = 0; first < padded; first += PANEL)
    for (let k = 0; k < inputs; k += group)
      for (let o = first; o < Math.min(first + PANEL, padded); o++)
        for (let i = k; i < k + group; i++, at++) if (i < inputs && o < outputs) out[at] = weight[i * outputs + o];
}

class WasmIntegerLayer {
  constructor(kernels, weight, bias, shift, dense) {
    const { arena } = kernels;
    this._functions = kernels.functions;
    this.outputs = pad4(bias.length);
    this.inputs = weight.length / bias.length;
    this._even = dense ? this.inputs + (this.inputs & 1) : this.inputs;
    this._weight = arena.take(Int16Array, this._even * this.outputs);
    if (dense) panels(weight, this.inputs, bias.length, this._weight, 2);
    else weight.forEach((w, i) => (this._weight[Math.floor(i / bias.length) * this.outputs + (i % bias.length)] = w));
    this._bias = arena.take(Int32Array, this.outputs);
    this._shift = arena.take(Int32Array, this.outputs);
    this._bias.set(bias.map((b, o) => b + ((1 << shift[o]) >> 1)));
    this._shift.set(shift);
  }

  apply(x, rows, stride, finish, out, add = null, addStride = 0) {
    this._functions.integer_layer(x.byteOffset, rows, this._even, stride, this.outputs, this._weight.byteOffset,
      this._bias.byteOffset, this._shift.byteOffset, add ? add.byteOffset : 0, addStride, finish, out.byteOffset);
  }

  depthwise(x, height, width, out) {
    this._functions.integer_depthwise(x.byteOffset, height, width, this.outputs, this._weight.byteOffset, this._bias.byteOffset,
      this._shift.byteOffset, out.byteOffset);
  }
}

class WasmFloatLayer {
  constructor(kernels, weight, bias) {
    this._functions = kernels.functions;
    this.outputs = bias.length;
    this.inputs = weight.length / bias.length;
    this._weight = kernels.arena.take(Float32Array, weight.length);
    panels(weight, this.inputs, this.outputs, this._weight, 1);
    this.bias = kernels.arena.take(Float32Array, this.outputs);
    this.bias.set(bias);
  }

  apply(x, height, width, out, run, runStride, finish, { inputs = this.inputs, bias = this.bias } = {}) {
    this._functions.float_layer(x.array.byteOffset + 4 * x.offset, height, width, x.row, x.stride, inputs, this.inputs, this.outputs,
      this._weight.byteOffset, bias.byteOffset, out.array.byteOffset + 4 * out.offset, out.row, out.stride, run, runStride, finish);
  }
}

/** Kernels in one memory of a fixed size. */
export class WasmKernels {
  /**
   * @param {WebAssembly.Module} module
   * @param {number} bytes That layers and buffers will take.
   */
  constructor(module, bytes) {
    const pages = Math.ceil((RESERVED_BYTES + bytes) / PAGE_BYTES);
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
    this.functions = new WebAssembly.Instance(module, { env: { memory } }).exports;
    this.arena = new Arena(memory.buffer, RESERVED_BYTES);
  }

  integers(weight, bias, shift) {
    return new WasmIntegerLayer(this, weight, bias, shift, true);
  }

  integersOfNeighbours(weight, bias, shift) {
    return new WasmIntegerLayer(this, weight, bias, shift, false);
  }

  floats(weight, bias) {
    return new WasmFloatLayer(this, weight, bias);
  }

  depthwise(x, xOffset, xRow, width, channels, weight, bias, out) {
    this.functions.float_depthwise(x.byteOffset + 4 * xOffset, xRow, width, channels, weight.byteOffset, bias.byteOffset,
      out.byteOffset);
  }

  add(from, factor, to, toOffset, n) {
    this.functions.float_add(from.byteOffset, factor, to.byteOffset + 4 * toOffset, n);
  }

  leaky(x, n) {
    this.functions.float_leaky(x.byteOffset, n);
  }

  levels(from, offset, width, grey, out) {
    this.functions.float_levels(from.byteOffset + 4 * offset, width, grey ? 1 : 0, out.byteOffset);
  }
}

/**
 * Kernels for a model that needs so many bytes.
 * @param {WebAssembly.Module | null} module null computes in plain JavaScript.
 */
export function makeKernels(module, bytes) {
  return module ? new WasmKernels(module, bytes) : new PlainKernels(bytes);
}

/** The fastest module that this machine compiles, or null. `read` gets the bytes of a file beside kernels.c. */
export async function compileKernels(read) {
  for (const name of ["kernels-relaxed.wasm", "kernels.wasm"]) {
    try {
      return await WebAssembly.compile(await read(name));
    } catch (error) {
      if (!(error instanceof WebAssembly.CompileError)) return null;
    }
  }
  return null;
}
