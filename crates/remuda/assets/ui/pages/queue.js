// Who waits for a node, and for how long probably.

import { get } from "../core/api.js";
import { h, keep } from "../core/dom.js";
import { count, counted, span, when } from "../core/format.js";
import { link } from "../core/router.js";
import { choice, search } from "../widgets/form.js";
import { Grid } from "../widgets/grid.js";
import { chip, empty, failure, heading, loading } from "../widgets/state.js";

export default {
  title: "Queue",
  needs: "platform",
  open(view) {
    let queue = null;
    view.every(1_000, async (signal) => { queue = await get("/api/v1/inference/queue", { limit: 500 }, { signal }); });
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
        !queue ? loading() : queue.waiting === 0
          ? empty("Nobody waits", "Every request has found a free place. Those that come while all nodes are full are shown here, with their place in the line and about how long it takes.", h("a", { class: "button", href: link("/requests") }, "Recent requests"))
          : [keep(grid.set(rows, view.query.get("sort") ?? "")), queue.waiting > queue.items.length && h("p", { class: "muted" }, `The first ${count(queue.items.length)} of ${count(queue.waiting)}.`)],
      ];
    };
  },
};
