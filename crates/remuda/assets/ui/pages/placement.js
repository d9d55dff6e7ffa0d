// Where models are wanted, what would bring that about, and what is being done about it.

import { get, post, put, remove } from "../core/api.js";
import { h } from "../core/dom.js";
import { fleet } from "../core/fleet.js";
import { bytes, count, counted, when } from "../core/format.js";
import { link } from "../core/router.js";
import * as dialog from "../widgets/dialog.js";
import { given } from "../widgets/form.js";
import { badge, card, chip, empty, failure, heading, loading, notice } from "../widgets/state.js";

const KINDS = { pull: "fetch", load: "load", unload: "unload", delete: "delete", copy: "copy" };
const MODES = [["suggest", "somebody applies the plan"], ["auto", "Remuda does it by itself"], ["off", "nothing is planned"]];
const TONES = { queued: "queued", running: "running", done: "completed", failed: "failed", cancelled: "cancelled" };

export default {
  title: "Placement",
  needs: "platform",
  open(view) {
    let [plan, policies, past] = [null, [], []];
    const hurry = view.every(5_000, async (signal) => {
      const [made, wanted, acted] = await Promise.all([get("/api/v1/placement/plan", {}, { signal }), get("/api/v1/placement/policies", { limit: 500 }, { signal }), get("/api/v1/placement/actions", { limit: 30 }, { signal })]);
      [plan, policies, past] = [made, wanted.items, acted.items];
    });
    view.watch(fleet);
    view.draw = () => [
      heading("Placement", { sub: plan && `${counted(policies.length, "model")} with something wanted, ${counted(plan.actions.length, "step")} planned`, actions: [h("button", { class: "button primary", type: "button", onclick: () => want(null, hurry) }, "Say what is wanted")] }),
      view.error && failure(view.error, hurry),
      !plan ? !view.error && loading() : [
        plan.reconciler.problem && notice("bad", h("strong", {}, "Nothing is carried out: "), plan.reconciler.problem),
        !plan.reconciler.window_open && notice("warn", "No maintenance window is open: fetching and deleting wait for the next one. Loading and unloading go on."),
        plan.unmet.length > 0 && card("What cannot be had", { flush: true }, h("ul", { class: "lines" }, plan.unmet.map((one, at) => h("li", { key: at }, h("div", { class: "line" }, h("b", {}, h("a", { href: link("/models", one.model) }, one.model)), h("span", { class: "bad-text" }, one.reason)))))),
        planned(plan, hurry), underWay(plan.open, hurry), drift(plan.drift), wants(policies, hurry), history(past),
      ],
    ];
  },
};

/** What would be done, with its reasons, before anything is. */
function planned(plan, hurry) {
  if (plan.actions.length === 0) return card("Plan", {}, h("p", { class: "muted" }, plan.open.length > 0 ? "Nothing beside what is under way." : plan.unmet.length > 0 ? "Nothing that would bring about what is missing." : "The fleet is as it is wanted: nothing is to be done."));
  const waiting = plan.actions.filter((one) => one.mode === "suggest");
  const apply = (chosen) => dialog.confirm(chosen.length === 1 ? `${sentence(chosen[0])}?` : `Carry out ${counted(chosen.length, "step")}?`, [
    h("ul", {}, chosen.slice(0, 12).map((one) => h("li", {}, `${sentence(one)}${one.bytes ? `, ${bytes(one.bytes)}` : ""}`))),
    chosen.length > 12 && h("p", { class: "muted" }, `and ${count(chosen.length - 12)} more`),
    h("p", { class: "muted" }, "Each step is looked at once more right before it is done; what is in use, pinned or the last copy is never taken away."),
  ], "Carry out", async () => {
    const applied = await post("/api/v1/placement/apply", { actions: chosen.map((one) => one.id) });
    hurry();
    return `${counted(applied.items.length, "step")} on the way.`;
  });
  return card("Plan", { flush: true, exports: "placement-plan", aside: waiting.length > 0 && h("button", { class: "button small primary", type: "button", onclick: () => apply(waiting) }, waiting.length === 1 ? "Apply it" : `Apply all ${count(waiting.length)}`) },
    h("div", { class: "grid-frame", tabindex: "0" }, h("table", { class: "grid", "aria-label": "Planned steps" },
      h("thead", {}, h("tr", {}, ["Step", "Model", "Node", "Why", "Then", "Bytes", ""].map((head, at) => h("th", { scope: "col", class: at === 4 || at === 5 ? "not-on-phone" : null }, head || h("span", { class: "offscreen" }, "Actions"))))),
      h("tbody", {}, plan.actions.map((one) => h("tr", { key: one.id },
        h("td", {}, chip(KINDS[one.kind] ?? one.kind, one.kind === "delete" || one.kind === "unload" ? "warn" : null)), h("td", { class: "wide" }, h("a", { href: link("/models", one.model) }, one.model)), h("td", {}, h("a", { href: link("/nodes", one.node) }, one.node), one.from && h("span", { class: "muted small" }, ` from ${one.from}`)),
        h("td", { class: "prose" }, one.why), h("td", { class: "prose not-on-phone" }, one.effect), h("td", { class: "not-on-phone right" }, bytes(one.bytes)),
        h("td", { class: "right" }, one.mode === "suggest" ? h("button", { class: "button small", type: "button", "aria-label": `Apply: ${sentence(one)}`, onclick: () => apply([one]) }, "Apply") : h("span", { class: "muted small" }, "by itself"))))))));
}

