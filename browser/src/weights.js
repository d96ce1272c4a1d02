/** Weights files (FORMAT.md, "Weights"): safetensors, checked before anything becomes a decoder, and the id that names a model. */

import { FEATURES } from "./arithmetic.js";
import { SYMBOLS, TABLES } from "./entropy.js";
import { ModelError, UnsupportedError } from "./errors.js";

const ENCODER = /^(analysis|encoder|bottleneck)\./;
const SIZES = ["groups", "state", "near", "reduce", "hidden", "lapped", "shown", "body", "body_blocks", "tail", "tail_blocks"];
const BLOCK = 768; // values of the pixels of one position
const MOST_HEADER_BYTES = 1 << 20;
const [MOST_MAGNITUDE, LEAST_SIGMA] = [65504, 2 ** -24]; // of floats: the ends of float16
const KINDS = {
  I8: ["|i1", Int8Array], U8: ["|u1", Uint8Array], I16: ["<i2", Int16Array], I32: ["<i4", Int32Array], U32: ["<u4", Uint32Array],
  F16: ["<f2", Uint16Array], F32: ["<f4", Float32Array],
};

/**
 * A model.
 * @typedef {object} Model
 * @property {string} id 16 hexadecimal digits.
 * @property {Record<string, any>} sizes
 * @property {Record<string, any>} tensors Typed arrays of the decoder's tensors; floats are float32.
 */

function require(sound, why) {
  if (!sound) throw new ModelError(`not a sound weights file (${why})`);
}

function isObject(value) {
  return typeof value === "object" && value !== null;
}

function within(n, low, high) {
  return Number.isInteger(n) && n >= low && n <= high;
}

/** The header of a safetensors file, and where its contents begin. */
function parse(bytes) {
  require(bytes.length > 8, "too short");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const length = Number(view.getBigUint64(0, true));
  require(length <= Math.min(MOST_HEADER_BYTES, bytes.length - 8), "its header is cut");
  try {
    const { __metadata__: metadata, ...tensors } = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
    const sizes = JSON.parse(metadata.vqcodec_config);
    if (isObject(sizes)) return { sizes, tensors, begin: 8 + length };
  } catch {
    // refused below
  }
  throw new ModelError("not a vqcodec weights file");
}

function checkSizes(sizes) {
  const { groups, state, near, reduce, hidden, lapped, shown, body, body_blocks: bodyBlocks, tail, tail_blocks: tailBlocks } = sizes;
  require(Array.isArray(groups) && within(groups.length, 1, 16), "groups");
  require(groups.every((n) => within(n, 2, 1024) && n % 2 === 0), "groups");
  const latent = groups.reduce((sum, n) => sum + n);
  require(within(state, 1, 1024) && state + Math.max(...groups) <= 1040, "state");
  require(within(near, 1, 260), "near");
  require([reduce, hidden, body, tail].every((n) => within(n, 1, 1024)), "a width");
  require(within(lapped, 1, Math.min(1024, latent - 1)) && within(shown, 1, Math.min(1024, latent)), "lapped or shown");
  require(within(bodyBlocks, 1, 16) && within(tailBlocks, 1, 16), "a number of blocks");
  return latent;
}

/** [inputs, outputs] of the prior's layers; those of depthwise layers are 9 and their channels. */
function priorLayers({ groups, state, near, reduce, hidden }) {
  const out = { start: [FEATURES, state] };
  for (let pass = 0; pass < 4; pass++) {
    out[`near.${pass}.reduce`] = [groups[0] + state, near];
    out[`near.${pass}.near`] = [4 * near, reduce];
    out[`near.${pass}.mix`] = [reduce, state];
  }
  groups.forEach((channels, group) => {
    out[`heads.${group}.hidden`] = [state + FEATURES, hidden];
    out[`heads.${group}.out`] = [hidden, 2 * channels];
    out[`heads.${group}.gain`] = [hidden, 1];
    for (const kind of [group > 0 && "refine_half", group < groups.length - 1 && "refine_full"].filter(Boolean)) {
      out[`${kind}.${group}.reduce`] = [channels + state, reduce];
      out[`${kind}.${group}.space`] = [9, reduce];
      out[`${kind}.${group}.mix`] = [reduce, state];
    }
  });
  return out;
}

