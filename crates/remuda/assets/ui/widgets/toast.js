// Short messages at the edge, read aloud by screen readers.

import { h } from "../core/dom.js";
import { icon } from "./icon.js";

const SHOWN_MS = 5_000;
let region = null;

/** Says that something is done, or, with the kind `bad`, that it failed. */
export function toast(text, kind = "good") {
  if (!region) {
    region = h("div", { class: "toasts", role: "status", "aria-live": "polite" });
    document.body.append(region);
  }
  const one = h("div", { class: ["toast", kind] }, text, h("button", { class: "icon-button", "aria-label": "Dismiss", onclick: () => one.remove() }, icon("close")));
  region.append(one);
  while (region.children.length > 4) region.firstChild.remove();
  setTimeout(() => one.remove(), kind === "bad" ? 3 * SHOWN_MS : SHOWN_MS);
}
