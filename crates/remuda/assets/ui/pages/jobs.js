// Answers that are made in the background: one's own, followed, called off, deleted.

import { create, get, post, remove } from "../core/api.js";
import { h, keep } from "../core/dom.js";
import { count, when } from "../core/format.js";
import { subscribe } from "../core/live.js";
import { paged } from "../core/paged.js";
import { go, link } from "../core/router.js";
import * as dialog from "../widgets/dialog.js";
import { choice, search } from "../widgets/form.js";
import { Grid } from "../widgets/grid.js";
import { badge, empty, failure, heading, loading } from "../widgets/state.js";

export const STATES = ["queued", "running", "completed", "failed", "cancelled"];

export default {
  title: "Jobs",
  needs: "inference",
  open(view) {
    const list = paged(view, "/api/v1/inference/jobs", { names: ["state", "model"], ms: 5_000 });
    view.atEnd(subscribe("inference", () => list.hurry()));
    const grid = new Grid(view, { name: "jobs", key: (row) => row.id, columns: columns(list), sort: view.query.get("sort") ?? "", onSort: (sort) => view.narrow({ sort }) });
    view.draw = () => {
      const narrowed = view.query.get("state") || view.query.get("model");
      return [
        heading("Jobs", { sub: list.items && `${count(list.total ?? list.items.length)}, only your own`, actions: [h("button", { class: "button primary", type: "button", onclick: ask }, "New job")] }),
        view.error && failure(view.error, list.hurry),
        h("div", { class: "toolbar" },
          search("Model", view.query.get("model"), (model) => list.type({ model })),
          choice("State", view.query.get("state"), [["", "All states"], ...STATES], (state) => list.narrow({ state })),
          h("span", { class: "spring" }), grid.exports()),
        list.items === null ? !view.error && loading() : list.items.length === 0
          ? empty(narrowed ? "No job fits" : "No jobs yet", narrowed ? "Take a filter away." : "A job is answered in the background, whatever happens to the server meanwhile. Its answer is kept for a while.",
            narrowed ? h("button", { class: "button", type: "button", onclick: () => list.narrow({ state: "", model: "" }) }, "Clear filters") : h("button", { class: "button primary", type: "button", onclick: ask }, "New job"))
          : [keep(grid.set(list.items, view.query.get("sort") ?? "")), list.cursor && h("div", { class: "row center" }, h("button", { class: "button", type: "button", onclick: list.next }, "Older jobs"))],
      ];
    };
  },
};

const columns = (list) => [
  { id: "created_at", label: "Accepted", value: (row) => row.created_at, cell: (row) => h("a", { href: link("/jobs", row.id) }, when(row.created_at)) },
  { id: "model", label: "Model", value: (row) => row.model, cell: (row) => h("a", { class: "clip", href: link("/jobs", row.id) }, row.model), wide: true },
  { id: "state", label: "State", value: (row) => row.state, cell: (row) => badge(row.state, row.error?.message) },
  { id: "kind", label: "Kind", value: (row) => row.kind, phone: false },
  { id: "priority", label: "Class", value: (row) => row.priority, phone: false },
  { id: "attempt", label: "Attempt", value: (row) => row.attempt, cell: (row) => `${row.attempt} of ${row.most_attempts}`, right: true, phone: false },
  { id: "ended_at", label: "Ended", value: (row) => row.ended_at, cell: (row) => when(row.ended_at), right: true, phone: false },
  { id: "actions", label: "", value: () => "", sort: false, right: true, cell: (row) => (ended(row)
    ? h("button", { class: "button small danger-quiet", type: "button", "aria-label": `Delete ${row.id}`, onclick: () => drop(row, list.again) }, "Delete")
    : h("button", { class: "button small danger-quiet", type: "button", "aria-label": `Cancel ${row.id}`, onclick: () => cancel(row, list.again) }, "Cancel")) },
];

export const ended = (job) => Boolean(job.ended_at);

export function cancel(job, then) {
  dialog.confirm("Call this job off?", h("p", {}, `The job for ${job.model} is ended${job.state === "running" ? ", and the node that answers it is told to stop" : " before it begins"}. What it has written so far stays until you delete it.`), "Call it off", async () => {
    await post(`/api/v1/inference/jobs/${job.id}/cancel`);
    then();
    return "The job is called off.";
  });
}

export function drop(job, then) {
  dialog.confirm("Delete this job?", h("p", {}, `The job for ${job.model} and its answer are deleted for good.`), "Delete", async () => {
    await remove(`/api/v1/inference/jobs/${job.id}`);
    then();
    return "The job is deleted.";
  });
}

async function ask() {
  const { data } = await get("/v1/models");
  const models = data.map((model) => model.id);
  dialog.ask("New job", [
    models.length > 0 && models.length <= 500 ? { name: "model", label: "Model", type: "select", value: models[0], options: models } : { name: "model", label: "Model", required: true },
    { name: "content", label: "Question", type: "area", rows: 5, required: true },
    { name: "priority", label: "Class", type: "select", value: "batch", options: [["batch", "batch: when nobody else waits"], "default", "interactive"] },
  ], "Begin", async ({ model, content, priority }) => {
    const job = await create("/api/v1/inference/chat", { model, messages: [{ role: "user", content }], priority });
    go(link("/jobs", job.id));
    return null;
  }, { wide: true });
}
