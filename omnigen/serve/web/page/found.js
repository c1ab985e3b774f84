// SPDX-License-Identifier: Apache-2.0
// Pictures that come from elsewhere: dropped, pasted, chosen, photographed. What one says about
// itself can be looked at without losing what is in the composer.

import { button, find, h, notice, openSheet, urlOf } from "./dom.js";
import * as composer from "./composer.js";
import { originOf } from "./origin.js";
import { settingsOf } from "./png.js";

const MOST_BYTES = 50e6;
const READ = ["image/png", "image/jpeg", "image/webp"];

// Pictures of other kinds, such as a phone's, become PNGs.
async function readable(file) {
  if (READ.includes(file.type)) return file;
  const bitmap = await createImageBitmap(file);
  const canvas = h("canvas", { width: bitmap.width, height: bitmap.height });
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

export async function take(files) {
  for (const file of files) {
    if (file.size > MOST_BYTES) {
      notice(`${file.name} has more than 50 MB.`);
      continue;
    }
    try {
      const blob = await readable(file);
      await createImageBitmap(blob);
      const about = await settingsOf(blob);
      if (about || !composer.canEdit()) show(blob, about);
      else await composer.add(blob);
    } catch {
      notice(`${file.name} is no picture that this browser can read.`);
    }
  }
}

function facts(about) {
  const pairs = { Prompt: about.prompt, Seed: about.seed, ...about.settings, Model: about.model,
    Software: about.software, "Written before it was drawn": about.sketch };
  const known = Object.entries(pairs).filter(([, value]) => value !== null && value !== "");
  return h("dl", { class: "pairs" }, known.map(([name, value]) =>
    h("div", {}, h("dt", {}, name.replaceAll("_", " ")), h("dd", {}, String(value)))));
}

function show(blob, about) {
  const dialog = find("found");
  const origin = originOf(blob);
  const leave = (then) => () => {
    dialog.close();
    then();
  };
  const actions = h("div", { class: "actions" },
    about ? button("Use its settings", { kind: "primary",
      onclick: leave(() => composer.restore(about)) }) : null,
    composer.canEdit() ? button("Draw from this picture", { kind: "small",
      onclick: leave(() => composer.add(blob)) }) : null,
    origin.start);
  openSheet(dialog, about ? "How it was drawn" : "A picture of yours",
    h("div", { class: "twofold" }, h("img", { src: urlOf(blob), alt: about?.prompt ?? "" }),
      h("div", {}, about ? facts(about) : null,
        composer.canEdit() ? null : h("p", { class: "hint" }, composer.NO_EDITS))),
    actions, origin.answer);
}

// Shows how a turn was drawn, in the same way.
export function look(turn) {
  const { guidance, temperature, size, model } = turn.settings;
  const settings = { size, guidance, temperature };
  openSheet(find("found"), "How it was drawn",
    facts({ prompt: turn.prompt, seed: turn.seed, settings, model }),
    h("div", { class: "actions" }, button("Use these settings", { kind: "primary", onclick: () => {
      find("found").close();
      composer.restore(turn);
    } })));
}

export function explain() {
  openSheet(find("found"), "This model cannot change pictures",
    h("p", {}, composer.NO_EDITS),
    h("p", { class: "hint" }, "A server with a model that reads pictures shows the same page, and "
      + "there this works."));
}

// Takes a photo here if the browser lets us, else by the phone's own camera.
export async function photograph() {
  if (!navigator.mediaDevices?.getUserMedia) {
    find("snapshot").click();
    return;
  }
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch {
    find("snapshot").click(); // no camera, or no leave to use it
    return;
  }
  const dialog = find("photo");
  const video = h("video", { autoplay: true, playsinline: true, "aria-label": "Camera" });
  video.muted = true;
  video.srcObject = stream;
  dialog.addEventListener("close", () => stream.getTracks().forEach((track) => track.stop()),
    { once: true });
  openSheet(dialog, "Take a photo", video, h("div", { class: "actions end" },
    button("Take it", { icon: "camera", kind: "primary", onclick: async () => {
      const canvas = h("canvas", { width: video.videoWidth, height: video.videoHeight });
      canvas.getContext("2d").drawImage(video, 0, 0);
      dialog.close();
      const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.92));
      await take([new File([blob], "photo.jpg", { type: "image/jpeg" })]);
    } })));
}
