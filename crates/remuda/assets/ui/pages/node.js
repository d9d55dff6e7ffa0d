// One node: what it is, how it is, its models, what happened there; draining, changing and removing it.

import { changed, get, post, put, remove } from "../core/api.js";
import { h, keep } from "../core/dom.js";
import { figures, ofNode } from "../core/figures.js";
import { fleet, reread } from "../core/fleet.js";
import { bytes, count, counted, figure, span, when } from "../core/format.js";
import { percentile, steps } from "../core/recent.js";
import { go, link } from "../core/router.js";
import { plot } from "../widgets/chart.js";
import { copyable } from "../widgets/copy.js";
import * as dialog from "../widgets/dialog.js";
import { Grid } from "../widgets/grid.js";
import { toast } from "../widgets/toast.js";
import { badge, card, chip, empty, facts, failure, heading, loading, notice } from "../widgets/state.js";
import { columns as activeColumns } from "./active.js";
import { nodeHistory } from "./node_history.js";
import { load } from "./nodes.js";
import { requestLink } from "./request.js";
import { speed } from "./requests.js";

const HOUR_MS = 3_600_000;

export default {
  title: "Node",
  needs: "platform",
  open(view) {
    const path = `/api/v1/nodes/${encodeURIComponent(view.params.name)}`;
    let [node, active, requests, whole, points] = [null, null, [], true, []];
    const hurry = view.every(3_000, async (signal) => {
      [node, active] = await Promise.all([get(path, {}, { signal }), get("/api/v1/inference/active", { node: view.params.name, limit: 200 }, { signal })]);
      points = [...points.slice(-400), [Date.now(), node.in_flight]];
    });
    view.every(8_000, async (signal) => {
      const page = await get("/api/v1/inference/requests", { node: view.params.name, since: new Date(Date.now() - HOUR_MS).toISOString(), limit: 500 }, { signal });
      [requests, whole] = [page.items, !page.next_cursor];
    });
    const running = new Grid(view, { name: "under way", key: (row) => row.id, columns: activeColumns(hurry).filter(({ id }) => id !== "node") });
    const history = nodeHistory(view, path);
    view.watch(figures);
    // A change of state arrives here before the node is read again.
    view.watch(fleet, ({ nodes }) => {
      const seen = nodes.find((one) => one.name === view.params.name);
      if (node && seen && seen.state !== node.state) hurry();
    });
    view.draw = () => {
      if (!node) return [heading(view.params.name, { back: { href: link("/nodes"), label: "Nodes" } }), view.error ? failure(view.error) : loading()];
      return [
        heading(node.name, { back: { href: link("/nodes"), label: "Nodes" }, sub: [badge(node.state), ` ${node.server} ${node.version ?? ""}`], actions: actions(node, path, hurry) }),
        view.error && failure(view.error),
        node.draining && notice("warn", "This node drains: it finishes what it has and gets nothing new. ", node.in_flight > 0 ? `Still under way there: ${counted(node.in_flight, "request")}.` : "Nothing runs there any more."),
        (node.reason ?? node.last_error) && !node.draining && notice(node.state === "ready" ? "warn" : "bad", h("strong", {}, `${node.state}: `), node.reason ?? node.last_error),
        h("div", { class: "columns even" }, about(node), lately(node, requests, whole)),
        plots(node, requests, points),
        history(),
        active?.items.length > 0 && card("Requests now", { flush: true, aside: counted(active.total, "request") }, keep(running.set(active.items))),
        models(node),
        recentList(node, requests),
      ];
    };
  },
};

