// One request: where its time went, every try, and why each node was chosen; while it is under way, where it is.

import { get } from "../core/api.js";
import { h } from "../core/dom.js";
import { count, counted, figure, moment, shortId, span } from "../core/format.js";
import { link } from "../core/router.js";
import { copyable } from "../widgets/copy.js";
import { parts } from "../widgets/chart.js";
import { badge, card, facts, failure, heading, loading, notice } from "../widgets/state.js";
import { cancel } from "./active.js";
import { speed } from "./requests.js";

const TRIES = 12;

export default {
  title: "Request",
  needs: "platform",
  open(view) {
    let [request, active] = [null, null];
    // The record of a request appears a moment after its end: who comes from the playground is early.
    const load = (left) => view.once(async (signal) => {
      try {
        request = await get(`/api/v1/inference/requests/${encodeURIComponent(view.params.id)}`, {}, { signal });
      } catch (error) {
        if (error.status !== 404) throw error;
        const { items } = await get("/api/v1/inference/active", { limit: 500 }, { signal });
        active = items.find((item) => item.id === view.params.id) ?? null;
        if (!active && left === 0) throw error;
        setTimeout(() => { if (!view.stopped) load(active ? TRIES : left - 1); }, active ? 1_000 : 250);
      }
    });
    load(TRIES);
    view.draw = () => [
      heading(request ? request.model ?? request.requested_model ?? "Request" : "Request", {
        back: { href: link("/requests"), label: "Requests" },
        sub: request ? [badge(request.outcome), ` ${moment(request.received_at)}`] : active && `under way since ${moment(active.received_at)}`,
        actions: !request && active && [h("button", { class: "button danger-quiet", type: "button", onclick: () => cancel(active, view.refresh) }, "Cancel")],
      }),
      view.error ? failure(view.error, () => load(0)) : request ? shown(request) : active ? running(active) : loading(),
    ];
  },
};

const running = (active) => card("Under way", { aside: h("b", {}, span(active.age_ms * 1_000)) }, facts(
  ["State", { queued: "waits for a node", waiting: "waits for the first token", answering: "answers" }[active.state]], ["Model", h("a", { href: link("/models", active.model) }, active.model)],
  ["Node", active.node && h("a", { href: link("/nodes", active.node) }, active.node)], ["Caller", active.caller], ["Class", active.class], ["Waited", span(active.queue_ms * 1_000)], ["Operation", active.operation], ["Id", copyable(active.id)]));

function shown(request) {
  return [
    request.error && notice(request.outcome === "client_error" ? "warn" : "bad", h("strong", {}, `${request.status} `), request.error),
    card("Where the time went", { aside: h("b", {}, span(request.total_us)) }, timeline(request)),
    h("div", { class: "columns even" },
      card("What was asked", {}, facts(
        ["Id", copyable(request.id)], ["Model asked for", request.requested_model], ["Model that answered", request.model && h("a", { href: link("/models", request.model) }, request.model)],
        request.split && ["Chosen by", split(request.split)],
        ["Operation", request.operation], ["Client's dialect", request.dialect], ["Stream", request.stream ? "yes" : "no"],
        ["Caller", `${request.caller} (${request.caller_kind})`], ["From", request.client_address])),
      card("How it went", {}, facts(
        ["Node", request.node && h("a", { href: link("/nodes", request.node) }, request.node)], ["Status", request.status], ["Policy", request.policy],
        ["First token", span(request.first_token_us)], ["Waited", span(request.queue_us)], ["Tokens", `${count(request.prompt_tokens)} in, ${count(request.completion_tokens)} out`],
        ["Speed", speed(request) === null ? null : `${figure(speed(request))} tokens/s`], ["Tried again", count(request.retries)], ["Continued elsewhere", count(request.continued)]))),
    (request.attempts ?? []).map((attempt, at, all) => tried(attempt, at, all.length, request)),
    (request.attempts ?? []).length === 0 && card("Why this node", {}, h("p", { class: "muted" }, "No node was asked: the request ended before one was chosen.")),
  ];
}

