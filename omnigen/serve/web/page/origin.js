// SPDX-License-Identifier: Apache-2.0
// "Who made this?": what the server finds in a picture, in words.

import { provenance } from "./api.js";
import { button, h } from "./dom.js";
import { errorBox } from "./thread.js";

const STATES = {
  trusted: ["A machine made this", "A signature says so, and the server trusts who signed it."],
  valid: ["A machine made this", "A signature says so, and the picture was not changed since. "
    + "Whoever signed it is not on the server's list of trusted names."],
  invalid: ["It was changed", "It carries a signature that does not fit: the picture, or the "
    + "signature, was changed after it was signed."],
  not_present: ["Nobody can say", "It carries no signature. It may have lost one, or never had "
    + "one; that tells neither that a person made it nor that a machine did."],
};

function signature(found) {
  const [title, text] = STATES[found.validation_state] ?? [found.outcome, ""];
  const when = found.generated_at ? new Date(found.generated_at) : null;
  const facts = {
    "Signed by": found.issuer,
    Model: found.model,
    Drawn: when && !Number.isNaN(when.getTime()) ? when.toLocaleString() : found.generated_at,
  };
  const known = Object.entries(facts).filter(([, value]) => value);
  return h("div", { class: `origin ${found.validation_state ?? ""}` },
    h("strong", {}, title), h("p", {}, text),
    known.length ? h("dl", { class: "pairs" }, known.map(([name, value]) =>
      h("div", {}, h("dt", {}, name), h("dd", {}, value)))) : null);
}

// Other marks: only those that were found say something.
function mark(found) {
  const text = found.type === "perceptual_hash"
    ? "This server remembers drawing a picture that looks like this one."
    : `The server also found a mark of the kind ${found.type}.`;
  const facts = [found.model, found.generated_at].filter(Boolean).join(", ");
  return h("p", {}, facts ? `${text} (${facts})` : text);
}

// Returns a button, and the place where the answer will stand.
export function originOf(blob) {
  const answer = h("div", { "aria-live": "polite" });
  const ask = async () => {
    answer.replaceChildren(h("p", {}, "Looking…"));
    try {
      const results = await provenance(blob);
      const signed = results.filter((found) => found.type === "c2pa" || found.validation_state);
      const others = results.filter((found) => !signed.includes(found));
      answer.replaceChildren(...signed.map(signature),
        ...others.filter((found) => found.outcome === "detected").map(mark));
    } catch (error) {
      answer.replaceChildren(errorBox(error));
    }
  };
  const start = button("Who made this?", { icon: "question", kind: "small", onclick: ask });
  return { start, answer };
}
