// SPDX-License-Identifier: Apache-2.0
// The conversation on the screen: turns that are drawn, cancelled, undone and branched.
//
// Of each picture of a turn there is a slot: {seed, state, place, share, preview, seconds, error,
// picture, controller}. States: waiting, sent, queued, full, drawing, done, failed, cancelled.

import { ApiError, feedback } from "./api.js";
import { forget, randomId } from "./dom.js";
import { draw } from "./drawing.js";
import { sha256 } from "./sha256.js";
import * as store from "./store.js";

const LAST = "omnigen-conversation";
const slots = new Map();
// Events: "path" when other turns are to be shown, "slot" when one picture changed, "lost" when
// the browser did not keep something.
export const events = new EventTarget();
export let conversation = null;
export const RUNNING = ["waiting", "sent", "queued", "full", "drawing"];

const tell = (type, detail = {}) => events.dispatchEvent(new CustomEvent(type, { detail }));

async function keep(kind, item) {
  if (!(await store.put(kind, item))) tell("lost");
}

export function resume() {
  conversation = store.conversations.get(store.recall(LAST)) ?? null;
  tell("path");
}

export function begin() {
  conversation = null;
  store.remember(LAST, "");
  tell("path");
}

export const path = () => (conversation ? store.pathTo(conversation.current) : []);

export const currentTurn = () => store.turns.get(conversation?.current) ?? null;

// Turns that follow the one that is shown last; going there is the opposite of undoing.
export const later = () => (conversation
  ? store.childrenOf(conversation.id, conversation.current) : []);

export const siblings = (turn) => store.childrenOf(turn.conversation, turn.parent);

// Shows a turn as the last one; `deep` goes on to the newest end of its branch.
export async function show(turn, { deep = false } = {}) {
  let last = turn;
  for (let found = [turn]; deep && found.length; last = found.at(-1) ?? last) {
    found = store.childrenOf(turn.conversation, last.id);
  }
  conversation = store.conversations.get(turn.conversation);
  await showLast(last.id);
}

async function showLast(id) {
  conversation.current = id;
  store.remember(LAST, conversation.id);
  tell("path");
  await keep("conversations", conversation);
}

// Goes one turn back; returns the turn that is undone.
export async function undo() {
  const turn = currentTurn();
  if (turn) await showLast(turn.parent);
  return turn;
}

export function slotsOf(turn) {
  if (!slots.has(turn.id)) {
    const drawn = new Map(store.picturesOf(turn).map((picture) => [picture.seed, picture]));
    const seeds = Array.from({ length: turn.settings.count }, (_, i) => turn.seed + i);
    slots.set(turn.id, seeds.map((seed) => ({
      seed,
      picture: drawn.get(seed) ?? null,
      state: drawn.has(seed) ? "done" : "cancelled",
    })));
  }
  return slots.get(turn.id).filter((slot) => !turn.removed.includes(slot.seed));
}

export const isDrawing = (turn) => slotsOf(turn).some((slot) => RUNNING.includes(slot.state));

// A turn of which nothing came has no followers: what is asked next stands beside it.
function lastFruitful() {
  const turn = currentTurn();
  return turn && !turn.pictures.length && !isDrawing(turn) ? turn.parent : turn?.id ?? null;
}

// Draws a new turn of {prompt, settings, seed, given, mask}, after the last one or another one.
export async function ask(spec, parent = lastFruitful()) {
  if (!conversation) conversation = { id: randomId(), current: null, created: Date.now() };
  const turn = {
    ...spec,
    id: randomId(),
    conversation: conversation.id,
    parent,
    created: Date.now(),
    pictures: [],
    removed: [],
    best: null,
  };
  await keep("turns", turn);
  conversation.updated = turn.created;
  const own = slotsOf(turn);
  for (const slot of own) run(turn, slot);
  await showLast(turn.id);
  return turn;
}

function wishOf(turn, slot) {
  const [first] = turn.given;
  const source = store.pictures.get(first?.picture);
  return {
    prompt: turn.prompt,
    settings: turn.settings,
    seed: slot.seed,
    given: turn.given.map((each) => each.blob),
    mask: turn.mask,
    follows: source?.conversation === turn.conversation,
    response: source?.response ?? null,
  };
}

