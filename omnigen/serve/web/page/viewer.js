// SPDX-License-Identifier: Apache-2.0
// One picture, large: arrows and swipes cycle, a slider compares it with another one.

import { announce, button, find, h, urlOf } from "./dom.js";
import { endOf } from "./drawing.js";
import { originOf } from "./origin.js";
import * as session from "./session.js";
import * as store from "./store.js";

const SWIPE = 50; // pixels
let list = [];
let index = 0;
let rival = null; // what the picture is compared with
let act = {};

export function start(actions) {
  act = actions;
  const dialog = find("viewer");
  let from = null;
  dialog.addEventListener("touchstart", ({ touches, target }) => {
    const isFree = touches.length === 1 && target.closest(".stage") && target.type !== "range"
      && (visualViewport?.scale ?? 1) < 1.05; // while zoomed in, a finger moves the picture
    from = isFree ? touches[0].clientX : null;
  }, { passive: true });
  dialog.addEventListener("touchend", ({ changedTouches }) => {
    const by = from === null ? 0 : changedTouches[0].clientX - from;
    if (Math.abs(by) > SWIPE) go(by < 0 ? 1 : -1);
    from = null;
  });
  dialog.addEventListener("close", () => { rival = null; });
}

export const isOpen = () => find("viewer").open;
export const picture = () => list[index];

export function view(chosen, all = session.path().flatMap(store.picturesOf)) {
  list = all.includes(chosen) ? all : [chosen];
  index = list.indexOf(chosen);
  rival = null;
  render();
  if (!isOpen()) find("viewer").showModal();
}

export function go(by) {
  if (list.length < 2) return;
  index = (index + by + list.length) % list.length;
  rival = null;
  render();
  announce(`Picture ${index + 1} of ${list.length}: ${picture().prompt}`);
}

export function save() {
  const { prompt, seed, blob } = picture();
  const words = prompt.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? ["picture"];
  const name = `${words.join("-").slice(0, 60)}-${seed}.${endOf(blob)}`;
  h("a", { href: urlOf(blob), download: name }).click();
}

// What a picture is compared with first: what it was made from, else another of its turn.
function rivalsOf(mine) {
  const turn = store.turns.get(mine.turn);
  const given = (turn?.given ?? []).map(({ blob, picture: id }) =>
    store.pictures.get(id) ?? { id: "given", blob, prompt: "the picture that it was made from" });
  const known = [...given, ...(turn ? store.picturesOf(turn) : []),
    ...store.pathTo(mine.turn).flatMap(store.picturesOf), ...list];
  return [...new Set(known)].filter((each) => each !== mine);
}

export function compare() {
  rival = rival ? null : rivalsOf(picture())[0] ?? null;
  if (!rival) announce("There is no other picture to compare it with.");
  render();
}

function compared(mine) {
  const over = h("img", { class: "over", src: urlOf(mine.blob), alt: mine.prompt });
  const line = h("span", { class: "line", "aria-hidden": "true" });
  const slider = h("input", { type: "range", min: 0, max: 100, value: 50, id: "compare",
    "aria-label": "How much of the picture on the left is shown, in percent" });
  const move = () => {
    over.style.clipPath = `inset(0 ${100 - slider.value}% 0 0)`;
    line.style.left = `${slider.value}%`;
  };
  slider.addEventListener("input", move);
  move();
  return h("div", { class: "pair" }, h("img", { src: urlOf(rival.blob), alt: rival.prompt }), over,
    line, slider);
}

function rivalChoice(mine) {
  const rivals = rivalsOf(mine);
  const select = h("select", { id: "rival" }, rivals.map((each, i) => h("option",
    { value: i, selected: each === rival },
    `${each.prompt.slice(0, 60)}${each.seed === undefined ? "" : ` (seed ${each.seed})`}`)));
  select.addEventListener("change", () => {
    rival = rivals[select.value];
    render();
    find("rival").focus();
  });
  return h("p", { class: "rival" }, h("label", { for: "rival" }, "On the right"), select);
}

function facts(mine) {
  const turn = store.turns.get(mine.turn);
  const { guidance = null, temperature = null, model } = turn?.settings ?? {};
  const pairs = {
    Seed: mine.seed,
    Size: mine.size ?? turn?.settings.size,
    Model: model,
    Guidance: guidance,
    Temperature: temperature,
    "Drawn at": mine.drawnSize && mine.drawnSize !== mine.size ? mine.drawnSize : null,
    Understood: mine.explanation,
    "Not in it": mine.warnings?.join("; "),
    "Read as": mine.revised && mine.revised !== mine.prompt ? mine.revised : null,
    When: new Date(mine.created).toLocaleString(),
    Took: mine.seconds ? `${mine.seconds.toFixed(1)} s` : null,
  };
  const known = Object.entries(pairs).filter(([, value]) => value !== null && value !== undefined
    && value !== "");
  return h("dl", { class: "pairs" }, known.map(([name, value]) =>
    h("div", {}, h("dt", {}, name), h("dd", {}, String(value)))));
}

function actions(mine, origin) {
  const turn = store.turns.get(mine.turn);
  const leave = (then) => () => {
    find("viewer").close();
    then();
  };
  let isSure = false;
  const trash = button("Delete", { icon: "trash", kind: "small", onclick: () => {
    if (!isSure) {
      isSure = true;
      trash.lastChild.textContent = "Delete for good?";
      return;
    }
    find("viewer").close();
    session.remove(mine);
  } });
  return h("div", { class: "actions" },
    button("Save", { icon: "save", kind: "small", onclick: save }),
    button("Compare", { icon: "compare", kind: "small", "aria-pressed": String(Boolean(rival)),
      onclick: () => { compare(); find("compare")?.focus(); } }),
    button("Change a part", { icon: "brush", kind: "small",
      onclick: leave(() => act.brush(mine)) }),
    button("Go on from here", { icon: "reply", kind: "small",
      onclick: leave(() => act.goOn(mine)) }),
    turn ? button("Use its settings", { icon: "sliders", kind: "small",
      onclick: leave(() => act.restore({ ...turn, seed: mine.seed })) }) : null,
    turn && !session.path().includes(turn) ? button("Open its conversation", { icon: "forward",
      kind: "small", onclick: leave(() => act.openTurn(turn)) }) : null,
    origin.start, trash);
}

function render() {
  const mine = picture();
  const origin = originOf(mine.blob);
  const several = list.length > 1;
  const arrow = (by, label, image) => (several ? button("", { icon: image, label,
    kind: `round arrow ${image}`, onclick: () => go(by) }) : null);
  const stage = h("div", { class: "stage" }, arrow(-1, "Picture before", "back"),
    rival ? compared(mine) : h("img", { src: urlOf(mine.blob), alt: mine.prompt }),
    arrow(1, "Picture after", "forward"));
  const panel = h("div", { class: "panel" },
    h("header", {}, h("span", { class: "facts" }, several ? `${index + 1} of ${list.length}` : ""),
      button("", { icon: "close", label: "Close", kind: "round",
        onclick: () => find("viewer").close() })),
    h("h2", { id: "viewer-title", class: "said", dir: "auto" }, mine.prompt),
    rival ? rivalChoice(mine) : null,
    actions(mine, origin), origin.answer, facts(mine));
  const focused = find("viewer").contains(document.activeElement)
    ? document.activeElement.getAttribute("aria-label") : null;
  find("viewer").replaceChildren(stage, panel);
  if (focused) find("viewer").querySelector(`[aria-label="${focused}"]`)?.focus();
}
