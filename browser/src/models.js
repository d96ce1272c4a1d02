/** Where decoders come from: weights are fetched once, by the id in a file's header, and kept in the browser's cache. */

import { Decoder } from "./decoder.js";
import { ModelError, UnsupportedError, VQCError } from "./errors.js";
import { compileKernels } from "./kernels.js";
import { readModel } from "./weights.js";

const CACHE = "vqc-weights";
const MOST_BYTES = 1 << 28;

/** The body of a response, read only as far as the limit: a server need not say how long it is, or may lie. */
export async function bytesOf(response, what, most = MOST_BYTES) {
  if (!response.ok) throw new UnsupportedError(`${what}: HTTP ${response.status}`);
  const [parts, reader] = [[], response.body.getReader()];
  let length = Number(response.headers.get("content-length"));
  for (let read = 0; ; length = read) {
    if (length > most) {
      reader.cancel().catch(() => {});
      throw new ModelError(`${what} are too large`);
    }
    const { done, value } = await reader.read();
    if (done) return new Uint8Array(await new Blob(parts).arrayBuffer());
    parts.push(value);
    read += value.length;
  }
}

async function openCache() {
  try {
    return await globalThis.caches?.open(CACHE);
  } catch {
    return undefined; // no storage, or not allowed here
  }
}

/** The model of this id, checked. base: URL of the folder that holds ID.safetensors. */
async function fetchModel(id, base) {
  const url = new URL(`${id}.safetensors`, base).href;
  const cache = await openCache();
  const kept = await cache?.match(url);
  if (kept) {
    try {
      return await readModel(await bytesOf(kept, "the kept weights"), id);
    } catch (error) {
      if (!(error instanceof VQCError)) throw error;
      await cache.delete(url); // damaged: fetch them again
    }
  }
  let response;
  try {
    response = await fetch(url);
  } catch {
    throw new UnsupportedError(`the weights of model ${id} cannot be fetched`);
  }
  const bytes = await bytesOf(response, `the weights of model ${id}`);
  const model = await readModel(bytes, id);
  await cache?.put(url, new Response(bytes)).catch(() => {});
  return model;
}

async function read(name) {
  const response = await fetch(new URL(name, import.meta.url));
  if (!response.ok) throw new TypeError(`${name}: HTTP ${response.status}`);
  return response.arrayBuffer();
}

const decoders = new Map();
let kernels;

/**
 * The decoder of a model, made once.
 * @param {string} id
 * @param {string} base
 * @returns {Promise<Decoder>}
 */
export function decoderOf(id, base) {
  const key = `${base} ${id}`;
  if (!decoders.has(key)) {
    kernels ??= compileKernels(read).catch(() => null);
    const made = Promise.all([fetchModel(id, base), kernels]).then(([model, module]) => new Decoder(model, module));
    made.catch(() => decoders.delete(key)); // the next picture tries again
    decoders.set(key, made);
  }
  return decoders.get(key);
}
