// SPDX-License-Identifier: Apache-2.0
// The conversation as a list of turns: previews, progress, errors, and what can be done next.

import { alarm, announce, button, find, h, notice, urlOf } from "./dom.js";
import * as session from "./session.js";

const TITLES = {
  away: "The server cannot be reached",
  cut: "The connection broke off",
  silent: "The server fell silent",
  moderation_blocked: "The server does not draw this",
};
const BY_STATUS = {
  400: "The server does not take this",
  401: "The key is not right",
  413: "This is too large for the server",
  429: "The server is full",
  501: "This server cannot do that",
  503: "The server is shutting down",
  504: "It took too long",
};

let act = {}; // what the other parts do: {view, brush, goOn, look}
const figures = new Map(); // of slots that are on the screen

export function start(actions) {
  act = actions;
  session.events.addEventListener("path", render);
  session.events.addEventListener("slot", ({ detail }) => refresh(detail.turn, detail.slot));
}

export const titleOf = (error) => TITLES[error.code] ?? BY_STATUS[error.status]
  ?? "The server could not draw this";

// The four fields of an error, as far as they say something.
export function errorBox(error) {
  const fields = { code: error.code, type: error.type, field: error.param };
  const known = Object.entries(fields).filter(([, value]) => value);
  const categories = error.categories.length
    ? h("p", {}, `Because of: ${error.categories.join(", ")}.`) : null;
  return h("div", { class: "error" },
    h("strong", {}, titleOf(error)),
    h("p", {}, error.message),
    categories,
    known.length ? h("p", { class: "fields" },
      known.map(([name, value]) => h("span", {}, `${name} `, h("code", {}, value)))) : null);
}

function status(slot) {
  const percent = Math.round(100 * (slot.share ?? 0));
  return {
    waiting: "Waiting for the pictures before it",
    sent: "Asking the server…",
    queued: slot.place === 0 ? "Next in the queue" : `${slot.place} ahead of it in the queue`,
    full: `The server is full; asking again in ${Math.ceil(slot.seconds ?? 0)} s`,
    drawing: slot.share ? `Drawing, ${percent} %` : "Drawing…",
    cancelled: "Not drawn",
    failed: "Not drawn",
  }[slot.state];
}

function frameOf(turn, slot) {
  const { picture } = slot;
  const frame = h("div", { class: `frame ${slot.state}` });
  const [width, height] = (turn.settings.size.match(/\d+/g) ?? [1, 1]).map(Number);
  frame.style.aspectRatio = `${width} / ${height}`;
  if (picture) {
    const image = h("img", { src: urlOf(picture.blob), alt: picture.prompt });
    image.addEventListener("load", () => {
      frame.style.aspectRatio = `${image.naturalWidth} / ${image.naturalHeight}`;
    });
    frame.append(h("button", { type: "button", class: "open", title: "Look closely",
      "aria-label": `Look closely: ${picture.prompt}`, onclick: () => act.view(picture) }, image));
    return frame;
  }
  if (slot.preview) {
    frame.append(h("img", { class: "preview", src: urlOf(slot.preview), alt: "" }));
  }
  return frame;
}

function progressOf(turn, slot) {
  const running = session.RUNNING.includes(slot.state);
  const label = status(slot);
  const bar = running ? h("progress", { "aria-label": label, max: 1 }) : null;
  if (bar && slot.share) bar.value = slot.share;
  const stop = running
    ? button("Cancel", { kind: "small", onclick: () => session.cancel(slot) })
    : button(slot.state === "failed" ? "Try again" : "Draw it", { kind: "small",
      onclick: () => session.retry(turn, slot) });
  return h("div", { class: "progress" }, h("span", { class: "state" }, label), bar, stop);
}

function actionsOf(turn, slot) {
  const { picture } = slot;
  const rates = (rating, label) => button("", {
    icon: rating, label, kind: "round", "aria-pressed": String(picture.rating === rating),
    onclick: () => told(session.rate(picture, rating)),
  });
  const isBest = turn.best === picture.id;
  const several = session.slotsOf(turn).filter((each) => each.picture).length > 1;
  return h("div", { class: "acts", role: "group", "aria-label": `Picture of seed ${slot.seed}` },
    rates("up", "Good"),
    rates("down", "Not good"),
    several ? button(isBest ? "Best" : "Better", { icon: "crown", kind: "small",
      label: isBest ? "Best of these" : "This one is better", "aria-pressed": String(isBest),
      onclick: () => told(session.prefer(picture)) }) : null,
    h("span", { class: "gap" }),
    button("", { icon: "brush", label: "Change a part of it", kind: "round",
      onclick: () => act.brush(picture) }),
    button("Go on from here", { icon: "reply", kind: "small", label: "Go on from here",
      onclick: () => act.goOn(picture) }));
}

// What the server says of the prompt that is not in the picture.
const missing = ({ warnings }) => (warnings?.length
  ? [h("ul", { class: "warnings" }, warnings.map((line) => h("li", {}, line)))] : []);

// Feedback that the server does not take is told, and changes nothing else.
async function told(work) {
  try {
    announce((await work) ? "The server keeps it." : "This browser keeps it; the server does not.");
  } catch (error) {
    notice(`${titleOf(error)}: ${error.message}`);
  }
}

function fill(figure, turn, slot) {
  const label = figure.contains(document.activeElement)
    ? document.activeElement.getAttribute("aria-label") ?? document.activeElement.textContent
    : null;
  const isOver = ["failed", "cancelled"].includes(slot.state);
  figure.replaceChildren(...(isOver ? [] : [frameOf(turn, slot)]));
  if (slot.picture) figure.append(actionsOf(turn, slot), ...missing(slot.picture));
  else figure.append(progressOf(turn, slot));
  if (slot.error) figure.append(errorBox(slot.error));
  if (label === null) return;
  const same = [...figure.querySelectorAll("button")].find((each) =>
    (each.getAttribute("aria-label") ?? each.textContent) === label);
  (same ?? figure.querySelector("button"))?.focus({ preventScroll: true });
}

