// What came of requests by the hour, day and week: who used what, and how long it took.

import { get } from "../core/api.js";
import { h, keep } from "../core/dom.js";
import { count, counted, figure, span } from "../core/format.js";
import { link } from "../core/router.js";
import { plot } from "../widgets/chart.js";
import { choice, search } from "../widgets/form.js";
import { Grid } from "../widgets/grid.js";
import { card, empty, failure, heading, loading } from "../widgets/state.js";

const HOUR_MS = 3_600_000;
const LENGTH = { hour: HOUR_MS, day: 24 * HOUR_MS, week: 168 * HOUR_MS };
const BACK = { hour: 48, day: 30, week: 12 };
const SPANS = [["hour", "By the hour, 2 days"], ["day", "By the day, 30 days"], ["week", "By the week, 12 weeks"]];
const PARTS = [["", "All together"], ["model", "By model"], ["node", "By node"], ["operation", "By operation"], ["model,node", "By model and node"], ["model,operation", "By model and operation"]];

export default {
  title: "Usage",
  needs: "platform",
  open(view) {
    let [rows, asked] = [null, ""];
    const query = () => ({ span: view.query.get("span") || "day", by: view.query.get("by") || null, model: view.query.get("model") || null, node: view.query.get("node") || null });
    const hurry = view.every(10_000, async (signal) => {
      const wanted = query();
      const page = await get("/api/v1/statistics/requests", wanted, { signal });
      [rows, asked] = [page.items.map((item, index) => ({ ...item, index })), wanted.span];
    });
    const narrow = (changes) => { view.narrow(changes); hurry(); };
    const grids = new Map();
    const grid = (by) => {
      if (!grids.has(by)) grids.set(by, new Grid(view, { name: "usage", key: (row) => row.index, columns: columns(by), sort: view.query.get("sort") ?? "", onSort: (sort) => view.narrow({ sort }) }));
      return grids.get(by);
    };
    view.draw = () => {
      const { span: length, by, model, node } = query();
      const table = grid(by ?? "");
      const narrowed = model || node;
      return [
        heading("Usage", { sub: rows && `${counted(sum(rows, "requests"), "request")}, ${count(sum(rows, "prompt_tokens") + sum(rows, "completion_tokens"))} tokens` }),
        view.error && failure(view.error, hurry),
        h("div", { class: "toolbar" },
          choice("Time", length, SPANS, (value) => narrow({ span: value })), choice("Told apart", by ?? "", PARTS, (value) => narrow({ by: value })),
          search("Model", model, (value) => narrow({ model: value })), search("Node", node, (value) => narrow({ node: value })), h("span", { class: "spring" }), table.exports()),
        rows === null ? !view.error && loading() : rows.length === 0
          ? empty(narrowed ? "Nothing fits" : "No requests in this time", narrowed ? "Names are whole; take a filter away." : "Requests are counted some seconds after their end, and stay counted when their records are gone.",
            narrowed ? h("button", { class: "button", type: "button", onclick: () => narrow({ model: "", node: "" }) }, "Clear filters") : h("a", { class: "button", href: link("/playground") }, "Try a model"))
          : [plots(rows, asked), keep(table.set([...rows].reverse(), view.query.get("sort") ?? "")), h("p", { class: "muted" }, "Hours, days and weeks are those of UTC. p50 and p99 are read off between six counts.")],
      ];
    };
  },
};

const sum = (rows, name) => rows.reduce((all, row) => all + row[name], 0);
const bad = (row) => row.failed + row.truncated;

function columns(by) {
  const apart = (name, path) => by.split(",").includes(name) && { id: name, label: name[0].toUpperCase() + name.slice(1), value: (row) => row[name], wide: name === "model", cell: (row) => (row[name] ? (path ? h("a", { href: link(path, row[name]) }, row[name]) : row[name]) : h("span", { class: "muted" }, "none")) };
  return [
    { id: "starts_at", label: "From", value: (row) => row.starts_at, cell: (row) => row.starts_at.slice(0, 16).replace("T", " ").replace(/ 00:00$/, "") },
    apart("model", "/models"), apart("node", "/nodes"), apart("operation"),
    { id: "requests", label: "Requests", value: (row) => row.requests, cell: (row) => count(row.requests), right: true },
    { id: "bad", label: "Ended badly", value: bad, cell: (row) => (bad(row) > 0 ? h("span", { class: "bad-text" }, count(bad(row))) : "none"), right: true },
    { id: "turned_away", label: "Turned away", value: (row) => row.rejected, cell: (row) => count(row.rejected), right: true, phone: false },
    { id: "prompt_tokens", label: "Tokens in", value: (row) => row.prompt_tokens, cell: (row) => count(row.prompt_tokens), right: true, phone: false },
    { id: "completion_tokens", label: "Tokens out", value: (row) => row.completion_tokens, cell: (row) => count(row.completion_tokens), right: true },
    { id: "first_token_p50_us", label: "First token p50", value: (row) => row.first_token_p50_us, cell: (row) => span(row.first_token_p50_us), right: true, phone: false },
    { id: "first_token_p99_us", label: "p99", value: (row) => row.first_token_p99_us, cell: (row) => span(row.first_token_p99_us), right: true, phone: false },
    { id: "first_token_most_us", label: "longest", value: (row) => row.first_token_most_us, cell: (row) => span(row.first_token_most_us), right: true, phone: false },
    { id: "queue_us", label: "Waited, mean", value: (row) => row.queue_us, cell: (row) => span(row.queue_us), right: true, phone: false },
    { id: "total_p50_us", label: "Total p50", value: (row) => row.total_p50_us, cell: (row) => span(row.total_p50_us), right: true, phone: false },
  ].filter(Boolean);
}

/** Sums over whatever is told apart, by time; times without requests are noughts. */
function plots(rows, length) {
  const step = LENGTH[length];
  const to = Date.now();
  const at = (row) => new Date(row.starts_at).getTime();
  const last = Math.max(...rows.map(at), Math.floor(to / step) * step - (length === "week" ? step : 0));
  const from = last - (BACK[length] - 1) * step;
  const series = (value) => {
    const sums = new Map();
    for (const row of rows) sums.set(at(row), (sums.get(at(row)) ?? 0) + value(row));
    return Array.from({ length: BACK[length] }, (_, index) => [from + index * step, sums.get(from + index * step) ?? 0]);
  };
  const shared = { from, to: last, gap: 2 * step };
  return h("div", { class: "columns even" },
    card("Requests", {}, plot({ label: `Requests by the ${length}`, ...shared, series: [{ label: "all", kind: "one", points: series((row) => row.requests) }, { label: "ended badly", kind: "bad", points: series(bad) }] })),
    card("Tokens", {}, plot({ label: `Tokens by the ${length}`, ...shared, unit: figure, series: [{ label: "of answers", kind: "two", points: series((row) => row.completion_tokens) }, { label: "of prompts", kind: "one", points: series((row) => row.prompt_tokens) }] })));
}
