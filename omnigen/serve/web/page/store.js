// SPDX-License-Identifier: Apache-2.0
// Conversations, turns and pictures: all in memory, and written through to IndexedDB.
//
// A conversation is a tree of turns: {id, current, updated}; `current` is the turn that is shown
// last, null before the first. A turn is what was asked once: {id, conversation, parent, prompt,
// settings, seed, given, mask, created, pictures, removed, best}; `given` are {blob, picture}, and
// `removed` the seeds whose pictures the user deleted. A picture is {id, turn, conversation,
// prompt, seed, blob, sha256, created, rating, response, seconds, …what `drawing.js` reads}.

const KINDS = ["conversations", "turns", "pictures"];
export const conversations = new Map();
export const turns = new Map();
export const pictures = new Map();
const all = { conversations, turns, pictures };
let database = null;

const done = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

// Small things are kept beside it; a browser may refuse that, too.
export function remember(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {
    // then it is forgotten with the page
  }
}

export function recall(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

// Reads what is kept; returns whether anything can be kept at all.
export async function open() {
  try {
    const request = indexedDB.open("omnigen", 1);
    request.onupgradeneeded = () => {
      for (const kind of KINDS) request.result.createObjectStore(kind, { keyPath: "id" });
    };
    database = await done(request);
    for (const kind of KINDS) {
      const kept = await done(database.transaction(kind).objectStore(kind).getAll());
      for (const item of kept) all[kind].set(item.id, item);
    }
    return true;
  } catch {
    database = null; // private windows may have none
    return false;
  }
}

async function write(kind, act) {
  if (!database) return true;
  try {
    await done(act(database.transaction(kind, "readwrite").objectStore(kind)));
    return true;
  } catch {
    return false; // the disk is full, or the user took the room back
  }
}

// Returns whether it will be there next time.
export function put(kind, item) {
  all[kind].set(item.id, item);
  return write(kind, (store) => store.put(item));
}

export function remove(kind, id) {
  all[kind].delete(id);
  return write(kind, (store) => store.delete(id));
}

export const childrenOf = (conversation, parent) => [...turns.values()]
  .filter((turn) => turn.conversation === conversation && turn.parent === parent)
  .sort((a, b) => a.created - b.created);

// The turns from the first one to a given one.
export function pathTo(id) {
  const path = [];
  for (let turn = turns.get(id); turn; turn = turns.get(turn.parent)) path.unshift(turn);
  return path;
}

export const picturesOf = (turn) => turn.pictures.map((id) => pictures.get(id)).filter(Boolean)
  .sort((a, b) => a.seed - b.seed);

export const newestFirst = () => [...pictures.values()].sort((a, b) => b.created - a.created);

export async function removePicture(picture) {
  const turn = turns.get(picture.turn);
  await remove("pictures", picture.id);
  if (!turn) return;
  turn.pictures = turn.pictures.filter((id) => id !== picture.id);
  turn.removed.push(picture.seed);
  if (turn.best === picture.id) turn.best = null;
  await put("turns", turn);
}

export async function removeAll() {
  for (const kind of KINDS) {
    all[kind].clear();
    await write(kind, (store) => store.clear());
  }
}
