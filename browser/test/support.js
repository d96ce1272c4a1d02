/** What the tests share: the conformance set, models, and decoders. */

import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { Decoder } from "../src/decoder.js";
import { compileKernels } from "../src/kernels.js";
import { readModel } from "../src/weights.js";

export const BROWSER = join(dirname(fileURLToPath(import.meta.url)), "..");
export const ROOT = join(BROWSER, "..");
export const CONFORMANCE = join(ROOT, "tests/conformance");

export function bytesOf(...path) {
  return new Uint8Array(readFileSync(join(...path)));
}

export const INDEX = JSON.parse(readFileSync(join(CONFORMANCE, "index.json")));
export const wasm = await compileKernels((name) => bytesOf(BROWSER, "src", name));

function shipped() {
  const [{ file }] = JSON.parse(readFileSync(join(ROOT, "weights/manifest.json"))).models;
  return join(ROOT, "weights", file);
}

const PATHS = {
  tiny: () => join(ROOT, "tests/fixtures/tiny.safetensors"), loud: () => join(CONFORMANCE, "loud.safetensors"), default: shipped,
};
const models = {};

export async function model(name) {
  return (models[name] ??= await readModel(bytesOf(PATHS[name]())));
}

const decoders = {};

/** The decoder of a model. kind: "wasm" or "plain". */
export async function decoderOf(name, kind = "wasm") {
  return (decoders[`${name} ${kind}`] ??= new Decoder(await model(name), kind === "wasm" ? wasm : null));
}
