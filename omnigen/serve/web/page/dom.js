// SPDX-License-Identifier: Apache-2.0
// Elements, icons, dialogs, and what is said to screen readers.

export const find = (id) => document.getElementById(id);

// Makes an element; `on…` are listeners, `false` and null leave an attribute out.
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "icon") element.prepend(icon(value));
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

// Lines of 24 x 24 icons: all are strokes of one width.
const ICONS = {
  back: "M15 5l-7 7 7 7",
  brush: "M14 5l5 5-8 8H6v-5zM12 7l5 5",
  camera: "M4 8h4l2-3h4l2 3h4v11H4zM12 10a3 3 0 100 6 3 3 0 000-6",
  check: "M5 13l4 4 10-11",
  close: "M6 6l12 12M18 6L6 18",
  compare: "M12 3v18M4 6h5v12H4zM15 6h5v12h-5z",
  crown: "M4 18h16M4 8l4 4 4-7 4 7 4-4-1.5 7h-13z",
  dice: "M8 4h8l4 4v8l-4 4H8l-4-4V8zM8.5 9h.01M12 12h.01M15.5 15h.01",
  down: "M17 4v9M17 13l-4 7c-2 0-2-1-2-2v-4H6c-1 0-2-1-2-2l2-6c0-1 1-2 2-2h9M17 13h3V4h-3",
  forward: "M9 5l7 7-7 7",
  grid: "M4 4h6v6H4zM14 4h6v6h-6zM4 14h6v6H4zM14 14h6v6h-6z",
  help: "M9 9a3 3 0 116 0c0 2-3 2-3 5M12 18h.01",
  locked: "M6 11h12v9H6zM8 11V8a4 4 0 018 0v3",
  picture: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15 9h.01",
  plus: "M12 5v14M5 12h14",
  question: "M12 3a9 9 0 100 18 9 9 0 000-18M10 9.5a2 2 0 114 0c0 1.5-2 1.5-2 3.5M12 16.5h.01",
  reply: "M9 6l-5 5 5 5M4 11h9c4 0 7 2 7 7",
  save: "M12 4v11M7 11l5 5 5-5M5 20h14",
  sliders: "M4 8h9M17 8h3M15 6v4M4 16h3M11 16h9M9 14v4",
  trash: "M5 7h14M10 4h4M7 7l1 13h8l1-13M10 11v5M14 11v5",
  undo: "M8 5L4 9l4 4M4 9h10a5 5 0 010 10H9",
  unlocked: "M6 11h12v9H6zM8 11V8a4 4 0 017.5-2",
  up: "M7 20v-9M7 11l4-7c2 0 2 1 2 2v4h5c1 0 2 1 2 2l-2 6c0 1-1 2-2 2H7M7 11H4v9h3",
};

export function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("icon");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

// A button with an icon and, if it has a visible text, that text as its name.
export function button(text, { icon: image, label, kind = "quiet", ...attributes }) {
  const named = { type: "button", class: kind, "aria-label": label, title: label, ...attributes };
  const children = [image ? icon(image) : null, text ? h("span", {}, text) : null];
  return h("button", named, ...children);
}

export function decorate(root = document) {
  for (const element of root.querySelectorAll("[data-icon]")) {
    if (!element.querySelector("svg")) element.prepend(icon(element.dataset.icon));
  }
  for (const element of root.querySelectorAll("[data-close]")) {
    element.addEventListener("click", () => element.closest("dialog").close());
  }
}

// Fills a dialog with a head, and opens it; the browser gives focus back when it closes.
export function openSheet(dialog, title, ...children) {
  const close = button("", { icon: "close", label: "Close", kind: "round",
    onclick: () => dialog.close() });
  const head = h("header", {}, h("h2", { id: `${dialog.id}-title` }, title), close);
  dialog.replaceChildren(head, ...children);
  if (!dialog.open) dialog.showModal();
}

// A click beside a sheet closes it.
export function closeByBackdrop(dialog) {
  dialog.addEventListener("pointerdown", (event) => {
    if (event.target !== dialog) return;
    const box = dialog.getBoundingClientRect();
    const inside = event.clientX >= box.left && event.clientX <= box.right
      && event.clientY >= box.top && event.clientY <= box.bottom;
    if (!inside) dialog.close();
  });
}

export function announce(text) {
  find("announcer").textContent = text;
}

export function alarm(text) {
  find("alarm").textContent = text;
}

let fading;

// Says it to everyone, for a while.
export function notice(text) {
  find("notice").textContent = text;
  find("notice").hidden = false;
  clearTimeout(fading);
  fading = setTimeout(() => { find("notice").hidden = true; }, 9000);
}

const urls = new WeakMap();

// One URL for each blob, for as long as the page is open.
export function urlOf(blob) {
  if (!urls.has(blob)) urls.set(blob, URL.createObjectURL(blob));
  return urls.get(blob);
}

export function forget(blob) {
  URL.revokeObjectURL(urls.get(blob));
  urls.delete(blob);
}

export function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
