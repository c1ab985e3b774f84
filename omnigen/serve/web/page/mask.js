// SPDX-License-Identifier: Apache-2.0
// Painting the part of a picture that is to change, with a brush or a rectangle.
//
// What was painted is a list of deeds, so that undoing is leaving the last one out.

import { announce, button, find, h, openSheet, urlOf } from "./dom.js";

const STEP = 1 / 32; // of the picture, for a press of an arrow
const BRUSH = { min: 2, max: 50, value: 14 }; // percent of the shorter side
let latest = null; // the deeds of the last mask, which another picture may take over

const paint = {
  stroke(context, { points, width, erase }) {
    context.globalCompositeOperation = erase ? "destination-out" : "source-over";
    Object.assign(context, { lineWidth: width, lineCap: "round", lineJoin: "round" });
    context.beginPath();
    points.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
    if (points.length === 1) context.lineTo(points[0][0] + 0.01, points[0][1]);
    context.stroke();
  },
  rectangle(context, { x, y, width, height, erase }) {
    context.globalCompositeOperation = erase ? "destination-out" : "source-over";
    context.fillRect(x, y, width, height);
  },
  invert(context, _, { width, height }) {
    context.globalCompositeOperation = "source-out"; // what is left of all, without what is there
    context.fillRect(0, 0, width, height);
  },
  clear(context, _, { width, height }) {
    context.clearRect(0, 0, width, height);
  },
};

function replay(canvas, deeds) {
  const context = canvas.getContext("2d");
  context.globalCompositeOperation = "source-over";
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = context.strokeStyle = "#000";
  for (const deed of deeds) paint[deed.kind](context, deed, canvas);
}

