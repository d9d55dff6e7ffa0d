// Deferred work of the whole server: kinds and what came of them, what has failed for good, when schedules fire.

import { get, post } from "../core/api.js";
import { h, keep } from "../core/dom.js";
import { count, counted, moment, span, when } from "../core/format.js";
import * as dialog from "../widgets/dialog.js";
import { choice } from "../widgets/form.js";
import { Grid } from "../widgets/grid.js";
import { badge, card, chip, empty, failure, heading, loading, notice } from "../widgets/state.js";

/** How many failed jobs are read at a time. */
const AT_ONCE = 50;

export default {
  title: "Deferred work",
  needs: "platform",
  open(view) {
    let [kinds, schedules, dead] = [null, [], { kind: null, items: [], more: false }];
    const chosen = () => view.query.get("kind") || kinds?.find((one) => one.dead > 0)?.kind || kinds?.[0]?.kind;
    const failed = (before, signal) => get("/api/v1/jobs/dead", { kind: chosen(), before, limit: AT_ONCE }, { signal });
    const hurry = view.every(5_000, async (signal) => {
      const [all, fired] = await Promise.all([get("/api/v1/jobs/kinds", {}, { signal }), get("/api/v1/jobs/schedules", {}, { signal })]);
      [kinds, schedules] = [all.items, fired.items];
      const kind = chosen();
      if (!kind) return;
      const { items } = await failed(undefined, signal);
      if (kind !== chosen()) return;
      // What was read beyond the first page stays, less what was begun anew since.
      const older = dead.kind === kind && items.length === AT_ONCE ? dead.items.filter((one) => one.id < items.at(-1).id) : [];
      dead = { kind, items: [...items, ...older], more: older.length > 0 ? dead.more : items.length === AT_ONCE };
    });
    const next = () => view.once(async (signal) => {
      const { items } = await failed(dead.items.at(-1).id, signal);
      dead = { ...dead, items: [...dead.items, ...items], more: items.length === AT_ONCE };
    });
    const table = new Grid(view, { name: "deferred-work", key: (row) => row.kind, columns: columns(view, hurry), sort: view.query.get("sort") ?? "", onSort: (sort) => view.narrow({ sort }) });
    const failures = new Grid(view, { name: "failed-work", key: (row) => row.id, columns: failedColumns(hurry) });
    view.draw = () => {
      const paused = kinds?.filter((one) => one.paused_at) ?? [];
      return [
        heading("Deferred work", { sub: kinds && `${count(sum(kinds, "queued"))} waiting, ${count(sum(kinds, "running"))} under way, ${count(sum(kinds, "dead"))} failed for good` }),
        view.error && failure(view.error, hurry),
        paused.length > 0 && notice("warn", `Nothing more begins of ${paused.map((one) => one.kind).join(", ")} until it is resumed. New ones are accepted.`),
        kinds === null ? !view.error && loading() : [
          card("Kinds", { flush: true, aside: table.exports() }, keep(table.set(kinds, view.query.get("sort") ?? ""))),
          card("Failed for good", { flush: true, aside: [choice("Kind", chosen(), kinds.map((one) => [one.kind, `${one.kind} (${count(one.dead)})`]), (kind) => { view.narrow({ kind }); hurry(); }), failures.exports()] },
            dead.items.length === 0 ? empty(`Nothing of ${chosen()} has failed`, "What fails for good stays here with its reason, and can be begun again, until its time is over.")
              : [keep(failures.set(dead.items)), dead.more && h("div", { class: "row center" }, h("button", { class: "button", type: "button", onclick: next }, "Older ones"))]),
          firing(schedules),
        ],
      ];
    };
  },
};

const sum = (kinds, figure) => kinds.reduce((total, one) => total + one[figure], 0);
const came = ({ completed, retried, failed }) => [`${count(completed)} done`, retried > 0 && `${count(retried)} tried again`, failed > 0 && `${count(failed)} failed`].filter(Boolean).join(", ");