async function run(turn, slot) {
  slot.controller = new AbortController();
  Object.assign(slot, { state: "waiting", share: null, place: null, preview: null, error: null });
  const hear = (news) => {
    const before = slot.preview;
    Object.assign(slot, news);
    tell("slot", { turn, slot });
    if (before && before !== slot.preview) forget(before);
  };
  try {
    const got = await draw(wishOf(turn, slot), hear, slot.controller.signal);
    slot.picture = await kept(turn, slot, got);
    hear({ state: "done", preview: null });
  } catch (error) {
    if (error.name === "AbortError") hear({ state: "cancelled", preview: null });
    else hear({ state: "failed", preview: null, error: known(error) });
  }
}

// Whatever goes wrong is shown in the same way.
function known(error) {
  if (error instanceof ApiError) return error;
  console.error(error);
  return new ApiError(0, { code: "unreadable", message: `The answer is unreadable: ${error}` });
}

async function kept(turn, slot, got) {
  const picture = {
    id: randomId(),
    turn: turn.id,
    conversation: turn.conversation,
    prompt: turn.prompt,
    seed: slot.seed,
    sha256: sha256(new Uint8Array(await got.blob.arrayBuffer())),
    created: Date.now(),
    rating: "none",
    response: null,
    ...got,
  };
  turn.pictures.push(picture.id);
  await keep("pictures", picture);
  await keep("turns", turn);
  return picture;
}

export function retry(turn, slot) {
  run(turn, slot);
  tell("slot", { turn, slot });
}

export const cancel = (slot) => slot.controller?.abort();

// Cancels what is being drawn on the screen; returns whether anything was.
export function cancelAll() {
  const running = path().flatMap(slotsOf).filter((slot) => RUNNING.includes(slot.state));
  running.forEach(cancel);
  return running.length > 0;
}

// Draws the same again with the seeds that come next, beside the turn.
export function again(turn) {
  const { prompt, settings, given, mask } = turn;
  const seeds = siblings(turn).filter((each) => each.prompt === prompt)
    .map((each) => each.seed + each.settings.count);
  return ask({ prompt, settings, given, mask, seed: Math.max(...seeds) }, turn.parent);
}

let isMute = false;

// Returns whether the server keeps it.
async function record(turn, pictures, choice) {
  const { model, guidance, temperature } = turn.settings;
  const settings = {};
  if (guidance !== null) settings.guidance_scale = guidance;
  if (temperature !== null) settings.temperature = temperature;
  const given = await Promise.all(turn.given.map(
    async ({ blob }) => sha256(new Uint8Array(await blob.arrayBuffer()))));
  const listed = pictures.map((picture) => ({ sha256: picture.sha256, seed: picture.seed }));
  if (isMute) return false;
  const said = { prompt: turn.prompt, model: model ?? "default" };
  try {
    await feedback({ ...said, pictures: listed, given, settings, ...choice });
    return true;
  } catch (error) {
    isMute = error.status === 404; // it keeps none
    if (isMute) return false;
    throw known(error);
  }
}

// Rates a picture; the same rating again takes it back.
export async function rate(picture, rating) {
  picture.rating = picture.rating === rating ? "none" : rating;
  const turn = store.turns.get(picture.turn);
  tell("slot", { turn, slot: slotsOf(turn).find((slot) => slot.seed === picture.seed) });
  await keep("pictures", picture);
  return record(turn, [picture], { rating: picture.rating });
}

// Says that a picture is better than the others of its turn.
export async function prefer(picture) {
  const turn = store.turns.get(picture.turn);
  turn.best = picture.id;
  for (const slot of slotsOf(turn)) tell("slot", { turn, slot });
  await keep("turns", turn);
  const others = [...new Map(store.picturesOf(turn).map((each) => [each.sha256, each])).values()];
  const best = others.findIndex((each) => each.sha256 === picture.sha256);
  return others.length > 1 && record(turn, others, { best });
}

export async function remove(picture) {
  await store.removePicture(picture);
  tell("path");
}

export async function removeAll() {
  await store.removeAll();
  slots.clear();
  begin();
}
