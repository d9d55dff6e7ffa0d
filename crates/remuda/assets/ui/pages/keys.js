// API keys: who may use what, how much, until when.

import { changed, create, get, patch, remove } from "../core/api.js";
import { h, keep } from "../core/dom.js";
import { ago, count, figure, moment, when } from "../core/format.js";
import { paged } from "../core/paged.js";
import * as dialog from "../widgets/dialog.js";
import { choice, given, search } from "../widgets/form.js";
import { Grid } from "../widgets/grid.js";
import { badge, chip, empty, failure, heading, loading } from "../widgets/state.js";

export default {
  title: "Keys",
  needs: "people",
  open(view, rights) {
    const list = paged(view, "/api/v1/keys", { names: ["q", "status", "sort", "org_id"] });
    const grid = new Grid(view, {
      name: "keys", key: (row) => row.id, sort: view.query.get("sort") ?? "", onSort: (sort) => view.narrow({ sort: ["name", "-name", "created_at", "-created_at"].includes(sort) ? sort : "" }),
      columns: [
        { id: "name", label: "Name", value: (row) => row.name, cell: (row) => [h("b", {}, row.name), " ", h("code", { class: "muted" }, `${row.prefix}…`)], wide: true },
        { id: "status", label: "Status", value: (row) => row.status, cell: (row) => badge(row.status), sort: false },
        { id: "role", label: "Role", value: (row) => row.role, sort: false },
        { id: "models", label: "Models", value: (row) => row.models?.join(" "), cell: (row) => (row.models ? h("span", { class: "chips" }, row.models.slice(0, 3).map((one) => chip(one)), row.models.length > 3 && chip(`+${row.models.length - 3}`, null, row.models.join(", "))) : h("span", { class: "muted" }, "all")), phone: false, sort: false },
        { id: "limits", label: "Limits", value: limitWords, cell: (row) => limitWords(row) || h("span", { class: "muted" }, "none"), phone: false, sort: false },
        { id: "priority", label: "At most", value: (row) => row.priority, cell: (row) => row.priority ?? h("span", { class: "muted" }, "interactive"), phone: false, sort: false },
        { id: "last_used_at", label: "Last used", value: (row) => row.last_used_at, cell: (row) => when(row.last_used_at, "ago"), right: true, phone: false, sort: false },
        { id: "expires_at", label: "Ends", value: (row) => row.expires_at, cell: (row) => (row.expires_at ? when(row.expires_at, "ago") : h("span", { class: "muted" }, "never")), right: true, phone: false, sort: false },
        { id: "created_at", label: "Made", value: (row) => row.created_at, cell: (row) => when(row.created_at), right: true, phone: false },
        { id: "actions", label: "", value: () => "", sort: false, right: true, cell: (row) => row.status !== "revoked" && h("span", { class: "row tight end" }, h("button", { class: "button small", type: "button", onclick: () => change(row, list), "aria-label": `Change ${row.name}` }, "Change"), h("button", { class: "button small danger-quiet", type: "button", onclick: () => revoke(row, list), "aria-label": `Revoke ${row.name}` }, "Revoke")) },
      ],
    });
    view.draw = () => [
      heading("Keys", { sub: list.total !== null && `${count(list.total)} in all`, actions: [h("button", { class: "button primary", type: "button", onclick: () => make(list, rights) }, "New key")] }),
      view.error && failure(view.error, list.again),
      h("div", { class: "toolbar" }, search("Name", view.query.get("q"), (q) => list.type({ q })), choice("Status", view.query.get("status"), [["", "All"], "active", "expired", "revoked"], (status) => list.narrow({ status })), h("span", { class: "spring" }), grid.exports()),
      list.items === null ? !view.error && loading() : list.items.length === 0
        ? empty(view.query.get("q") || view.query.get("status") ? "No key fits" : "No keys yet", "Programs present a key as a bearer token. Each can be limited to models, requests and tokens, and revoked at once.", h("button", { class: "button primary", type: "button", onclick: () => make(list, rights) }, "New key"))
        : [keep(grid.set(list.items, view.query.get("sort") ?? "")), list.cursor && h("div", { class: "row center" }, h("button", { class: "button", type: "button", onclick: list.next }, "More"))],
    ];
  },
};

function limitWords({ limits }) {
  return [limits.requests_per_minute && `${figure(limits.requests_per_minute)} req/min`, limits.tokens_per_minute && `${figure(limits.tokens_per_minute)} tok/min`, limits.tokens_per_month && `${figure(limits.tokens_per_month)} tok/month`].filter(Boolean).join(", ");
}

const described = (key) => [
  { name: "name", label: "Name", required: true, value: key?.name, placeholder: "laptop" },
  { name: "role", label: "Role", type: "select", value: key?.role ?? "user", options: [["user", "user: inference"], ["viewer", "viewer: looks only"], ["operator", "operator"], ["admin", "admin: everything of the organisation"]] },
  { name: "models", label: "Models", type: "list", value: key?.models ?? [], help: "One per line; a name may end with *. Empty for all." },
  { name: "requests_per_minute", label: "Requests a minute", type: "number", min: 1, value: key?.limits.requests_per_minute },
  { name: "tokens_per_minute", label: "Tokens a minute", type: "number", min: 1, value: key?.limits.tokens_per_minute },
  { name: "tokens_per_month", label: "Tokens a month", type: "number", min: 1, value: key?.limits.tokens_per_month },
  { name: "priority", label: "Most important class", type: "select", value: key?.priority ?? "", options: [["", "interactive"], "default", "batch"] },
  { name: "expires_at", label: "Ends", type: "date", value: key?.expires_at },
  { name: "share_identical", label: "Answers may serve identical requests of the organisation", type: "check", value: key?.share_identical },
];

function bodyOf(values) {
  const { requests_per_minute, tokens_per_minute, tokens_per_month, models, priority, ...rest } = values;
  return { ...rest, models: models.length > 0 ? models : null, priority: priority || null, limits: { requests_per_minute, tokens_per_minute, tokens_per_month } };
}

async function make(list, rights) {
  const organisations = rights.platform ? await get("/api/v1/organisations", { limit: 200 }).then((page) => page.items, () => []) : [];
  dialog.ask("New key", [...described(), organisations.length > 1 && { name: "org_id", label: "Organisation", type: "select", value: "", options: [["", "your own"], ...organisations.map((one) => [one.id, one.name])] }], "Make the key", async (values) => {
    const made = await create("/api/v1/keys", given(bodyOf(values)));
    list.again();
    dialog.secret(`Key ${made.name}`, made.secret, "This is the only time that the key is shown. Keep it where the program finds it.");
    return null;
  });
}

async function change(row, list) {
  const key = await get(`/api/v1/keys/${row.id}`);
  dialog.ask(`Change ${key.name}`, described(key), "Save", async (values) => {
    await patch(`/api/v1/keys/${key.id}`, bodyOf(values), changed(key.etag));
    list.again();
    return `${values.name} is changed.`;
  });
}

function revoke(row, list) {
  dialog.confirm(`Revoke ${row.name}?`, [
    h("p", {}, `Whoever presents ${row.prefix}… is refused within a second. That cannot be taken back.`),
    h("p", { class: "muted" }, row.last_used_at ? `It was last used ${ago(row.last_used_at)} (${moment(row.last_used_at)}).` : "It was never used."),
  ], "Revoke", async () => { await remove(`/api/v1/keys/${row.id}`); list.again(); return `${row.name} is revoked.`; });
}
