// All nodes: found, sorted and narrowed at once, also when there are thousands.

import { create, post } from "../core/api.js";
import { h, keep, show } from "../core/dom.js";
import { fleet, reread, SEVERITY } from "../core/fleet.js";
import { count, counted, when } from "../core/format.js";
import { go, link } from "../core/router.js";
import * as dialog from "../widgets/dialog.js";
import { choice, given, search } from "../widgets/form.js";
import { Grid } from "../widgets/grid.js";
import { discovered, invite } from "./joining.js";
import { badge, chip, empty, facts, failure, heading, loading, meter, notice } from "../widgets/state.js";

const STATES = ["ready", "busy", "new", "draining", "suspect", "unhealthy"];

export default {
  title: "Nodes",
  needs: "platform",
  open(view) {
    view.watch(fleet);
    const grid = new Grid(view, { name: "nodes", key: (row) => row.id, columns: COLUMNS, sort: view.query.get("sort") ?? "name", onSort: (sort) => view.narrow({ sort }) });
    const found = discovered(view);
    view.draw = () => {
      const { nodes, at, error } = fleet.get();
      const rows = narrowed(nodes, view.query);
      const kinds = [...new Set(nodes.map((node) => node.server))].sort();
      const regions = [...new Set(nodes.map((node) => node.region).filter(Boolean))].sort();
      return [
        heading("Nodes", { sub: at > 0 && (rows.length === nodes.length ? counted(nodes.length, "node") : `${count(rows.length)} of ${counted(nodes.length, "node")}`), actions: [h("button", { class: "button", type: "button", onclick: () => invite() }, "Invite a machine"), h("button", { class: "button primary", type: "button", onclick: addNode }, "Add a node")] }),
        found(),
        error && failure(error, reread),
        h("div", { class: "toolbar" },
          search("Name, address, model, tag", view.query.get("q"), (q) => view.narrow({ q })),
          choice("State", view.query.get("state"), [["", "All states"], ["sick", "Not well"], ...STATES], (state) => view.narrow({ state })),
          choice("Server", view.query.get("server"), [["", "All servers"], ...kinds], (server) => view.narrow({ server })),
          regions.length > 0 && choice("Region", view.query.get("region"), [["", "All regions"], ...regions], (region) => view.narrow({ region })),
          h("span", { class: "spring" }), grid.exports()),
        at === 0 ? !error && loading() : nodes.length === 0
          ? empty("No nodes yet", "A node is a server that runs models: Ollama, vLLM, llama.cpp, or another one with OpenAI's API.", h("button", { class: "button primary", type: "button", onclick: addNode }, "Add a node"))
          : rows.length === 0 ? empty("No node fits", "Take a filter away.", h("button", { class: "button", type: "button", onclick: () => view.narrow({ q: "", state: "", server: "", region: "" }) }, "Clear filters"))
            : keep(grid.set(rows, view.query.get("sort") ?? "name")),
      ];
    };
    if (view.query.get("add")) { view.narrow({ add: "" }); addNode(); }
  },
};

function narrowed(nodes, query) {
  const [q, state, server, region] = ["q", "state", "server", "region"].map((name) => query.get(name) ?? "");
  const words = q.toLowerCase().split(/\s+/).filter(Boolean);
  return nodes.filter((node) => {
    if (state === "sick" ? SEVERITY[node.state] > 1 : state && node.state !== state) return false;
    if ((server && node.server !== server) || (region && node.region !== region)) return false;
    if (words.length === 0) return true;
    const text = [node.name, node.url, node.server, node.region, ...node.tags, ...node.loaded_models].join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  });
}

const COLUMNS = [
  { id: "name", label: "Name", value: (row) => row.name, cell: (row) => h("a", { href: link("/nodes", row.name) }, h("b", {}, row.name)), wide: true },
  { id: "state", label: "State", value: (row) => row.state, cell: (row) => badge(row.state, row.reason ?? row.last_error) },
  { id: "server", label: "Server", value: (row) => row.server, text: (row) => `${row.server} ${row.version ?? ""}`.trim(), cell: (row) => [row.server, " ", h("span", { class: "muted" }, row.version ?? "")], phone: false },
  { id: "agent", label: "Agent", value: (row) => row.agent?.version ?? "", cell: (row) => agent(row.agent), phone: false },
  { id: "in_flight", label: "Load", value: (row) => row.in_flight, cell: (row) => load(row), right: true },
  { id: "loaded", label: "In memory", value: (row) => row.loaded_models.length, text: (row) => row.loaded_models.join(" "), cell: (row) => h("span", { class: "chips" }, row.loaded_models.slice(0, 2).map((model) => chip(model, "loaded")), row.loaded_models.length > 2 && chip(`+${row.loaded_models.length - 2}`, null, row.loaded_models.join(", "))), wide: true, phone: false },
  { id: "model_count", label: "Models", value: (row) => row.model_count, cell: (row) => count(row.model_count), right: true, phone: false },
  { id: "region", label: "Region", value: (row) => row.region, phone: false },
  { id: "tags", label: "Tags", value: (row) => row.tags.join(" "), cell: (row) => h("span", { class: "chips" }, row.tags.slice(0, 3).map((tag) => chip(tag))), phone: false },
  { id: "last_seen", label: "Heard of", value: (row) => row.last_seen, cell: (row) => when(row.last_seen, "ago"), right: true, phone: false },
];