/** What a split chose for the caller, and whose it is. */
const split = ({ name, chosen, rollout }) => (rollout
  ? [h("a", { href: link("/rollouts") }, `the roll-out of ${name}`), `: ${chosen}, the ${rollout.version} version${rollout.stage === undefined ? "" : `, stage ${rollout.stage + 1}`}`]
  : `the configuration's split of ${name}: ${chosen}`);

/** Queue, the way to the first token, the answer. */
function timeline(request) {
  const first = request.first_token_us ?? request.total_us;
  const served = request.attempts?.at(-1);
  const tries = Math.max(0, Math.min(first, served?.started_us ?? 0) - request.queue_us);
  const bar = [
    { label: "waiting", kind: "wait", value: request.queue_us, words: span(request.queue_us) },
    tries > 0 && request.attempts.length > 1 && { label: "earlier tries", kind: "retry", value: tries, words: span(tries) },
    { label: request.first_token_us === null ? "until the end" : "to the first token", kind: "first", value: Math.max(0, first - request.queue_us - (request.attempts?.length > 1 ? tries : 0)), words: span(Math.max(0, first - request.queue_us)) },
    request.first_token_us !== null && { label: "answer", kind: "answer", value: Math.max(0, request.total_us - first), words: span(Math.max(0, request.total_us - first)) },
  ];
  return parts(bar.filter(Boolean), "Time");
}

function tried(attempt, at, all, request) {
  const scores = attempt.candidates.map((candidate) => candidate.score).filter((score) => score !== undefined && score !== null);
  const [best, worst] = [Math.max(...scores), Math.min(...scores)];
  const title = all === 1 ? "Why this node" : `Try ${at + 1} of ${all}`;
  return card(title, { key: `try-${at}`, aside: `${attempt.took_us === undefined ? "" : `${span(attempt.took_us)}, `}begun ${span(attempt.started_us)} after arrival` },
    h("p", { class: "decision" }, attempt.node
      ? ["Asked ", h("a", { href: link("/nodes", attempt.node) }, attempt.node), ` for ${attempt.model}`, attempt.joined && `, together with ${counted(attempt.joined.requests - 1, "other request")}`, attempt.continued_after_tokens ? `, after ${counted(attempt.continued_after_tokens, "token")} had been sent` : "", "."]
      : "No candidate could be chosen."),
    attempt.failure && notice("bad", attempt.failure),
    h("table", { class: "scores" }, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Candidate"), h("th", { scope: "col" }, "Score"), h("th", { scope: "col" }, "Why"))),
      h("tbody", {}, [...attempt.candidates].sort((one, other) => (other.score ?? -Infinity) - (one.score ?? -Infinity)).map((candidate) => h("tr", { class: candidate.node === attempt.node ? "chosen" : null },
        h("th", { scope: "row" }, h("a", { href: link("/nodes", candidate.node) }, candidate.node), candidate.node === attempt.node && h("span", { class: "chip loaded" }, "chosen")),
        h("td", {}, score(candidate.score, best, worst)),
        h("td", {}, h("ul", { class: "reasons" }, candidate.reasons.map((reason) => h("li", {}, reason)))))))),
    at === 0 && request.policy && h("p", { class: "muted small" }, `Scored by the policy ${request.policy}; higher is better.`));
}

/** A bar as long as the score is good beside the best one. Scores below zero are costs: there half as costly is twice as good. */
function score(value, best, worst) {
  if (value === undefined || value === null) return h("span", { class: "muted" }, "not possible");
  const share = best === worst ? 1 : best <= 0 ? best / value : worst >= 0 ? value / best : (value - worst) / (best - worst);
  return h("div", { class: "score" }, h("span", { class: "score-bar", "aria-hidden": "true" }, h("span", { style: { width: `${(share * 100).toFixed(1)}%` } })), h("span", {}, Math.abs(value) >= 1_000 ? count(Math.round(value)) : value.toFixed(Math.abs(value) < 10 ? 2 : 1)));
}

export const requestLink = (id) => h("a", { href: link("/requests", id) }, shortId(id));
