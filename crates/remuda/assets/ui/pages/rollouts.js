// New versions of models on their way to all callers: stage, share, what was seen of both versions, and what is waited for.

import { changed, create, get, post } from "../core/api.js";
import { h } from "../core/dom.js";
import { count, counted, figure, when } from "../core/format.js";
import { link } from "../core/router.js";
import * as dialog from "../widgets/dialog.js";
import { given } from "../widgets/form.js";
import { badge, card, chip, empty, facts, failure, heading, loading, notice } from "../widgets/state.js";
import { requestLink } from "./request.js";

export default {
  title: "Roll-outs",
  needs: "platform",
  open(view) {
    let items = null;
    const hurry = view.every(2_000, async (signal) => {
      ({ items } = await get("/api/v1/rollouts", { limit: 50 }, { signal }));
    });
    const begin = () => start(hurry);
    view.draw = () => {
      const open = (items ?? []).filter((one) => one.in_effect);
      const past = (items ?? []).filter((one) => !one.in_effect);
      return [
        heading("Roll-outs", { sub: items && `${counted(open.filter((one) => active(one)).length, "roll-out")} under way`, actions: [h("button", { class: "button primary", type: "button", onclick: begin }, "Roll a version out")] }),
        view.error && failure(view.error, hurry),
        !items ? !view.error && loading() : items.length === 0
          ? empty("Nothing was rolled out yet", "A new version of a model goes to one node and a small share of the callers first, then to more, and back by itself when it fails.", h("button", { class: "button primary", type: "button", onclick: begin }, "Roll a version out"))
          : [open.map((one) => shown(one, hurry)), history(past)],
      ];
    };
  },
};

const active = (one) => one.state === "running" || one.state === "paused";
const stageWords = (stage) => (stage === "node" ? "one node" : stage === "100" ? "all callers" : `${stage} %`);
const percent = (share) => `${figure(share * 100)} %`;

function shown(one, hurry) {
  const button = (verb, words, kind) => h("button", { class: ["button", "small", kind], type: "button", "aria-label": `${words}: ${one.model}`, onclick: () => act(one, verb, words, hurry) }, words);
  const last = one.stage_number === one.stages.length;
  const buttons = active(one)
    ? [button("promote", last ? "Finish" : "Promote", null), one.state === "paused" ? button("resume", "Resume", null) : button("pause", "Pause", null), button("abort", "Abort", "danger-quiet")]
    : [button("close", "Close", "danger-quiet")];
  return card(`${one.model} to ${one.to.model}`, { key: one.id, aside: h("span", { class: "row" }, badge(one.state), buttons) },
    one.state === "rolled_back" ? notice("bad", h("strong", {}, "Taken back: "), one.reason) : one.reason && notice("warn", one.reason),
    one.waits_for && h("p", { class: "muted" }, `Waits: ${one.waits_for}.`),
    h("progress", { max: "100", value: one.share_percent, "aria-label": `Share of the callers of ${one.model} who get ${one.to.model}` }),
    h("p", {}, one.stages.map((stage, at) => [chip(stageWords(stage), at + 1 === one.stage_number ? "loaded" : null), " "])),
    facts(
      ["Share of the callers", `${figure(one.share_percent)} %`], ["Stage", one.stage_number === 0 ? "before the first" : `${count(one.stage_number)} of ${count(one.stages.length)}`],
      ["Node", one.node && h("a", { href: link("/nodes", one.node) }, one.node)], ["Changed", [when(one.updated_at), ` by ${one.changed_by}`]],
      ["Goes on after", `${counted(one.hold_seconds, "second")} and ${counted(one.min_requests, "request")} of the new version`],
      ["Taken back", `when surely more than ${percent(one.max_error_rate)} fail${one.max_slower ? `, or the first token takes ${figure(one.max_slower)} times as long` : ""}`]),
    versions(one),
    one.requests.length > 0 && h("p", {}, "Requests that show it: ", one.requests.map((id, at) => [at > 0 && ", ", requestLink(id)])));
}

