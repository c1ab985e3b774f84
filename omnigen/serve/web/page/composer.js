// SPDX-License-Identifier: Apache-2.0
// What is asked next: prompt, shape, number, seed, and the pictures that go with the words.

import { announce, button, find, h, icon, urlOf } from "./dom.js";
import * as session from "./session.js";
import * as store from "./store.js";

const KEPT = "omnigen-composer";
const MOST_SEED = 2 ** 32 - 1;
const MOST_GIVEN = 16;
const RATIOS = {
  square: [1, 1],
  landscape: [3, 2],
  portrait: [2, 3],
  wide: [16, 9],
  tall: [9, 16],
};
const NAMES = { square: "Square", landscape: "Landscape", portrait: "Portrait", wide: "Wide",
  tall: "Tall" };
const COUNTS = [1, 2, 4];
const IDEAS = [
  "two red stars above a blue ring",
  'a poster with the words "Good morning" above a sun',
  "a cat to the left of a green tree",
  "mountains and a river under a cloudy sky",
];
// Fields of the API, and where a person finds them.
const FIELDS = { prompt: "prompt", seed: "seed", guidance_scale: "guidance", model: "model",
  temperature: "temperature" };

export const sources = []; // {blob, picture, mask, deeds}
const masks = new Map(); // of pictures that were painted on, kept between prompts
let known = []; // models of the server
let act = {};
let isLocked = false;
let asked = null; // the turn whose sources are still those that are shown

const chosen = (name) => document.querySelector(`input[name=${name}]:checked`).value;
const numberOf = (id) => (find(id).value === "" ? null : Number(find(id).value));
const modelNow = () => known.find((model) => model.id === find("model").value) ?? known[0];

export const canEdit = () => modelNow()?.can_edit !== false;

export const NO_EDITS = "This model draws from words alone: it has not learnt to read pictures. "
  + "Say in words what the whole picture should show.";

// The size in pixels: the model's own, or OpenAI's usual ones, with one side longer.
function sizeOf(ratio) {
  const sides = modelNow()?.native_size?.match(/\d+/g)?.map(Number) ?? [1024, 1024];
  const short = Math.max(16, Math.round(Math.sqrt(sides[0] * sides[1]) / 16) * 16);
  const [width, height] = RATIOS[ratio];
  const long = Math.min(3840, Math.round((short * Math.max(width, height))
    / Math.min(width, height) / 16) * 16);
  return width >= height ? `${long}x${short}` : `${short}x${long}`;
}

function choice(name, value, text, picture, checked) {
  const id = `${name}-${value}`;
  return h("span", {}, h("input", { type: "radio", name, id, value, checked }),
    h("label", { for: id, title: text }, picture, h("span", {}, text)));
}

function shape(ratio) {
  const [width, height] = RATIOS[ratio];
  const box = h("i", { class: "shape", "aria-hidden": "true" });
  const long = 15 / Math.max(width, height);
  box.style.width = `${long * width}px`;
  box.style.height = `${long * height}px`;
  return box;
}

export function start(actions) {
  act = actions;
  const kept = JSON.parse(store.recall(KEPT) ?? "{}");
  find("ratio").append(...Object.keys(RATIOS).map((ratio) =>
    choice("ratio", ratio, NAMES[ratio], shape(ratio), ratio === (kept.ratio ?? "square"))));
  find("count").append(...COUNTS.map((count) =>
    choice("count", count, String(count), null, count === (kept.count ?? 1))));
  find("seed").value = kept.seed ?? 0;
  for (const id of ["guidance", "temperature"]) find(id).value = kept[id] ?? "";
  setLocked(kept.isLocked ?? false);
  find("ideas").append(...IDEAS.map((text) =>
    h("li", {}, button(text, { kind: "idea", onclick: () => write(text) }))));
  find("composer").addEventListener("submit", submit);
  find("composer").addEventListener("change", keep);
  find("prompt").addEventListener("input", () => { grow(); complain(null); });
  find("lock").addEventListener("click", toggleLock);
  find("dice").addEventListener("click", () => setSeed(Math.floor(Math.random() * 1e6)));
  find("open-more").addEventListener("click", () => openMore(find("more").hidden));
  session.events.addEventListener("slot", ({ detail }) => {
    const { turn, slot } = detail;
    if (slot.state === "failed") complain(slot.error);
    if (slot.state === "done") follow(turn, slot);
    if (["failed", "cancelled"].includes(slot.state)) giveBack(turn);
  });
  find("seed").addEventListener("input", sum);
  sum();
  grow();
}

