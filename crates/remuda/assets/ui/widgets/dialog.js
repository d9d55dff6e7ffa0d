// Dialogs: asking before something is done, filling in a form, showing a secret once.

import { h, show } from "../core/dom.js";
import { copyButton } from "./copy.js";
import { fields as makeFields } from "./form.js";
import { icon } from "./icon.js";
import { failure } from "./state.js";
import { toast } from "./toast.js";

/** Opens a dialog and returns `{element, close}`. It ends with Escape, its button, or what `content` does. */
export function open(title, content, { wide, onClose } = {}) {
  const before = document.activeElement;
  const close = () => element.close();
  const element = h("dialog", { class: ["dialog", wide && "wide"], "aria-label": title, onclose: () => { element.remove(); before?.isConnected && before.focus(); onClose?.(); } },
    h("div", { class: "dialog-head" }, h("h2", {}, title), h("button", { class: "icon-button", type: "button", "aria-label": "Close", onclick: close }, icon("close"))),
    content);
  document.body.append(element);
  element.showModal();
  return { element, close };
}

/** A dialog that does something: shows that it is under way, and why it failed. `run` gets the values; what it returns is a toast. */
function working(title, { body, fields, submit, danger, wide, run, done }) {
  const form = fields && makeFields(fields);
  const problem = h("div");
  const button = h("button", { class: ["button", danger ? "danger" : "primary"], type: "submit" }, submit);
  const cancel = h("button", { class: "button", type: "button", onclick: () => dialog.close() }, "Cancel");
  const act = async (event) => {
    event.preventDefault();
    button.disabled = true;
    button.setAttribute("aria-busy", "true");
    show(problem);
    try {
      const words = await run(form?.read(), dialog);
      dialog.close();
      if (words) toast(words);
      done?.();
    } catch (error) {
      show(problem, failure(error));
    } finally {
      button.disabled = false;
      button.removeAttribute("aria-busy");
    }
  };
  const dialog = open(title, h("form", { class: "dialog-body", onsubmit: act }, body, form?.element, problem, h("div", { class: "dialog-foot" }, cancel, button)), { wide });
  (danger ? cancel : dialog.element.querySelector("input,select,textarea") ?? button).focus();
  return { ...dialog, form };
}

/** Asks before something is done that cannot be taken back; `body` names what it touches. */
export const confirm = (title, body, submit, run) => working(title, { body, submit, danger: true, run });

/** Asks for values and does something with them. */
export const ask = (title, fields, submit, run, options = {}) => working(title, { fields, submit, run, ...options });

/** Shows what is shown only once. */
export function secret(title, text, advice) {
  const dialog = open(title, h("div", { class: "dialog-body" },
    h("p", {}, advice), h("pre", { class: "secret", tabindex: "0", "aria-label": "Secret" }, text),
    h("div", { class: "dialog-foot" }, copyButton(text), h("button", { class: "button primary", type: "button", onclick: () => dialog.close() }, "I have kept it"))));
  return dialog;
}
