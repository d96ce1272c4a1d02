/** A gallery of .vqc files: those that the server lists in files.json, and those that are dropped on the page. */

import { configure } from "../vqc/vqc.js";

const of = (id) => document.getElementById(id);
const [gallery, viewer, picture, message] = ["gallery", "viewer", "picture", "message"].map(of);
const files = []; // {name, bytes, url} or {name, bytes, file}
let current = -1;

function size(bytes) {
  return bytes < 1000 ? `${bytes} bytes` : bytes < 1e6 ? `${(bytes / 1000).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(2)} MB`;
}

async function load(image, file) {
  if (file.url) image.src = file.url;
  else image.show(new Uint8Array(await file.file.arrayBuffer()));
}

function add(file) {
  const number = files.push(file) - 1;
  const button = document.createElement("button");
  const image = document.createElement("vqc-img");
  image.setAttribute("loading", "lazy");
  image.setAttribute("partial", "");
  image.alt = file.name;
  const text = document.createElement("span");
  const note = document.createElement("small");
  note.textContent = size(file.bytes);
  text.append(file.name, note);
  image.addEventListener("error", (event) => {
    note.textContent = `${size(file.bytes)}: ${event.message}`;
  });
  image.addEventListener("load", () => {
    note.textContent = `${image.naturalWidth} × ${image.naturalHeight}, ${size(file.bytes)}`
      + (image.incomplete ? `; incomplete: ${image.incomplete}` : "");
  });
  button.append(image, text);
  button.addEventListener("click", () => open(number));
  gallery.append(button);
  load(image, file);
}

function row(name, bytes, all) {
  const line = document.createElement("tr");
  const [title, bar, value] = [0, 1, 2].map(() => line.insertCell());
  title.textContent = name;
  const meter = document.createElement("meter");
  [meter.max, meter.value] = [all, bytes];
  meter.setAttribute("aria-hidden", "true");
  bar.append(meter);
  value.textContent = bytes.toLocaleString();
  return line;
}

function describe() {
  const { header, sections } = picture;
  const file = files[current];
  if (!header) return;
  const bpp = ((8 * file.bytes) / (header.width * header.height)).toFixed(3);
  const quality = header.quality ? `quality ${header.quality}, ` : "";
  const coded = header.layers ? `; ${quality}${["psnr", "eye"][header.tune]}; model ${header.modelId}` : "";
  of("facts").textContent = `${header.width} × ${header.height}${header.grey ? ", grey" : ""}${header.alpha ? ", alpha" : ""}`
    + `${header.exact ? `, ${header.layers ? "some" : "all"} pixels exact` : ""}; ${size(file.bytes)}, ${bpp} bits per pixel${coded}`
    + (picture.incomplete ? `; incomplete: ${picture.incomplete}` : "");
  of("layers").max = header.layers;
  of("slider").hidden = header.layers < 2;
  of("shown").value = `${picture.layersShown} of ${header.layers}`;
  if (picture.layersShown < header.layers && !picture.incomplete) return;
  of("layers").value = header.layers;
  const sums = new Map();
  for (const { what, layer, bytes } of sections) {
    const name = header.single && layer === 0 ? "all layers" : what;
    sums.set(name, (sums.get(name) ?? 0) + bytes);
  }
  of("bytes").replaceChildren(...[...sums].map(([name, bytes]) => row(name, bytes, file.bytes)));
}

async function open(number) {
  current = (number + files.length) % files.length;
  const file = files[current];
  of("name").textContent = file.name;
  of("facts").textContent = "";
  of("bytes").replaceChildren();
  picture.alt = file.name;
  picture.setAttribute("layers", 255); // all, however small the window is
  await load(picture, file);
  if (!viewer.open) viewer.showModal();
  picture.focus();
}

function accept(list) {
  const fitting = [...list].filter((file) => file.name.toLowerCase().endsWith(".vqc"));
  message.textContent = fitting.length < list.length ? `skipped ${list.length - fitting.length} files that are not .vqc` : "";
  const first = files.length;
  for (const file of fitting) add({ name: file.name, bytes: file.size, file });
  if (fitting.length) open(first);
}

picture.addEventListener("layer", describe);
picture.addEventListener("load", describe);
picture.addEventListener("error", (event) => {
  of("facts").textContent = event.message;
});
of("layers").addEventListener("input", ({ target }) => picture.setAttribute("layers", target.value));
of("choose").addEventListener("change", ({ target }) => accept(target.files));
of("before").addEventListener("click", () => open(current - 1));
of("after").addEventListener("click", () => open(current + 1));
of("close").addEventListener("click", () => viewer.close());
of("size").addEventListener("click", ({ target }) => {
  const full = target.closest("dialog").querySelector(".stage").classList.toggle("full");
  target.setAttribute("aria-pressed", String(full));
});
viewer.addEventListener("keydown", (event) => {
  if (event.target.matches("input")) return;
  if (event.key === "ArrowLeft") open(current - 1);
  else if (event.key === "ArrowRight") open(current + 1);
});
viewer.addEventListener("close", () => gallery.children[current]?.focus());
for (const kind of ["dragover", "dragleave", "drop"])
  addEventListener(kind, (event) => {
    event.preventDefault();
    document.body.classList.toggle("dropping", kind === "dragover");
    if (kind === "drop") accept(event.dataTransfer.files);
  });

configure({ weights: new URL("../weights/", import.meta.url).href });
const listed = await fetch("../files.json").then((response) => (response.ok ? response.json() : null)).catch(() => null);
if (listed) {
  document.title = of("title").textContent = listed.title;
  for (const file of listed.files) add({ ...file, url: new URL(`../${file.url}`, import.meta.url).href });
  if (listed.files.length === 1) open(0);
}
