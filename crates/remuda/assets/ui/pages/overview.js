// How the fleet is right now: what comes in, how long people wait, which node is sick, what failed last.

import { get } from "../core/api.js";
import { h } from "../core/dom.js";
import { readings, pair, quantile, rates, total } from "../core/figures.js";
import { fleet, SEVERITY } from "../core/fleet.js";
import { bytes, count, counted, figure, percent, span, when } from "../core/format.js";
import { isError, percentile, recent, steps, WINDOW_MS } from "../core/recent.js";
import { link } from "../core/router.js";
import { plot } from "../widgets/chart.js";
import { badge, card, chip, empty, failure, heading, loading, meter, notice } from "../widgets/state.js";

const RATE_MS = 30_000;
const SHARE_MS = 5 * 60_000;
const STEP_MS = 15_000;
const MOST_TILES = 48;
const MOST_FAILURES = 6;
const FAILED = ["failed", "truncated", "rejected"];

export default {
  title: "Overview",
  needs: "platform",
  open(view) {
    for (const value of [fleet, readings, recent]) view.watch(value);
    let [queue, health] = [null, null];
    view.every(2_000, async (signal) => { queue = await get("/api/v1/inference/queue", { limit: 6 }, { signal }); });
    view.every(5_000, async (signal) => { health = await get("/health", {}, { signal }); });
    view.draw = () => [
      heading("Overview",),
      unwell(health),
      stats(queue),
      history(),
      h("div", { class: "columns" }, tiles(), h("div", { class: "stack" }, failures(), waiting(queue))),
    ];
  },
};

/** Parts that are not well, in the server's words. */
function unwell(health) {
  const bad = Object.entries(health?.components ?? {}).filter(([, part]) => part.status !== "ok");
  return bad.map(([name, part]) => notice(part.status === "down" ? "bad" : "warn", h("strong", {}, `${name[0].toUpperCase()}${name.slice(1)}: `), part.detail));
}

const tokensOf = (reading) => reading.tokens.completion;
const errorsOf = (reading) => FAILED.reduce((sum, outcome) => sum + (reading.outcomes[outcome] ?? 0), 0);
const requestsOf = (reading) => total(reading.outcomes);

/** The figures of the moment: from the counters once there are two readings, from the records before, and for spans whenever these are complete. */
function figures() {
  const all = readings.get();
  const { items, whole } = recent.get();
  const now = Date.now();
  const lately = items.filter((item) => now - new Date(item.received_at).getTime() < SHARE_MS);
  const short = pair(all, RATE_MS);
  const long = pair(all, SHARE_MS);
  const justNow = items.filter((item) => now - new Date(item.received_at).getTime() - item.total_us / 1_000 < RATE_MS);
  const rate = (of, each) => (short ? Math.max(0, of(short[1]) - of(short[0])) / short[2] : justNow.reduce((sum, item) => sum + each(item), 0) / (RATE_MS / 1_000));
  // Records are exact; the counters cover more where there are more requests than records are read.
  const oldest = items.at(-1);
  const recorded = whole || !oldest ? SHARE_MS : Math.min(SHARE_MS, now - new Date(oldest.received_at).getTime());
  const watched = long ? Math.min(SHARE_MS, long[2] * 1_000) : 0;
  const exact = recorded >= watched;
  const first = (share) => (exact ? percentile(lately.filter((item) => item.first_token_us !== null).map((item) => item.first_token_us), share) : quantile(long[0].first, long[1].first, share));
  const wait = (share) => (exact ? percentile(lately.map((item) => item.queue_us), share) : quantile(long[0].wait, long[1].wait, share));
  const [failed, ended] = exact
    ? [lately.filter(isError).length, lately.length]
    : [errorsOf(long[1]) - errorsOf(long[0]), requestsOf(long[1]) - requestsOf(long[0])];
  const covered = Math.max(recorded, watched);
  return { rate, first, wait, failed, ended, newest: all.at(-1), lately: covered >= 60_000 ? `${Math.round(covered / 60_000)} min` : span(covered * 1_000) };
}

