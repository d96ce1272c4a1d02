/** The thread that decodes. A few files are loaded at a time; `client.js` talks to it. */

import { VQCError } from "./errors.js";
import { decodeStream } from "./stream.js";

const waiting = [];
const controls = new Map();
const MOST = 4; // files at a time: while one waits for the network, others are decoded
let busy = 0;

async function work({ id, source, options }) {
  const control = controls.get(id);
  try {
    for await (const event of decodeStream(source, { ...options, signal: control.signal }))
      postMessage({ id, ...event }, event.pixels ? [event.pixels.buffer] : []);
    postMessage({ id, type: "end" });
  } catch (error) {
    if (control.signal.aborted) return;
    const known = error instanceof VQCError;
    if (!known) console.error(error);
    const memory = error instanceof RangeError;
    postMessage({ id, type: "error", name: known ? error.name : "VQCError",
      message: known ? error.message : memory ? "not enough memory for a picture of this size" : "the decoder failed" });
  } finally {
    controls.delete(id);
  }
}

async function next() {
  if (busy === MOST) return;
  busy++;
  while (waiting.length) {
    const job = waiting.shift();
    if (controls.has(job.id)) await work(job);
  }
  busy--;
}

addEventListener("message", ({ data }) => {
  if (data.type === "stop") {
    controls.get(data.id)?.abort();
    controls.delete(data.id);
    return;
  }
  controls.set(data.id, new AbortController());
  waiting.push(data);
  next();
});
