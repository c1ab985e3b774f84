// SPDX-License-Identifier: Apache-2.0
// The page: its parts are wired here, with keys, dropped pictures, and a server that may go away.

import * as api from "./api.js";
import * as composer from "./composer.js";
import { announce, closeByBackdrop, decorate, find, h, notice } from "./dom.js";
import * as found from "./found.js";
import * as gallery from "./gallery.js";
import * as mask from "./mask.js";
import * as session from "./session.js";
import * as store from "./store.js";
import * as thread from "./thread.js";
import * as viewer from "./viewer.js";

const SINGLE = "omnigen-single-keys";
const KEYS = [
  ["Ctrl + Enter", "Draw"],
  ["Esc", "Close what is open; else cancel what is being drawn"],
  ["/", "Go to the prompt"],
  ["S", "Keep the seed, or take the next one"],
  ["N", "New conversation"],
  ["U", "Undo the last turn"],
  ["G", "Gallery"],
  ["V", "Look closely at the newest picture"],
  ["← →", "Cycle through pictures, when one is open"],
  ["C", "Compare, when a picture is open"],
  ["D", "Save, when a picture is open"],
  ["?", "This list"],
];

function goOn(picture) {
  if (!composer.canEdit()) {
    found.explain();
    return;
  }
  const turn = store.turns.get(picture.turn);
  if (turn && turn !== session.currentTurn()) session.show(turn);
  composer.use(picture);
  composer.toPrompt();
  announce("Say what should change.");
}

// Paints on a picture of ours, or on a source that is in the composer already.
async function brush(thing) {
  if (!composer.canEdit()) {
    found.explain();
    return;
  }
  let source = composer.sources.find((each) => each === thing || each.picture === thing);
  if (!source) {
    goOn(thing);
    source = composer.sources[0];
  }
  await mask.edit(source, (made) => composer.setMask(source, made));
}

async function undo() {
  const turn = await session.undo();
  if (!turn) return;
  composer.restore({ ...turn, settings: turn.settings });
  composer.drop();
  if (composer.canEdit()) {
    for (const { blob, picture } of turn.given) {
      await composer.add(blob, store.pictures.get(picture) ?? null);
    }
  }
  announce("The last turn is undone. It is kept as a branch.");
}

function begin() {
  session.begin();
  composer.drop();
  composer.toPrompt();
}

function openKeys() {
  find("help").showModal();
}

function singleKey(key) {
  if (viewer.isOpen()) {
    return { c: viewer.compare, d: viewer.save }[key];
  }
  if (document.querySelector("dialog[open]")) return undefined;
  const newest = session.path().flatMap(store.picturesOf).at(-1);
  return {
    "/": composer.toPrompt,
    "?": openKeys,
    g: gallery.open,
    n: begin,
    s: composer.toggleLock,
    u: undo,
    v: () => newest && viewer.view(newest),
  }[key];
}

function key(event) {
  const isTyping = event.target.closest?.("input:not([type=range]), textarea, select");
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    if (document.querySelector("dialog[open]")) return;
    event.preventDefault();
    find("composer").requestSubmit();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.key === "Escape" && !document.querySelector("dialog[open]")) {
    if (session.cancelAll()) announce("Cancelled.");
    return;
  }
  const isRange = event.target.type === "range";
  if (viewer.isOpen() && !isTyping && !isRange && /^Arrow(Left|Right)$/.test(event.key)) {
    viewer.go(event.key === "ArrowLeft" ? -1 : 1);
    return;
  }
  if (isTyping || !find("single-keys").checked) return;
  const act = singleKey(event.key.toLowerCase());
  if (!act) return;
  event.preventDefault();
  act();
}

function dragging() {
  let depth = 0;
  const has = ({ dataTransfer }) => dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => {
    if (!has(event)) return;
    depth++;
    find("drop").hidden = false;
  });
  addEventListener("dragleave", (event) => {
    if (has(event) && --depth <= 0) find("drop").hidden = true;
  });
  addEventListener("dragover", (event) => { if (has(event)) event.preventDefault(); });
  addEventListener("drop", (event) => {
    depth = 0;
    find("drop").hidden = true;
    if (!has(event)) return;
    event.preventDefault();
    found.take([...event.dataTransfer.files]);
  });
  addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    found.take(files);
  });
}

let asking = null; // one dialog, however many requests were refused

function askKey(error, used) {
  asking ??= new Promise((resolve) => {
    const dialog = find("key");
    find("key-error").hidden = !used;
    find("key-error").textContent = used ? error.message : "";
    find("api-key").value = "";
    dialog.returnValue = "";
    dialog.addEventListener("close", () => {
      asking = null;
      const key = find("api-key").value.trim();
      if (dialog.returnValue === "use") api.keepKey(key);
      resolve(dialog.returnValue === "use" && key !== "");
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

function tellServer(text, state) {
  find("server-text").textContent = text;
  find("server").dataset.state = state;
}

async function meet() {
  try {
    const models = await api.models();
    composer.setModels(models);
    tellServer(models[0]?.id ?? "Ready", "ready");
  } catch (error) {
    tellServer(error.code === "away" ? "Server away" : thread.titleOf(error), "away");
  }
}

function hearServer(isAway) {
  find("away").hidden = !isAway;
  if (isAway) tellServer("Server away", "away");
  else meet();
}

// Where a phone's keyboard or the composer cover the page, the last turn must not hide beneath.
function makeRoom() {
  const measure = () => document.documentElement.style.setProperty("--composer",
    `${find("composer").offsetHeight}px`);
  new ResizeObserver(measure).observe(find("composer"));
}

function wire() {
  const deeds = { view: viewer.view, brush, goOn, look: found.look, undo, explain: found.explain,
    restore: composer.restore, openTurn: (turn) => {
      if (gallery.isOpen()) find("gallery").close();
      session.show(turn);
    } };
  thread.start(deeds);
  composer.start(deeds);
  viewer.start(deeds);
  const clicks = { new: begin, "open-gallery": gallery.open, "open-help": openKeys,
    add: () => find("file").click(), camera: found.photograph };
  for (const [id, act] of Object.entries(clicks)) find(id).addEventListener("click", () => act());
  for (const id of ["file", "snapshot"]) {
    find(id).addEventListener("change", async ({ target }) => {
      await found.take([...target.files]);
      target.value = "";
    });
  }
  find("keys").append(...KEYS.map(([keys, text]) =>
    h("div", {}, h("dt", {}, h("kbd", {}, keys)), h("dd", {}, text))));
  find("single-keys").checked = store.recall(SINGLE) !== "off";
  find("single-keys").addEventListener("change", ({ target }) =>
    store.remember(SINGLE, target.checked ? "on" : "off"));
  find("thread").addEventListener("state", () => thread.refreshFacts());
  document.querySelectorAll("dialog").forEach((dialog) =>
    dialog.addEventListener("close", composer.placeCaret));
  document.querySelectorAll("dialog:not(#mask)").forEach(closeByBackdrop); // a brush slips
  addEventListener("keydown", key);
  addEventListener("offline", () => notice("This device is offline."));
  session.events.addEventListener("lost", () =>
    notice("This browser has no room left, and keeps no new pictures. Save those that you want."));
  dragging();
  makeRoom();
}

decorate();
wire();
api.listen({ away: hearServer, key: askKey });
if (!(await store.open())) {
  notice("This browser keeps nothing: pictures are gone when the page is closed.");
}
session.resume();
await meet();
document.documentElement.dataset.ready = "";