/** Types and shapes of the decoder's tensors. */
function layout(sizes, latent) {
  const out = {
    "prior.sigma_log2": ["I16", [latent]], "prior.channel_gain": ["I16", [FEATURES, latent]],
    "quantizer.codebooks": ["I16", [4, 289, 2]], "quantizer.counts": ["U32", [TABLES, SYMBOLS]],
    "synthesis.sigma": ["F", [latent]],
    "synthesis.lapped.weight": ["F", [BLOCK, 4 * sizes.lapped]], "synthesis.fine.weight": ["F", [BLOCK, latent - sizes.lapped]],
  };
  for (const [name, [inputs, outputs]] of Object.entries(priorLayers(sizes))) {
    out[`prior.${name}.weight`] = ["I8", [inputs, outputs]];
    out[`prior.${name}.bias`] = ["I32", [outputs]];
    out[`prior.${name}.shift`] = ["U8", [outputs]];
  }
  const dense = (name, inputs, outputs) => {
    out[`synthesis.${name}.weight`] = ["F", [outputs, inputs]];
    out[`synthesis.${name}.bias`] = ["F", [outputs]];
  };
  const { body, tail } = sizes;
  dense("enter", sizes.shown, body);
  dense("step_bias", FEATURES, body);
  dense("rise", body, 16 * tail);
  dense("out", tail, 48);
  for (const [name, width, blocks] of [["body", body, sizes.body_blocks], ["tail", tail, sizes.tail_blocks]])
    for (let block = 0; block < blocks; block++) {
      out[`synthesis.${name}.${block}.space.weight`] = ["F", [9, width]];
      out[`synthesis.${name}.${block}.space.bias`] = ["F", [width]];
      dense(`${name}.${block}.first`, width, 2 * width);
      dense(`${name}.${block}.second`, 2 * width, width);
    }
  return out;
}

let halves;

/** float16 to float32. */
function widened(array) {
  halves ??= Float32Array.from({ length: 65536 }, (_, n) => {
    const [sign, exponent, fraction] = [n >> 15 ? -1 : 1, (n >> 10) & 31, n & 1023];
    if (exponent === 31) return fraction ? NaN : sign * Infinity;
    return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
  });
  const out = new Float32Array(array.length);
  for (let i = 0; i < out.length; i++) out[i] = halves[array[i]];
  return out;
}

/** Where each tensor lies: [name, entry], one after the other without gaps, up to the end of the file. */
function placed(tensors, bytes) {
  const entries = Object.entries(tensors);
  for (const [name, entry] of entries) {
    require(isObject(entry) && Array.isArray(entry.shape) && Array.isArray(entry.data_offsets), name);
    const { data_offsets: offsets } = entry;
    require(offsets.length === 2 && within(offsets[0], 0, bytes) && within(offsets[1], offsets[0], bytes), `${name} is cut`);
  }
  entries.sort(([, a], [, b]) => a.data_offsets[0] - b.data_offsets[0] || a.data_offsets[1] - b.data_offsets[1]);
  let covered = 0;
  for (const [, { data_offsets: offsets }] of entries) {
    require(offsets[0] === covered, "its tensors do not cover it");
    covered = offsets[1];
  }
  require(covered === bytes, "its tensors do not cover it");
  return entries;
}

/** The contents of each of the decoder's tensors, their types and shapes checked. */
function contentsOf(bytes, { sizes, tensors, begin }) {
  const expected = layout(sizes, checkSizes(sizes));
  const out = {};
  for (const [name, { dtype, shape, data_offsets: offsets }] of placed(tensors, bytes.length - begin)) {
    if (ENCODER.test(name)) continue;
    require(Object.hasOwn(expected, name), `${name.slice(0, 80)} is more than the sizes say`);
    const [kind, dimensions] = expected[name];
    require(dtype === kind || (kind === "F" && (dtype === "F16" || dtype === "F32")), `${name} has another type`);
    const same = shape.length === dimensions.length && dimensions.every((n, i) => shape[i] === n);
    require(same, `${name} is not [${dimensions}]`);
    const length = dimensions.reduce((product, n) => product * n, 1);
    const [type, Type] = KINDS[dtype];
    require(offsets[1] - offsets[0] === length * Type.BYTES_PER_ELEMENT, `${name} has a wrong length`);
    out[name] = { type, Type, shape: dimensions, bytes: bytes.slice(begin + offsets[0], begin + offsets[1]) };
  }
  for (const name of Object.keys(expected)) require(Object.hasOwn(out, name), `${name} is missing`);
  return out;
}