function versions(one) {
  const row = (name, version) => h("tr", {}, h("th", { scope: "row" }, name), h("td", { class: "wide" }, h("a", { href: link("/models", version.model) }, version.model)), h("td", { class: "right" }, count(version.requests)), h("td", { class: "right" }, count(version.failed)),
    h("td", { class: "right" }, version.error_rate === undefined ? "–" : percent(version.error_rate)), h("td", { class: "right" }, version.first_token_ms === undefined ? "–" : `${figure(version.first_token_ms)} ms`));
  return h("div", { class: "grid-frame", tabindex: "0" }, h("table", { class: "grid", "aria-label": `Seen of ${one.model} in this stage` },
    h("thead", {}, h("tr", {}, ["Version", "Model", "Requests", "Failed", "Share", "First token"].map((head) => h("th", { scope: "col" }, head)))),
    h("tbody", {}, row("new", one.to), row("old", one.from))));
}

/** Asks first: each of these changes what callers get. */
function act(one, verb, words, hurry) {
  const next = one.stages[one.stage_number];
  const touches = {
    promote: next ? `${next === "node" ? "A small share" : next === "100" ? "All" : `${next} %`} of the callers of ${one.model} get ${one.to.model} from now on, whatever was seen so far.` : `All callers of ${one.model} keep ${one.to.model}, and nothing is watched any more.`,
    pause: `${figure(one.share_percent)} % of the callers go on getting ${one.to.model}, until it is resumed. It is still taken back by itself when it fails.`,
    resume: "It goes on to its next stage by itself, once time and requests are enough.",
    abort: `All callers of ${one.model} get ${one.from.model} at once. Nothing is deleted; requests under way end where they are.`,
    close: `Callers of ${one.model} get what they ask for, or what the configuration says. Say it there first, if they are to keep ${one.state === "done" ? one.to.model : one.from.model}.`,
  };
  // What is done holds for the roll-out as it is seen when it is asked.
  const seen = get(`/api/v1/rollouts/${one.id}`);
  dialog.confirm(`${words} the roll-out of ${one.model}?`, h("p", {}, touches[verb]), words, async () => {
    await post(`/api/v1/rollouts/${one.id}/${verb}`, {}, changed((await seen).etag));
    hurry();
    return { promote: "It goes on.", pause: "It is paused.", resume: "It goes on.", abort: "All callers have the old version.", close: "It is closed." }[verb];
  });
}

function start(hurry) {
  dialog.ask("Roll a version out", [
    { name: "model", label: "Model", required: true, help: "The name that clients ask for, as llama3.2:3b." },
    { name: "to", label: "New version", required: true, help: "Another model, as llama3.2:3b-q8." },
    { name: "stages", label: "Stages", type: "list", value: ["node", "10", "100"], help: "node (one node, a small share) can only be the first; then percent of the callers, which rise to 100." },
    { name: "hold_minutes", label: "Minutes that each stage lasts, at least", type: "number", min: 0, max: 43_200, value: 10 },
    { name: "min_requests", label: "Requests of the new version in each stage, at least", type: "number", min: 1, max: 1_000_000, value: 50 },
    { name: "max_errors", label: "Percent of its requests that may fail", type: "number", min: 0, max: 99, value: 5 },
    { name: "max_slower", label: "Times that its first token may take", type: "number", min: 1, max: 100, help: "Compared with the old version's median. Empty: any." },
  ], "Start", async ({ hold_minutes: minutes, max_errors: errors, ...asked }) => {
    const started = await create("/api/v1/rollouts", { ...given(asked), hold_seconds: Number(minutes) * 60, max_error_rate: Number(errors) / 100 });
    hurry();
    return started.waits_for ? `Started; it waits: ${started.waits_for}` : "Started.";
  });
}

function history(past) {
  if (past.length === 0) return null;
  return card("Before", { flush: true, exports: "rollouts" }, h("div", { class: "grid-frame", tabindex: "0" }, h("table", { class: "grid", "aria-label": "Roll-outs before" },
    h("thead", {}, h("tr", {}, ["Ended", "Model", "To", "How", "Why"].map((head, at) => h("th", { scope: "col", class: at === 4 ? "not-on-phone" : null }, head)))),
    h("tbody", {}, past.map((one) => h("tr", { key: one.id }, h("td", {}, when(one.ended_at ?? one.updated_at)), h("td", {}, one.model), h("td", { class: "wide" }, one.to.model), h("td", {}, badge(one.state)),
      h("td", { class: "prose not-on-phone" }, one.reason ?? "", one.requests.length > 0 && [" ", one.requests.slice(0, 3).map((id, at) => [at > 0 && ", ", requestLink(id)])])))))));
}
