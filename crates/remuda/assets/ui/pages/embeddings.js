// How alike texts are to a model: each with each other.

import { post } from "../core/api.js";
import { h, keep } from "../core/dom.js";
import { count, span } from "../core/format.js";
import { usable } from "../core/models.js";
import { choice, fields } from "../widgets/form.js";
import { card, empty, failure, heading, loading } from "../widgets/state.js";
import { showCode } from "./code.js";

const MOST = 24;
const EXAMPLES = ["A horse runs across the plain.", "Ponies gallop over grassland.", "The invoice is due on Friday."];

export default {
  title: "Embeddings",
  needs: "inference",
  open(view) {
    let [models, result, busy, problem] = [null, null, false, null];
    const form = fields([{ name: "texts", label: `Texts, one per line, ${MOST} at most`, type: "area", rows: 6, value: EXAMPLES.join("\n"), optional: false }]);
    const texts = () => form.read().texts.split("\n").map((text) => text.trim()).filter(Boolean).slice(0, MOST);
    const model = () => view.query.get("model") || models?.find((one) => one.embeds)?.name || models?.[0]?.name;
    view.once(async (signal) => { models = await usable(signal); });
    const run = async (event) => {
      event.preventDefault();
      [busy, problem] = [true, null];
      view.refresh();
      try {
        const started = performance.now();
        const input = texts();
        const answer = await post("/v1/embeddings", { model: model(), input }, { signal: view.signal });
        const vectors = answer.data.sort((one, other) => one.index - other.index).map((one) => one.embedding);
        result = { input, vectors, took: performance.now() - started, tokens: answer.usage?.prompt_tokens };
      } catch (error) { problem = error; }
      busy = false;
      view.refresh();
    };
    view.draw = () => [
      heading("Embeddings", { sub: "Cosine similarity of each text with each other", actions: models?.length > 0 && [h("button", { class: "button", type: "button", onclick: () => showCode({ model: model(), input: texts() }) }, "As code")] }),
      view.error && failure(view.error),
      models === null ? !view.error && loading() : models.length === 0 ? empty("No model", "No node has a model that you may use.") : card(null, {}, h("form", { class: "stack", onsubmit: run },
        h("div", { class: "row" }, choice("Model", model(), models.map((one) => [one.name, one.embeds ? `${one.name} (embeddings)` : one.name]), (name) => view.narrow({ model: name }))),
        keep(form.element), h("div", { class: "row" }, h("button", { class: "button primary", type: "submit", disabled: busy }, busy ? "Comparing…" : "Compare")))),
      problem && failure(problem),
      result && matrix(result),
    ];
  },
};

export function cosine(one, other) {
  let [dot, a, b] = [0, 0, 0];
  for (let at = 0; at < one.length; at += 1) { dot += one[at] * other[at]; a += one[at] ** 2; b += other[at] ** 2; }
  return a === 0 || b === 0 ? 0 : dot / Math.sqrt(a * b);
}

function matrix({ input, vectors, took, tokens }) {
  return card("Similarity", { aside: `${count(vectors[0]?.length ?? 0)} dimensions · ${tokens ? `${count(tokens)} tokens · ` : ""}${span(took * 1_000)}` }, h("div", { class: "grid-frame", tabindex: "0" }, h("table", { class: "heat" },
    h("thead", {}, h("tr", {}, h("td"), input.map((text, at) => h("th", { scope: "col", title: text }, at + 1)))),
    h("tbody", {}, input.map((text, at) => h("tr", {}, h("th", { scope: "row", title: text }, h("span", { class: "muted" }, `${at + 1} `), h("span", { class: "clip" }, text)), vectors.map((other, column) => {
      const value = cosine(vectors[at], other);
      return h("td", { class: `heat-${Math.round(Math.max(0, Math.min(1, value)) * 10)}`, title: `${text} / ${input[column]}` }, value.toFixed(2));
    })))))));
}
