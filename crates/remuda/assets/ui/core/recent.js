// The requests of the last quarter of an hour, as recorded: what a page shows before it has watched for long itself.

import { get } from "./api.js";
import { observed, repeat } from "./observed.js";

export const WINDOW_MS = 15 * 60_000;

const MOST = 500;
const OFTEN_MS = 5_000;
/** All of it is read this seldom: in between only what arrived in the last minute, which is most of what ends meanwhile. */
const WHOLE_MS = 30_000;
const LATELY_MS = 60_000;

/** `{items, whole, at, error}`: the newest 500 at most; `whole` says that there were no more. */
export const recent = observed({ items: [], whole: true, at: 0, error: null }, () => {
  let readWhole = 0;
  const turns = repeat(() => OFTEN_MS, async () => {
    try {
      const now = Date.now();
      const all = now - readWhole > WHOLE_MS;
      const page = await get("/api/v1/inference/requests", { since: new Date(now - (all ? WINDOW_MS : LATELY_MS)).toISOString(), limit: MOST });
      if (all) readWhole = now;
      recent.set(all ? { items: page.items, whole: !page.next_cursor, at: now, error: null } : { ...joined(page, now), at: now, error: null });
    } catch (error) {
      recent.set({ ...recent.get(), error });
    }
  });
  return turns.stop;
});

/** Puts what was read of the last minute before what is known. */
function joined(page, now) {
  const known = recent.get();
  const fresh = new Set(page.items.map((item) => item.id));
  const oldest = now - WINDOW_MS;
  const items = [...page.items, ...known.items.filter((item) => !fresh.has(item.id) && new Date(item.received_at).getTime() > oldest)];
  items.sort((one, other) => (one.id < other.id ? 1 : -1));
  return { items: items.slice(0, MOST), whole: known.whole && items.length <= MOST && !page.next_cursor };
}

/** Returns the value below which `share` of `values` lies; nothing for none. */
export function percentile(values, share) {
  if (values.length === 0) return null;
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)];
}

/** Counts `of(record)` into steps of `step` milliseconds by the time of the end, and returns `[at, amount a second]`. */
export function steps(items, from, to, step, of) {
  const counts = new Array(Math.max(1, Math.ceil((to - from) / step))).fill(0);
  for (const item of items) {
    const at = Math.floor((new Date(item.received_at).getTime() + item.total_us / 1_000 - from) / step);
    if (at >= 0 && at < counts.length) counts[at] += of(item);
  }
  return counts.map((amount, at) => [from + (at + 0.5) * step, amount / (step / 1_000)]);
}

export const isError = (item) => item.outcome === "failed" || item.outcome === "truncated" || item.outcome === "rejected";
