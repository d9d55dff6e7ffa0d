// Every model of the fleet and where it is: in memory, on disk, not there.

import { all } from "../core/api.js";
import { h } from "../core/dom.js";
import { fleet } from "../core/fleet.js";
import { bytes, count, counted } from "../core/format.js";
import { subscribe } from "../core/live.js";
import { link } from "../core/router.js";
import { exportMenu } from "../widgets/export.js";
import { choice, search } from "../widgets/form.js";
import { badge, chip, empty, failure, heading, loading, tone } from "../widgets/state.js";
import { pulls, startPull } from "./pull.js";

const MOST_NODES = 30;
const MOST_MODELS = 200;

export default {
  title: "Models",
  needs: "platform",
  open(view) {
    let models = null;
    view.watch(fleet);
    view.watch(pulls);
    const hurry = view.every(10_000, async (signal) => { models = await all("/api/v1/models", { sort: "name" }, 2_000, signal); });
    let soon = null;
    const later = () => { clearTimeout(soon); soon = setTimeout(hurry, 300); };
    view.atEnd(subscribe("model_update", later));
    view.watch(pulls, (list) => { if (list.some((one) => one.fresh)) { list.forEach((one) => { one.fresh = false; }); later(); } view.refresh(); });
    view.draw = () => [
      heading("Models", { sub: models && counted(models.length, "model"), actions: [h("button", { class: "button primary", type: "button", onclick: () => startPull() }, "Pull a model")] }),
      view.error && failure(view.error, hurry),
      progress(),
      h("div", { class: "toolbar" },
        search("Model", view.query.get("q"), (q) => view.narrow({ q })), search("Node", view.query.get("node"), (node) => view.narrow({ node })),
        choice("Where", view.query.get("where"), [["", "All"], ["loaded", "In memory somewhere"], ["cold", "In memory nowhere"], ["differ", "Files differ"]], (where) => view.narrow({ where })),
        h("span", { class: "spring" }), h("span", { class: "key small muted" }, mark("loaded"), " in memory ", mark("disk"), " on disk ", mark("sync"), " being fetched"), models && exportMenu("models", () => lines(models), () => models)),
      models === null ? !view.error && loading() : models.length === 0
        ? empty("No models yet", "Pull one onto an Ollama node, or add a node that has some.", h("button", { class: "button primary", type: "button", onclick: () => startPull() }, "Pull a model"), h("a", { class: "button", href: link("/nodes", { add: "1" }) }, "Add a node"))
        : matrix(view, models),
    ];
    const wanted = view.query.get("pull");
    if (wanted) { view.narrow({ pull: "" }); startPull("", wanted); }
  },
};

const lines = (models) => [["model", "node", "state", "in memory", "context", "size", "digest"], ...models.flatMap((model) => model.replicas.map((one) => [model.name, one.node, one.state, one.loaded, one.context, one.size_bytes, one.digest]))];

const mark = (kind) => h("i", { class: ["mark-cell", kind], "aria-hidden": "true" });
const kindOf = (replica) => (replica.loaded ? "loaded" : replica.syncing ? "sync" : "disk");
/** How far the files of a replica have come, as `43 %`; nothing where that is not known. */
export const fetched = ({ done_bytes: done, total_bytes: total }) => (total > 0 ? ` ${Math.floor((100 * done) / total)} %` : "");

