// Later versions for agents: the releases that are kept, and how each agent stands towards the version that is rolled out.

import { changed, create, get, post, remove } from "../core/api.js";
import { h } from "../core/dom.js";
import { bytes, count, counted, when } from "../core/format.js";
import { link } from "../core/router.js";
import * as dialog from "../widgets/dialog.js";
import { badge, card, chip, empty, facts, failure, heading, loading, notice } from "../widgets/state.js";

export default {
  title: "Agent updates",
  needs: "platform",
  open(view) {
    let rollouts = null;
    let releases = null;
    const hurry = view.every(2_000, async (signal) => {
      [{ items: rollouts }, { items: releases }] = await Promise.all([get("/api/v1/agent-rollouts", { limit: 20 }, { signal }), get("/api/v1/agent-releases", {}, { signal })]);
    });
    view.draw = () => {
      const open = (rollouts ?? []).filter(active);
      const past = (rollouts ?? []).filter((one) => !active(one));
      const begin = releases?.some((one) => one.complete) && open.length === 0 && h("button", { class: "button primary", type: "button", onclick: () => start(releases, hurry) }, "Give agents a version");
      return [
        heading("Agent updates", { sub: releases && counted(releases.length, "release"), actions: [begin].filter(Boolean) }),
        view.error && failure(view.error, hurry),
        !rollouts ? !view.error && loading() : [open.map((one) => shown(one, hurry)), kept(releases, hurry), history(past)],
      ];
    };
  },
};

const active = (one) => one.state === "running" || one.state === "paused";
const stageWords = (stage) => (stage === "node" ? "one agent" : stage === "100" ? "all agents" : `${stage} %`);

function shown(one, hurry) {
  const button = (verb, words, kind) => h("button", { class: ["button", "small", kind], type: "button", onclick: () => act(one, verb, words, hurry) }, words);
  return card(`Agents to ${one.version}`, { key: one.id, aside: h("span", { class: "row" }, badge(one.state), one.state === "paused" ? button("resume", "Resume", null) : button("pause", "Pause", null), button("abort", "Abort", "danger-quiet")) },
    one.reason && notice("warn", one.reason),
    one.waits_for && h("p", { class: "muted" }, `Waits: ${one.waits_for}.`),
    h("p", {}, one.stages.map((stage, at) => [chip(stageWords(stage), at + 1 === one.stage_number ? "loaded" : null), " "])),
    facts(["Stage", `${count(one.stage_number)} of ${count(one.stages.length)}`], ["Changed", [when(one.updated_at), ` by ${one.changed_by}`]],
      ["Goes on after", `${counted(one.hold_seconds, "second")} with all of a stage on the version`], ["Ends", `when an agent is not there within ${counted(one.patience_seconds, "second")}, or goes back`]),
    agents(one));
}

const agents = (one) => one.agents.length > 0 && h("div", { class: "grid-frame", tabindex: "0" }, h("table", { class: "grid", "aria-label": `Agents and version ${one.version}` },
  h("thead", {}, h("tr", {}, ["Node", "Stands", "Stage", "Why"].map((head) => h("th", { scope: "col" }, head)))),
  h("tbody", {}, one.agents.slice(0, 500).map((agent) => h("tr", { key: agent.node }, h("td", {}, h("a", { href: link("/nodes", agent.node) }, agent.node)), h("td", {}, badge(agent.standing)), h("td", { class: "right" }, count(agent.stage)), h("td", { class: "prose wide" }, agent.reason ?? ""))))));

/** Asks first: each of these changes what runs on machines. */
function act(one, verb, words, hurry) {
  const touches = {
    pause: "No further agent is asked until it is resumed. Those that were asked go on, and one that fails still ends it.",
    resume: "It asks further agents by itself.",
    abort: "No further agent is asked. Agents that have the version keep it.",
  };
  const seen = get(`/api/v1/agent-rollouts/${one.id}`);
  dialog.confirm(`${words} the roll-out of ${one.version}?`, h("p", {}, touches[verb]), words, async () => {
    await post(`/api/v1/agent-rollouts/${one.id}/${verb}`, {}, changed((await seen).etag));
    hurry();
    return { pause: "It is paused.", resume: "It goes on.", abort: "It has ended." }[verb];
  });
}

function start(releases, hurry) {
  const versions = [...new Set(releases.filter((one) => one.complete).map((one) => one.version))];
  dialog.ask("Give agents a version", [
    { name: "version", label: "Version", required: true, value: versions[0], help: `Of the releases that are here: ${versions.join(", ")}.` },
    { name: "stages", label: "Stages", type: "list", value: ["node", "10", "100"], help: "node (one agent) can only be the first; then percent of the agents, which rise to 100." },
    { name: "hold_minutes", label: "Minutes that a stage lasts on the version", type: "number", min: 0, max: 43_200, value: 5 },
    { name: "patience_minutes", label: "Minutes that an agent may take", type: "number", min: 1, max: 1_440, value: 15 },
  ], "Start", async ({ hold_minutes: hold, patience_minutes: patience, ...asked }) => {
    const started = await create("/api/v1/agent-rollouts", { ...asked, hold_seconds: Number(hold) * 60, patience_seconds: Number(patience) * 60 });
    hurry();
    return started.waits_for ? `Started; it waits: ${started.waits_for}` : "Started.";
  });
}

function kept(releases, hurry) {
  const drop = (one) => dialog.confirm(`Remove the release ${one.id}?`, h("p", {}, "Agents that have it keep it. It can be uploaded again."), "Remove", async () => {
    await remove(`/api/v1/agent-releases/${one.id}`);
    hurry();
    return "It is removed.";
  });
  if (releases.length === 0) return empty("No releases yet", "Sign a later version on your machine with `remuda agent-release sign`, and bring it here with `remuda agent-release upload`. Agents take it where they were started with your key.");
  return card("Releases", { flush: true, exports: "agent-releases" }, h("div", { class: "grid-frame", tabindex: "0" }, h("table", { class: "grid", "aria-label": "Releases" },
    h("thead", {}, h("tr", {}, ["Version", "For", "Size", "Signed with", "Added", ""].map((head, at) => h("th", { scope: "col", class: at === 3 ? "not-on-phone" : null }, head)))),
    h("tbody", {}, releases.map((one) => h("tr", { key: one.id }, h("td", {}, one.version, !one.complete && [" ", chip("waits for its program")]), h("td", {}, one.target), h("td", { class: "right" }, bytes(one.size_bytes)), h("td", { class: "wide not-on-phone" }, h("code", {}, one.update_key)),
      h("td", {}, when(one.created_at), ` by ${one.created_by}`), h("td", {}, h("button", { class: "button small danger-quiet", type: "button", "aria-label": `Remove ${one.id}`, onclick: () => drop(one) }, "Remove"))))))));
}

function history(past) {
  if (past.length === 0) return null;
  return card("Before", { flush: true, exports: "agent-rollouts" }, h("div", { class: "grid-frame", tabindex: "0" }, h("table", { class: "grid", "aria-label": "Roll-outs to agents before" },
    h("thead", {}, h("tr", {}, ["Ended", "Version", "How", "Why"].map((head) => h("th", { scope: "col" }, head)))),
    h("tbody", {}, past.map((one) => h("tr", { key: one.id }, h("td", {}, when(one.ended_at ?? one.updated_at)), h("td", {}, one.version), h("td", {}, badge(one.state)), h("td", { class: "prose wide" }, one.reason ?? "")))))));
}
