// SPDX-License-Identifier: Apache-2.0
// The server's public API, and nothing else: requests, streams, errors, and whether it is there.

const SILENCE_MS = 45_000; // it pings every 10 s
const KEY = "omnigen-key";
const EVERY_MS = 4_000;

// An error as the server words it, or one that keeps us from hearing the server.
export class ApiError extends Error {
  constructor(status, error = {}, retryAfter = null) {
    super(error.message ?? `The server answered ${status}.`);
    this.status = status;
    this.type = error.type ?? null;
    this.param = error.param ?? null;
    this.code = error.code ?? null;
    this.categories = error.moderation_details?.categories ?? [];
    this.retryAfter = retryAfter;
  }
}

const listeners = { away: () => {}, key: async () => false };
let isAway = false;

// `away(isAway)` is called at each change; `key()` asks for a key and says whether there is one.
export function listen(given) {
  Object.assign(listeners, given);
}

export const keepKey = (key) => sessionStorage.setItem(KEY, key);

const url = (path) => new URL(path, document.baseURI);

function setAway(next) {
  if (next === isAway) return;
  isAway = next;
  listeners.away(isAway);
  if (isAway) setTimeout(look, EVERY_MS);
}

// Looks until the server is back.
async function look() {
  try {
    await fetch(url("health"), { cache: "no-store", signal: AbortSignal.timeout(EVERY_MS) });
    setAway(false);
  } catch {
    setTimeout(look, EVERY_MS);
  }
}

async function errorOf(response) {
  const header = response.headers.get("retry-after");
  const wait = header && Number.isFinite(Number(header)) ? Number(header) : null;
  const body = await response.json().catch(() => null);
  return new ApiError(response.status, body?.error ?? {}, wait);
}

// Sends a request; `body` is a FormData, an object that becomes JSON, or nothing.
export async function send(path, { body = null, signal = null } = {}) {
  const headers = {};
  const key = sessionStorage.getItem(KEY);
  if (key) headers.authorization = `Bearer ${key}`;
  const isForm = body instanceof FormData;
  if (body && !isForm) headers["content-type"] = "application/json";
  const method = body ? "POST" : "GET";
  // A browser that was asked for a password at the door sends it along; a key stands for itself.
  const credentials = key ? "omit" : "same-origin";
  const options = { method, headers, signal, cache: "no-store", credentials };
  if (body) options.body = isForm ? body : JSON.stringify(body);
  let response;
  try {
    response = await fetch(url(path), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    setAway(true);
    throw new ApiError(0, { code: "away", message: "The server cannot be reached." });
  }
  setAway(false);
  if (response.status === 401) {
    const error = await errorOf(response);
    if (await listeners.key(error, key)) return send(path, { body, signal });
    throw error;
  }
  if (!response.ok) throw await errorOf(response);
  return response;
}

export async function models() {
  return (await (await send("v1/models")).json()).data ?? [];
}

// Asks who made a picture; returns the results, one for each kind of mark.
export async function provenance(blob) {
  const form = new FormData();
  form.append("file", blob, "picture");
  const found = await (await send("v1/content_provenance_checks", { body: form })).json();
  return found.results ?? [];
}

export async function feedback(record) {
  await send("v1/feedback", { body: record });
}

// Yields what a stream holds: {event, data} for each event, {comment} for each comment.
export async function* streamed(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let event = { event: "", data: [] };
  try {
    while (true) {
      const { done, value } = await spoken(reader);
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines.map((each) => each.replace(/\r$/, ""))) {
        if (line === "") {
          if (event.data.length) yield { event: event.event, data: event.data.join("\n") };
          event = { event: "", data: [] };
          continue;
        }
        const [, name, text] = line.match(/^([^:]*):? ?(.*)$/);
        if (name === "") yield { comment: text };
        else if (name === "event") event.event = text;
        else if (name === "data") event.data.push(text);
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

// Reads on, unless the server says nothing for long.
async function spoken(reader) {
  let timer;
  const silence = new Promise((_, reject) => {
    const message = "The server fell silent while it was drawing.";
    timer = setTimeout(() => reject(new ApiError(0, { code: "silent", message })), SILENCE_MS);
  });
  try {
    return await Promise.race([reader.read(), silence]);
  } catch (error) {
    if (error.name === "AbortError" || error instanceof ApiError) throw error;
    throw new ApiError(0, { code: "cut", message: "The connection broke off." });
  } finally {
    clearTimeout(timer);
  }
}
