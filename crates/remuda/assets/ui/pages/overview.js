// How the fleet is right now: what comes in, how long people wait, which node is sick, what failed last.

import { get } from "../core/api.js";
import { h } from "../core/dom.js";
import { figures, ofNode, WINDOW_MS } from "../core/figures.js";
import { fleet, SEVERITY } from "../core/fleet.js";
import { bytes, count, counted, figure, percent, span, when } from "../core/format.js";
import { link } from "../core/router.js";
import { plot } from "../widgets/chart.js";
import { badge, card, chip, empty, failure, heading, loading, meter, notice } from "../widgets/state.js";

const HEALTH_MS = 30_000;
const MOST_TILES = 48;
const MOST_FAILURES = 6;

export default {
  title: "Overview",
  needs: "platform",
  open(view) {
    for (const value of [fleet, figures]) view.watch(value);
    let health = null;
    view.every(HEALTH_MS, async (signal) => { health = await get("/health", {}, { signal }); });
    view.draw = () => {
      const { now, error } = figures.get();
      return [
        heading("Overview"),
        !now && error && failure(error),
        unwell(health),
        stats(now),
        history(),
        h("div", { class: "columns" }, tiles(), h("div", { class: "stack" }, failures(now), waiting(now))),
      ];
    };
  },
};

/** Parts that are not well, in the server's words. */
function unwell(health) {
  const bad = Object.entries(health?.components ?? {}).filter(([, part]) => part.status !== "ok");
  return bad.map(([name, part]) => notice(part.status === "down" ? "bad" : "warn", h("strong", {}, `${name[0].toUpperCase()}${name.slice(1)}: `), part.detail));
}

function stats(now) {
  const two = (of) => h("span", { class: "two" }, h("span", {}, span(of?.p50_us), h("small", {}, "p50")), h("span", {}, span(of?.p99_us), h("small", {}, "p99")));
  const stat = (name, value, foot) => h("div", { class: "stat", key: name }, h("div", { class: "stat-name" }, name), h("div", { class: "stat-value" }, value), foot && h("div", { class: "stat-foot" }, foot));
  const { lately } = now ?? {};
  const covered = lately && (lately.seconds >= 60 ? `${Math.round(lately.seconds / 60)} min` : span(lately.seconds * 1e6));
  return h("section", { class: "stats", "aria-label": "Figures of the moment" },
    stat("Requests", [figure(now?.requests_per_second), h("small", {}, "/s")], now && h("a", { href: link("/queue") }, `${count(now.in_flight)} under way`)),
    stat("Tokens out", [figure(now?.tokens_per_second), h("small", {}, "/s")], now && "mean of half a minute"),
    stat("First token", two(lately?.first_token), lately && `last ${covered}`),
    stat("Waiting", two(lately?.wait), now && [h("a", { href: link("/queue") }, `${count(now.waiting)} waiting now`), `, last ${covered}`]),
    stat("Errors", [h("span", { class: lately?.failed > 0 ? "bad-text" : "" }, percent(lately?.requests > 0 ? lately.failed / lately.requests : 0))], lately && (lately.requests > 0 ? `${count(lately.failed)} of ${count(lately.requests)} in ${covered}` : `no requests in ${covered}`)),
    stat("Server", [bytes(now?.resident_bytes || null)], now && `memory · ${counted(fleet.get().nodes.length, "node")}`));
}

/** Two plots of the last quarter of an hour, since the server began. */
function history() {
  const { points } = figures.get();
  const to = Date.now();
  const from = to - WINDOW_MS;
  const line = (name) => points.map((point) => [point.at, point[name]]);
  return h("div", { class: "halves" },
    card("Requests a second", {}, plot({ label: "Requests a second", from, to, gap: 30_000, series: [
      { label: "all", kind: "one", points: line("requests") },
      { label: "errors", kind: "bad", points: line("failed") },
    ] })),
    card("Tokens a second", {}, plot({ label: "Tokens of answers a second", from, to, gap: 30_000, series: [
      { label: "tokens of answers", kind: "two", points: line("tokens") },
    ] })));
}

