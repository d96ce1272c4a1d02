"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const METRICS = [
    ["ssimulacra2", "SSIMULACRA2", "SSIMULACRA2", 1],
    ["psnr_db", "PSNR RGB", "PSNR, RGB (dB)", 2], ["psnr_y_db", "PSNR Y", "PSNR, luma (dB)", 2],
    ["ms_ssim_db", "MS-SSIM in dB", "MS-SSIM (dB, −10 log₁₀(1 − x))", 2], ["ms_ssim", "MS-SSIM", "MS-SSIM", 4],
  ];
  const LOOKS = { // colour, dash, width, marker
    "vqcodec": ["ours", "solid", 3.5, "circle"], "vqcodec for PSNR": ["ours2", "dash", 2, "square"],
    "vqcodec effort 1": ["ours", "dot", 1.5, "circle-open"], "vqcodec effort 9": ["ours", "dash", 1.5, "square-open"],
    "vqcodec layers": ["ours2", "longdashdot", 1.5, "x"], "JPEG-O": ["jpeg", "solid", 2, "triangle-down"],
    "JPEG 4:4:4 progressive": ["jpeg", "dash", 1.5, "triangle-down-open"], "WebP": ["webp", "solid", 2, "square"],
    "AVIF": ["avif", "solid", 2.5, "diamond"], "AVIF 4:2:0": ["avif", "dash", 1.5, "diamond-open"],
    "AVIF for PSNR": ["avif2", "dot", 1.5, "cross"], "AVIF for SSIMULACRA2": ["avif2", "solid", 2, "star"],
    "JPEG XL": ["jxl", "solid", 2, "triangle-up"], "JPEG 2000": ["jp2", "solid", 2, "hexagon"],
  };
  const FIRST = ["vqcodec", "AVIF", "JPEG XL", "WebP", "JPEG-O"]; // drawn at the start; the others by a click
  const GLYPHS = { circle: "●", "circle-open": "○", square: "■", "square-open": "□", diamond: "◆", "diamond-open": "◇", x: "✕",
    cross: "✚", star: "★", "triangle-up": "▲", "triangle-down": "▼", "triangle-down-open": "▽", hexagon: "⬢" };
  const SVG_DASH = { solid: "", dot: "2 3", dash: "6 4", longdashdot: "9 3 2 3" };
  const RATES_BPP = [0.02, 3.5];
  const look = (name) => LOOKS[name] || ["other", "solid", 1.5, "circle-open"];
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const value = (row, metric) => metric !== "ms_ssim_db" ? row[metric]
    : row.ms_ssim === null ? null : -10 * Math.log10(Math.max(1 - row.ms_ssim, 1e-10));
  const measured = METRICS.filter(([key]) => Object.values(data.curves).some((rows) => rows.some((row) => value(row, key) !== null)));
  const main = FIRST.filter((name) => name in data.curves);
  const shown = new Set(main.length > 1 ? main : Object.keys(data.curves));
  const coarse = matchMedia("(pointer: coarse)").matches;
  const config = { displaylogo: false, responsive: true, displayModeBar: coarse ? false : undefined,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
  let metric = measured[0]?.[0];
  let published = true;

  function layout(x, y, extra) {
    const axis = { gridcolor: colour("grid"), linecolor: colour("line"), zerolinecolor: colour("line"), automargin: true };
    return {
      paper_bgcolor: "transparent", plot_bgcolor: "transparent", showlegend: false, hovermode: "closest",
      dragmode: coarse ? false : "zoom", margin: { l: 8, r: 12, t: 24, b: 8 },
      font: { color: colour("ink"), family: "system-ui, sans-serif", size: 13 },
      hoverlabel: { bgcolor: colour("raised"), bordercolor: colour("line"), font: { color: colour("ink") }, align: "left" },
      xaxis: { ...axis, type: "log", title: { text: x }, tickvals: [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5], ...extra },
      yaxis: { ...axis, title: { text: y } },
    };
  }

  function drawCurves() {
    const [, , title, digits] = measured.find(([key]) => key === metric);
    const references = metric === "psnr_db" && published ? data.references : [];
    const least = metric === "ssimulacra2" ? 0 : -Infinity; // below 0 nobody looks
    const inView = ([x, y]) => x >= RATES_BPP[0] && x <= RATES_BPP[1] && y !== null && y >= least;
    const places = [];
    const lines = references.map(({ name, source, points }) => {
      places.push(...points.filter(inView));
      return {
        x: points.map(([x]) => x), y: points.map(([, y]) => y), mode: "lines", opacity: 0.8,
        line: { color: colour("faint"), width: 1 },
        hovertemplate: `${name}, published<br>%{x:.3f} bpp, %{y:.2f} dB<extra></extra>`, meta: source,
      };
    });
    // ours last, over the others
    const names = Object.keys(data.curves).filter((name) => shown.has(name)).sort((a, b) => look(a)[2] - look(b)[2]);
    for (const name of names) {
      const rows = data.curves[name].filter((row) => value(row, metric) !== null);
      const [own, dash, width, symbol] = look(name);
      const line = { x: rows.map((r) => r.bpp), y: rows.map((r) => value(r, metric)), customdata: rows.map((r) => r.quality) };
      places.push(...line.x.map((x, i) => [x, line.y[i]]).filter(inView));
      lines.push({
        ...line, name, mode: "lines+markers", line: { color: colour(own), dash, width },
        marker: { size: width + 5, color: colour(own), symbol },
        hovertemplate: `<b>${name}</b> at %{customdata}<br>%{x:.4f} bpp<br>${title.split(" (")[0]} %{y:.${digits}f}<extra></extra>`,
      });
    }
    const shape = layout("bits per pixel (whole files)", title, {});
    const [xs, ys] = [places.map(([x]) => Math.log10(x)), places.map(([, y]) => y)];
    const around = (values, share) => {
      const [low, high] = [Math.min(...values), Math.max(...values)];
      return [low - share * (high - low || 1), high + share * (high - low || 1)];
    };
    if (places.length) Object.assign(shape.xaxis, { range: around(xs, 0.02) });
    if (places.length) Object.assign(shape.yaxis, { range: around(ys, 0.04) });
    Plotly.react("rd", lines, shape, config);
  }

  function drawScatter() {
    const traces = Object.entries(data.per_image).filter(([name]) => shown.has(name)).map(([name, values]) => {
      const images = Object.keys(values).filter((i) => values[i] !== null && data.jpeg_bpp[i] !== null);
      const [own, , , symbol] = look(name);
      return {
        name, x: images.map((i) => data.jpeg_bpp[i]), y: images.map((i) => values[i]), customdata: images, mode: "markers",
        marker: { size: name === "vqcodec" ? 12 : 8, color: colour(own), opacity: 0.85, line: { width: 1, color: colour("paper") },
          symbol },
        hovertemplate: `%{customdata}<br><b>${name}</b> %{y:+.1f} %<br>JPEG-O needs %{x:.2f} bpp<extra></extra>`,
      };
    });
    const rates = Object.values(data.jpeg_bpp).filter((rate) => rate !== null);
    const narrow = Math.max(...rates) < 3 * Math.min(...rates);
    const tickvals = [0.1, 1, 10].flatMap((ten) => (narrow ? [...Array(18).keys()].map((i) => 1 + i / 2) : [1, 1.5, 2, 3, 5, 7])
      .map((digit) => Number((ten * digit).toPrecision(3))));
    const shape = layout("bits per pixel of JPEG-O", "BD-rate against JPEG-O (%)", { tickvals });
    shape.yaxis.zerolinewidth = 2;
    Plotly.react("scatter", traces, shape, config);
  }

  function draw() {
    if (metric) drawCurves();
    drawScatter();
  }

  function choice(parent, type, text, checked, act, line) {
    const input = Object.assign(document.createElement("input"), { type, checked, name: parent.id });
    input.addEventListener("change", () => act(input.checked));
    const label = document.createElement("label");
    label.append(input);
    if (line) {
      const [own, dash, width, symbol] = line;
      label.insertAdjacentHTML("beforeend", `<svg width="34" height="16" aria-hidden="true"><line x1="0" x2="34" y1="8" y2="8"
        stroke="var(--${own})" stroke-width="${width}" stroke-dasharray="${SVG_DASH[dash]}"/><text x="17" y="13" font-size="14"
        text-anchor="middle" fill="var(--${own})">${GLYPHS[symbol] || ""}</text></svg>`);
    }
    label.append(text);
    parent.append(label);
    return input;
  }

  const codecs = document.getElementById("codecs");
  for (const [key, text] of measured) {
    choice(document.getElementById("metrics"), "radio", text, key === metric, () => {
      metric = key;
      if (reference) reference.disabled = key !== "psnr_db";
      drawCurves();
    });
  }
  for (const name of Object.keys(data.curves)) {
    choice(codecs, "checkbox", name, shown.has(name), (on) => {
      shown[on ? "add" : "delete"](name);
      draw();
    }, look(name));
  }
  const reference = data.references.length && choice(codecs, "checkbox", "published (PSNR RGB)", true, (on) => {
    published = on;
    drawCurves();
  }, ["faint", "solid", 1]);
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
