// SPDX-License-Identifier: Apache-2.0
// Everything that was drawn in this browser: pictures to look at, conversations to go on with.

import { button, find, h, openSheet, urlOf } from "./dom.js";
import * as session from "./session.js";
import * as store from "./store.js";
import { view } from "./viewer.js";

const AT_ONCE = 60;
const state = { words: "", kind: "pictures", shown: AT_ONCE };

export const isOpen = () => find("gallery").open;

export function open() {
  state.shown = AT_ONCE;
  const search = h("input", { type: "search", id: "search", value: state.words,
    placeholder: "Words of the prompt" });
  search.addEventListener("input", () => {
    state.words = search.value;
    fill();
  });
  const kinds = h("fieldset", { class: "choices" },
    h("legend", { class: "unseen" }, "What to show"), kind("pictures", "Pictures"),
    kind("liked", "Good ones"), kind("conversations", "Conversations"));
  kinds.addEventListener("change", ({ target }) => {
    state.kind = target.value;
    fill();
  });
  openSheet(find("gallery"), "Gallery",
    h("div", { class: "filters" }, h("label", { class: "unseen", for: "search" }, "Search"), search,
      kinds),
    h("div", { id: "gallery-body" }), h("footer", { id: "gallery-foot" }));
  fill();
}

function kind(value, text) {
  const id = `kind-${value}`;
  return h("span", {}, h("input", { type: "radio", name: "kind", id, value,
    checked: state.kind === value }), h("label", { for: id }, text));
}

const matches = ({ prompt }) => prompt.toLowerCase().includes(state.words.trim().toLowerCase());

function fill() {
  const found = state.kind === "conversations" ? conversations() : pictures();
  const more = found.length > state.shown ? button("Show more", { kind: "small", onclick: () => {
    state.shown += AT_ONCE;
    fill();
  } }) : null;
  find("gallery-body").replaceChildren(found.length
    ? h("ul", { class: `tiles ${state.kind}` }, found.slice(0, state.shown).map((make) => make()))
    : h("p", { class: "empty" }, "Nothing here yet."), more ?? "");
  find("gallery-foot").replaceChildren(h("span", { class: "facts" },
    `${store.pictures.size} pictures, kept in this browser alone`), emptying());
}

function pictures() {
  const list = store.newestFirst().filter(matches)
    .filter(({ rating }) => state.kind !== "liked" || rating === "up");
  return list.map((picture) => () => h("li", {}, h("button", { type: "button", class: "open",
    "aria-label": `Look closely: ${picture.prompt}, seed ${picture.seed}`,
    onclick: () => view(picture, list) },
  h("img", { src: urlOf(picture.blob), alt: picture.prompt, loading: "lazy" }))));
}

function conversations() {
  const newest = [...store.conversations.values()].sort((a, b) => b.updated - a.updated);
  const all = newest.map(({ id, updated }) => {
    const turns = [...store.turns.values()].filter((turn) => turn.conversation === id)
      .sort((a, b) => a.created - b.created);
    return { turns, updated };
  });
  return all.filter(({ turns }) => turns.some(matches)).map((each) => () => row(each));
}

function row({ turns, updated }) {
  const last = turns.at(-1);
  const cover = turns.flatMap(store.picturesOf).at(-1);
  const count = turns.length === 1 ? "1 turn" : `${turns.length} turns`;
  return h("li", {}, h("button", { type: "button", class: "row", onclick: () => {
    find("gallery").close();
    session.show(last, { deep: true });
  } }, cover ? h("img", { src: urlOf(cover.blob), alt: "" }) : h("span", { class: "blank" }),
  h("span", { class: "said" }, turns[0].prompt),
  h("span", { class: "facts" }, `${count}  ·  ${new Date(updated).toLocaleString()}`)));
}

function emptying() {
  if (!store.pictures.size && !store.turns.size) return "";
  let isSure = false;
  const empty = button("Delete all", { icon: "trash", kind: "small", onclick: async () => {
    if (!isSure) {
      isSure = true;
      empty.lastChild.textContent = "Delete everything for good?";
      return;
    }
    await session.removeAll();
    fill();
  } });
  return empty;
}