function matrix(view, models) {
  const [q, node, where] = ["q", "node", "where"].map((name) => (view.query.get(name) ?? "").toLowerCase());
  const rows = models.filter((model) => (!q || model.name.toLowerCase().includes(q)) && (!where
    || (where === "loaded" && model.replicas.some((one) => one.loaded)) || (where === "cold" && !model.replicas.some((one) => one.loaded)) || (where === "differ" && model.digests_differ)));
  const held = new Set(rows.flatMap((model) => model.replicas.map((one) => one.node)));
  const nodes = fleet.get().nodes.filter((one) => (!node || one.name.toLowerCase().includes(node)) && (node || held.has(one.name)));
  const columns = nodes.slice(0, MOST_NODES);
  if (rows.length === 0) return empty("No model fits", "Take a filter away.", h("button", { class: "button", type: "button", onclick: () => view.narrow({ q: "", where: "", node: "" }) }, "Clear filters"));
  return [
    h("div", { class: "grid-frame", tabindex: "0" }, h("table", { class: "grid matrix", "aria-label": "Models by node" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Model"), h("th", { scope: "col", class: "not-on-phone" }, "What"), h("th", { scope: "col", class: "right not-on-phone" }, "Context"), h("th", { scope: "col", class: "right" }, "In memory"),
        columns.map((one) => h("th", { scope: "col", key: one.id, class: "turned", title: `${one.name}: ${one.state}` }, h("a", { href: link("/nodes", one.name) }, h("i", { class: ["dot", tone(one.state)], "aria-hidden": "true" }), one.name))))),
      h("tbody", {}, rows.slice(0, MOST_MODELS).map((model) => row(model, columns))))),
    nodes.length > columns.length && h("p", { class: "muted" }, `${MOST_NODES} of ${count(nodes.length)} nodes: narrow them by name, or open a model to see all it is on.`),
    rows.length > MOST_MODELS && h("p", { class: "muted" }, `${MOST_MODELS} of ${count(rows.length)} models: narrow them by name.`),
  ];
}

function row(model, columns) {
  const at = new Map(model.replicas.map((one) => [one.node_id, one]));
  const loaded = model.replicas.filter((one) => one.loaded).length;
  return h("tr", { key: model.key },
    h("th", { scope: "row", class: "wide" }, h("a", { href: link("/models", model.name) }, model.name), model.digests_differ && chip("files differ", "warn", "The nodes have different files under this name")),
    h("td", { class: "not-on-phone muted" }, [model.details.parameter_size, model.details.quantization_level, model.size_bytes && bytes(model.size_bytes)].filter(Boolean).join(" · ") || "–"),
    h("td", { class: "right not-on-phone" }, count(model.context_length)),
    h("td", { class: "right" }, `${count(loaded)} of ${count(model.replicas.length)}`),
    columns.map((node) => {
      const replica = at.get(node.id);
      const words = !replica ? "not there" : replica.loaded ? `in memory${replica.context ? `, context ${count(replica.context)}` : ""}` : replica.syncing ? `being fetched${fetched(replica.syncing)}` : replica.failed ? `on disk; the last step failed: ${replica.failed}` : "on disk";
      return h("td", { key: node.id, class: "cell", title: `${model.name} on ${node.name}: ${words}` }, replica && mark(kindOf(replica)), h("span", { class: "offscreen" }, words));
    }));
}

function progress() {
  const list = pulls.get();
  if (list.length === 0) return null;
  return h("section", { class: "card flush", "aria-label": "Pulls" }, h("ul", { class: "lines" }, list.map((one) => h("li", { key: one.id }, h("div", { class: "line" },
    h("span", { class: "row between" }, h("b", { class: "clip" }, one.model), h("span", { class: "muted clip" }, one.nodes ? `to ${one.nodes}` : ""), badge(one.error ? "failed" : one.done ? "ok" : "busy"), h("span", { class: "spring" }),
      !one.done && h("button", { class: "button small", type: "button", onclick: one.stop }, "Stop"), one.done && h("button", { class: "button small", type: "button", onclick: one.dismiss }, "Dismiss")),
    !one.done && h("progress", { max: "1", value: one.total ? one.completed / one.total : undefined, "aria-label": `Pull of ${one.model}` }),
    h("span", { class: ["small", one.error ? "bad-text" : "muted"] }, one.error ?? (one.total && !one.done ? `${one.status}: ${bytes(one.completed)} of ${bytes(one.total)}` : one.status)))))));
}
