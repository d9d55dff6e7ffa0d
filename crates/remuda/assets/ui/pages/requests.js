// What was asked lately: narrowed, followed live, exported. Each request leads to its explanation.

import { get } from "../core/api.js";
import { h, keep } from "../core/dom.js";
import { count, figure, span, when } from "../core/format.js";
import { subscribe } from "../core/live.js";
import { link } from "../core/router.js";
import { choice, search } from "../widgets/form.js";
import { Grid } from "../widgets/grid.js";
import { badge, empty, failure, heading, loading } from "../widgets/state.js";

const PAGE = 100;
const SPANS = { "15m": 15 * 60_000, "1h": 3_600_000, "24h": 86_400_000, "7d": 7 * 86_400_000 };

export default {
  title: "Requests",
  needs: "platform",
  open(view) {
    let [items, cursor, asked, busy] = [null, null, "", false];
    const query = () => {
      const age = SPANS[view.query.get("since")];
      return {
        model: view.query.get("model"), node: view.query.get("node"), outcome: view.query.get("outcome"),
        since: age ? new Date(Date.now() - age).toISOString() : null, limit: PAGE,
      };
    };
    /** The first page again; what was loaded further down stays. */
    const hurry = view.every(4_000, async (signal) => {
      const wanted = `${view.query}`;
      const page = await get("/api/v1/inference/requests", query(), { signal });
      if (wanted !== `${view.query}`) return;
      if (wanted !== asked || items === null || items.length <= PAGE) [items, cursor] = [page.items, page.next_cursor];
      else {
        const known = new Set(page.items.map((item) => item.id));
        items = [...page.items, ...items.filter((item) => !known.has(item.id))];
      }
      asked = wanted;
    });
    view.atEnd(subscribe("inference", () => { if (!busy) { busy = true; setTimeout(() => { busy = false; if (!view.stopped) hurry(); }, 700); } }));
    const narrow = (changes) => { view.narrow(changes); hurry(); };
    let typing = null;
    const later = (changes) => { clearTimeout(typing); typing = setTimeout(() => narrow(changes), 300); };
    const older = () => view.once(async (signal) => {
      const page = await get("/api/v1/inference/requests", { ...query(), cursor }, { signal });
      [items, cursor] = [[...items, ...page.items], page.next_cursor];
    });
    const grid = new Grid(view, { name: "requests", key: (row) => row.id, columns: COLUMNS, sort: view.query.get("sort") ?? "", onSort: (sort) => view.narrow({ sort }) });
    view.draw = () => {
      const narrowed = ["model", "node", "outcome", "since"].some((name) => view.query.get(name));
      return [
        heading("Requests", { sub: items && `${count(items.length)}${cursor ? " newest" : ""}, times in your zone` }),
        view.error && failure(view.error, hurry),
        h("div", { class: "toolbar" },
          search("Model", view.query.get("model"), (model) => later({ model })), search("Node", view.query.get("node"), (node) => later({ node })),
          choice("Outcome", view.query.get("outcome"), [["", "All outcomes"], "ok", ["client_error", "client error"], "rejected", "failed", "cancelled", "truncated"], (outcome) => narrow({ outcome })),
          choice("Time", view.query.get("since"), [["", "Any time"], ["15m", "Last 15 min"], ["1h", "Last hour"], ["24h", "Last day"], ["7d", "Last week"]], (since) => narrow({ since })),
          h("span", { class: "spring" }), grid.exports()),
        items === null ? loading() : items.length === 0
          ? empty(narrowed ? "No request fits" : "No requests yet", narrowed ? "Take a filter away. Model and node are whole names." : "Point a client at this address, or try a model in the playground.",
            narrowed ? h("button", { class: "button", type: "button", onclick: () => narrow({ model: "", node: "", outcome: "", since: "" }) }, "Clear filters") : h("a", { class: "button primary", href: link("/playground") }, "Playground"))
          : [keep(grid.set(items, view.query.get("sort") ?? "")), cursor && h("div", { class: "row center" }, h("button", { class: "button", type: "button", onclick: older }, "Older requests"))],
      ];
    };
  },
};

/** Tokens a second after the first one. */
export function speed(row) {
  const stream = row.total_us - (row.first_token_us ?? row.total_us);
  return stream > 1_000 && row.completion_tokens > 1 ? (row.completion_tokens - 1) / (stream / 1e6) : null;
}

export const COLUMNS = [
  { id: "received_at", label: "Time", value: (row) => row.received_at, text: (row) => row.received_at, cell: (row) => h("a", { href: link("/requests", row.id) }, when(row.received_at)) },
  { id: "model", label: "Model", value: (row) => row.model ?? row.requested_model, cell: (row) => h("a", { class: "clip", href: link("/requests", row.id) }, row.model ?? row.requested_model ?? "–"), wide: true },
  { id: "outcome", label: "Outcome", value: (row) => row.outcome, cell: (row) => badge(row.outcome, row.error) },
  { id: "node", label: "Node", value: (row) => row.node, cell: (row) => row.node && h("a", { href: link("/nodes", row.node) }, row.node) },
  { id: "caller", label: "Caller", value: (row) => row.caller, cell: (row) => h("span", { class: "clip", title: `${row.caller_kind} ${row.client_address ?? ""}` }, row.caller), phone: false },
  { id: "status", label: "Status", value: (row) => row.status, right: true, phone: false },
  { id: "queue_us", label: "Waited", value: (row) => row.queue_us, cell: (row) => (row.queue_us > 0 ? span(row.queue_us) : h("span", { class: "muted" }, "–")), right: true, phone: false },
  { id: "first_token_us", label: "First token", value: (row) => row.first_token_us, cell: (row) => span(row.first_token_us), right: true, phone: false },
  { id: "total_us", label: "Total", value: (row) => row.total_us, cell: (row) => span(row.total_us), right: true },
  { id: "prompt_tokens", label: "In", value: (row) => row.prompt_tokens, cell: (row) => count(row.prompt_tokens), right: true, phone: false },
  { id: "completion_tokens", label: "Out", value: (row) => row.completion_tokens, cell: (row) => count(row.completion_tokens), right: true, phone: false },
  { id: "speed", label: "Tok/s", value: speed, cell: (row) => figure(speed(row)), right: true, phone: false },
];
