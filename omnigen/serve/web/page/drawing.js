// SPDX-License-Identifier: Apache-2.0
// Draws one picture: which call of the API it takes, what its stream tells, and when to try again.
//
// A wish is {prompt, settings, seed, given, mask, response, partials}: `given` are blobs that the
// model reads, `response` the id of the earlier answer that this one goes on from, `mask` a PNG
// whose clear parts are to be drawn anew. Several pictures are several wishes, with seeds one after
// the other, so that each has its own preview and can be stopped alone.

import { ApiError, send, streamed } from "./api.js";

const PARTIALS = 3;
const MOST_AT_ONCE = 4; // browsers hold six connections to a server
const MOST_TRIES = 8;
const LONGEST_WAIT_S = 60;

const base64 = async (blob) => {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let text = "";
  for (let i = 0; i < bytes.length; i += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  }
  return btoa(text);
};

const dataUrl = async (blob) => `data:${blob.type || "image/png"};base64,${await base64(blob)}`;

function blobOf(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const type = bytes[0] === 0xff ? "image/jpeg" : bytes[0] === 0x52 ? "image/webp" : "image/png";
  return new Blob([bytes], { type });
}

export const endOf = (blob) => ({ "image/jpeg": "jpg", "image/webp": "webp" }[blob.type] ?? "png");

// What every call says, whatever it is.
function common(wish) {
  const { model, size, guidance, temperature } = wish.settings;
  const body = { seed: wish.seed, size };
  if (model) body.model = model;
  if (guidance !== null) body.guidance_scale = guidance;
  if (temperature !== null) body.temperature = temperature;
  return body;
}

function edit(wish) {
  const form = new FormData();
  const name = wish.given.length > 1 ? "image[]" : "image";
  wish.given.forEach((blob, i) => form.append(name, blob, `picture-${i}.${endOf(blob)}`));
  if (wish.mask) form.append("mask", wish.mask, "mask.png");
  const body = { ...common(wish), prompt: wish.prompt, n: 1, stream: true };
  body.partial_images = PARTIALS;
  for (const [key, value] of Object.entries(body)) form.append(key, String(value));
  return ["v1/images/edits", form];
}

// The next turn of a conversation; the server knows the earlier ones, or is shown the picture.
async function answer(wish, response) {
  const { size, ...rest } = common(wish);
  const tool = { type: "image_generation", size, partial_images: PARTIALS };
  const text = { type: "input_text", text: wish.prompt };
  const body = { tools: [tool], stream: true, ...rest };
  if (response) {
    body.previous_response_id = response;
    body.input = wish.prompt;
  } else {
    const image = { type: "input_image", image_url: await dataUrl(wish.given[0]) };
    body.input = [{ role: "user", content: [text, image] }];
  }
  return ["v1/responses", body];
}

async function call(wish, response) {
  if (wish.mask || wish.given.length > 1 || (wish.given.length && !wish.follows)) return edit(wish);
  if (wish.given.length) return answer(wish, response);
  const body = { prompt: wish.prompt, ...common(wish), n: 1, stream: true };
  return ["v1/images/generations", { ...body, partial_images: PARTIALS }];
}

function comment(text, tell) {
  const [word, ...numbers] = text.trim().split(" ");
  const [first, second] = numbers.map(Number);
  if (word === "started") tell({ state: "drawing" });
  if (word === "queued" && first >= 0) tell({ state: "queued", place: first });
  if (word === "progress" && second > 0) tell({ state: "drawing", share: first / second });
}

// What one event means; returns the picture if it is there.
function event(type, data, tell) {
  if (data.error || type === "error") throw new ApiError(0, data.error ?? data);
  if (type === "response.failed" || type === "response.incomplete") {
    return answered(data.response ?? {});
  }
  const preview = data.partial_image_b64 ?? (/partial_image$/.test(type) ? data.b64_json : null);
  if (preview) tell({ state: "drawing", preview: blobOf(preview) });
  if (/^image_(generation|edit)\.completed$/.test(type)) return pictureOf(data, data);
  if (type === "response.completed") return answered(data.response);
  return null;
}

function pictureOf(item, about) {
  const told = { ...about, ...item };
  return {
    blob: blobOf(item.b64_json),
    size: told.size ?? null,
    drawnSize: told.drawn_size ?? null,
    revised: told.revised_prompt ?? null,
    explanation: told.explanation ?? null,
    warnings: told.warnings ?? [],
  };
}

function answered(response) {
  const made = (response.output ?? []).find((item) => item.type === "image_generation_call");
  if (!made?.result) {
    const error = made?.error ?? response.error;
    throw new ApiError(0, error ?? { message: "The server drew no picture." });
  }
  return { ...pictureOf({ ...made, b64_json: made.result }, {}), response: response.id };
}

async function attempt(wish, response, tell, signal) {
  const [path, body] = await call(wish, response);
  const got = await send(path, { body, signal });
  if (!(got.headers.get("content-type") ?? "").startsWith("text/event-stream")) {
    const whole = await got.json();
    return whole.data ? pictureOf(whole.data[0], whole) : answered(whole);
  }
  for await (const part of streamed(got)) {
    if (part.comment !== undefined) comment(part.comment, tell);
    else if (part.data !== "[DONE]") {
      const data = JSON.parse(part.data);
      const picture = event(data.type ?? part.event, data, tell);
      if (picture) return picture;
    }
  }
  throw new ApiError(0, { code: "cut", message: "The stream ended before the picture was there." });
}

const pause = (seconds, signal) => new Promise((resolve, reject) => {
  const stop = () => {
    clearTimeout(timer);
    reject(signal.reason);
  };
  const timer = setTimeout(() => {
    signal.removeEventListener("abort", stop);
    resolve();
  }, 1000 * seconds);
  signal.addEventListener("abort", stop, { once: true });
});

async function drawn(wish, tell, signal) {
  let response = wish.response;
  for (let tries = 1; ; tries++) {
    try {
      return await attempt(wish, response, tell, signal);
    } catch (error) {
      const isGone = response && [400, 404].includes(error.status)
        && (error.param === "previous_response_id" || /not_found/.test(error.code ?? ""));
      if (isGone) {
        response = null; // the server forgets; the page does not
        continue;
      }
      if (error.status !== 429 || tries >= MOST_TRIES) throw error;
      const seconds = Math.min(error.retryAfter ?? 2 * tries, LONGEST_WAIT_S);
      tell({ state: "full", seconds });
      await pause(seconds, signal);
    }
  }
}

let running = 0;
const waiting = [];

function next() {
  while (running < MOST_AT_ONCE && waiting.length) {
    running++;
    waiting.shift()();
  }
}

// Draws when it is this wish's turn. `tell` hears {state, place?, share?, preview?, seconds?}.
export async function draw(wish, tell, signal) {
  await new Promise((resolve, reject) => {
    waiting.push(resolve);
    signal.addEventListener("abort", () => {
      const index = waiting.indexOf(resolve);
      if (index < 0) return;
      waiting.splice(index, 1);
      reject(signal.reason);
    }, { once: true });
    next();
  });
  try {
    signal.throwIfAborted();
    tell({ state: "sent" });
    const began = performance.now();
    const picture = await drawn(wish, tell, signal);
    return { ...picture, seconds: (performance.now() - began) / 1000 };
  } finally {
    running--;
    next();
  }
}