export function setModels(models) {
  known = models;
  find("model").replaceChildren(...models.map(({ id }) => h("option", { value: id }, id)));
  find("model-choice").hidden = models.length < 2;
  if (!canEdit()) drop();
  renderSources();
}

// What is set, in a few words for small screens, and what that means for the model.
function sum() {
  const words = [NAMES[chosen("ratio")], chosen("count"), `seed ${find("seed").value}`];
  if (sources.length) words.shift();
  find("summary").textContent = words.join(" · ");
  const native = modelNow()?.native_size;
  const size = sizeOf(chosen("ratio"));
  const isOther = native && !sources.length && size !== native;
  find("shape-hint").hidden = !isOther;
  find("shape-hint").textContent = isOther
    ? `This model draws ${native}; its borders are drawn out to make ${size}.` : "";
}

function keep() {
  sum();
  const values = { ratio: chosen("ratio"), count: Number(chosen("count")), isLocked };
  for (const id of ["seed", "guidance", "temperature"]) values[id] = find(id).value;
  store.remember(KEPT, JSON.stringify(values));
}

function grow() {
  const { style } = find("prompt");
  style.height = "auto";
  style.height = `${Math.min(find("prompt").scrollHeight, 0.35 * innerHeight)}px`;
}

export function write(text) {
  find("prompt").value = text;
  grow();
  toPrompt();
}

export function toPrompt() {
  find("prompt").focus({ preventScroll: true });
  placeCaret();
}

// A browser gives the focus back when a dialog closes, but not the caret; without it letters go
// nowhere.
export function placeCaret() {
  const { length } = find("prompt").value;
  if (document.activeElement === find("prompt")) find("prompt").setSelectionRange(length, length);
}

export function openMore(open) {
  find("more").hidden = !open;
  find("open-more").setAttribute("aria-expanded", String(open));
}

function setLocked(next) {
  isLocked = next;
  const label = isLocked ? "The seed is kept" : "The next picture has the next seed";
  find("lock").replaceChildren(icon(isLocked ? "locked" : "unlocked"));
  find("lock").setAttribute("aria-pressed", String(isLocked));
  find("lock").title = `${label} (S)`;
  return label;
}

export function toggleLock() {
  announce(setLocked(!isLocked));
  keep();
}

function setSeed(seed) {
  find("seed").value = Math.min(seed, MOST_SEED);
  keep();
}

// Shows an error of a field at the field, in the words of the server.
function complain(error) {
  const id = FIELDS[error?.param];
  for (const each of Object.values(FIELDS)) find(each).removeAttribute("aria-invalid");
  find("prompt-error").hidden = !id;
  find("prompt-error").textContent = id ? error.message : "";
  if (!id) return;
  find(id).setAttribute("aria-invalid", "true");
  if (find("more").contains(find(id))) openMore(true);
}

function wrong(param, message) {
  complain({ param, message });
  find(FIELDS[param]).focus();
  return null;
}

function reading() {
  const prompt = find("prompt").value.trim();
  const seed = find("seed").value.trim();
  if (!prompt) return wrong("prompt", "Say what to draw.");
  if (!/^\d{1,10}$/.test(seed) || Number(seed) > MOST_SEED) {
    return wrong("seed", `The seed is a whole number from 0 to ${MOST_SEED}.`);
  }
  for (const [param, most] of [["guidance_scale", 30], ["temperature", 2]]) {
    const value = numberOf(FIELDS[param]);
    const isNumber = !find(FIELDS[param]).validity.badInput;
    if (isNumber && (value === null || (value >= 0 && value <= most))) continue;
    return wrong(param, `${find(FIELDS[param]).labels[0].textContent} lies between 0 and ${most}.`);
  }
  const settings = {
    count: Number(chosen("count")),
    size: sizeOf(chosen("ratio")),
    model: modelNow()?.id ?? null,
    guidance: numberOf("guidance"),
    temperature: numberOf("temperature"),
  };
  return { prompt, seed: Math.min(Number(seed), MOST_SEED - settings.count + 1), settings };
}