const sentence = ({ kind, model, node, from }) => ({ pull: `Fetch ${model} to ${node}`, load: `Load ${model} at ${node}`, unload: `Unload ${model} from ${node}`, delete: `Delete ${model} from ${node}`, copy: `Copy ${model} to ${node}${from ? ` from ${from}` : ""}` })[kind] ?? `${kind} ${model} at ${node}`;

function underWay(list, hurry) {
  if (list.length === 0) return null;
  const cancel = (one) => dialog.confirm(`Call this off: ${sentence(one)}?`, h("p", {}, one.kind === "pull" || one.kind === "copy" ? "What was fetched so far stays at the node, and the next fetch goes on from there." : "It is not done, unless the node has it done already."), "Call it off", async () => {
    await post(`/api/v1/placement/actions/${one.id}/cancel`);
    hurry();
    return "It is called off.";
  });
  return card("Under way", { flush: true, aside: counted(list.length, "step") }, h("ul", { class: "lines" }, list.map((one) => h("li", { key: one.id }, h("div", { class: "line" },
    h("span", { class: "row between" }, h("b", { class: "clip" }, sentence(one)), badge(TONES[one.status] ?? one.status), h("span", { class: "spring" }), h("button", { class: "button small danger-quiet", type: "button", "aria-label": `Cancel: ${sentence(one)}`, onclick: () => cancel(one) }, "Cancel")),
    one.status === "running" && (one.kind === "pull" || one.kind === "copy") && h("progress", { max: "1", value: one.total_bytes ? one.done_bytes / one.total_bytes : undefined, "aria-label": sentence(one) }),
    h("span", { class: "small muted" }, one.total_bytes ? `${bytes(one.done_bytes)} of ${bytes(one.total_bytes)} · ${one.why}` : one.why))))));
}

function drift(list) {
  if (list.length === 0) return null;
  return card("Different files under one name", { flush: true }, h("ul", { class: "lines" }, list.map((one) => h("li", { key: one.model }, h("div", { class: "line" },
    h("b", {}, h("a", { href: link("/models", one.model) }, one.model)),
    one.files.map((side, at) => h("span", { class: "small" }, h("code", {}, side.digest.replace("sha256:", "").slice(0, 12)), ` on ${side.nodes.join(", ")}`, at === 0 ? " · taken to be right" : "")))))));
}

