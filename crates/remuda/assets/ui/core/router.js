// Which page an address shows. Addresses are paths below /ui; what a table is narrowed by stands in the query, so that an address can be sent to somebody.

export const BASE = "/ui";
let routes = [];
let onChange = () => {};

/** Takes `[pattern, page]` pairs, as `["/nodes/:name", page]`, and calls `change` whenever another page is to be shown. */
export function begin(table, change) {
  routes = table.map(([pattern, page]) => ({ pattern, page, parts: pattern.split("/") }));
  onChange = change;
  window.addEventListener("popstate", () => onChange());
  document.addEventListener("click", follow);
}

/** Returns the page of the present address with its parameters, or nothing. */
export function current() {
  const parts = location.pathname.slice(BASE.length).replace(/\/+$/, "").split("/");
  if (parts.length === 1) parts.push("");
  for (const route of routes) {
    if (route.parts.length !== parts.length) continue;
    const params = {};
    const fits = route.parts.every((part, at) => {
      if (!part.startsWith(":")) return part === parts[at];
      try { params[part.slice(1)] = decodeURIComponent(parts[at]); } catch { return false; }
      return true;
    });
    if (fits) return { ...route, params, query: new URLSearchParams(location.search) };
  }
  return null;
}

/** Makes an address of this program: `link("/nodes", name)`, `link("/requests", {node})`. */
export function link(path, ...rest) {
  let address = BASE + path;
  for (const part of rest) {
    if (part && typeof part === "object") {
      const given = Object.entries(part).filter(([, value]) => value !== undefined && value !== null && value !== "");
      if (given.length > 0) address += `?${new URLSearchParams(given)}`;
    } else address += `/${encodeURIComponent(part)}`;
  }
  return address;
}

export function go(address) {
  history.pushState(null, "", address);
  onChange();
  window.scrollTo(0, 0);
}

/** Puts filters into the address without another step in the browser's history. */
export function setQuery(changes) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    if (value === "" || value === null || value === undefined) query.delete(name);
    else query.set(name, value);
  }
  history.replaceState(null, "", query.size > 0 ? `${location.pathname}?${query}` : location.pathname);
  return query;
}

function follow(event) {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const anchor = event.target.closest?.("a[href]");
  if (!anchor || anchor.target || anchor.hasAttribute("download") || anchor.origin !== location.origin) return;
  if (anchor.pathname !== BASE && !anchor.pathname.startsWith(`${BASE}/`)) return;
  event.preventDefault();
  go(anchor.pathname + anchor.search);
}
