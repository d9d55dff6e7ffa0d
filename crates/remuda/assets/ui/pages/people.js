// The people of the organisation, or of all of them: roles, disabling, lost passwords, sessions.

import { changed, create, get, patch, post, remove } from "../core/api.js";
import { h, keep } from "../core/dom.js";
import { count, moment, program, when } from "../core/format.js";
import { paged } from "../core/paged.js";
import * as dialog from "../widgets/dialog.js";
import { choice, given, search } from "../widgets/form.js";
import { menu } from "../widgets/export.js";
import { Grid } from "../widgets/grid.js";
import { badge, empty, failure, heading, loading } from "../widgets/state.js";

export const ROLES = [["user", "user: inference"], ["viewer", "viewer: looks only"], ["operator", "operator"], ["admin", "admin: everything of the organisation"]];

export default {
  title: "People",
  needs: "people",
  open(view, rights) {
    const list = paged(view, "/api/v1/users", { names: ["q", "role", "disabled", "sort"] });
    let organisations = [];
    if (rights.people) view.once(async (signal) => { organisations = (await get("/api/v1/organisations", { limit: 500 }, { signal })).items; });
    const orgName = (id) => organisations.find((one) => one.id === id)?.name;
    const grid = new Grid(view, {
      name: "people", key: (row) => row.id, sort: view.query.get("sort") ?? "", onSort: (sort) => view.narrow({ sort }),
      columns: [
        { id: "name", label: "Name", value: (row) => row.username, cell: (row) => [h("b", {}, row.username), row.display_name && h("span", { class: "muted" }, ` ${row.display_name}`)], wide: true },
        { id: "role", label: "Role", value: (row) => row.role, sort: false },
        { id: "state", label: "State", value: (row) => (row.disabled_at ? "disabled" : "active"), cell: (row) => badge(row.disabled_at ? "disabled" : "active"), sort: false },
        { id: "org", label: "Organisation", value: (row) => orgName(row.org_id), phone: false, sort: false },
        { id: "email", label: "Address", value: (row) => row.email, phone: false, sort: false },
        { id: "created_at", label: "Since", value: (row) => row.created_at, cell: (row) => when(row.created_at), right: true, phone: false },
        { id: "actions", label: "", value: () => "", sort: false, right: true, cell: (row) => actions(row, list, view.me) },
      ],
    });
    view.draw = () => [
      heading("People", { sub: list.total !== null && `${count(list.total)} in all`, actions: [h("button", { class: "button primary", type: "button", onclick: () => make(list, organisations) }, "New person")] }),
      view.error && failure(view.error, list.again),
      h("div", { class: "toolbar" }, search("Name", view.query.get("q"), (q) => list.type({ q })),
        choice("Role", view.query.get("role"), [["", "All roles"], "admin", "operator", "user", "viewer"], (role) => list.narrow({ role })),
        choice("State", view.query.get("disabled"), [["", "All"], ["false", "active"], ["true", "disabled"]], (disabled) => list.narrow({ disabled })), h("span", { class: "spring" }), grid.exports()),
      list.items === null ? !view.error && loading() : list.items.length === 0 ? empty("Nobody fits", "Take a filter away.") : [keep(grid.set(list.items, view.query.get("sort") ?? "")), list.cursor && h("div", { class: "row center" }, h("button", { class: "button", type: "button", onclick: list.next }, "More"))],
    ];
  },
};

function actions(row, list, me) {
  const own = me.id === row.id;
  return menu("Actions", [
    ["Change role", () => change(row, list)], ["Sessions", () => sessions(row)], !own && ["Reset password", () => reset(row)], !own && ["Remove second factor", () => withoutFactor(row)],
    !own && (row.disabled_at ? ["Enable", () => turn(row, list, false)] : ["Disable", () => turn(row, list, true)]),
  ], { "aria-label": `Actions for ${row.username}` });
}

function make(list, organisations) {
  dialog.ask("New person", [
    { name: "username", label: "Name to sign in with", required: true },
    { name: "password", label: "First password", type: "password", required: true, min: 8, autocomplete: "new-password", help: "At least 8 characters. They can change it under Account." },
    { name: "role", label: "Role", type: "select", value: "user", options: ROLES },
    organisations.length > 1 && { name: "org_id", label: "Organisation", type: "select", value: "", options: [["", "your own"], ...organisations.map((one) => [one.id, one.name])] },
  ], "Make", async (values) => { const made = await create("/api/v1/users", given(values)); list.again(); return `${made.username} can sign in.`; });
}

async function change(row, list) {
  const person = await get(`/api/v1/users/${row.id}`);
  dialog.ask(`Role of ${person.username}`, [{ name: "role", label: "Role", type: "select", value: person.role, options: ROLES, help: "In effect at once, also for their keys." }], "Save", async (values) => {
    await patch(`/api/v1/users/${person.id}`, values, changed(person.etag));
    list.again();
    return `${person.username} is ${values.role} now.`;
  });
}

function turn(row, list, disabled) {
  const run = async () => { await patch(`/api/v1/users/${row.id}`, { disabled }); list.again(); return `${row.username} is ${disabled ? "disabled" : "enabled"}.`; };
  if (disabled) dialog.confirm(`Disable ${row.username}?`, h("p", {}, `${row.username} cannot sign in any more, all their sessions end, and their keys stop at once. Enabling undoes it; the sessions stay ended.`), "Disable", run);
  else dialog.ask(`Enable ${row.username}?`, [], "Enable", run, { body: h("p", {}, `${row.username} can sign in again, and their keys work again.`) });
}

function reset(row) {
  dialog.confirm(`Reset the password of ${row.username}?`, h("p", {}, `You get a token for ${row.username} that works once within a day. Their password works until they use it; then all their sessions end.`), "Make a token", async () => {
    const made = await post(`/api/v1/users/${row.id}/password-reset`);
    dialog.secret(`Token for ${row.username}`, made.token, `Hand it over in private: it sets a new password (Sign in, Lost password) until ${moment(made.expires_at)}.`);
    return null;
  });
}

function withoutFactor(row) {
  dialog.confirm(`Remove the second factor of ${row.username}?`, h("p", {}, `${row.username} signs in with the password alone until they enrol an authenticator again. For who has lost device and recovery codes.`), "Remove", async () => { await remove(`/api/v1/users/${row.id}/totp`); return `${row.username} signs in with the password alone.`; });
}

async function sessions(row) {
  const page = await get(`/api/v1/users/${row.id}/sessions`, { limit: 100 });
  const shown = dialog.open(`Sessions of ${row.username}`, h("div", { class: "dialog-body" },
    page.items.length === 0 ? h("p", {}, "None.") : h("table", { class: "grid" }, h("thead", {}, h("tr", {}, ["Since", "Last used", "From", "With"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, page.items.map((one) => h("tr", {}, h("td", {}, when(one.created_at)), h("td", {}, when(one.last_used_at, "ago")), h("td", {}, one.ip ?? "–"), h("td", { class: "wide", title: one.user_agent }, program(one.user_agent)))))),
    h("div", { class: "dialog-foot" }, h("button", { class: "button", type: "button", onclick: () => shown.close() }, "Close"),
      page.items.length > 0 && h("button", { class: "button danger", type: "button", onclick: () => { shown.close(); dialog.confirm(`Sign ${row.username} out everywhere?`, h("p", {}, `All ${page.items.length} sessions of ${row.username} end at once. Keys are not touched.`), "Sign out", async () => { await remove(`/api/v1/users/${row.id}/sessions`); return `${row.username} is signed out.`; }); } }, "Sign out everywhere"))), { wide: true });
}
