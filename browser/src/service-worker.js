/**
 * A service worker that turns every .vqc image of its pages into one that browsers show, CSS backgrounds included.
 *
 * Register it with `navigator.serviceWorker.register("service-worker.js", { type: "module", scope: "/" })`; the folder of weights is
 * `weights/` beside it, or `?weights=URL` behind its name.
 */

import { Canvas } from "./decoder.js";
import { VQCError } from "./errors.js";
import { toFile } from "./picture-file.js";
import { decodeStream } from "./stream.js";

const weights = new URL(new URL(import.meta.url).searchParams.get("weights") ?? "weights/", import.meta.url).href;
const limits = { maxPixels: 50_000_000 };

async function answer(request) {
  const response = await fetch(request);
  if (!response.ok) return response;
  try {
    let picture = null;
    for await (const event of decodeStream(new Uint8Array(await response.arrayBuffer()), { weights, limits })) {
      if (event.type === "header") picture = Object.assign(new Canvas(event.header), { header: event.header });
      else if (event.type === "strip") picture.add(event);
      else if (event.type === "shown") picture.metadata = event.metadata;
    }
    return new Response(toFile(picture));
  } catch (error) {
    if (!(error instanceof VQCError)) throw error;
    console.warn(`${request.url}: ${error.message}`);
    return new Response(error.message, { status: 415, headers: { "content-type": "text/plain" } });
  }
}

addEventListener("install", () => skipWaiting());
addEventListener("activate", (event) => event.waitUntil(clients.claim()));
addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method === "GET" && request.destination === "image" && new URL(request.url).pathname.toLowerCase().endsWith(".vqc"))
    event.respondWith(answer(request));
});
