// Small signs: states, outcomes, notices, what to say when there is nothing to show or something went wrong.

import { h } from "../core/dom.js";
import { NOTHING } from "../core/format.js";
import { exportShown } from "./export.js";

const TONES = {
  ready: "good", busy: "good", new: "calm", draining: "warn", suspect: "warn", unhealthy: "bad",
  ok: "good", degraded: "warn", down: "bad",
  client_error: "warn", rejected: "warn", failed: "bad", cancelled: "calm", truncated: "bad",
  queued: "calm", running: "good", completed: "good",
  paused: "warn", done: "good", rolled_back: "bad", aborted: "calm",
  updated: "good", waiting: "calm", under_way: "warn", away: "warn", left_out: "calm", asked: "calm",
  active: "good", revoked: "calm", expired: "calm", owner_disabled: "warn",
};
const WORDS = { client_error: "client error", rolled_back: "rolled back", under_way: "under way", left_out: "left out", owner_disabled: "owner disabled" };

/** A state with its colour; the word says the same, so that nobody needs to see the colour. */
export function badge(state, title) {
  if (!state) return h("span", { class: "muted" }, NOTHING);
  return h("span", { class: ["badge", TONES[state] ?? "calm"], title }, h("i", { class: "dot", "aria-hidden": "true" }), WORDS[state] ?? state);
}

export const tone = (state) => TONES[state] ?? "calm";

export const chip = (text, kind, title) => h("span", { class: ["chip", kind], title: title ?? text }, text);

/** A bar of a share from 0 to 1, with its meaning in words. */
export function meter(share, label, kind) {
  const full = Math.max(0, Math.min(1, share || 0));
  return h("span", { class: ["meter", kind ?? (full > 0.95 ? "warn" : "")], role: "img", "aria-label": label, title: label }, h("span", { style: { width: `${(full * 100).toFixed(1)}%` } }));
}

/** What to say where a list is empty, with what to do next. */
export const empty = (title, advice, ...actions) => h("div", { class: "empty" }, h("p", { class: "empty-title" }, title), advice && h("p", {}, advice), actions.length > 0 && h("div", { class: "row center" }, actions));

/** What went wrong: in the server's words, which say what to do. */
export function failure(error, retry) {
  return h("div", { class: "notice bad", role: "alert" },
    h("div", {}, h("strong", {}, error.offline ? "Not reachable. " : error.title ? `${error.title}. ` : ""), error.message,
      error.requestId && h("div", { class: "muted small" }, "Request ", h("code", {}, error.requestId))),
    retry && h("button", { class: "button small", onclick: retry }, "Try again"));
}

export const notice = (kind, ...content) => h("div", { class: ["notice", kind], role: kind === "bad" ? "alert" : "note" }, h("div", {}, content));

export const loading = (words = "Loading…") => h("p", { class: "loading", role: "status" }, words);

/** A name with its value, for details. */
export const facts = (...pairs) => h("dl", { class: "facts" }, pairs.filter(Boolean).map(([name, ...value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value.length === 1 && (value[0] === null || value[0] === undefined || value[0] === false || value[0] === "") ? NOTHING : value))));

/** The head of a page. */
export const heading = (title, { sub, back, actions } = {}) => h("header", { class: "page-head" },
  h("div", { class: "page-title" }, back && h("a", { class: "back", href: back.href }, "‹ ", back.label), h("h1", { tabindex: "-1" }, title), sub && h("div", { class: "sub" }, sub)),
  actions && h("div", { class: "row" }, actions));

/** A part of a page. `exports` names what its table is saved as. */
export const card = (title, { aside, flush, key, exports } = {}, ...content) => h("section", { class: ["card", flush && "flush"], key },
  title && h("div", { class: "card-head" }, h("h2", {}, title), (aside || exports) && h("div", { class: "row small" }, aside, exports && exportShown(exports))), content);
