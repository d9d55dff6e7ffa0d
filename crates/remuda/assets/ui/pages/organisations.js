// Organisations: who is kept apart from whom.

import { create } from "../core/api.js";
import { h, keep } from "../core/dom.js";
import { count, when } from "../core/format.js";
import { paged } from "../core/paged.js";
import { link } from "../core/router.js";
import * as dialog from "../widgets/dialog.js";
import { search } from "../widgets/form.js";
import { Grid } from "../widgets/grid.js";
import { copyable } from "../widgets/copy.js";
import { empty, failure, heading, loading } from "../widgets/state.js";

export default {
  title: "Organisations",
  needs: "people",
  open(view, rights) {
    const list = paged(view, "/api/v1/organisations", { names: ["q", "sort"] });
    const grid = new Grid(view, {
      name: "organisations", key: (row) => row.id, sort: view.query.get("sort") ?? "", onSort: (sort) => view.narrow({ sort }), columns: [
        { id: "name", label: "Name", value: (row) => row.name, cell: (row) => h("b", {}, row.name), wide: true },
        { id: "id", label: "Id", value: (row) => row.id, cell: (row) => copyable(row.id), sort: false, phone: false },
        { id: "created_at", label: "Made", value: (row) => row.created_at, cell: (row) => when(row.created_at), right: true },
        { id: "actions", label: "", value: () => "", sort: false, right: true, cell: (row) => h("a", { class: "button small", href: link("/keys", { org_id: row.id }) }, "Keys") },
      ],
    });
    const make = () => dialog.ask("New organisation", [{ name: "name", label: "Name", required: true, help: "Its people and keys see nothing of the others'." }], "Make", async (values) => { await create("/api/v1/organisations", values); list.again(); return `${values.name} is made.`; });
    view.draw = () => [
      heading("Organisations", { sub: list.total !== null && `${count(list.total)} in all`, actions: rights.platform && [h("button", { class: "button primary", type: "button", onclick: make }, "New organisation")] }),
      view.error && failure(view.error, list.again),
      h("div", { class: "toolbar" }, search("Name", view.query.get("q"), (q) => list.type({ q })), h("span", { class: "spring" }), grid.exports()),
      list.items === null ? !view.error && loading() : list.items.length === 0 ? empty("No organisation fits", "Take the filter away.") : [keep(grid.set(list.items, view.query.get("sort") ?? "")), list.cursor && h("div", { class: "row center" }, h("button", { class: "button", type: "button", onclick: list.next }, "More"))],
    ];
  },
};
