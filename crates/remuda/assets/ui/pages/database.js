// How the database is, what is in it, what is slow; cleaning it and replacing the key that seals.

import { get, post } from "../core/api.js";
import { h } from "../core/dom.js";
import { bytes, count, counted, figure, percent, when } from "../core/format.js";
import * as dialog from "../widgets/dialog.js";
import { badge, card, facts, failure, heading, loading } from "../widgets/state.js";

export default {
  title: "Database",
  needs: "platform",
  open(view) {
    let data = null;
    const hurry = view.every(15_000, async (signal) => {
      const part = (name) => get(`/api/v1/system/${name}`, {}, { signal });
      const [database, stats, tables, slow, health] = await Promise.all([part("database"), part("stats"), part("database/tables"), part("database/slow-queries"), get("/health", {}, { signal })]);
      data = { database, stats, tables: tables.items, slow, health };
    });
    const clean = () => dialog.confirm("Remove what has expired?", h("p", {}, "Sessions, invitations, password resets and remembered requests that have ended are deleted. Nothing that still works is touched; the server does the same by itself every few hours."), "Clean", async () => {
      const removed = await post("/api/v1/system/database/clean");
      hurry();
      return `Removed: ${counted(removed.sessions, "session")}, ${counted(removed.invitations, "invitation")}, ${counted(removed.password_resets, "reset")}, ${counted(removed.idempotency_keys, "remembered request")}.`;
    });
    const rotate = () => dialog.confirm("Replace the sealing key?", [h("p", {}, "Every stored secret (credentials of nodes, keys that sign tokens, second factors, kept answers) is sealed with another key while everything goes on."), h("p", { class: "muted" }, "Backups made before need the present key: keep it with them. Where the configuration gives the key, it must hold the next one already.")], "Replace", async () => {
      const done = await post("/api/v1/system/secrets/rotate");
      return `${counted(done.resealed, "secret")} sealed anew${done.unreadable > 0 ? `; ${done.unreadable} could not be opened: enter them again` : ""}.`;
    });
    view.draw = () => [
      heading("Database", { sub: data && `${data.database.engine} ${data.database.server_version}`, actions: [h("button", { class: "button", type: "button", onclick: clean }, "Clean"), h("button", { class: "button", type: "button", onclick: rotate }, "Replace sealing key")] }),
      view.error && failure(view.error, hurry),
      data ? shown(data) : !view.error && loading(),
    ];
  },
};

function shown({ database, stats, tables, slow, health }) {
  return [
    h("div", { class: "columns even" },
      card("Health", {}, facts(...Object.entries(health.components).map(([name, part]) => [name[0].toUpperCase() + name.slice(1), badge(part.status), " ", h("span", { class: "muted" }, part.detail)]),
        ["Size", bytes(database.size_bytes)], ["Connections", `${count(database.connections)}, ${count(database.active)} at work, ${count(database.blocked)} blocked`], ["Longest transaction", `${count(database.oldest_transaction_s)} s`],
        database.cache_hit_ratio !== null && database.cache_hit_ratio !== undefined && ["Found in memory", percent(database.cache_hit_ratio)], database.index_use_ratio !== null && database.index_use_ratio !== undefined && ["By an index", percent(database.index_use_ratio)])),
      card("What is in it", { aside: h("span", { class: "muted" }, "counted ", when(stats.counted_at)) }, facts(
        ["Requests of 24 h", Object.entries(stats.requests).map(([outcome, number], at) => [at > 0 && ", ", `${count(number)} ${outcome.replace("_", " ")}`])], ["Tokens of 24 h", `${figure(stats.prompt_tokens)} in, ${figure(stats.completion_tokens)} out`],
        ["People", `${count(stats.users)}, ${count(stats.users_disabled)} disabled`], ["Organisations", count(stats.organisations)], ["Keys that work", count(stats.keys)], ["Sessions", count(stats.sessions)], ["Nodes stored", count(stats.nodes)], ["Changes of 24 h", count(stats.changes)]))),
    card("Tables", { flush: true, exports: "tables" }, h("div", { class: "grid-frame", tabindex: "0" }, h("table", { class: "grid" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Table"), h("th", { scope: "col", class: "right" }, "Rows, about"), h("th", { scope: "col", class: "right" }, "Size"), h("th", { scope: "col", class: "right not-on-phone" }, "Indexes"), h("th", { scope: "col", class: "right not-on-phone" }, "Dead rows"))),
      h("tbody", {}, tables.map((one) => h("tr", { key: one.name }, h("td", { class: "wide" }, h("code", {}, one.name)), h("td", { class: "right" }, count(one.rows)), h("td", { class: "right" }, one.size_bytes > 0 ? bytes(one.size_bytes) : "–"), h("td", { class: "right not-on-phone" }, one.index_bytes > 0 ? bytes(one.index_bytes) : "–"), h("td", { class: "right not-on-phone" }, count(one.dead_rows)))))))),
    card("Slow statements", { flush: true, exports: slow.available && slow.items.length > 0 && "slow-statements" }, !slow.available ? h("p", { class: "calm-line" }, "This database does not keep count of its statements (PostgreSQL does with pg_stat_statements).") : slow.items.length === 0 ? h("p", { class: "calm-line" }, "None ran more than five times.") : h("div", { class: "grid-frame", tabindex: "0" }, h("table", { class: "grid" },
      h("thead", {}, h("tr", {}, ["Mean ms", "Most ms", "Calls", "Statement"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, slow.items.map((one, at) => h("tr", { key: at }, h("td", {}, figure(one.mean_ms)), h("td", {}, figure(one.max_ms)), h("td", {}, count(one.calls)), h("td", { class: "wide" }, h("code", { class: "clip", title: one.query }, one.query)))))))),
  ];
}