export function load(node) {
  const places = node.max_in_flight ?? node.slots;
  const words = places ? `${node.in_flight}/${places}` : `${node.in_flight}`;
  return h("span", { class: "load" }, meter(node.in_flight / (places ?? Math.max(8, node.in_flight)), `${node.in_flight} requests under way`), words);
}

/** An agent's version, and what became of the last one that it was given. */
function agent(told) {
  if (!told) return h("span", { class: "muted" }, "–");
  const { under_way: trying, failed } = told.updates ?? {};
  return [told.version ?? h("span", { class: "muted", title: told.problem }, "not linked"), trying && [" ", chip("updating", "loaded")], failed && [" ", chip("not updated", null, failed)]];
}

/** Asks for a node, has the server look at it, and says what was found there. */
function addNode() {
  const seen = h("div", { "aria-live": "polite" });
  const check = h("button", { class: "button", type: "button", onclick: () => look(adding.form.read(), seen, check) }, "Check the address");
  const adding = dialog.ask("Add a node", [
    { name: "name", label: "Name", required: true, placeholder: "gpu1", pattern: "[A-Za-z0-9._\\-]{1,64}", help: "Letters, digits, dot, underscore and hyphen." },
    { name: "url", label: "Address", required: true, placeholder: "http://10.0.0.7:11434", help: "The server is asked at once what it is. Paths such as /v1 are not needed." },
    { name: "api_key", label: "API key", type: "password", help: "If the server demands one. Kept encrypted, never shown." },
    { name: "tags", label: "Tags", type: "list", rows: 1, help: "Separated by commas." },
    { name: "region", label: "Region" },
    { name: "max_in_flight", label: "Most requests at once", type: "number", min: 1, max: 100_000, help: "Without it, what the node tells or experience shows." },
  ], "Check and add", async (values) => {
    const node = await create("/api/v1/nodes", given(values));
    reread();
    found(node);
    return null;
  }, { body: [h("p", { class: "muted" }, "Any server with Ollama's or OpenAI's API."), h("div", { class: "row" }, check), seen] });
}

/** Has the server look at an address, and says what answers there. Nothing is added. */
async function look({ url, api_key: key }, seen, button) {
  if (!url) { show(seen, notice("warn", "Fill in the address first.")); return; }
  button.setAttribute("aria-busy", "true");
  try {
    const answer = await post("/api/v1/nodes/check", given({ url, api_key: key }));
    const models = answer.models ?? [];
    show(seen,
      answer.warning ? notice("warn", answer.warning) : notice("good", `${answer.server}${answer.version ? ` ${answer.version}` : ""} answers at ${answer.url}: ${counted(models.length, "model")}${answer.slots ? `, ${counted(answer.slots, "request")} at the same time` : ""}.`),
      answer.known_as && notice("warn", `This address is the node ${answer.known_as} already.`),
      modelChips(models));
  } catch (error) {
    show(seen, failure(error));
  } finally {
    button.removeAttribute("aria-busy");
  }
}

const modelChips = (models) => models.length > 0 && h("div", { class: "chips" }, models.slice(0, 24).map((model) => chip(model.name, model.loaded && "loaded")), models.length > 24 && chip(`+${models.length - 24}`));

function found(node) {
  const models = node.models ?? [];
  const shown = dialog.open(`${node.name} was added`, h("div", { class: "dialog-body" },
    node.warning ? notice("warn", node.warning) : notice("good", `${node.server}${node.version ? ` ${node.version}` : ""} answers at ${node.url}.`),
    facts(["State", badge(node.state, node.reason)], ["Server", node.server], ["Version", node.version], ["Speaks", node.kind], ["Models", count(models.length)], ["At the same time", node.slots && counted(node.slots, "request")]),
    modelChips(models),
    h("div", { class: "dialog-foot" }, h("button", { class: "button", type: "button", onclick: () => shown.close() }, "Close"), h("button", { class: "button primary", type: "button", onclick: () => { shown.close(); go(link("/nodes", node.name)); } }, "Open the node"))));
}