function stats(queue) {
  const { rate, first, wait, failed, ended, newest, lately } = figures();
  const two = (one, other) => h("span", { class: "two" }, h("span", {}, span(one), h("small", {}, "p50")), h("span", {}, span(other), h("small", {}, "p99")));
  const stat = (name, value, foot) => h("div", { class: "stat", key: name }, h("div", { class: "stat-name" }, name), h("div", { class: "stat-value" }, value), foot && h("div", { class: "stat-foot" }, foot));
  const waiting = queue?.waiting ?? total(newest?.waiting ?? {});
  return h("section", { class: "stats", "aria-label": "Figures of the moment" },
    stat("Requests", [figure(rate(requestsOf, () => 1)), h("small", {}, "/s")], newest ? `${count(newest.inFlight)} under way` : null),
    stat("Tokens out", [figure(rate(tokensOf, (item) => item.completion_tokens ?? 0)), h("small", {}, "/s")], newest ? `${figure(newest.tokens.completion)} since the start` : null),
    stat("First token", two(first(0.5), first(0.99)), `last ${lately}`),
    stat("Waiting", two(wait(0.5), wait(0.99)), [h("a", { href: link("/queue") }, `${count(waiting)} waiting now`), `, last ${lately}`]),
    stat("Errors", [h("span", { class: failed > 0 ? "bad-text" : "" }, percent(ended > 0 ? failed / ended : 0))], ended > 0 ? `${count(failed)} of ${count(ended)} in ${lately}` : `no requests in ${lately}`),
    stat("Server", [newest ? bytes(newest.memory) : "–"], newest ? `memory · ${counted(fleet.get().nodes.length, "node")}` : null));
}

/** Two plots of the last quarter of an hour: what was watched here, and before that what the records tell. */
function history() {
  const all = readings.get();
  const to = Date.now();
  const from = to - WINDOW_MS;
  const watchedFrom = all[0]?.at ?? to;
  const { items, whole } = recent.get();
  const oldest = items.at(-1);
  const recordedFrom = whole || !oldest ? from : new Date(oldest.received_at).getTime();
  const aligned = Math.ceil(Math.max(from, recordedFrom) / STEP_MS) * STEP_MS;
  const series = (of, each, include = () => true) => [
    ...steps(items.filter(include), aligned, watchedFrom, STEP_MS, each).filter(([at]) => at < watchedFrom),
    ...smooth(rates(all, of)),
  ];
  return h("div", { class: "halves" },
    card("Requests a second", {}, plot({ label: "Requests a second", from, to, gap: 90_000, series: [
      { label: "all", kind: "one", points: series(requestsOf, () => 1) },
      { label: "errors", kind: "bad", points: series(errorsOf, () => 1, isError) },
    ] })),
    card("Tokens a second", {}, plot({ label: "Tokens of answers a second", from, to, gap: 90_000, series: [
      { label: "tokens of answers", kind: "two", points: series(tokensOf, (item) => item.completion_tokens ?? 0) },
    ] })));
}

/** Means of five neighbours: a reading every few seconds would draw noise. */
const smooth = (points) => points.map(([at], index) => {
  const near = points.slice(Math.max(0, index - 4), index + 1);
  return [at, near.reduce((sum, [, value]) => sum + value, 0) / near.length];
});

function tiles() {
  const { nodes, at, error } = fleet.get();
  const short = pair(readings.get(), RATE_MS);
  if (error && at === 0) return card("Nodes", {}, failure(error));
  if (at === 0) return card("Nodes", {}, loading());
  if (nodes.length === 0) return card("Nodes", {}, empty("No nodes yet", "Add a server that runs Ollama, vLLM, llama.cpp or another OpenAI-compatible API.", h("a", { class: "button primary", href: link("/nodes", { add: "1" }) }, "Add a node")));
  const sorted = [...nodes].sort((one, other) => (SEVERITY[one.state] <= 2 || SEVERITY[other.state] <= 2 ? SEVERITY[one.state] - SEVERITY[other.state] : 0) || other.in_flight - one.in_flight || one.name.localeCompare(other.name));
  const sick = nodes.filter((node) => node.state === "unhealthy" || node.state === "suspect").length;
  return card("Nodes", { aside: [h("a", { href: link("/nodes") }, nodes.length > MOST_TILES ? `All ${count(nodes.length)}` : counted(nodes.length, "node")), sick > 0 && h("span", { class: "bad-text" }, `${count(sick)} not well`)] },
    h("div", { class: "tiles" }, sorted.slice(0, MOST_TILES).map((node) => tile(node, short))));
}

