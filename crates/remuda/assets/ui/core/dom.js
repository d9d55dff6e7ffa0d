// Makes and patches elements. Texts become text nodes and attributes are set one by one, so that nothing that comes from a
// server, a node or a person can turn into markup.

const HANDLERS = Symbol("handlers");
const KEPT = Symbol("kept");
const OWN = Symbol("own");
const KEY = Symbol("key");
const CONTROLLED = Symbol("controlled");
const SVG = "http://www.w3.org/2000/svg";

/** Makes an HTML element. Properties: `class` (text or list), `key`, `style` (object), `on…` (functions), `value`, `checked`, attributes. */
export const h = (tag, properties, ...children) => fill(document.createElement(tag), properties, children);

/** Makes an SVG element. */
export const s = (tag, properties, ...children) => fill(document.createElementNS(SVG, tag), properties, children);

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value !== undefined && value !== null && value !== false) put(element, name, value);
  }
  append(element, children);
  // A select has its options only now.
  if (element.tagName === "SELECT" && properties?.value !== undefined) element.value = properties.value;
  return element;
}

function put(element, name, value) {
  if (name === "class") element.setAttribute("class", Array.isArray(value) ? value.filter(Boolean).join(" ") : value);
  else if (name === "key") element[KEY] = String(value);
  else if (name === "style") for (const [key, text] of Object.entries(value)) element.style.setProperty(key, text);
  else if (typeof value === "function") listen(element, name.slice(2), value);
  else if (name === "value") { element.value = value; element[CONTROLLED] = true; }
  else if (name === "checked") { element.checked = value; element[CONTROLLED] = true; }
  else element.setAttribute(name, value === true ? "" : value);
}

function append(element, children) {
  for (const child of children) {
    if (Array.isArray(child)) append(element, child);
    else if (child instanceof Node) element.append(child);
    else if (child !== null && child !== undefined && child !== false && child !== "") element.append(String(child));
  }
}

/** Handlers are kept in a table, so that patching an element exchanges them without adding listeners. */
function listen(element, type, handler) {
  const table = (element[HANDLERS] ??= Object.create(null));
  if (!(type in table)) element.addEventListener(type, dispatch);
  table[type] = handler;
}

function dispatch(event) {
  return event.currentTarget[HANDLERS]?.[event.type]?.call(event.currentTarget, event);
}

/** Stands for an element that lives longer than one rendering, as a chart or an editor does. */
export function keep(element) {
  const place = document.createElement("span");
  element[OWN] = true;
  place[KEPT] = element;
  return place;
}

/** Has `container` show `tree` (a node or a list), keeping the elements that are alike: focus, scrolling and open menus stay. */
export function show(container, ...tree) {
  const wanted = document.createElement("div");
  append(wanted, tree);
  patchChildren(container, wanted);
}

const settled = (node) => {
  if (node[KEPT]) return node[KEPT];
  if (node.nodeType === Node.ELEMENT_NODE) {
    for (const place of node.querySelectorAll("span")) if (place[KEPT]) place.replaceWith(place[KEPT]);
  }
  return node;
};

/** What is kept belongs to whoever keeps it, and is never made into something else. */
const alike = (one, other) => !one[OWN] && one.nodeType === other.nodeType && one.nodeName === other.nodeName && one[KEY] === other[KEY];

function patchChildren(from, to) {
  const keyed = new Map();
  for (const child of from.childNodes) if (child[KEY] !== undefined) keyed.set(child[KEY], child);
  let at = from.firstChild;
  for (const wanted of [...to.childNodes]) {
    if (wanted[KEPT]) {
      if (at === wanted[KEPT]) at = at.nextSibling;
      else from.insertBefore(wanted[KEPT], at);
      continue;
    }
    const known = wanted[KEY] === undefined ? null : keyed.get(wanted[KEY]);
    if (known && known !== at && alike(known, wanted)) {
      from.insertBefore(known, at);
      patch(known, wanted);
    } else if (at && alike(at, wanted)) {
      const next = at.nextSibling;
      patch(at, wanted);
      at = next;
    } else {
      from.insertBefore(settled(wanted), at);
    }
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function patch(from, to) {
  if (from.nodeType !== Node.ELEMENT_NODE) {
    if (from.data !== to.data) from.data = to.data;
    return;
  }
  for (const { name, value } of [...to.attributes]) {
    if (from.getAttribute(name) === value) continue;
    // The policy of this page lets a script set styles, but not as an attribute.
    if (name === "style") from.style.cssText = value;
    else from.setAttribute(name, value);
  }
  for (const { name } of [...from.attributes]) {
    if (!to.hasAttribute(name) && !(name === "open" && from.tagName === "DETAILS")) from.removeAttribute(name);
  }
  for (const type of Object.keys(from[HANDLERS] ?? {})) if (!to[HANDLERS]?.[type]) from[HANDLERS][type] = undefined;
  for (const [type, handler] of Object.entries(to[HANDLERS] ?? {})) listen(from, type, handler);
  patchChildren(from, to);
  if (to[CONTROLLED]) {
    if (to.type === "checkbox" || to.type === "radio") from.checked = to.checked;
    else if (from.value !== to.value && document.activeElement !== from) from.value = to.value;
  }
}