const columns = (view, hurry) => [
  { id: "kind", label: "Kind", value: (row) => row.kind, cell: (row) => [h("b", {}, row.kind), row.paused_at && [" ", chip("paused", "warn", `Since ${moment(row.paused_at)}`)]], wide: true },
  { id: "queued", label: "Waiting", value: (row) => row.queued, cell: (row) => count(row.queued), right: true },
  { id: "running", label: "Under way", value: (row) => row.running, cell: (row) => count(row.running), right: true, phone: false },
  { id: "oldest", label: "Oldest due", value: (row) => row.oldest_due_s, cell: (row) => (row.oldest_due_s > 0 ? span(row.oldest_due_s * 1_000_000) : "none"), right: true, phone: false },
  { id: "hour", label: "Last hour", value: (row) => row.last_hour.completed, cell: (row) => came(row.last_hour), text: (row) => came(row.last_hour), right: true, phone: false },
  { id: "day", label: "Last day", value: (row) => row.last_day.completed, cell: (row) => came(row.last_day), text: (row) => came(row.last_day), right: true, phone: false },
  { id: "dead", label: "Failed", value: (row) => row.dead, cell: (row) => (row.dead > 0 ? h("span", { class: "bad-text" }, count(row.dead)) : "0"), right: true },
  { id: "actions", label: "", value: () => "", sort: false, right: true, cell: (row) => h("span", { class: "row end" },
    row.dead > 0 && h("button", { class: "button small", type: "button", "aria-label": `Begin again what failed of ${row.kind}`, onclick: () => replayAll(row, hurry) }, "Begin again"),
    row.paused_at ? h("button", { class: "button small", type: "button", "aria-label": `Resume ${row.kind}`, onclick: () => view.once(() => resume(row, hurry)) }, "Resume")
      : h("button", { class: "button small danger-quiet", type: "button", "aria-label": `Pause ${row.kind}`, onclick: () => pause(row, hurry) }, "Pause")) },
];

const failedColumns = (hurry) => [
  { id: "ended_at", label: "Failed", value: (row) => row.ended_at, cell: (row) => when(row.ended_at) },
  { id: "lane", label: "Of", value: (row) => row.lane, cell: (row) => h("span", { class: "clip" }, row.lane || "–") },
  { id: "error", label: "Why", value: (row) => row.error, cell: (row) => [badge(row.error_kind), " ", row.error], wide: true },
  { id: "attempt", label: "Attempts", value: (row) => row.attempt, right: true, phone: false },
  { id: "created_at", label: "Accepted", value: (row) => row.created_at, cell: (row) => when(row.created_at), right: true, phone: false },
  { id: "actions", label: "", value: () => "", sort: false, right: true, cell: (row) => h("button", { class: "button small", type: "button", "aria-label": `Begin ${row.id} again`, onclick: () => replay(row, hurry) }, "Begin again") },
];

function pause({ kind, queued }, then) {
  dialog.confirm(`Begin nothing more of ${kind}?`, h("p", {}, `In every process, until it is resumed. What is under way goes on; ${counted(queued, "job")} and whatever is accepted meanwhile ${queued === 1 ? "waits" : "wait"}.`), "Pause", async () => {
    await post(`/api/v1/jobs/kinds/${encodeURIComponent(kind)}/pause`);
    then();
    return `Nothing more of ${kind} begins.`;
  });
}

async function resume({ kind }, then) {
  await post(`/api/v1/jobs/kinds/${encodeURIComponent(kind)}/resume`);
  then();
}

function replayAll({ kind, dead }, then) {
  dialog.confirm(`Begin again what failed of ${kind}?`, h("p", {}, `${dead > 500 ? "The newest 500" : counted(dead, "job")} of ${kind} ${dead === 1 ? "is" : "are"} due again, with all attempts before ${dead === 1 ? "it" : "them"}.`), "Begin again", async () => {
    const { replayed } = await post(`/api/v1/jobs/kinds/${encodeURIComponent(kind)}/replay`);
    then();
    return `${counted(replayed, "job")} of ${kind} due again.`;
  });
}

function replay({ id, kind, lane }, then) {
  dialog.confirm("Begin this job again?", h("p", {}, `The ${kind} job${lane ? ` for ${lane}` : ""} is due again, with all attempts before it.`), "Begin again", async () => {
    await post(`/api/v1/jobs/dead/${id}/replay`);
    then();
    return "The job is due again.";
  });
}

function firing(schedules) {
  if (schedules.length === 0) return null;
  return card("Schedules", { flush: true, exports: "schedules", aside: counted(schedules.length, "schedule") }, h("div", { class: "grid-frame", tabindex: "0" }, h("table", { class: "grid", "aria-label": "Schedules" },
    h("thead", {}, h("tr", {}, ["Schedule", "Begins", "When", "Next", "Last"].map((head, at) => h("th", { scope: "col", class: at === 1 || at === 4 ? "not-on-phone" : null }, head)))),
    h("tbody", {}, schedules.map((one) => h("tr", { key: one.name }, h("td", { class: "wide" }, h("b", {}, one.name)), h("td", { class: "not-on-phone" }, one.kind), h("td", {}, h("code", {}, one.cron), ` ${one.time_zone}`), h("td", {}, when(one.next_at)), h("td", { class: "not-on-phone" }, when(one.last_at))))))));
}
