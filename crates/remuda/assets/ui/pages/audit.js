// Who changed what, from where, before and after; and whether the record is as it was written.

import { all, get } from "../core/api.js";
import { h } from "../core/dom.js";
import { count, when } from "../core/format.js";
import { paged } from "../core/paged.js";
import { copy, csv, save } from "../widgets/copy.js";
import { menu } from "../widgets/export.js";
import { choice, search } from "../widgets/form.js";
import { toast } from "../widgets/toast.js";
import { empty, failure, heading, loading, notice } from "../widgets/state.js";

const MOST_EXPORTED = 20_000;
const SPANS = [["", "Any time"], ["1h", "Last hour"], ["24h", "Last day"], ["7d", "Last week"], ["30d", "Last month"]];
const HOURS = { "1h": 1, "24h": 24, "7d": 168, "30d": 720 };

export default {
  title: "Changes",
  needs: "people",
  open(view, rights) {
    // Whole minutes: the same question twice in a minute is the same.
    const since = () => {
      const hours = HOURS[view.query.get("age")];
      return hours ? new Date(Math.floor(Date.now() / 60_000 - hours * 60) * 60_000).toISOString() : null;
    };
    const list = paged(view, "/api/v1/audit", { names: ["action", "actor_id", "subject_id"], more: () => ({ since: since() }), ms: 20_000 });
    let chain = null;
    const verify = () => view.once(async (signal) => { chain = "busy"; view.refresh(); try { chain = await get("/api/v1/audit/verify", {}, { signal }); } catch (error) { chain = null; throw error; } });
    const exported = async (kind) => {
      try {
        const items = await all("/api/v1/audit", { action: view.query.get("action"), actor_id: view.query.get("actor_id"), subject_id: view.query.get("subject_id"), since: since() }, MOST_EXPORTED, view.signal);
        if (kind === "jsonl") save("changes.jsonl", "application/jsonl", items.map((item) => `${JSON.stringify(item)}\n`).join(""));
        else save("changes.csv", "text/csv", csv([["seq", "at", "actor_kind", "actor_name", "action", "subject_kind", "subject_id", "ip", "old", "new"], ...items.map((item) => [item.seq, item.at, item.actor_kind, item.actor_name, item.action, item.subject_kind, item.subject_id, item.ip, item.old && JSON.stringify(item.old), item.new && JSON.stringify(item.new)])]));
        toast(`${count(items.length)} changes saved.`);
      } catch (error) { toast(error.message, "bad"); }
    };
    view.draw = () => [
      heading("Changes", { sub: "Who changed what. Records form a chain of hashes.", actions: rights.platform && [h("button", { class: "button", type: "button", disabled: chain === "busy", onclick: verify }, chain === "busy" ? "Verifying…" : "Verify")] }),
      view.error && failure(view.error, list.again),
      chain && chain !== "busy" && (chain.whole ? notice("good", `All ${count(chain.verified)} records, ${count(chain.first)} to ${count(chain.last)}, are as they were written.`) : notice("bad", h("strong", {}, `Record ${count(chain.broken?.seq)} is not as it was written: `), chain.broken?.reason, " Compare with a backup from before.")),
      h("div", { class: "toolbar" },
        search("Action, as key.create", view.query.get("action"), (action) => list.type({ action })), search("Id of who did it", view.query.get("actor_id"), (id) => list.type({ actor_id: id })), search("Id of what was changed", view.query.get("subject_id"), (id) => list.type({ subject_id: id })),
        choice("Time", view.query.get("age"), SPANS, (age) => list.narrow({ age })), h("span", { class: "spring" }),
        menu("Export", [["Save as JSON lines", () => exported("jsonl")], ["Save as CSV", () => exported("csv")], ["Copy address of this view", () => copy(location.href, "Address copied")]])),
      list.items === null ? !view.error && loading() : list.items.length === 0 ? empty("No change fits", "Actions and ids are whole; take a filter away.") : [table(list), list.cursor && h("div", { class: "row center" }, h("button", { class: "button", type: "button", onclick: list.next }, "Older changes"))],
    ];

    function table({ items }) {
      return h("div", { class: "grid-frame", tabindex: "0" }, h("table", { class: "grid" },
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Time"), h("th", { scope: "col" }, "Action"), h("th", { scope: "col" }, "Who"), h("th", { scope: "col", class: "not-on-phone" }, "What"), h("th", { scope: "col", class: "not-on-phone" }, "From"), h("th", { scope: "col" }, "Before and after"))),
        h("tbody", {}, items.map((item) => h("tr", { key: item.seq },
          h("td", {}, when(item.at)),
          h("td", {}, h("button", { class: "link", type: "button", onclick: () => list.narrow({ action: item.action }) }, item.action)),
          h("td", {}, item.actor_id ? h("button", { class: "link", type: "button", title: item.actor_id, onclick: () => list.narrow({ actor_id: item.actor_id }) }, item.actor_name) : item.actor_name, h("span", { class: "muted" }, ` ${item.actor_kind}`)),
          h("td", { class: "not-on-phone" }, item.subject_kind, item.subject_id && [" ", h("button", { class: "link", type: "button", title: item.subject_id, onclick: () => list.narrow({ subject_id: item.subject_id }) }, item.subject_id.length > 14 ? `${item.subject_id.slice(0, 8)}…` : item.subject_id)]),
          h("td", { class: "not-on-phone", title: item.user_agent }, item.ip ?? "–"),
          h("td", { class: "wide" }, difference(item.old, item.new)))))));
    }
  },
};

/** The fields that became another value, in few words; the whole on demand. */
function difference(old, now) {
  const names = [...new Set([...Object.keys(old ?? {}), ...Object.keys(now ?? {})])].filter((name) => JSON.stringify(old?.[name]) !== JSON.stringify(now?.[name]));
  if (names.length === 0) return h("span", { class: "muted" }, "–");
  const text = (value) => (value === undefined || value === null ? "nothing" : typeof value === "object" ? JSON.stringify(value) : String(value));
  return h("details", { class: "difference" }, h("summary", {}, names.slice(0, 3).join(", "), names.length > 3 && ` and ${names.length - 3} more`),
    h("dl", {}, names.map((name) => h("div", {}, h("dt", {}, name), h("dd", {}, old && h("del", {}, text(old[name])), old && now && " → ", now && h("ins", {}, text(now[name])))))));
}
