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

document.addEventListener("click", (event) => {
  for (const open of document.querySelectorAll("details.menu[open]")) {
    if (!open.contains(event.target) || event.target.closest(".menu-items button")) open.open = false;
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const open of document.querySelectorAll("details.menu[open]")) { open.open = false; open.querySelector("summary").focus(); }
});
