/** The custom element `<vqc-img>`: an image that decodes .vqc files. Attributes and events are those of `<img>`. */

import { decodeInWorker } from "./client.js";
import { toFile } from "./picture-file.js";
import { layersFor } from "./stream.js";

const STYLE = `
  :host { display: inline-block; overflow: hidden; }
  :host([hidden]) { display: none; }
  canvas { display: block; width: 100%; height: 100%; object-fit: inherit; object-position: inherit; }
  canvas[hidden], span[hidden] { display: none; }
`;

const Base = globalThis.HTMLElement ?? class {};

export class VQCImage extends Base {
  static observedAttributes = ["src", "alt", "width", "height", "layers", "partial"];

  constructor() {
    super();
    this._canvas = document.createElement("canvas");
    this._text = document.createElement("span");
    this._canvas.hidden = this._text.hidden = true;
    this._sheet = new CSSStyleSheet();
    this._style();
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [this._sheet];
    root.append(this._canvas, this._text);
    this.header = this.incomplete = null;
    this.sections = [];
    this.complete = false;
    this.layersShown = 0;
  }

  /** URL of the file. */
  get src() {
    return this.getAttribute("src") ?? "";
  }

  set src(url) {
    this.setAttribute("src", url);
  }

  get alt() {
    return this.getAttribute("alt") ?? "";
  }

  set alt(text) {
    this.setAttribute("alt", text);
  }

  get naturalWidth() {
    return this.header?.width ?? 0;
  }

  get naturalHeight() {
    return this.header?.height ?? 0;
  }

  /** Show a file that is in memory. */
  show(bytes) {
    this._bytes = bytes;
    this._restart();
  }

  connectedCallback() {
    if (!this.hasAttribute("role")) this.setAttribute("role", "img");
    this._label();
    this._restart();
  }

  disconnectedCallback() {
    this._stop();
  }

  attributeChangedCallback(name, before, after) {
    if (before === after && !(name === "src" && this._bytes)) return;
    if (name === "alt") this._label();
    else if (name === "width" || name === "height") this._style();
    else {
      if (name === "src") this._bytes = undefined;
      if (this.isConnected) this._restart();
    }
  }

  _style() {
    const side = (name) => (/^\d+$/.test(this.getAttribute?.(name) ?? "") ? `${name}: ${this.getAttribute(name)}px;` : "");
    this._sheet.replaceSync(`${STYLE} :host { ${side("width")} ${side("height")} }`);
  }

  _label() {
    const label = this.incomplete ? `${this.alt} (incomplete)`.trim() : this.alt;
    if (label) this.setAttribute("aria-label", label);
    else this.removeAttribute("aria-label");
    this._text.textContent = this.alt;
    this._canvas.title = this.incomplete ?? "";
  }

  _stop() {
    this._control?.abort();
    this._control = null;
    this._seen?.disconnect();
    this._seen = null;
    this._grown?.disconnect();
    this._grown = null;
  }

  /** Width in device pixels, if the page gives the element one. */
  get _boxWidth() {
    return Math.round(this.clientWidth * devicePixelRatio) || undefined;
  }

  /** Load the layers that were not needed, once the box is larger. */
  _watch(boxWidth) {
    if (!this.header || this.layersShown >= this.header.layers || this.hasAttribute("layers")) return;
    this._grown = new ResizeObserver(() => {
      if (layersFor(this._boxWidth, this.header.width) > layersFor(boxWidth, this.header.width)) this._restart();
    });
    this._grown.observe(this);
  }

  _restart() {
    this._stop();
    this.complete = false;
    this.layersShown = 0;
    this.incomplete = null;
    this._label();
    const source = this._bytes ?? this.src;
    if (!source || !source.length) return;
    if (this.getAttribute("loading") !== "lazy") {
      this._load(source);
      return;
    }
    this._seen = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      this._seen.disconnect();
      this._load(source);
    }, { rootMargin: "400px" });
    this._seen.observe(this);
  }

  async _load(source) {
    const control = (this._control = new AbortController());
    const layers = Number(this.getAttribute("layers")) || undefined;
    const [boxWidth, partial, { signal }] = [this._boxWidth, this.hasAttribute("partial"), control];
    try {
      await decodeInWorker(source, { layers, boxWidth, partial, signal, on: (event) => this._receive(event, signal) });
      await this._drawn;
      if (signal.aborted) return;
      this.complete = true;
      this._watch(boxWidth);
      this.dispatchEvent(new Event("load"));
    } catch (error) {
      if (control.signal.aborted) return;
      this._canvas.hidden = true;
      this._text.hidden = false;
      this.complete = true;
      this.error = error;
      this.dispatchEvent(new ErrorEvent("error", { message: error.message, error }));
    }
  }

  _receive(event, signal) {
    if (event.type === "header") this._begin(event.header);
    else if (event.type === "profile") this._icc = event.icc;
    else if (event.type === "strip") this._paint(event, signal);
    else if (event.type === "incomplete") {
      this.incomplete = event.message;
      this._label();
    } else {
      this.layersShown = event.layers;
      this.sections = event.sections;
      this.dispatchEvent(new CustomEvent("layer", { detail: { layers: event.layers, whole: event.whole } }));
    }
  }

  _begin(header) {
    this.header = header;
    [this._canvas.width, this._canvas.height] = [header.width, header.height];
    this._canvas.hidden = false;
    this._text.hidden = true;
    this.error = this._icc = null;
    this._drawn = Promise.resolve();
  }

  _paint(strip, signal) {
    const { x, y, width, height, pixels } = strip;
    const wide = this._icc && matchMedia("(color-gamut: p3)").matches;
    this._context ??= this._canvas.getContext("2d", { colorSpace: wide ? "display-p3" : "srgb" });
    const put = () => this._context.putImageData(new ImageData(pixels, width, height), x, y);
    if (!this._icc) return put();
    const { header, _icc: icc, _context: context } = this;
    const managed = createImageBitmap(toFile({ width, height, pixels, header, metadata: { icc } })); // the browser applies the profile
    this._drawn = this._drawn.then(() => managed).then((bitmap) => {
      if (signal.aborted) return;
      context.clearRect(x, y, width, height);
      context.drawImage(bitmap, x, y);
    }, put);
  }
}

/** Define `<vqc-img>`. */
export function define() {
  if (globalThis.customElements && !customElements.get("vqc-img")) customElements.define("vqc-img", VQCImage);
}
