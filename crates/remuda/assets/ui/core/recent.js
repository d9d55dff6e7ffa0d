// The requests of the last quarter of an hour, as recorded: what a page shows before it has watched for long itself.

import { all } from "./api.js";
import { observed, repeat } from "./observed.js";

export const WINDOW_MS = 15 * 60_000;

const MOST = 2_000;
const OFTEN_MS = 5_000;
/** So seldom the whole quarter of an hour is looked at again: in between what arrived in the last minute, which is most of what ends meanwhile. */
const FAR_MS = 30_000;
const LATELY_MS = 60_000;

/** `{items, whole, at, error}`: the newest 2,000 at most; `whole` says that there were no more. */
export const recent = observed({ items: [], whole: true, at: 0, error: null }, () => {
  let farther = 0;
  const turns = repeat(() => OFTEN_MS, async () => {
    try {
      const now = Date.now();
      const first = recent.get().at < now - WINDOW_MS;
      const far = now - farther > FAR_MS;
      const since = new Date(now - (far ? WINDOW_MS : LATELY_MS)).toISOString();
      const items = await all("/api/v1/inference/requests", { since }, first ? MOST : 500);
      if (far) farther = now;
      recent.set(first ? { items, whole: items.length < MOST, at: now, error: null } : { ...joined(items, now), at: now, error: null });
    } catch (error) {
      recent.set({ ...recent.get(), error });
    }
  });
  return turns.stop;
});

/** Puts what was read before what is known. */
function joined(read, now) {
  const known = recent.get();
  const fresh = new Set(read.map((item) => item.id));
  const oldest = now - WINDOW_MS;
  const items = [...read, ...known.items.filter((item) => !fresh.has(item.id) && new Date(item.received_at).getTime() > oldest)];
  items.sort((one, other) => (one.id < other.id ? 1 : -1));
  return { items: items.slice(0, MOST), whole: known.whole && items.length <= MOST };
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
