// Forms from descriptions of their fields.
//
// A field: `{name, label, type?, value?, options?, required?, help?, min?, max?, step?, placeholder?, autocomplete?, rows?, hidden?}`.
// Types: `text` (default), `password`, `number`, `select`, `check`, `area`, `list` (one item per line or comma), `date`.

import { h } from "../core/dom.js";

let forms = 0;

/** Makes the elements of the fields and a function that reads them. Empty fields read as `null`. */
export function fields(descriptions) {
  const prefix = `f${(forms += 1)}`;
  const controls = new Map();
  const element = h("div", { class: "fields" }, descriptions.filter(Boolean).map((field) => {
    const control = controlOf(field, `${prefix}-${field.name}`);
    controls.set(field.name, [field, control]);
    const help = field.help && h("p", { class: "help", id: `${control.id}-help` }, field.help);
    if (help) control.setAttribute("aria-describedby", help.id);
    if (field.type === "check") return h("div", { class: "field" }, h("label", { class: "check", for: control.id }, control, " ", field.label), help);
    return h("div", { class: "field" }, h("label", { for: control.id }, field.label, !field.required && field.optional !== false && field.type !== "select" && h("span", { class: "muted" }, " optional")), control, help);
  }));
  return {
    element,
    control: (name) => controls.get(name)[1],
    read: () => Object.fromEntries([...controls].map(([name, [field, control]]) => [name, valueOf(field, control)])),
  };
}

function controlOf(field, id) {
  const common = { id, name: field.name, required: field.required, placeholder: field.placeholder, autocomplete: field.autocomplete ?? "off", spellcheck: "false" };
  switch (field.type) {
    case "select":
      return h("select", { ...common, value: field.value ?? "" }, field.options.map((option) => {
        const [value, label] = Array.isArray(option) ? option : [option, option];
        return h("option", { value }, label);
      }));
    case "check": return h("input", { id, name: field.name, type: "checkbox", checked: field.value ?? false });
    case "area": return h("textarea", { ...common, rows: field.rows ?? 4, value: field.value ?? "" });
    case "list": return h("textarea", { ...common, rows: field.rows ?? 3, value: (field.value ?? []).join("\n") });
    case "number": return h("input", { ...common, type: "number", min: field.min, max: field.max, step: field.step ?? "1", value: field.value ?? "" });
    case "date": return h("input", { ...common, type: "datetime-local", value: field.value ? localMoment(field.value) : "" });
    default: return h("input", { ...common, type: field.type ?? "text", minlength: field.min, maxlength: field.max, pattern: field.pattern, value: field.value ?? "" });
  }
}

function valueOf(field, control) {
  if (field.type === "check") return control.checked;
  const text = field.type === "password" || field.type === "area" ? control.value : control.value.trim();
  if (field.type === "list") return text.split(/[\n,]/).map((item) => item.trim()).filter(Boolean);
  if (text === "") return null;
  if (field.type === "number") return Number(text);
  if (field.type === "date") return new Date(text).toISOString();
  return text;
}

const localMoment = (text) => {
  const date = new Date(text);
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
};

/** Returns what is set, without what is empty. */
export const given = (values) => Object.fromEntries(Object.entries(values).filter(([, value]) => value !== null && !(Array.isArray(value) && value.length === 0)));

/** A search field that tells what is typed, as it is typed. */
export const search = (label, value, change) => h("input", { class: "search", type: "search", "aria-label": label, placeholder: label, value: value ?? "", oninput: (event) => change(event.target.value.trim()) });

/** A choice that narrows a list. The first option is for everything. */
export const choice = (label, value, options, change) => h("select", { "aria-label": label, value: value ?? "", onchange: (event) => change(event.target.value) },
  options.map((option) => {
    const [key, words] = Array.isArray(option) ? option : [option, option];
    return h("option", { value: key, selected: key === (value ?? "") }, words);
  }));
