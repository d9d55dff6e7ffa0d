// The requests of the last quarter of an hour, as recorded: what a page shows before it has watched for long itself.

import { get } from "./api.js";
import { observed, repeat } from "./observed.js";

export const WINDOW_MS = 15 * 60_000;

/** `{items, whole, at, error}`: the newest 500 at most; `whole` says that there were no more. */
export const recent = observed({ items: [], whole: true, at: 0, error: null }, () => {
  const turns = repeat(() => 5_000, async () => {
    try {
      const since = new Date(Date.now() - WINDOW_MS).toISOString();
      const page = await get("/api/v1/inference/requests", { since, limit: 500 });
      recent.set({ items: page.items, whole: !page.next_cursor, at: Date.now(), error: null });
    } catch (error) {
      recent.set({ ...recent.get(), error });
    }
  });
  return turns.stop;
});

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