function actions(node, path, hurry) {
  const done = (words) => { hurry(); reread(); return words; };
  const running = node.in_flight > 0 ? `What runs there now finishes (${counted(node.in_flight, "request")}).` : "Nothing runs there now.";
  const drain = () => dialog.confirm(`Drain ${node.name}?`, [
    h("p", {}, `${node.name} gets nothing new until you undrain it. ${running}`),
    h("p", { class: "muted" }, node.loaded_models.length > 0 ? `It has in memory: ${node.loaded_models.join(", ")}. What only this node has is not served meanwhile.` : "It has no model in memory."),
  ], "Drain", async () => { await post(`${path}/drain`); return done(`${node.name} drains.`); });
  const undrain = async () => {
    try { await post(`${path}/undrain`); toast(done(`${node.name} gets work again.`)); } catch (error) { toast(error.message, "bad"); }
  };
  const change = () => dialog.ask(`Change ${node.name}`, [
    { name: "name", label: "Name", required: true, value: node.name },
    !node.agent && { name: "url", label: "Address", required: true, value: node.url, help: "What was learned from another address is forgotten." },
    { name: "weight", label: "Weight", type: "number", min: 0.01, max: 100, step: "0.01", required: true, value: node.weight, help: "2 attracts about twice the work of 1." },
    { name: "max_in_flight", label: "Most requests at once", type: "number", min: 1, max: 100_000, value: node.max_in_flight },
    { name: "tags", label: "Tags", type: "list", value: node.tags },
    { name: "region", label: "Region", value: node.region },
    { name: "api_key", label: "Another API key", type: "password", help: node.has_api_key ? "One is stored. Empty leaves it." : "None is stored." },
  ].filter(Boolean), "Save", async ({ api_key: key, ...values }) => {
    const edited = await put(path, key ? { ...values, api_key: key } : values, changed(node.etag));
    if (edited.name !== node.name) go(link("/nodes", edited.name));
    return done(edited.warning ?? `${edited.name} is changed.`);
  });
  const drop = () => dialog.confirm(`Remove ${node.name}?`, [
    h("p", {}, `${node.name} (${node.url ?? node.server}) leaves the fleet with its ${counted(node.model_count, "model")}. ${running}`),
    h("p", { class: "muted" }, "Nothing is changed on the server itself. Its requests stay in the records."),
  ], "Remove", async () => { await remove(path); reread(); go(link("/nodes")); return `${node.name} is removed.`; });
  const own = node.source === "api" || node.source === "discovered";
  return [
    node.draining ? h("button", { class: "button primary", type: "button", onclick: undrain }, "Undrain") : h("button", { class: "button", type: "button", onclick: drain }, "Drain"),
    own && h("button", { class: "button", type: "button", onclick: change }, "Change"),
    own && h("button", { class: "button danger-quiet", type: "button", onclick: drop }, "Remove"),
  ].filter(Boolean);
}

const SOURCES = { api: "added here", config: "from the configuration file: change it there", discovered: "found by itself", embedded: "part of this program" };

const about = (node) => card("About", {}, facts(
  ["Address", node.url && copyable(node.url)], ["Speaks", node.kind], ["Comes", SOURCES[node.source]], ["Since", when(node.created_at)], ["Heard of", when(node.last_seen, "ago")],
  ["Credential", node.has_api_key ? "stored" : "none"], ["Region", node.region], ["Tags", node.tags.length > 0 && h("span", { class: "chips" }, node.tags.map((tag) => chip(tag)))], ["Weight", node.weight],
  ["Agent", node.agent && (node.agent.linked ? `${node.agent.version} at ${node.agent.peer}` : h("span", { class: "bad-text" }, node.agent.problem))], ["Agent's updates", node.agent?.updates && updates(node.agent.updates)], ...machine(node.machine)));

/** Whose releases an agent takes, and what became of the last one. */
const updates = (told) => (told.under_way ? "another version is being tried" : told.failed ? h("span", { class: "bad-text" }, `not kept: ${told.failed}`) : told.key ? ["signed with ", h("code", {}, told.key)] : "none: start it there with --update-key");

/** What a node's agent tells of its machine, as facts. */
function machine(told) {
  if (!told) return [];
  const used = told.usage;
  return [
    ["Machine", `${told.host_name}, ${told.operating_system}`], ["Processor", `${told.cpu_cores} × ${told.cpu_model}${used ? `, ${figure(used.cpu_used_percent)} % in use` : ""}`],
    ["Memory", used && `${bytes(used.memory_available_bytes)} free of ${bytes(used.memory_total_bytes)}`],
    ...(used?.gpus ?? []).map((gpu) => [`GPU ${gpu.index}`, [gpu.name, gpu.memory_total_bytes && `${bytes(gpu.memory_used_bytes ?? 0)} of ${bytes(gpu.memory_total_bytes)}`,
      gpu.used_percent !== undefined && `${figure(gpu.used_percent)} %`, gpu.temperature_celsius !== undefined && `${figure(gpu.temperature_celsius)} °C`, gpu.power_watts !== undefined && `${figure(gpu.power_watts)} W`].filter(Boolean).join(", ")]),
    ["GPUs", used?.gpu_problem],
  ];
}

