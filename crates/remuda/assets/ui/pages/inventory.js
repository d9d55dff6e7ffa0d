// The hardware inventory: widgets found by serial number, name or free port; counts.

import { get, post } from "../core/api.js";
import { h, keep } from "../core/dom.js";
import { count } from "../core/format.js";
import { paged } from "../core/paged.js";
import { go, link } from "../core/router.js";
import * as dialog from "../widgets/dialog.js";
import { choice, search } from "../widgets/form.js";
import { Grid } from "../widgets/grid.js";
import { card, chip, empty, failure, heading, loading } from "../widgets/state.js";

const PORTS = ["P", "Q", "R"];

export default {
  title: "Inventory",
  needs: "platform",
  open(view) {
    let statistics = null;
    const list = paged(view, "/api/v1/inventory/widgets", { names: ["prefix", "name", "free"], ms: 30_000 });
    view.every(60_000, async (signal) => { statistics = await get("/api/v1/inventory/statistics", {}, { signal }); });
    const grid = new Grid(view, { name: "widgets", key: (row) => row.serial_number, columns: COLUMNS });
    const add = () => dialog.ask("Add a widget", [
      { name: "widget_sn", label: "Serial number", required: true, max: 200, placeholder: "NIC-0001" },
      { name: "widget_name", label: "Name", required: true, placeholder: "25 GbE card" },
      { name: "slots", label: "Ports of its slots", type: "list", rows: 1, help: "Up to three of P, Q and R, separated by commas. They are fixed from then on." },
    ], "Add", async (values) => {
      await post("/rpc/add_widget", values);
      go(link("/inventory", values.widget_sn));
      return null;
    });
    view.draw = () => {
      const narrowed = ["prefix", "name", "free"].some((name) => view.query.get(name));
      return [
        heading("Inventory", { sub: statistics && `${count(statistics.widgets)} widgets, ${count(Object.values(statistics.ports).reduce((sum, port) => sum + port.associations, 0))} associations`, actions: [h("button", { class: "button primary", type: "button", onclick: add }, "Add a widget")] }),
        view.error && failure(view.error, list.hurry),
        h("div", { class: "toolbar" },
          search("Serial number begins with", view.query.get("prefix"), (prefix) => list.type({ prefix })),
          search("Name contains", view.query.get("name"), (name) => list.type({ name })),
          choice("Free port", view.query.get("free"), [["", "Any port"], ...PORTS.map((port) => [port, `Free ${port}`])], (free) => list.narrow({ free })),
          h("span", { class: "spring" }), grid.exports()),
        list.items === null ? !view.error && loading() : list.items.length === 0
          ? empty(narrowed ? "No widget fits" : "No widgets yet", narrowed ? "Take a filter away." : "A widget is a part with a serial number: a card, a chassis, a drive. Add one here, or many with remuda inventory import.",
            narrowed ? h("button", { class: "button", type: "button", onclick: () => list.narrow({ prefix: "", name: "", free: "" }) }, "Clear filters") : h("button", { class: "button primary", type: "button", onclick: add }, "Add a widget"))
          : [keep(grid.set(list.items)), list.cursor && h("div", { class: "row center" }, h("button", { class: "button", type: "button", onclick: list.next }, "More widgets"))],
        statistics && list.items?.length > 0 && counts(statistics),
      ];
    };
  },
};

/** A slot: its port, and where it leads. */
export const slot = ({ port, partner }) => (partner ? h("a", { class: "chip loaded", href: link("/inventory", partner), title: `${port} to ${partner}` }, `${port} ${partner}`) : chip(`${port} free`, null, `a free port ${port}`));

const COLUMNS = [
  { id: "serial_number", label: "Serial number", value: (row) => row.serial_number, cell: (row) => h("a", { href: link("/inventory", row.serial_number) }, h("b", {}, row.serial_number)), sort: false },
  { id: "name", label: "Name", value: (row) => row.name, wide: true, sort: false },
  { id: "slots", label: "Slots", value: (row) => row.slots.map(({ port, partner }) => `${port}:${partner ?? "free"}`).join(" "), cell: (row) => h("span", { class: "chips" }, row.slots.map(slot)), wide: true, sort: false },
];

const counts = (statistics) => card("Counts", { flush: true, exports: "counts" }, h("table", { class: "grid" },
  h("thead", {}, h("tr", {}, ["Port", "Slots", "Free", "Associations"].map((name, at) => h("th", { scope: "col", class: at > 0 ? "right" : null }, name)))),
  h("tbody", {}, Object.entries(statistics.ports).map(([port, of]) => h("tr", { key: port }, h("th", { scope: "row" }, port), [of.slots, of.free, of.associations].map((value) => h("td", { class: "right" }, count(value))))))));
