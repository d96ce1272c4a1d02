/** Plain `<img src="photo.vqc">`, also inside `<picture>`: the browser cannot show it, so its source becomes the decoded picture. */

import { toBmp } from "./bmp.js";
import { decode } from "./client.js";

export const MIME_TYPE = "image/x-vqc";
const upgraded = new WeakMap(); // img -> {source, control, url}

function isVqc(url) {
  try {
    return new URL(url, document.baseURI).pathname.toLowerCase().endsWith(".vqc");
  } catch {
    return false;
  }
}

/** The .vqc file that an image is meant to show, or null. */
function sourceOf(image) {
  const offered = image.closest("picture")?.querySelector(`source[type="${MIME_TYPE}"]`);
  const candidate = offered?.srcset.trim().split(/\s/)[0] || image.getAttribute("src");
  return candidate && isVqc(candidate) ? candidate : null;
}

function show(image, state, picture) {
  const url = URL.createObjectURL(toBmp(picture));
  const before = state.url;
  state.url = url;
  for (const source of image.closest("picture")?.querySelectorAll("source") ?? []) source.remove();
  image.removeAttribute("srcset");
  image.src = url;
  if (before) URL.revokeObjectURL(before);
}

async function replace(image, state) {
  try {
    await decode(state.source, { signal: state.control.signal, preview: (picture) => show(image, state, picture) });
    image.dataset.vqc = state.source;
  } catch (error) {
    if (state.control.signal.aborted) return;
    state.failed = true; // what the page's author gave as fall-back stays, or the alt text
    image.dispatchEvent(new ErrorEvent("error", { message: error.message, error }));
  }
}

let lazy;

function consider(image) {
  const state = upgraded.get(image);
  if (state && image.getAttribute("src") === state.url) return;
  const source = sourceOf(image);
  if (!source || state?.source === source) return;
  state?.control.abort();
  const fresh = { source, control: new AbortController(), url: state?.url };
  upgraded.set(image, fresh);
  if (image.loading !== "lazy") replace(image, fresh);
  else {
    lazy ??= new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        lazy.unobserve(target);
        replace(target, upgraded.get(target));
      }
    }, { rootMargin: "400px" });
    lazy.observe(image);
  }
}

/** The browser's own complaint about a file that we are decoding is not the page's. */
function silence(event) {
  const state = upgraded.get(event.target);
  if (state && !state.failed && !(event instanceof ErrorEvent)) event.stopImmediatePropagation();
}

/** Upgrade the images of a document, now and whenever some are added or change. */
export function upgradeImages(root = document) {
  root.addEventListener("error", silence, true);
  for (const image of root.querySelectorAll("img")) consider(image);
  new MutationObserver((records) => {
    for (const { type, target, addedNodes } of records) {
      if (type === "attributes") {
        if (target instanceof HTMLImageElement) consider(target);
        continue;
      }
      for (const node of addedNodes) {
        if (node instanceof HTMLImageElement) consider(node);
        else if (node instanceof Element) node.querySelectorAll("img").forEach(consider);
      }
    }
  }).observe(root, { childList: true, subtree: true, attributes: true, attributeFilter: ["src"] });
}