function tiles() {
  const { nodes, at, error } = fleet.get();
  if (error && at === 0) return card("Nodes", {}, failure(error));
  if (at === 0) return card("Nodes", {}, loading());
  if (nodes.length === 0) return card("Nodes", {}, empty("No nodes yet", "Add a server that runs Ollama, vLLM, llama.cpp or another OpenAI-compatible API.", h("a", { class: "button primary", href: link("/nodes", { add: "1" }) }, "Add a node")));
  const sorted = [...nodes].sort((one, other) => (SEVERITY[one.state] <= 2 || SEVERITY[other.state] <= 2 ? SEVERITY[one.state] - SEVERITY[other.state] : 0) || other.in_flight - one.in_flight || one.name.localeCompare(other.name));
  const sick = nodes.filter((node) => node.state === "unhealthy" || node.state === "suspect").length;
  return card("Nodes", { aside: [h("a", { href: link("/nodes") }, nodes.length > MOST_TILES ? `All ${count(nodes.length)}` : counted(nodes.length, "node")), sick > 0 && h("span", { class: "bad-text" }, `${count(sick)} not well`)] },
    h("div", { class: "tiles" }, sorted.slice(0, MOST_TILES).map(tile)));
}

function tile(node) {
  const places = node.max_in_flight ?? node.slots;
  const rate = ofNode(node.name)?.tokens_per_second ?? null;
  const loaded = node.loaded_models;
  return h("a", { class: ["tile", node.state], key: node.id, href: link("/nodes", node.name), "data-node": node.name },
    h("div", { class: "tile-head" }, h("b", {}, node.name), badge(node.state, node.reason ?? node.last_error)),
    node.reason && node.state !== "ready" && node.state !== "busy"
      ? h("div", { class: "small bad-text clip", title: node.reason }, node.reason)
      : h("div", { class: "tile-load" }, meter(node.in_flight / (places ?? Math.max(8, node.in_flight)), `${node.in_flight} requests under way${places ? ` of ${places} places` : ""}`), h("span", {}, places ? `${node.in_flight}/${places}` : node.in_flight), h("span", { class: "muted" }, `${figure(rate)} tok/s`)),
    node.load && h("div", { class: "small muted clip" }, machineLoad(node.load)),
    h("div", { class: "chips" }, loaded.slice(0, 3).map((model) => chip(model, "loaded")), loaded.length > 3 && chip(`+${loaded.length - 3}`), loaded.length === 0 && h("span", { class: "muted small" }, node.model_count > 0 ? `${counted(node.model_count, "model")}, none loaded` : "no models")));
}

/** How busy a machine is, as far as its agent tells, in one line. */
function machineLoad(load) {
  const parts = [["CPU", load.cpu_percent, "%"], ["memory", load.memory_percent, "%"], ["GPU", load.gpu_percent, "%"], ["its memory", load.gpu_memory_percent, "%"], ["", load.gpu_celsius, "°C"]];
  return parts.filter(([, value]) => value !== undefined).map(([name, value, unit]) => `${name} ${Math.round(value)} ${unit}`.trim()).join(" · ");
}

/** What failed, the newest first; what failed alike is one line with its number. */
function failures(now) {
  const alike = new Map();
  for (const item of now?.failures ?? []) {
    const key = JSON.stringify([item.model, item.outcome, item.error]);
    if (alike.has(key)) alike.get(key).times += 1;
    else alike.set(key, { item, times: 1 });
  }
  const bad = [...alike.values()].slice(0, MOST_FAILURES);
  return card("Last failures", { flush: true, aside: h("a", { href: link("/requests", { outcome: "failed" }) }, "All failed") },
    bad.length === 0 ? h("p", { class: "calm-line" }, now ? "Nothing has failed since the server began." : "…")
      : h("ul", { class: "lines" }, bad.map(({ item, times }) => h("li", { key: item.id }, h("a", { href: link("/requests", item.id) },
        h("span", { class: "row between" }, h("span", { class: "clip" }, item.model), times > 1 && h("span", { class: "muted", title: `${count(times)} of the last 20 failures` }, `×${count(times)}`), badge(item.outcome), when(item.received_at)),
        h("span", { class: "muted small clip" }, item.error ?? `status ${item.status}`))))));
}

function waiting(now) {
  return card("Who waits", { flush: true, aside: h("a", { href: link("/queue") }, "Queue") },
    !now || now.queue.length === 0 ? h("p", { class: "calm-line" }, now ? `Nobody waits; ${counted(now.in_flight, "request")} under way.` : "…")
      : h("ul", { class: "lines" }, now.queue.map((item, at) => h("li", { key: at }, h("div", { class: "line" },
        h("span", { class: "row between" }, h("span", { class: "clip" }, item.model), chip(item.class), h("span", { class: "muted" }, item.expected_wait_ms !== null ? `about ${span(item.expected_wait_ms * 1_000)}` : "")),
        h("span", { class: "muted small clip" }, item.tenant))))));
}
