// Requests as they were recorded, summed up.

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
