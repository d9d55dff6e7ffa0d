// A list of the server's, narrowed by what stands in the address, read page by page.

import { get } from "./api.js";

/** Keeps `items` of `path`, read anew every `ms`; `names` are the filters that are sent as they stand in the address, `more()` others. */
export function paged(view, path, { names, more = () => ({}), ms = 15_000, limit = 100 }) {
  const list = { items: null, total: null, cursor: null };
  const query = () => ({ ...Object.fromEntries(names.map((name) => [name, view.query.get(name)])), ...more(), limit });
  let shown = "";
  let extended = false;
  list.hurry = view.every(ms, async (signal) => {
    const wanted = JSON.stringify(query());
    if (extended && wanted === shown) return;
    const page = await get(path, query(), { signal });
    if (wanted !== JSON.stringify(query())) return;
    Object.assign(list, { items: page.items, total: page.total, cursor: page.next_cursor });
    [shown, extended] = [wanted, false];
  });
  /** Reads anew also what was extended, after a change. */
  list.again = () => { extended = false; list.hurry(); };
  list.next = () => view.once(async (signal) => {
    const page = await get(path, { ...query(), cursor: list.cursor }, { signal });
    Object.assign(list, { items: [...list.items, ...page.items], cursor: page.next_cursor });
    extended = true;
  });
  let typing = null;
  list.narrow = (changes) => { view.narrow(changes); list.again(); };
  list.type = (changes) => { clearTimeout(typing); typing = setTimeout(() => list.narrow(changes), 250); };
  return list;
}