// Returns a PNG of the picture's size that is clear where something was painted, or null.
async function maskOf(layer) {
  const { width, height } = layer;
  const painted = layer.getContext("2d").getImageData(0, 0, width, height);
  let count = 0;
  for (let i = 3; i < painted.data.length; i += 4) {
    const isPainted = painted.data[i] > 127;
    count += isPainted;
    painted.data.set([0, 0, 0, isPainted ? 0 : 255], i - 3);
  }
  if (!count) return null;
  const canvas = h("canvas", { width, height });
  canvas.getContext("2d").putImageData(painted, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

// Opens the editor on a picture; `done(mask)` is called with a PNG, or null for all of it.
export async function edit(source, done) {
  const image = h("img", { src: urlOf(source.blob), alt: "" });
  await image.decode();
  new Editor(image, source, done).open();
}

class Editor {
  constructor(image, source, done) {
    const size = { width: image.naturalWidth, height: image.naturalHeight };
    Object.assign(this, { image, source, done, erase: false, stroke: null, ...size });
    this.deeds = [...(source.deeds ?? [])];
    this.layer = h("canvas", size); // what is painted, in pixels of the picture
    this.rectangle = { x: 0.25, y: 0.25, width: 0.5, height: 0.5 };
    this.view = h("canvas", { ...this.shown(), tabindex: "0", role: "application",
      "aria-label": "Part to change", "aria-describedby": "mask-keys", class: "mask-view" });
  }

  // Stripes of two colours stand out on every picture.
  makeStripes(context) {
    const side = Math.round(this.view.width / 32);
    const tile = h("canvas", { width: side, height: side });
    const brush = tile.getContext("2d");
    brush.fillStyle = "#fff";
    brush.fillRect(0, 0, side, side);
    Object.assign(brush, { strokeStyle: "#d6246e", lineWidth: side * 0.45 });
    brush.beginPath();
    for (const x of [-side, 0, side]) {
      brush.moveTo(x - side * 0.5, side * 1.5);
      brush.lineTo(x + side * 1.5, -side * 0.5);
    }
    brush.stroke();
    return context.createPattern(tile, "repeat");
  }

  // The view has more pixels than a small picture, so that lines on it are fine.
  shown() {
    const scale = Math.max(1, Math.ceil(768 / Math.max(this.width, this.height)));
    return { width: this.width * scale, height: this.height * scale };
  }

  open() {
    const size = h("input", { id: "brush-size", type: "range", ...BRUSH });
    size.addEventListener("input", () => this.draw());
    this.size = size;
    const wipe = button("Wipe", { kind: "small", "aria-pressed": "false", onclick: () => {
      this.erase = !this.erase;
      wipe.setAttribute("aria-pressed", String(this.erase));
    } });
    const tools = h("div", { class: "actions" },
      h("label", { for: "brush-size" }, "Brush"), size, wipe,
      button("Undo", { icon: "undo", kind: "small", onclick: () => this.undo() }),
      button("Invert", { kind: "small", onclick: () => this.add({ kind: "invert" }) }),
      button("Clear", { kind: "small", onclick: () => this.add({ kind: "clear" }) }),
      this.sameAsBefore());
    const finish = h("div", { class: "actions end" },
      button("Change all of it", { onclick: () => this.finish([]) }),
      button("Change this part", { kind: "primary", onclick: () => this.finish(this.deeds) }));
    const keys = h("p", { id: "mask-keys", class: "hint" },
      "Paint over what should change. By keyboard: arrows move the rectangle, with Shift they "
      + "resize it; Enter paints it, Delete wipes it; Z undoes, I inverts, [ and ] change the "
      + "brush.");
    this.listen();
    openSheet(find("mask"), "Which part should change?",
      h("div", { class: "mask-stage" }, this.view), tools, keys, finish);
    // What was painted is there again if the editor is closed and opened.
    find("mask").addEventListener("close", () => { this.source.deeds = this.deeds; },
      { once: true });
    this.draw();
    this.view.focus();
  }

  sameAsBefore() {
    const fits = latest && latest.width === this.width && latest.height === this.height;
    if (!fits || this.deeds.length) return null;
    return button("Same part as before", { kind: "small", onclick: () => {
      this.deeds = [...latest.deeds];
      this.draw();
    } });
  }

  listen() {
    const { view } = this;
    view.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      view.setPointerCapture(event.pointerId);
      const points = [this.place(event)];
      this.stroke = { kind: "stroke", points, width: this.brush(), erase: this.erase };
      this.deeds.push(this.stroke);
      this.draw(event);
    });
    view.addEventListener("pointermove", (event) => {
      for (const each of this.stroke ? event.getCoalescedEvents?.() ?? [] : []) {
        this.stroke.points.push(this.place(each));
      }
      this.stroke?.points.push(this.place(event));
      this.draw(event);
    });
    for (const type of ["pointerup", "pointercancel"]) {
      view.addEventListener(type, () => { this.stroke = null; });
    }
    view.addEventListener("pointerleave", () => this.draw());
    for (const type of ["focus", "blur"]) view.addEventListener(type, () => this.draw());
    view.addEventListener("keydown", (event) => this.key(event));
  }

  place({ clientX, clientY }) {
    const box = this.view.getBoundingClientRect();
    return [(clientX - box.left) / box.width * this.width,
      (clientY - box.top) / box.height * this.height];
  }

  brush() {
    return Math.max(1, this.size.value / 100 * Math.min(this.width, this.height));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const by = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const deeds = {
      Enter: () => this.fill(false),
      " ": () => this.fill(false),
      Delete: () => this.fill(true),
      Backspace: () => this.fill(true),
      z: () => this.undo(),
      i: () => this.add({ kind: "invert" }),
      "[": () => this.resize(-4),
      "]": () => this.resize(4),
    };
    const deed = by[event.key] ? () => this.move(by[event.key], event.shiftKey) : deeds[event.key];
    if (!deed) return;
    event.preventDefault();
    event.stopPropagation();
    deed();
  }

  move([right, down], isResizing) {
    const [first, second] = isResizing ? ["width", "height"] : ["x", "y"];
    const r = this.rectangle;
    r[first] += right * STEP;
    r[second] += down * STEP;
    r.width = Math.min(Math.max(r.width, STEP), 1);
    r.height = Math.min(Math.max(r.height, STEP), 1);
    r.x = Math.min(Math.max(r.x, 0), 1 - r.width);
    r.y = Math.min(Math.max(r.y, 0), 1 - r.height);
    const percent = (value) => `${Math.round(100 * value)}`;
    announce(`Rectangle ${percent(r.x)} percent from the left, ${percent(r.y)} from the top, `
      + `${percent(r.width)} wide, ${percent(r.height)} high`);
    this.draw();
  }

  inPixels() {
    const { x, y, width, height } = this.rectangle;
    return { x: Math.round(x * this.width), y: Math.round(y * this.height),
      width: Math.round(width * this.width), height: Math.round(height * this.height) };
  }

  fill(erase) {
    this.add({ kind: "rectangle", ...this.inPixels(), erase });
    announce(erase ? "Wiped." : "Painted.");
  }

  resize(by) {
    this.size.value = Number(this.size.value) + by;
    announce(`Brush ${this.size.value} percent`);
    this.draw();
  }

  add(deed) {
    this.deeds.push(deed);
    this.draw();
  }

  undo() {
    if (!this.deeds.pop()) announce("Nothing to undo.");
    this.draw();
  }

  draw(pointer = null) {
    replay(this.layer, this.deeds);
    const context = this.view.getContext("2d");
    this.stripes ??= this.makeStripes(context);
    const { width, height } = this.view;
    const scale = width / this.width;
    context.globalAlpha = 1;
    context.clearRect(0, 0, width, height);
    context.drawImage(this.layer, 0, 0, width, height);
    context.globalCompositeOperation = "source-in"; // the painted part, in stripes
    context.fillStyle = this.stripes;
    context.fillRect(0, 0, width, height);
    context.globalCompositeOperation = "destination-over";
    context.drawImage(this.image, 0, 0, width, height);
    context.globalCompositeOperation = "source-over";
    context.globalAlpha = 0.3; // what is painted shines through
    context.drawImage(this.image, 0, 0, width, height);
    context.globalAlpha = 1;
    if (pointer) this.ring(context, this.place(pointer), scale);
    else if (this.view.matches(":focus-visible")) this.frame(context, scale);
  }

  outline(context, path) {
    for (const [color, width] of [["#fff", 5], ["#111", 2]]) {
      Object.assign(context, { strokeStyle: color, lineWidth: width });
      context.beginPath();
      path();
      context.stroke();
    }
  }

  ring(context, [x, y], scale) {
    const radius = this.brush() / 2 * scale;
    this.outline(context, () => context.arc(x * scale, y * scale, radius, 0, 2 * Math.PI));
  }

  frame(context, scale) {
    const { x, y, width, height } = this.inPixels();
    context.setLineDash([12, 8]);
    this.outline(context, () => context.rect(x * scale, y * scale, width * scale, height * scale));
    context.setLineDash([]);
  }

  async finish(deeds) {
    replay(this.layer, deeds);
    const mask = await maskOf(this.layer);
    this.deeds = deeds;
    if (mask) latest = { deeds, width: this.width, height: this.height };
    this.source.deeds = deeds;
    find("mask").close();
    this.done(mask);
  }
}
