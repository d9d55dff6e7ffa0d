// Requests under way: where they are, and how one is cancelled.

import { post } from "../core/api.js";
import { h } from "../core/dom.js";
import { span } from "../core/format.js";
import { link } from "../core/router.js";
import * as dialog from "../widgets/dialog.js";
import { chip } from "../widgets/state.js";
import { requestLink } from "./request.js";

const WORDS = { queued: "waits for a node", waiting: "waits for the first token", answering: "answers" };
const KINDS = { queued: "warn", waiting: null, answering: "loaded" };

/** Asks, and cancels a request. */
export function cancel(item, then) {
  dialog.confirm("Cancel this request?", [
    h("p", {}, `${item.caller} gets an error in place of the rest of the answer of ${item.model}${item.node ? `, and ${item.node} ends its work on it` : ""}.`),
    h("p", { class: "muted" }, "The record of changes says that it was you."),
  ], "Cancel the request", async () => {
    await post(`/api/v1/inference/requests/${encodeURIComponent(item.id)}/cancel`);
    then();
    return "The request is cancelled.";
  });
}

/** The columns of a table of requests under way; `then` is called when one of them was cancelled. */
export const columns = (then) => [
  { id: "id", label: "Request", value: (row) => row.id, cell: (row) => requestLink(row.id) },
  { id: "state", label: "State", value: (row) => row.state, cell: (row) => chip(row.state, KINDS[row.state], WORDS[row.state]) },
  { id: "model", label: "Model", value: (row) => row.model, cell: (row) => h("a", { href: link("/models", row.model) }, row.model), wide: true },
  { id: "node", label: "Node", value: (row) => row.node, cell: (row) => row.node && h("a", { href: link("/nodes", row.node) }, row.node) },
  { id: "caller", label: "Who", value: (row) => row.caller, phone: false },
  { id: "class", label: "Class", value: (row) => row.class, cell: (row) => chip(row.class, row.class), phone: false },
  { id: "operation", label: "Operation", value: (row) => row.operation, phone: false },
  { id: "age_ms", label: "For", value: (row) => row.age_ms, cell: (row) => span(row.age_ms * 1_000), right: true },
  { id: "cancel", label: "", value: () => null, sort: false, cell: (row) => h("button", { class: "button small danger-quiet", type: "button", "aria-label": `Cancel ${row.id}`, onclick: () => cancel(row, then) }, "Cancel"), right: true },
];
