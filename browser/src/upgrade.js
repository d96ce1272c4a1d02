/**
 * Plain `<img src="photo.vqc">`, also inside `<picture>`: where the browser finds that it cannot show the file, its source becomes the
 * decoded picture. If the server sent something else instead, which the browser can show, nothing changes.
 */

import { decode } from "./client.js";
import { toFile } from "./picture-file.js";
import { MIME_TYPE } from "./stream.js";

const upgraded = new WeakMap(); // img -> {source, control, url}

function isVqc(url) {
  try {
    return new URL(url, document.baseURI).pathname.toLowerCase().endsWith(".vqc");
  } catch {
    return false;
  }
}

/** What `<picture>` offers an image beside other types, or null. */
function offered(image) {
  const source = image.closest("picture")?.querySelector(`source[type="${MIME_TYPE}"]`);
  return source?.srcset.trim().split(/\s/)[0] || null;
}

function show(image, state, picture) {
  const before = state.url;
  state.url = URL.createObjectURL(toFile(picture));
  for (const source of image.closest("picture")?.querySelectorAll("source") ?? []) source.remove();
  image.removeAttribute("srcset");
  image.src = state.url;
  if (before) URL.revokeObjectURL(before);
}

async function replace(image, source) {
  const before = upgraded.get(image);
  before?.control.abort();
  const state = { source, control: new AbortController(), url: before?.url };
  upgraded.set(image, state);
  try {
    const partial = "partial" in image.dataset;
    const { signal } = state.control;
    const { incomplete } = await decode(source, { partial, signal, preview: (picture) => show(image, state, picture) });
    image.dataset.vqc = source;
    if (incomplete) image.title ||= image.dataset.incomplete = incomplete;
  } catch (error) {
    if (state.control.signal.aborted) return; // the alt text stays, or what the page gives as fall-back
    image.dispatchEvent(new ErrorEvent("error", { message: error.message, error }));
  }
}

/** An image that was there before us, or was added. */
function consider(image) {
  const source = offered(image);
  if (source) {
    if (upgraded.get(image)?.source !== source) replace(image, source);
  } else if (image.complete && image.naturalWidth === 0 && isVqc(image.getAttribute("src") ?? "")) replace(image, image.getAttribute("src"));
}

/** The browser cannot show an image. If it is ours, nobody else hears of it. */
function failed(event) {
  const image = event.target;
  if (!(image instanceof HTMLImageElement) || event instanceof ErrorEvent || !isVqc(image.getAttribute("src") ?? "")) return;
  event.stopImmediatePropagation();
  replace(image, image.getAttribute("src"));
}

/** Upgrade the images of a document, now and later. */
export function upgradeImages(root = document) {
  root.addEventListener("error", failed, true);
  root.querySelectorAll("img").forEach(consider);
  new MutationObserver((records) => {
    for (const node of records.flatMap(({ addedNodes }) => [...addedNodes]))
      if (node instanceof HTMLImageElement) consider(node);
      else if (node instanceof Element) node.querySelectorAll("img").forEach(consider);
  }).observe(root, { childList: true, subtree: true });
}
