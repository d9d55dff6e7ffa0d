// Menus, and the one that copies and saves what a table shows.

import { h } from "../core/dom.js";
import { copy, csv, save } from "./copy.js";

/** A button with a list of actions: `[label, run]`. */
export const menu = (label, actions, properties) => h("details", { class: "menu" }, h("summary", { class: "button small", ...properties }, label),
  h("div", { class: "menu-items" }, actions.filter(Boolean).map(([words, run]) => h("button", { type: "button", onclick: run }, words))));

/** `lines()` are rows of texts with their heads first; `items()` the same as objects. */
export const exportMenu = (name, lines, items) => menu("Export", [
  ["Copy table", () => copy(lines().map((line) => line.join("\t")).join("\n"), "Table copied")],
  ["Save as CSV", () => save(`${name}.csv`, "text/csv", csv(lines()))],
  ["Save as JSON", () => save(`${name}.json`, "application/json", JSON.stringify(items(), null, 2))],
  ["Copy address of this view", () => copy(location.href, "Address copied")],
]);

/** The same for a table that stands in the same card as this menu, as it is shown; columns of buttons are left out. */
export function exportShown(name) {
  const shown = (event) => {
    const table = event.target.closest(".card").querySelector("table.grid");
    const heads = [...table.tHead.rows[0].cells];
    const kept = heads.map((head, at) => (head.querySelector(".offscreen") ? -1 : at)).filter((at) => at >= 0);
    return [table.tHead, ...table.tBodies].flatMap((part) => [...part.rows]).map((row) => kept.map((at) => row.cells[at]?.textContent.trim() ?? ""));
  };
  const objects = ([heads, ...rows]) => rows.map((row) => Object.fromEntries(heads.map((head, at) => [head, row[at]])));
  return menu("Export", [
    ["Copy table", (event) => copy(shown(event).map((line) => line.join("\t")).join("\n"), "Table copied")],
    ["Save as CSV", (event) => save(`${name}.csv`, "text/csv", csv(shown(event)))],
    ["Save as JSON", (event) => save(`${name}.json`, "application/json", JSON.stringify(objects(shown(event)), null, 2))],
    ["Copy address of this view", () => copy(location.href, "Address copied")],
  ]);
}

document.addEventListener("click", (event) => {
  for (const open of document.querySelectorAll("details.menu[open]")) {
    if (!open.contains(event.target) || event.target.closest(".menu-items button")) open.open = false;
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const open of document.querySelectorAll("details.menu[open]")) { open.open = false; open.querySelector("summary").focus(); }
});
