// One model: where it is, how it is used, removing it.

import { all, get, open, post } from "../core/api.js";
import { h } from "../core/dom.js";
import { bytes, count, counted, figure, span, when } from "../core/format.js";
import { percentile } from "../core/recent.js";
import { link } from "../core/router.js";
import * as dialog from "../widgets/dialog.js";
import { badge, card, chip, empty, facts, failure, heading, loading, notice } from "../widgets/state.js";
import { startPull } from "./pull.js";
import { fetched } from "./models.js";
import { speed } from "./requests.js";

export default {
  title: "Model",
  needs: "platform",
  open(view) {
    const name = view.params.name;
    let [model, requests, whole, missing] = [null, [], true, false];
    const hurry = view.every(5_000, async (signal) => {
      const found = await all("/api/v1/models", { q: name.slice(0, 100) }, 500, signal);
      model = found.find((one) => one.name === name || one.key === name) ?? found.find((one) => one.name.toLowerCase() === name.toLowerCase()) ?? null;
      missing = model === null;
    });
    view.every(10_000, async (signal) => {
      const page = await get("/api/v1/inference/requests", { model: name, since: new Date(Date.now() - 86_400_000).toISOString(), limit: 500 }, { signal });
      [requests, whole] = [page.items, !page.next_cursor];
    });
    view.draw = () => [
      heading(name, {
        back: { href: link("/models"), label: "Models" },
        actions: [h("a", { class: "button", href: link("/playground", { model: name }) }, "Try it"), h("button", { class: "button", type: "button", onclick: () => startPull(name) }, "Pull"),
          model && h("button", { class: "button danger-quiet", type: "button", onclick: () => drop(model, hurry) }, "Remove")].filter(Boolean),
      }),
      view.error && failure(view.error, hurry),
      missing ? empty("No node has this model", "It may have been removed since. Pull it onto a node to have it again.", h("button", { class: "button primary", type: "button", onclick: () => startPull(name) }, "Pull it")) : model ? shown(model, requests, whole, hurry) : !view.error && loading(),
    ];
  },
};

function shown(model, requests, whole, hurry) {
  const values = (of) => requests.map(of).filter((value) => value !== null);
  const speeds = values(speed);
  return [
    model.digests_differ && notice("warn", h("strong", {}, "Files differ. "), "The nodes have different files under this name, so answers depend on which node gives them. Pull it onto all of them to have them alike."),
    h("div", { class: "columns even" },
      card("About", {}, facts(["Family", model.details.family], ["Parameters", model.details.parameter_size], ["Quantisation", model.details.quantization_level], ["Format", model.details.format], ["Largest context", model.context_length && `${count(model.context_length)} tokens`], ["Size", bytes(model.size_bytes)], ["Licence", model.license], ["Can", h("span", { class: "chips" }, model.capabilities.map((one) => chip(one)))])),
      card(whole ? "Last day" : "Last 500 requests", { aside: h("a", { href: link("/requests", { model: model.name }) }, "Requests") }, facts(
        ["Requests", count(requests.length)], ["Ended badly", count(requests.filter((one) => one.outcome === "failed" || one.outcome === "truncated").length)],
        ["Tokens", `${figure(requests.reduce((sum, one) => sum + (one.prompt_tokens ?? 0), 0))} in, ${figure(requests.reduce((sum, one) => sum + (one.completion_tokens ?? 0), 0))} out`],
        ["First token", `${span(percentile(values((one) => one.first_token_us), 0.5))} p50, ${span(percentile(values((one) => one.first_token_us), 0.99))} p99`], ["Speed", speeds.length > 0 ? `${figure(percentile(speeds, 0.5))} tokens/s p50` : null],
        ["Callers", count(new Set(requests.map((one) => one.caller)).size)], ["Last used", model.last_used && when(model.last_used, "ago")], ["Over days and weeks", h("a", { href: link("/usage", { model: model.name }) }, "Usage")]))),
    card("Where it is", { flush: true, exports: "replicas", aside: counted(model.replicas.length, "node") }, h("div", { class: "grid-frame", tabindex: "0" }, h("table", { class: "grid" },
      h("thead", {}, h("tr", {}, ["Node", "State", "Model", "Context", "Size", "Digest", ""].map((head, at) => h("th", { scope: "col", class: at === 4 || at === 5 ? "not-on-phone" : null }, head || h("span", { class: "offscreen" }, "Actions"))))),
      h("tbody", {}, model.replicas.slice(0, 500).map((one) => h("tr", { key: one.node_id }, h("td", {}, h("a", { href: link("/nodes", one.node) }, one.node)), h("td", {}, badge(one.state)), h("td", {}, one.loaded ? chip("in memory", "loaded") : one.syncing ? chip(`being fetched${fetched(one.syncing)}`) : h("span", { class: "muted" }, one.on_disk ? "on disk" : "not there"), one.failed && chip("failed", "warn", one.failed)), h("td", {}, count(one.context)), h("td", { class: "not-on-phone" }, bytes(one.size_bytes)), h("td", { class: "not-on-phone" }, one.digest ? h("code", { title: one.digest }, one.digest.replace("sha256:", "").slice(0, 12)) : "–"), h("td", { class: "right" }, one.loaded
        ? h("button", { class: "button small danger-quiet", type: "button", "aria-label": `Unload from ${one.node}`, onclick: () => unload(model, one, hurry) }, "Unload")
        : h("button", { class: "button small", type: "button", "aria-label": `Load at ${one.node}`, onclick: () => load(model, one, hurry) }, "Load")))))))),
  ];
}

function load(model, { node }, hurry) {
  dialog.ask(`Load ${model.name} at ${node}?`, [
    { name: "keep_alive", label: "It stays", type: "select", value: "", options: [["", "as long as the node keeps unused models"], ["30m", "30 minutes after its last use"], ["4h", "4 hours after its last use"], ["-1", "until it is unloaded"]] },
  ], "Load", async ({ keep_alive: time }) => {
    await post("/api/v1/models/load", { model: model.name, node, ...(time === "-1" ? { keep_alive: -1 } : time ? { keep_alive: time } : {}) });
    hurry();
    return `${model.name} is in the memory of ${node}.`;
  }, { body: h("p", {}, `${node} reads ${model.size_bytes ? bytes(model.size_bytes) : "the model"} into its memory; models that nobody uses may have to go for it. It takes its turn among the requests there.`) });
}

function unload(model, { node }, hurry) {
  dialog.confirm(`Unload ${model.name} from ${node}?`, [
    h("p", {}, `${node} frees its memory. Answers under way are finished first; the next request for the model loads it again.`),
  ], "Unload", async () => {
    await post("/api/v1/models/unload", { model: model.name, node });
    hurry();
    return `${model.name} is unloaded.`;
  });
}

function drop(model, hurry) {
  const names = model.replicas.map((one) => one.node);
  dialog.ask(`Remove ${model.name}?`, [
    names.length <= 200 && { name: "node", label: "From", type: "select", value: names.length === 1 ? names[0] : "all", options: [["all", `all ${counted(names.length, "node")}: ${names.join(", ").slice(0, 120)}`], ...names] },
  ], "Remove", async (values) => {
    await open("DELETE", "/api/delete", { query: { node: values.node ?? "all" }, body: { model: model.name } });
    hurry();
    return `${model.name} is removed.`;
  }, { danger: true, body: h("p", {}, `Its files (${bytes(model.size_bytes)} on each node) are deleted there. Requests that run finish; later ones find it only where it is left.`) });
}
