// To the clipboard, and to files.

import { h } from "../core/dom.js";
import { icon } from "./icon.js";
import { toast } from "./toast.js";

/** Puts a text on the clipboard. Pages of insecure origins have no clipboard of their own: there a selection is copied. */
export async function copy(text, what = "Copied") {
  try {
    if (navigator.clipboard) await navigator.clipboard.writeText(text);
    else bySelection(text);
    toast(what);
  } catch (error) {
    toast(`Not copied: ${error.message}`, "bad");
  }
}

function bySelection(text) {
  const area = h("textarea", { class: "offscreen", "aria-hidden": "true", value: text });
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("this browser does not let pages of insecure addresses copy");
}

export const copyButton = (text, label = "Copy") => h("button", { class: "button small", type: "button", onclick: () => copy(typeof text === "function" ? text() : text) }, label);

/** A text with a button beside it that copies it. */
export const copyable = (text) => h("span", { class: "copyable" }, h("code", {}, text), h("button", { class: "icon-button", type: "button", "aria-label": `Copy ${text}`, onclick: () => copy(text) }, icon("copy")));

/** Has the browser save a text as a file. */
export function save(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Writes rows as CSV (RFC 4180). What a spreadsheet would take for a formula gets a quote before it. */
export function csv(rows) {
  const cell = (value) => {
    let text = value === null || value === undefined ? "" : String(value);
    if (/^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text))) text = `'${text}`;
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return rows.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}
