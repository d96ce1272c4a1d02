"use strict";
// Makes <figure class="divider" data-left="1" data-right="2"> of two or more <img width height alt data-name data-note> into two
// of them behind a divider, with zoom. One transform and one split per figure, so what is compared stays in place.
(() => {
  const MAX_PIXEL = 16; // CSS pixels per pixel of the picture
  const COARSE = 2; // from here on pixels are drawn as squares
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  function element(tag, properties = {}, ...children) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  }

  function divider(figure) {
    const images = [...figure.querySelectorAll(":scope > img")];
    const [width, height] = ["width", "height"].map((side) => Number(images[0].getAttribute(side))); // not as laid out
    const at = { split: 0.5, zoom: 1, x: 0, y: 0, left: Number(figure.dataset.left), right: Number(figure.dataset.right) };
    const stage = element("div", { className: "divider-stage" });
    stage.style.aspectRatio = `${width} / ${height}`;
    const panes = images.map((image) => element("div", { className: "divider-pane" }, image));
    const tags = ["left", "right"].map((side) => element("div", { className: `divider-tag ${side}` }));
    const handle = element("div", { className: "divider-handle", tabIndex: 0, role: "slider" });
    handle.setAttribute("aria-label", "Divider");
    handle.setAttribute("aria-valuemin", "0");
    handle.setAttribute("aria-valuemax", "100");
    stage.append(...panes, handle);
    const choices = ["left", "right"].map((side) => {
      const select = element("select", {}, ...images.map((image, i) => new Option(image.dataset.name, i)));
      select.value = at[side];
      select.addEventListener("change", () => { at[side] = Number(select.value); render(); });
      return element("label", {}, side, select);
    });
    const level = element("output");
    const button = (text, label, act) => {
      const made = element("button", { type: "button", textContent: text });
      made.setAttribute("aria-label", label);
      made.addEventListener("click", act);
      return made;
    };
    const zoom = element("div", { className: "divider-zoom" },
      button("−", "Zoom out", () => zoomBy(1 / 1.5)), level, button("+", "Zoom in", () => zoomBy(1.5)),
      button("fit", "Fit the whole picture", () => zoomBy(0)));
    figure.append(element("div", { className: "divider-bar" }, ...choices, zoom),
      element("div", { className: "divider-tags" }, ...tags), stage);

    const size = () => stage.getBoundingClientRect();
    const fitted = () => size().width / width; // CSS pixels per pixel at zoom 1
    const largest = () => Math.max(MAX_PIXEL / fitted(), 1);

    function zoomBy(factor, centre) {
      const { width: w, height: h } = size();
      const [cx, cy] = centre || [w / 2, h / 2];
      const next = clamp(at.zoom * factor, 1, largest());
      at.x = cx - (cx - at.x) * (next / at.zoom);
      at.y = cy - (cy - at.y) * (next / at.zoom);
      at.zoom = next;
      render();
    }

    function panBy(dx, dy) {
      at.x += dx;
      at.y += dy;
      render();
    }

    function splitTo(share) {
      at.split = clamp(share, 0, 1);
      render();
    }

    function render() {
      const { width: w, height: h } = size();
      at.x = clamp(at.x, w * (1 - at.zoom), 0);
      at.y = clamp(at.y, h * (1 - at.zoom), 0);
      const percent = 100 * at.split;
      panes.forEach((pane, i) => {
        pane.hidden = i !== at.left && i !== at.right;
        pane.style.clipPath = at.left === at.right ? "none"
          : i === at.left ? `inset(0 ${100 - percent}% 0 0)` : `inset(0 0 0 ${percent}%)`;
        images[i].style.transform = `translate(${at.x}px, ${at.y}px) scale(${at.zoom})`;
      });
      const scale = fitted() * at.zoom;
      stage.classList.toggle("zoomed", at.zoom > 1);
      stage.classList.toggle("coarse", scale >= COARSE);
      handle.style.left = `${percent}%`;
      const names = [images[at.left], images[at.right]].map((image) => image.dataset.name);
      handle.setAttribute("aria-valuenow", Math.round(percent));
      handle.setAttribute("aria-valuetext", `${Math.round(percent)} % ${names[0]}, the rest ${names[1]}`);
      level.textContent = `${Math.round(100 * scale)} %`;
      [at.left, at.right].forEach((i, side) =>
        tags[side].replaceChildren(element("b", { textContent: images[i].dataset.name }), images[i].dataset.note || ""));
    }

    const pointers = new Map(); // id -> last place
    let splitting = false;
    stage.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      if (!pointers.size) splitting = event.target === handle || at.zoom === 1;
      pointers.set(event.pointerId, [event.clientX, event.clientY]);
      stage.setPointerCapture(event.pointerId);
      handle.focus({ preventScroll: true, focusVisible: false });
      event.preventDefault();
    });
    stage.addEventListener("pointermove", (event) => {
      const last = pointers.get(event.pointerId);
      if (!last) return;
      const now = [event.clientX, event.clientY];
      const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
      pointers.set(event.pointerId, now);
      const { left, top, width: w } = size();
      if (other) { // pinch
        const apart = (place) => Math.max(Math.hypot(place[0] - other[0], place[1] - other[1]), 1);
        zoomBy(apart(now) / apart(last), [(now[0] + other[0]) / 2 - left, (now[1] + other[1]) / 2 - top]);
        panBy((now[0] - last[0]) / 2, (now[1] - last[1]) / 2);
      } else if (splitting) splitTo(at.split + (now[0] - last[0]) / w);
      else panBy(now[0] - last[0], now[1] - last[1]);
    });
    for (const kind of ["pointerup", "pointercancel"]) {
      stage.addEventListener(kind, (event) => pointers.delete(event.pointerId));
    }
    stage.addEventListener("wheel", (event) => { // the page scrolls until the picture was chosen by a click or a key
      if (!event.ctrlKey && !figure.contains(document.activeElement)) return;
      event.preventDefault();
      const { left, top } = size();
      zoomBy(Math.exp(-clamp(event.deltaY, -120, 120) / 300), [event.clientX - left, event.clientY - top]);
    }, { passive: false });
    stage.addEventListener("dblclick", (event) => {
      const { left, top } = size();
      zoomBy(at.zoom > 1 ? 0 : 3, [event.clientX - left, event.clientY - top]);
    });
    figure.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey || event.target.tagName === "SELECT") return;
      const onHandle = event.target === handle;
      const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (event.key === "+" || event.key === "=") zoomBy(1.5);
      else if (event.key === "-") zoomBy(1 / 1.5);
      else if (event.key === "0") zoomBy(0);
      else if (!onHandle) return;
      else if (arrow && event.shiftKey) panBy(-48 * arrow[0], -48 * arrow[1]);
      else if (arrow && arrow[0]) splitTo(at.split + 0.02 * arrow[0]);
      else if (event.key === "PageUp" || event.key === "PageDown") splitTo(at.split + (event.key === "PageUp" ? 0.1 : -0.1));
      else if (event.key === "Home" || event.key === "End") splitTo(event.key === "Home" ? 0 : 1);
      else return;
      event.preventDefault();
    });
    let before = size().width;
    new ResizeObserver(() => { // what is seen stays where it is when the window changes
      const now = size().width;
      at.x *= now / before;
      at.y *= now / before;
      before = now;
      render();
    }).observe(stage);
    render();
  }

  document.querySelectorAll("figure.divider").forEach(divider);
})();