function refresh(turn, slot) {
  const figure = figures.get(slot);
  if (!figure) return;
  const is = { state: slot.state, place: slot.place };
  const state = JSON.stringify(is);
  const bar = figure.querySelector("progress");
  if (figure.dataset.state === state && slot.state === "drawing" && bar && !slot.picture) {
    move(figure, bar, slot);
    return;
  }
  figure.dataset.state = state;
  // Whether a picture can be the better one depends on the others.
  const changed = slot.state === "done" ? session.slotsOf(turn) : [slot];
  for (const each of changed) fill(figures.get(each), turn, each);
  speak(turn, slot);
  find("thread").dispatchEvent(new CustomEvent("state"));
}

// Progress changes often, and must not take focus or the preview away.
function move(figure, bar, slot) {
  if (slot.share) bar.value = slot.share;
  const text = status(slot);
  bar.setAttribute("aria-label", text);
  figure.querySelector(".state").textContent = text;
  if (!slot.preview) return;
  const frame = figure.querySelector(".frame");
  const image = frame.querySelector("img") ?? h("img", { class: "preview", alt: "" });
  image.src = urlOf(slot.preview);
  if (!image.parentNode) frame.append(image);
}

function speak(turn, slot) {
  const own = session.slotsOf(turn);
  const number = `Picture ${own.indexOf(slot) + 1} of ${own.length}`;
  const which = own.length > 1 ? number : "The picture";
  if (slot.state === "failed") alarm(`${which}: ${titleOf(slot.error)}. ${slot.error.message}`);
  else if (slot.state === "done") announce(`${which} is drawn: ${turn.prompt}`);
  else announce(`${which}: ${status(slot)}`);
}

function branches(turn) {
  const all = session.siblings(turn);
  if (all.length < 2) return null;
  const index = all.indexOf(turn);
  const go = (by, label, image) => button("", {
    icon: image, label, kind: "round", disabled: !all[index + by],
    onclick: () => session.show(all[index + by], { deep: true }),
  });
  return h("div", { class: "branches", role: "group", "aria-label": "Versions of this turn" },
    go(-1, "Version before", "back"), h("span", {}, `${index + 1} of ${all.length}`),
    go(1, "Version after", "forward"));
}

function givenOf(turn) {
  if (!turn.given.length) return null;
  const images = turn.given.map(({ blob }) => h("img", { src: urlOf(blob), alt: "" }));
  const text = turn.mask ? "a part of" : "from";
  return h("span", { class: "given" }, h("span", {}, text), images);
}

const seconds = (all) => {
  const known = all.map((slot) => slot.picture?.seconds).filter(Boolean);
  return known.length ? `${Math.max(...known).toFixed(1)} s` : null;
};

function facts(turn) {
  const { seed, settings } = turn;
  const last = seed + settings.count - 1;
  const drawn = session.slotsOf(turn).map((slot) => slot.picture?.size).find(Boolean);
  const size = drawn ?? settings.size;
  const words = [
    last > seed ? `seeds ${seed} to ${last}` : `seed ${seed}`,
    size === "auto" ? null : size,
    seconds(session.slotsOf(turn)),
  ];
  return words.filter(Boolean).join("  ·  ");
}

function article(turn, number, isLast) {
  const slots = session.slotsOf(turn);
  const body = slots.map((slot) => {
    const figure = h("figure", {});
    figures.set(slot, figure);
    fill(figure, turn, slot);
    figure.dataset.state = JSON.stringify({ state: slot.state, place: slot.place });
    return figure;
  });
  const foot = h("footer", {},
    h("span", { class: "facts" }, facts(turn)),
    h("span", { class: "gap" }),
    button("Settings", { icon: "sliders", kind: "small", onclick: () => act.look(turn) }),
    button("Again, next seed", { icon: "dice", kind: "small", onclick: () => session.again(turn) }),
    isLast ? button("Undo", { icon: "undo", kind: "small", onclick: () => act.undo() }) : null);
  return h("li", {}, h("article", { "aria-label": `Turn ${number}: ${turn.prompt}` },
    h("header", {}, givenOf(turn), h("p", { class: "said", dir: "auto" }, turn.prompt),
      branches(turn)),
    h("div", { class: `figures n${Math.min(slots.length, 4)}` }, body), foot));
}

function laterLinks() {
  const turns = session.later();
  if (!turns.length) return [];
  return [h("span", {}, "From here you went on with"), ...turns.map((turn) =>
    button(turn.prompt, { kind: "small", onclick: () => session.show(turn, { deep: true }) }))];
}

let shown = "";

function render() {
  const path = session.path();
  figures.clear();
  find("thread").replaceChildren(
    ...path.map((turn, i) => article(turn, i + 1, i === path.length - 1)));
  find("later").replaceChildren(...laterLinks());
  find("welcome").hidden = path.length > 0;
  find("thread").dispatchEvent(new CustomEvent("state"));
  const last = path.at(-1)?.id ?? "";
  if (last !== shown && last) {
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const behavior = calm || !shown ? "auto" : "smooth";
    find("thread").lastElementChild.scrollIntoView({ behavior, block: "start" });
  }
  shown = last;
}

// Facts of a turn change when its pictures are there.
export function refreshFacts() {
  session.path().forEach((turn, i) => {
    const place = find("thread").children[i]?.querySelector(".facts");
    if (place) place.textContent = facts(turn);
  });
}

