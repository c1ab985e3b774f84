// SPDX-License-Identifier: Apache-2.0
// What a PNG says about itself, as `omnigen/generation/sampler.py` writes it. Strangers write PNGs,
// too: lengths are bounded and nothing that is read becomes more than text.

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const MOST_TEXT = 1 << 16;

async function inflated(bytes) {
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const reader = unpacked.getReader();
  const parts = [];
  for (let size = 0; ;) {
    const { done, value } = await reader.read();
    if (done) return new Uint8Array(await new Blob(parts).arrayBuffer());
    size += value.length;
    if (size > MOST_TEXT) {
      await reader.cancel();
      throw new RangeError("text too long");
    }
    parts.push(value);
  }
}

async function entry(kind, bytes) {
  const latin = new TextDecoder("latin1");
  const end = bytes.indexOf(0);
  const name = latin.decode(bytes.subarray(0, end));
  let rest = bytes.subarray(end + 1);
  if (kind === "tEXt") return [name, latin.decode(rest)];
  if (kind === "zTXt") return [name, latin.decode(await inflated(rest.subarray(1)))];
  const packed = rest[0] === 1;
  rest = rest.subarray(2); // after it: language, name in that language, text
  for (let i = 0; i < 2; i++) rest = rest.subarray(rest.indexOf(0) + 1);
  return [name, new TextDecoder().decode(packed ? await inflated(rest) : rest)];
}

// Returns a map of the text chunks; empty if the file is no PNG, without those that are damaged.
export async function textsOf(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  const texts = new Map();
  if (!SIGNATURE.every((byte, i) => bytes[i] === byte)) return texts;
  const view = new DataView(bytes.buffer);
  for (let start = 8; start + 12 <= bytes.length;) {
    const length = view.getUint32(start);
    const kind = String.fromCharCode(...bytes.subarray(start + 4, start + 8));
    const body = bytes.subarray(start + 8, start + 8 + length);
    if (["tEXt", "zTXt", "iTXt"].includes(kind) && length <= MOST_TEXT) {
      try {
        const [name, text] = await entry(kind, body);
        texts.set(name, text);
      } catch {
        // a damaged chunk says nothing
      }
    }
    start += length + 12;
  }
  return texts;
}

// Returns how a picture was drawn, or null if it does not say.
export async function settingsOf(blob) {
  const texts = await textsOf(blob);
  if (!texts.has("prompt") || !texts.has("settings")) return null;
  let known;
  try {
    known = JSON.parse(texts.get("settings"));
  } catch {
    return null;
  }
  if (known === null || typeof known !== "object") return null;
  const numbers = Object.entries(known).filter(([, value]) => typeof value === "number");
  return {
    prompt: texts.get("prompt"),
    seed: /^\d{1,10}$/.test(texts.get("seed") ?? "") ? Number(texts.get("seed")) : null,
    settings: Object.fromEntries(numbers),
    model: texts.get("model") ?? "",
    software: texts.get("software") ?? "",
    sketch: texts.get("sketch") ?? "",
  };
}
