/** A file from the network to pixels, shown as soon as its first layer is there, sharper as more arrive. */

import { FileReader } from "./container.js";
import { Picture } from "./decoder.js";
import { TruncatedError, VQCError } from "./errors.js";
import { Limits } from "./limits.js";
import { decoderOf } from "./models.js";
import { profileOf } from "./picture-file.js";

export const MIME_TYPE = "image/x-vqc";

/** How many layers show all that a box of so many device pixels can (benchmarks/studies/preview_layers.py); Infinity is all. */
export function layersFor(boxWidth, pictureWidth) {
  const scale = boxWidth / pictureWidth;
  if (!(scale > 0) || scale > 1 / 2) return Infinity;
  return scale > 1 / 4 ? 5 : scale > 1 / 8 ? 4 : scale > 1 / 16 ? 3 : 2;
}

/** Lets other events in: a request to stop, most of all. */
function breath() {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

async function* chunksOf(source, signal) {
  if (source instanceof Uint8Array) {
    yield source;
    return;
  }
  let response;
  try {
    response = await fetch(source, { signal, headers: { accept: `${MIME_TYPE}, */*;q=0.1` } });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new VQCError("the file cannot be fetched");
  }
  if (!response.ok) throw new VQCError(`HTTP ${response.status}`);
  const reader = response.body.getReader();
  try {
    for (;;) {
      const { value, done } = await reader.read().catch((error) => {
        if (signal?.aborted) throw error;
        throw new TruncatedError("the connection broke off");
      });
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {}); // the layers that nobody asked for are not loaded
  }
}

/** The picture of a header. Its weights are fetched, if it needs any. */
async function pictureOf({ layers, modelId }, weights, limits) {
  return new Picture(layers ? await decoderOf(modelId, weights) : null, limits);
}

/**
 * Decode a file while it arrives.
 * @param {string | Uint8Array} source URL or bytes.
 * @param {{weights: string, limits?: object, layers?: number, boxWidth?: number, partial?: boolean, signal?: AbortSignal}} options weights:
 *     URL of the folder of weights. layers: stop after so many; by default after as many as a box of `boxWidth` device pixels needs.
 *     partial: of a file that is cut or damaged, show the layers before that place.
 * @yields {{type: "header", header} | {type: "profile", icc} | {type: "strip", x, y, width, height, pixels, layers} | {type: "shown", layers,
 *     sections, metadata, whole} | {type: "incomplete", message}} "shown" follows the strips of a whole picture; "profile" comes before
 *     them, if the file has an ICC profile that fits its pixels.
 * @throws {VQCError}
 */
export async function* decodeStream(source, { weights, limits, layers: most, boxWidth, partial, signal }) {
  const bounds = new Limits(limits);
  const probe = new FileReader(bounds); // until the header names the model
  let [picture, shown, spent] = [null, -1, 0];
  const wanted = () => Math.min(most ?? layersFor(boxWidth, picture.header.width), picture.header.layers);

  async function* paint(whole) {
    const layers = Math.min(picture.ready, wanted());
    if (!picture.showable || layers <= shown) return;
    const icc = profileOf(picture);
    if (icc && shown < 0) yield { type: "profile", icc };
    const begin = performance.now();
    for (const strip of picture.strips(layers)) {
      yield { type: "strip", layers, ...strip };
      await breath();
      signal?.throwIfAborted();
    }
    spent = performance.now() - begin;
    shown = layers;
    yield { type: "shown", layers, whole, sections: picture.sections, metadata: picture.metadata };
  }

  async function* arrive() {
    const early = [];
    let waiting = performance.now();
    for await (const chunk of chunksOf(source, signal)) {
      const waited = performance.now() - waiting;
      if (!picture) {
        early.push(chunk);
        probe.push(chunk);
        if (!probe.header) continue;
        yield { type: "header", header: probe.header };
        picture = await pictureOf(probe.header, weights, bounds);
        for (const bytes of early.splice(0)) picture.receive(bytes);
      } else picture.receive(chunk);
      while (picture.step()) {
        signal?.throwIfAborted();
        if (shown < 0 && picture.ready < wanted()) yield* paint(false);
      }
      if (picture.showable && picture.ready >= wanted() && wanted() < picture.header.layers) return; // the rest is not needed
      if (waited > spent && picture.ready < wanted()) yield* paint(false); // the network is slower than painting
      waiting = performance.now();
    }
    if (!picture) probe.close();
    picture.close();
  }

  let problem = null;
  try {
    yield* arrive();
  } catch (error) {
    if (!partial || !(error instanceof VQCError) || !picture?.salvage()) throw error;
    problem = error.message;
  }
  yield* paint(!problem && picture.ready === picture.header.layers);
  if (problem) yield { type: "incomplete", message: problem };
}
