// A table that stays fast with thousands of rows: only those near the window are in the page. Sorted by its heads, copied and saved whole.

import { h, show } from "../core/dom.js";
import { exportMenu } from "./export.js";

const ROW_PX = 37;
const WHOLE = 120;
const AROUND = 20;

/**
 * Columns: `{id, label, value(row), cell(row)?, text(row)?, right?, wide?, phone?, sort?}`: `value` is sorted by and exported, `cell` is shown.
 * `phone: false` leaves a column out on narrow screens.
 */
export class Grid {
  #rows = [];
  #sorted = [];
  #at = [-1, -1];
  #body = h("tbody");
  #head = h("thead");
  #table;

  constructor(view, { name, columns, key, sort = "", onSort, label }) {
    Object.assign(this, { name, columns, key, sort, onSort });
    this.#table = h("table", { class: "grid", "aria-label": label ?? name }, this.#head, this.#body);
    this.element = h("div", { class: "grid-frame" }, this.#table);
    const drawSoon = () => requestAnimationFrame(() => this.#draw(false));
    for (const [type, target] of [["scroll", window], ["resize", window]]) target.addEventListener(type, drawSoon, { passive: true, signal: view.signal });
  }

  /** Shows these rows. */
  set(rows, sort = this.sort) {
    this.#rows = rows;
    this.sort = sort;
    this.#sorted = this.#inOrder();
    this.#draw(true);
    return this.element;
  }

  #inOrder() {
    const [, down, id] = /^(-?)(.*)$/.exec(this.sort);
    const column = this.columns.find((one) => one.id === id);
    if (!column) return this.#rows;
    const sign = down ? -1 : 1;
    return [...this.#rows].sort((one, other) => sign * compare(column.value(one), column.value(other)));
  }

  #draw(anew) {
    const rows = this.#sorted;
    let [from, to] = [0, rows.length];
    if (rows.length > WHOLE) {
      const top = this.#body.getBoundingClientRect().top;
      from = Math.max(0, Math.min(rows.length - AROUND, Math.floor(-top / ROW_PX) - AROUND));
      to = Math.min(rows.length, from + Math.ceil(window.innerHeight / ROW_PX) + 2 * AROUND);
    }
    if (!anew && from === this.#at[0] && to === this.#at[1]) return;
    this.#at = [from, to];
    if (rows.length > WHOLE) this.#table.setAttribute("aria-rowcount", rows.length + 1);
    else this.#table.removeAttribute("aria-rowcount");
    show(this.#head, h("tr", {}, this.columns.map((column) => this.#headCell(column))));
    show(this.#body,
      from > 0 && this.#gap("before", from),
      rows.slice(from, to).map((row, at) => h("tr", { key: this.key(row), "aria-rowindex": rows.length > WHOLE ? from + at + 2 : null }, this.columns.map((column) => this.#cell(column, row)))),
      to < rows.length && this.#gap("after", rows.length - to));
  }

  #gap(key, rows) {
    return h("tr", { key, class: "gap", "aria-hidden": "true" }, h("td", { colspan: this.columns.length, style: { height: `${rows * ROW_PX}px` } }));
  }

  #headCell(column) {
    const mine = this.sort.replace("-", "") === column.id;
    const down = mine && this.sort.startsWith("-");
    const sortable = this.onSort && column.sort !== false;
    const label = column.label || h("span", { class: "offscreen" }, "Actions");
    return h("th", { key: column.id, scope: "col", class: classes(column), "aria-sort": mine ? (down ? "descending" : "ascending") : null },
      sortable ? h("button", { type: "button", class: "sorter", onclick: () => this.onSort(mine && !down ? `-${column.id}` : column.id) }, column.label, h("span", { "aria-hidden": "true" }, mine ? (down ? " ↓" : " ↑") : "")) : label);
  }

  #cell(column, row) {
    const content = column.cell ? column.cell(row) : column.value(row);
    return h("td", { key: column.id, class: classes(column) }, content ?? "–");
  }

  #lines() {
    const columns = this.columns.filter((column) => column.label);
    const text = (column, row) => (column.text ?? column.value)(row);
    return [columns.map((column) => column.label), ...this.#sorted.map((row) => columns.map((column) => text(column, row)))];
  }

  /** Buttons that copy and save what the table shows. */
  exports() {
    return exportMenu(this.name, () => this.#lines(), () => this.#sorted);
  }
}

const classes = (column) => [column.right && "right", column.wide && "wide", column.phone === false && "not-on-phone"].filter(Boolean).join(" ") || null;

function compare(one, other) {
  const [none, other_none] = [one === null || one === undefined || one === "", other === null || other === undefined || other === ""];
  if (none || other_none) return none === other_none ? 0 : none ? 1 : -1;
  if (typeof one === "number" && typeof other === "number") return one - other;
  return String(one).localeCompare(String(other), undefined, { numeric: true });
}