/** The text that Python's json.dumps makes of the sizes. */
function sizesText(sizes) {
  const parts = [...SIZES].sort().map((name) => `"${name}": ${name === "groups" ? `[${sizes.groups.join(", ")}]` : sizes[name]}`);
  return `{${parts.join(", ")}}`;
}

async function modelId(sizes, contents) {
  if (!globalThis.crypto?.subtle) throw new UnsupportedError("weights can be checked only on https pages and on localhost");
  const encoder = new TextEncoder();
  const parts = [encoder.encode(sizesText(sizes))];
  for (const name of Object.keys(contents).sort()) {
    const { type, shape, bytes } = contents[name];
    parts.push(encoder.encode(`${name} ${type} (${shape.join(", ")}${shape.length === 1 ? "," : ""})\n`), bytes);
  }
  const digest = await crypto.subtle.digest("SHA-256", await new Blob(parts).arrayBuffer());
  return Array.from(new Uint8Array(digest, 0, 8), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The bounds that make the prior exact. */
function checkValues(sizes, tensors) {
  for (const [name, [inputs, outputs]] of Object.entries(priorLayers(sizes))) {
    const [weight, bias, shift] = ["weight", "bias", "shift"].map((part) => tensors[`prior.${name}.${part}`]);
    require(inputs <= 1040 && weight.every((w) => w >= -127) && shift.every((n) => n <= 20), `prior.${name}`);
    for (let o = 0; o < outputs; o++) {
      let reach = Math.abs(bias[o]) + ((1 << shift[o]) >> 1);
      for (let k = 0; k < inputs; k++) reach += 127 * Math.abs(weight[k * outputs + o]);
      require(reach < 2 ** 24, `sums of prior.${name} may reach ${reach}`);
    }
  }
  require(tensors["prior.sigma_log2"].every((s) => Math.abs(s) <= 256), "prior.sigma_log2");
  require(tensors["prior.channel_gain"].every((gain) => Math.abs(gain) <= 128), "prior.channel_gain");
  require(tensors["synthesis.sigma"].every((s) => s >= LEAST_SIGMA), "synthesis.sigma");
  const books = tensors["quantizer.codebooks"];
  for (let book = 0; book < 4; book++) require(!books[2 * (289 * book + 144)] && !books[2 * (289 * book + 144) + 1], "quantizer.codebooks");
  require(tensors["quantizer.counts"].every((count) => count > 0), "quantizer.counts");
  for (const [name, tensor] of Object.entries(tensors))
    if (tensor instanceof Float32Array)
      require(tensor.every((value) => Math.abs(value) <= MOST_MAGNITUDE), `${name} is not finite, or beyond ${MOST_MAGNITUDE}`);
}

/**
 * Read a weights file, whole or a decoder's half of it.
 * @param {Uint8Array} bytes
 * @param {string} [expected] The model id that it must have.
 * @returns {Promise<Model>}
 * @throws {ModelError}
 */
export async function readModel(bytes, expected) {
  const parsed = parse(bytes);
  const contents = contentsOf(bytes, parsed);
  const id = await modelId(parsed.sizes, contents);
  if (expected !== undefined && id !== expected) throw new ModelError(`the weights file holds model ${id} instead of ${expected}`);
  const tensors = {};
  for (const [name, { type, Type, bytes: own }] of Object.entries(contents))
    tensors[name] = type === "<f2" ? widened(new Type(own.buffer)) : new Type(own.buffer);
  checkValues(parsed.sizes, tensors);
  return { id, sizes: parsed.sizes, tensors };
}