function tile(node, short) {
  const places = node.max_in_flight ?? node.slots;
  const now = short?.[1].nodes[node.name]?.tokens ?? 0;
  const rate = short ? Math.max(0, now - (short[0].nodes[node.name]?.tokens ?? 0)) / short[2] : null;
  const loaded = node.loaded_models;
  return h("a", { class: ["tile", node.state], key: node.id, href: link("/nodes", node.name), "data-node": node.name },
    h("div", { class: "tile-head" }, h("b", {}, node.name), badge(node.state, node.reason ?? node.last_error)),
    node.reason && node.state !== "ready" && node.state !== "busy"
      ? h("div", { class: "small bad-text clip", title: node.reason }, node.reason)
      : h("div", { class: "tile-load" }, meter(node.in_flight / (places ?? Math.max(8, node.in_flight)), `${node.in_flight} requests under way${places ? ` of ${places} places` : ""}`), h("span", {}, places ? `${node.in_flight}/${places}` : node.in_flight), h("span", { class: "muted" }, `${figure(rate)} tok/s`)),
    h("div", { class: "chips" }, loaded.slice(0, 3).map((model) => chip(model, "loaded")), loaded.length > 3 && chip(`+${loaded.length - 3}`), loaded.length === 0 && h("span", { class: "muted small" }, node.model_count > 0 ? `${counted(node.model_count, "model")}, none loaded` : "no models")));
}

/** What failed, the newest first; what failed alike is one line with its number. */
function failures() {
  const alike = new Map();
  for (const item of recent.get().items.filter(isError)) {
    const key = JSON.stringify([item.model ?? item.requested_model, item.outcome, item.error]);
    if (alike.has(key)) alike.get(key).times += 1;
    else alike.set(key, { item, times: 1 });
  }
  const bad = [...alike.values()].slice(0, MOST_FAILURES);
  return card("Last failures", { flush: true, aside: h("a", { href: link("/requests", { outcome: "failed" }) }, "All failed") },
    bad.length === 0 ? h("p", { class: "calm-line" }, "Nothing failed in the last 15 minutes.")
      : h("ul", { class: "lines" }, bad.map(({ item, times }) => h("li", { key: item.id }, h("a", { href: link("/requests", item.id) },
        h("span", { class: "row between" }, h("span", { class: "clip" }, item.model ?? item.requested_model ?? "no model"), times > 1 && h("span", { class: "muted", title: `${count(times)} times in 15 min` }, `×${count(times)}`), badge(item.outcome), when(item.received_at)),
        h("span", { class: "muted small clip" }, item.error ?? `status ${item.status}`))))));
}

function waiting(queue) {
  return card("Who waits", { flush: true, aside: h("a", { href: link("/queue") }, "Queue") },
    !queue || queue.items.length === 0 ? h("p", { class: "calm-line" }, queue ? `Nobody waits; ${counted(queue.running, "request")} under way.` : "…")
      : h("ul", { class: "lines" }, queue.items.map((item, at) => h("li", { key: at }, h("div", { class: "line" },
        h("span", { class: "row between" }, h("span", { class: "clip" }, item.model), chip(item.class), h("span", { class: "muted" }, item.expected_wait_ms !== null ? `about ${span(item.expected_wait_ms * 1_000)}` : "")),
        h("span", { class: "muted small clip" }, item.tenant))))));
}