async function submit(event) {
  event.preventDefault();
  complain(null);
  const wanted = reading();
  if (!wanted) return;
  const given = sources.map(({ blob, picture }) => ({ blob, picture: picture?.id ?? null }));
  const mask = sources.length === 1 ? sources[0].mask : null;
  if (given.length) wanted.settings.size = sources[0].picture?.size ?? "auto";
  if (!isLocked) setSeed(wanted.seed + wanted.settings.count);
  find("prompt").value = "";
  grow();
  asked = (await session.ask({ ...wanted, given, mask })).id;
  find("prompt").focus({ preventScroll: true });
}

// The picture that was just drawn is what the next words are about.
function follow(turn, slot) {
  const isShown = session.currentTurn() === turn;
  const isFirst = session.slotsOf(turn).filter((each) => each.picture).length === 1;
  if (isShown && isFirst && canEdit() && asked === turn.id) use(slot.picture);
}

// Words of which nothing came can be changed and asked again.
function giveBack(turn) {
  const isOver = session.currentTurn() === turn && !session.isDrawing(turn);
  if (!isOver || turn.pictures.length || find("prompt").value) return;
  find("prompt").value = turn.prompt;
  grow();
}

// Takes a picture of ours as what is changed next, instead of all others.
export async function use(picture) {
  sources.length = 0;
  await add(picture.blob, picture);
}

export async function add(blob, picture = null) {
  if (!canEdit()) {
    announce(NO_EDITS);
    act.explain();
    return false;
  }
  if (sources.length >= MOST_GIVEN) {
    announce(`At most ${MOST_GIVEN} pictures go with a prompt.`);
    return false;
  }
  sources.push({ blob, picture, ...(masks.get(picture?.id) ?? { mask: null, deeds: [] }) });
  renderSources();
  return true;
}

export function setMask(source, mask) {
  source.mask = mask;
  if (source.picture) masks.set(source.picture.id, { mask, deeds: source.deeds });
  renderSources();
  toPrompt();
}

export function drop() {
  sources.length = 0;
  renderSources();
}

function chip(source) {
  const { blob, picture, mask } = source;
  const text = picture ? picture.prompt : "a picture of yours";
  return h("li", {}, h("img", { src: urlOf(blob), alt: text }),
    button(mask ? "Painted part" : "Whole picture", { icon: "brush", kind: "small",
      title: mask ? "Only this part changes; paint again" : "Paint the part that is to change",
      onclick: () => act.brush(source) }),
    button("", { icon: "close", label: "Leave this picture out", kind: "round", onclick: () => {
      sources.splice(sources.indexOf(source), 1);
      renderSources();
    } }));
}

function renderSources() {
  asked = null;
  const place = find("sources");
  sum();
  place.hidden = sources.length === 0;
  find("ratio").disabled = sources.length > 0; // a changed picture keeps its shape
  const list = h("ul", { "aria-label": "Pictures that go with the words" }, sources.map(chip));
  place.replaceChildren(h("span", {}, sources.length > 1 ? "Made from" : "Change"), list);
  find("prompt").placeholder = sources.length
    ? "What should change?" : "A blue bird above a yellow flower";
  find("draw").querySelector("span").textContent = sources.length ? "Change it" : "Draw";
}

// Takes over what a turn, or a picture from elsewhere, was drawn with.
export function restore({ prompt, seed, settings = {} }) {
  if (seed !== null) setSeed(seed);
  const guidance = settings.guidance_scale ?? settings.guidance;
  find("guidance").value = guidance ?? "";
  find("temperature").value = settings.temperature ?? "";
  const same = Object.keys(RATIOS).find((ratio) => sizeOf(ratio) === settings.size);
  if (same) find(`ratio-${same}`).checked = true;
  if (COUNTS.includes(settings.count)) find(`count-${settings.count}`).checked = true;
  keep();
  write(prompt);
}