function wants(policies, hurry) {
  const words = (one) => [one.min_on_disk > 0 && `on disk at ${count(one.min_on_disk)}`, one.min_loaded > 0 && `in memory at ${count(one.min_loaded)}`, one.max_loaded && `at most ${count(one.max_loaded)} by demand`, one.pinned.length > 0 && `pinned to ${one.pinned.join(", ")}`, one.keep_warm && "kept warm",
    one.tags.length > 0 && `tagged ${one.tags.join(", ")}`, one.region && `in ${one.region}`, one.min_gpu_memory_bytes && `${bytes(one.min_gpu_memory_bytes)} of GPU memory`, one.retention_days && `unused copies go after ${counted(one.retention_days, "day")}`, one.context && `context ${count(one.context)}`].filter(Boolean).join(" · ") || "nothing";
  const drop = (one) => dialog.confirm(`Want nothing of ${one.model} any more?`, h("p", {}, "Its copies stay where they are; nothing more is planned for it."), "Want nothing", async () => {
    await remove(`/api/v1/placement/policies/${encodeURIComponent(one.model)}`);
    hurry();
    return `Nothing is wanted of ${one.model} any more.`;
  });
  if (policies.length === 0) return card("What is wanted", {}, empty("Nothing is wanted yet", "Say of a model on how many nodes it should be, and in memory where. The plan shows what would be done, and why, before anything is.", h("button", { class: "button primary", type: "button", onclick: () => want(null, hurry) }, "Say what is wanted")));
  return card("What is wanted", { flush: true, exports: "placement-policies", aside: counted(policies.length, "model") }, h("div", { class: "grid-frame", tabindex: "0" }, h("table", { class: "grid", "aria-label": "What is wanted" },
    h("thead", {}, h("tr", {}, ["Model", "Wanted", "Carried out", ""].map((head) => h("th", { scope: "col" }, head || h("span", { class: "offscreen" }, "Actions"))))),
    h("tbody", {}, policies.map((one) => h("tr", { key: one.key }, h("td", {}, h("a", { href: link("/models", one.model) }, one.model)), h("td", { class: "prose wide" }, words(one)), h("td", {}, chip(one.mode)),
      h("td", { class: "right" }, h("button", { class: "button small", type: "button", "aria-label": `Change what is wanted of ${one.model}`, onclick: () => want(one, hurry) }, "Change"), " ", h("button", { class: "button small danger-quiet", type: "button", "aria-label": `Remove what is wanted of ${one.model}`, onclick: () => drop(one) }, "Remove"))))))));
}

/** Asks what is wanted of a model; `one` is what is wanted so far. */
function want(one, hurry) {
  const number = (name, label, help) => ({ name, label, type: "number", min: 0, max: 5_000, value: one?.[name] ?? (name === "min_on_disk" ? 1 : name === "min_loaded" ? 0 : undefined), help });
  dialog.ask(one ? `What is wanted of ${one.model}` : "What is wanted of a model", [
    !one && { name: "model", label: "Model", required: true, help: "As nodes are asked for it, as llama3.2:3b." },
    { name: "mode", label: "Carried out when", type: "select", value: one?.mode ?? "suggest", options: MODES },
    number("min_on_disk", "Nodes with its files, at least"), number("min_loaded", "Nodes with it in memory, at least"), number("max_loaded", "In memory at most, by demand", "Empty: demand adds none."),
    { name: "tags", label: "Only nodes with these tags", type: "list", value: one?.tags ?? [] }, { name: "region", label: "Only nodes in this region", value: one?.region }, { name: "pinned", label: "Pinned to these nodes", type: "list", value: one?.pinned ?? [], help: "They have it whatever else is wanted, and keep it." },
    { name: "keep_warm", label: "In memory whatever the demand", type: "check", value: one?.keep_warm },
    { name: "retention_days", label: "Unused copies go after days", type: "number", min: 1, max: 3_650, value: one?.retention_days, help: "Empty: every copy stays." }, { name: "context", label: "Context that it is loaded with", type: "number", min: 256, max: 10_000_000, value: one?.context },
  ].filter(Boolean), "Save", async ({ model, ...wanted }) => {
    const name = one?.model ?? model;
    await put(`/api/v1/placement/policies/${encodeURIComponent(name)}`, { ...given(wanted), ...(one?.min_gpu_memory_bytes ? { min_gpu_memory_bytes: one.min_gpu_memory_bytes } : {}) });
    hurry();
    return `The plan for ${name} is made anew.`;
  });
}

function history(past) {
  const ended = past.filter((one) => one.ended_at);
  if (ended.length === 0) return null;
  return card("What was done", { flush: true, exports: "placement-actions" }, h("div", { class: "grid-frame", tabindex: "0" }, h("table", { class: "grid", "aria-label": "What was done" },
    h("thead", {}, h("tr", {}, ["Ended", "Step", "How", "Why"].map((head, at) => h("th", { scope: "col", class: at === 3 ? "not-on-phone" : null }, head)))),
    h("tbody", {}, ended.map((one) => h("tr", { key: one.id }, h("td", {}, when(one.ended_at)), h("td", { class: "wide" }, sentence(one)), h("td", {}, badge(TONES[one.status] ?? one.status, one.error)), h("td", { class: "prose not-on-phone" }, one.error ?? one.why)))))));
}
