// Who waits for a node, and for how long probably; and what is under way.

import { get } from "../core/api.js";
import { h, keep } from "../core/dom.js";
import { count, counted, span, when } from "../core/format.js";
import { link } from "../core/router.js";
import { choice, search } from "../widgets/form.js";
import { Grid } from "../widgets/grid.js";
import { card, chip, empty, failure, heading, loading } from "../widgets/state.js";
import { columns as activeColumns } from "./active.js";

export default {
  title: "Queue",
  needs: "platform",
  open(view) {
    let [queue, active] = [null, null];
    const hurry = view.every(1_000, async (signal) => {
      [queue, active] = await Promise.all([get("/api/v1/inference/queue", { limit: 500 }, { signal }), get("/api/v1/inference/active", { limit: 500 }, { signal })]);
    });
    const running = new Grid(view, {
      name: "under way", key: (row) => row.id, columns: activeColumns(hurry),
      sort: view.query.get("active") ?? "", onSort: (sort) => view.narrow({ active: sort }),
    });
    const since = (row) => (Date.now() - new Date(row.since).getTime()) * 1_000;
    const grid = new Grid(view, {
      name: "queue",
      key: (row) => row.index,
      sort: view.query.get("sort") ?? "",
      onSort: (sort) => view.narrow({ sort }),
      columns: [
        { id: "index", label: "#", value: (row) => row.index + 1, right: true },
        { id: "model", label: "Model", value: (row) => row.model, cell: (row) => h("a", { href: link("/models", row.model) }, row.model), wide: true },
        { id: "class", label: "Class", value: (row) => row.class, cell: (row) => chip(row.class, row.class) },
        { id: "tenant", label: "Who", value: (row) => row.tenant },
        { id: "position", label: "Position", value: (row) => row.position, right: true },
        { id: "expected_wait_ms", label: "Will wait about", value: (row) => row.expected_wait_ms, cell: (row) => (row.expected_wait_ms === null || row.expected_wait_ms === undefined ? h("span", { class: "muted" }, "unknown") : span(row.expected_wait_ms * 1_000)), right: true },
        { id: "since", label: "Waits since", value: (row) => row.since, cell: (row) => when(row.since), phone: false },
        { id: "waited", label: "Waited", value: since, cell: (row) => span(Math.max(0, since(row))), right: true },
      ],
    });
    view.draw = () => {
      const [q, kind] = [(view.query.get("q") ?? "").toLowerCase(), view.query.get("class") ?? ""];
      const rows = (queue?.items ?? []).map((item, index) => ({ ...item, index })).filter((row) => (!kind || row.class === kind) && (!q || `${row.model} ${row.tenant}`.toLowerCase().includes(q)));
      return [
        heading("Queue", { sub: queue && `${count(queue.waiting)} waiting, ${counted(queue.running, "request")} under way` }),
        view.error && failure(view.error),
        h("div", { class: "toolbar" }, search("Model or caller", view.query.get("q"), (text) => view.narrow({ q: text })),
          choice("Class", kind, [["", "All classes"], "interactive", "default", "batch"], (value) => view.narrow({ class: value })), h("span", { class: "spring" }), grid.exports()),
        underWay(active, running, q, kind, view),
        h("h2", {}, "Waiting"),
        !queue ? loading() : queue.waiting === 0
          ? empty("Nobody waits", "Every request has found a free place. Those that come while all nodes are full are shown here, with their place in the line and about how long it takes.", h("a", { class: "button", href: link("/requests") }, "Recent requests"))
          : [keep(grid.set(rows, view.query.get("sort") ?? "")), queue.waiting > queue.items.length && h("p", { class: "muted" }, `The first ${count(queue.items.length)} of ${count(queue.waiting)}.`)],
      ];
    };
  },
};

/** The requests that have not ended, those who wait included. */
function underWay(active, grid, q, kind, view) {
  if (!active) return null;
  const rows = active.items.filter((row) => (!kind || row.class === kind) && (!q || `${row.model} ${row.caller} ${row.node ?? ""}`.toLowerCase().includes(q)));
  return card("Under way", { flush: true, aside: active.total > active.items.length ? `the earliest ${count(active.items.length)} of ${count(active.total)}` : counted(active.total, "request") },
    rows.length === 0 ? h("p", { class: "calm-line" }, active.total === 0 ? "Nothing is under way." : "None fits.") : keep(grid.set(rows, view.query.get("active") ?? "")));
}
