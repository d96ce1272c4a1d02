/** The page's side of the worker. */

import { Canvas } from "./decoder.js";
import { VQCError, revived } from "./errors.js";
import { Limits } from "./limits.js";

export const PAGE_PIXELS = 50_000_000; // what a page accepts by default: a canvas of them takes 200 MB

function meta(name) {
  return globalThis.document?.querySelector(`meta[name="${name}"]`)?.content;
}

const settings = {};

/**
 * How this page decodes. Called before the first picture; `<meta name="vqc-weights">` and `<meta name="vqc-max-pixels">` do the same.
 * @param {{weights?: string, limits?: object}} options weights: URL of the folder of weights, by default `weights/` beside this module.
 */
export function configure({ weights, limits }) {
  if (weights !== undefined) settings.weights = weights;
  if (limits !== undefined) settings.limits = { ...new Limits(limits) };
}

/** The settings in force. */
export function configuration() {
  const here = globalThis.document?.baseURI ?? import.meta.url;
  const weights = settings.weights ?? meta("vqc-weights");
  const pixels = Number(meta("vqc-max-pixels")) || PAGE_PIXELS;
  return {
    weights: weights ? new URL(weights, here).href : new URL("weights/", import.meta.url).href,
    limits: settings.limits ?? { maxPixels: pixels },
  };
}

let worker;
let last = 0;
const jobs = new Map();

function started() {
  if (worker) return worker;
  worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  worker.onmessage = ({ data: { id, ...event } }) => jobs.get(id)?.(event);
  worker.onerror = () => {
    worker = undefined; // the next picture starts another
    for (const job of [...jobs.values()]) job({ type: "error", name: "VQCError", message: "the decoder's thread failed" });
  };
  return worker;
}

/**
 * Decode in the worker.
 * @param {string | Uint8Array} source URL or bytes.
 * @param {{layers?: number, boxWidth?: number, partial?: boolean, signal?: AbortSignal, on: (event: object) => void}} options on: called
 *     with what `decodeStream` yields.
 * @returns {Promise<void>} Settles after the last event. Rejects with a VQCError, or with an AbortError.
 */
export function decodeInWorker(source, { layers, boxWidth, partial, signal, on }) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const id = ++last;
    const stop = () => {
      jobs.delete(id);
      worker?.postMessage({ type: "stop", id });
      reject(signal.reason);
    };
    const finish = (settle) => {
      jobs.delete(id);
      signal?.removeEventListener("abort", stop);
      settle();
    };
    signal?.addEventListener("abort", stop, { once: true });
    jobs.set(id, (event) => {
      if (event.type === "end") finish(resolve);
      else if (event.type === "error") finish(() => reject(revived(event.name, event.message)));
      else on(event);
    });
    const url = typeof source === "string" ? new URL(source, globalThis.document?.baseURI).href : source;
    started().postMessage({ type: "start", id, source: url, options: { ...configuration(), layers, boxWidth, partial } });
  });
}

/**
 * A whole picture.
 * @param {string | Uint8Array} source URL or bytes.
 * @param {{layers?: number, partial?: boolean, signal?: AbortSignal, preview?: (picture: object) => void}} [options] partial: of a file
 *     that is cut or damaged, give what comes before that place. preview: called with each picture that can be shown, the last included.
 * @returns {Promise<{width, height, pixels: Uint8ClampedArray, header, layers, metadata, sections, incomplete?: string}>} incomplete: why
 *     something is missing.
 */
export async function decode(source, { layers, partial, signal, preview } = {}) {
  let picture = null;
  await decodeInWorker(source, {
    layers, partial, signal,
    on(event) {
      if (event.type === "header") picture = Object.assign(new Canvas(event.header), { header: event.header });
      else if (event.type === "strip") picture.add(event);
      else if (event.type === "incomplete") picture.incomplete = event.message;
      else if (event.type === "shown") {
        Object.assign(picture, { layers: event.layers, metadata: event.metadata, sections: event.sections });
        preview?.(picture);
      }
    },
  });
  if (!picture) throw new VQCError("the file is empty");
  return picture;
}