function lately(node, requests, whole) {
  const first = requests.map((item) => item.first_token_us).filter((value) => value !== null);
  const speeds = requests.map(speed).filter((value) => value !== null);
  const bad = requests.filter((item) => item.outcome === "failed" || item.outcome === "truncated").length;
  const memory = node.models.reduce((sum, model) => sum + (model.vram_bytes ?? 0), 0);
  return card(whole ? "Last hour" : "Last 500 requests", {}, facts(
    ["Under way now", load(node)], ["Places", node.max_in_flight ?? node.slots ?? "learned from experience"], ["Requests", count(requests.length)],
    ["Ended badly", bad > 0 ? h("span", { class: "bad-text" }, count(bad)) : "none"], ["First token", `${span(percentile(first, 0.5))} p50, ${span(percentile(first, 0.99))} p99`],
    ["Speed", speeds.length > 0 ? `${figure(percentile(speeds, 0.5))} tokens/s p50` : null], ["Models in memory", memory > 0 ? `${count(node.loaded_models.length)}, ${bytes(memory)} of GPU memory` : count(node.loaded_models.length)]));
}

function plots(node, requests, points) {
  const to = Date.now();
  const from = to - HOUR_MS;
  const now = ofNode(node.name)?.tokens_per_second ?? null;
  const step = 60_000;
  const watched = figures.get().nodes.map(({ at, of }) => [at, of.get(node.name)?.tokens_per_second ?? 0]);
  const watchedFrom = Math.min(points[0]?.[0] ?? to, to - 60_000);
  return h("div", { class: "thirds" },
    card("Requests a minute, last hour", {}, plot({ label: "Requests a minute", from, to, gap: 4 * step, series: [
      { label: "all", kind: "one", points: steps(requests, from, to, step, () => 60) },
      { label: "ended badly", kind: "bad", points: steps(requests.filter((item) => item.outcome === "failed" || item.outcome === "truncated"), from, to, step, () => 60) }] })),
    card("Under way, while you watch", { aside: `${count(node.in_flight)} now` }, plot({ label: "Requests under way", from: watchedFrom, to, gap: 60_000, series: [{ label: "under way", kind: "one", points }] })),
    card("Tokens a second, while you watch", { aside: now !== null && `${figure(now)} now` }, plot({ label: "Tokens a second", from: watchedFrom, to, gap: 60_000, series: [{ label: "tokens a second", kind: "two", points: watched.filter(([at]) => at >= watchedFrom) }] })));
}

function models(node) {
  if (node.models.length === 0) return card("Models", {}, empty("No models here", node.kind === "ollama" ? "Pull one from the models page." : "The server lists none.", node.kind === "ollama" && h("a", { class: "button", href: link("/models", { pull: node.name }) }, "Pull a model")));
  return card("Models", { flush: true, exports: "models-of-node", aside: counted(node.models.length, "model") }, h("div", { class: "grid-frame", tabindex: "0" }, h("table", { class: "grid" },
    h("thead", {}, h("tr", {}, ["Name", "In memory", "Context", "Size", "GPU memory", "Unloads", "Can"].map((name, at) => h("th", { scope: "col", class: at > 3 ? "not-on-phone" : null }, name)))),
    h("tbody", {}, node.models.slice(0, 200).map((model) => h("tr", { key: model.name },
      h("td", { class: "wide" }, h("a", { href: link("/models", model.name) }, model.name)),
      h("td", {}, model.loaded ? chip("in memory", "loaded") : h("span", { class: "muted" }, "on disk")),
      h("td", {}, model.loaded_context ? `${count(model.loaded_context)} of ${count(model.context_length)}` : count(model.context_length)),
      h("td", {}, bytes(model.size_bytes)), h("td", { class: "not-on-phone" }, bytes(model.vram_bytes)),
      h("td", { class: "not-on-phone" }, model.expires_at ? when(model.expires_at, "ago") : "–"), h("td", { class: "not-on-phone" }, h("span", { class: "chips" }, model.capabilities.map((one) => chip(one))))))))),
    node.models.length > 200 && h("p", { class: "calm-line" }, `The first 200 of ${count(node.models.length)}.`));
}

function recentList(node, requests) {
  if (requests.length === 0) return card("Recent requests", {}, h("p", { class: "muted" }, "None in the last hour."));
  return card("Recent requests", { flush: true, exports: "recent-requests", aside: h("a", { href: link("/requests", { node: node.name }) }, "All of this node") }, h("div", { class: "grid-frame", tabindex: "0" }, h("table", { class: "grid" },
    h("thead", {}, h("tr", {}, ["Request", "Time", "Model", "Outcome", "First token", "Total"].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, requests.slice(0, 10).map((item) => h("tr", { key: item.id }, h("td", {}, requestLink(item.id)), h("td", {}, when(item.received_at)), h("td", { class: "wide" }, item.model ?? "–"), h("td", {}, badge(item.outcome, item.error)), h("td", {}, span(item.first_token_us)), h("td", {}, span(item.total_us))))))));
}
