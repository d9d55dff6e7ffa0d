// Rates and percentiles of the moment, from the server's own counters: two readings of `/metrics` make a rate, and two readings of a
// histogram's buckets make the distribution of what happened between them. One reading of a large fleet is large: then it is read less often.

import { open } from "./api.js";
import { observed, repeat } from "./observed.js";

const KEPT = 400;
const OFTEN_MS = 3_000;
const SELDOM_MS = 60_000;
/** So many bytes of figures a second are read at most, on average. */
const BYTES_PER_S = 100_000;

/** The readings, the newest last: `{at, outcomes, tokens, nodes, first, wait, inFlight, waiting, running, memory}`. */
export const readings = observed([], () => {
  let size = 0;
  const turns = repeat(
    () => Math.min(SELDOM_MS, Math.max(OFTEN_MS, (size / BYTES_PER_S) * 1_000)),
    async () => {
      try {
        const text = await (await open("GET", "/metrics")).text();
        size = text.length;
        const now = parse(text, Date.now());
        const before = readings.get().at(-1);
        // Counters that fell: the server began anew.
        const kept = before && total(now.outcomes) < total(before.outcomes) ? [] : readings.get();
        readings.set([...kept.slice(-KEPT), now]);
      } catch { /* The shell says that the server is not to be reached. */ }
    },
  );
  return turns.stop;
});

export const total = (counts) => Object.values(counts).reduce((sum, value) => sum + value, 0);

const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;
const labels = (text) => {
  const found = {};
  for (const [, name, value] of text.matchAll(LABEL)) found[name] = value.replace(/\\(.)/g, (_, c) => (c === "n" ? "\n" : c));
  return found;
};
const add = (counts, key, value) => { counts[key] = (counts[key] ?? 0) + value; };

/** Reads what is needed here out of an OpenMetrics text. */
export function parse(text, at) {
  const now = { at, outcomes: {}, tokens: { prompt: 0, completion: 0 }, nodes: {}, first: {}, wait: {}, inFlight: 0, waiting: {}, running: 0, memory: 0 };
  const takers = {
    remuda_requests_total: (of, value) => add(now.outcomes, of.outcome, value),
    remuda_model_requests_total: (of, value) => { if (value) add((now.nodes[of.node] ??= {}), of.outcome, value); },
    remuda_tokens_total: (of, value) => {
      add(now.tokens, of.direction, value);
      if (of.direction === "completion" && value) add((now.nodes[of.node] ??= {}), "tokens", value);
    },
    remuda_time_to_first_token_seconds_bucket: (of, value) => add(now.first, of.le, value),
    remuda_queue_wait_seconds_bucket: (of, value) => add(now.wait, of.le, value),
    remuda_queue_waiting: (of, value) => add(now.waiting, of.class, value),
    remuda_queue_running: (_, value) => { now.running = value; },
    remuda_in_flight_requests: (_, value) => { now.inFlight = value; },
    remuda_process_resident_memory_bytes: (_, value) => { now.memory = value; },
  };
  for (const line of text.split("\n")) {
    if (line.startsWith("#")) continue;
    const brace = line.indexOf("{");
    const end = brace < 0 ? line.indexOf(" ") : line.lastIndexOf("}") + 1;
    const take = takers[line.slice(0, brace < 0 ? end : brace)];
    if (take) take(brace < 0 ? {} : labels(line.slice(brace, end)), Number(line.slice(end).trim().split(" ")[0]));
  }
  return now;
}

/** Returns the newest reading and the one about `ms` before it. */
export function pair(all, ms) {
  const now = all.at(-1);
  if (!now || all.length < 2) return null;
  const before = all.findLast((reading) => now.at - reading.at >= ms) ?? all[0];
  return [before, now, (now.at - before.at) / 1_000];
}

/** Returns how much of a distribution lies between two readings, by its buckets' upper ends in seconds. */
function between(before, now) {
  const ends = Object.keys(now).map((le) => [le === "+Inf" ? Infinity : Number(le), now[le] - (before[le] ?? 0)]);
  return ends.sort(([one], [other]) => one - other);
}

/** Returns the value below which `share` of what happened between two readings lies, in microseconds; nothing when nothing happened. */
export function quantile(before, now, share) {
  const buckets = between(before, now);
  const all = buckets.at(-1)?.[1] ?? 0;
  if (all <= 0) return null;
  const rank = share * all;
  let [low, below] = [0, 0];
  for (const [end, upTo] of buckets) {
    if (upTo >= rank && upTo > below) {
      if (end === Infinity) return low * 1e6;
      return (low + ((end - low) * (rank - below)) / (upTo - below)) * 1e6;
    }
    [low, below] = [end, upTo];
  }
  return low * 1e6;
}

/** Returns `[at, value a second]` of each pair of neighbouring readings. */
export function rates(all, of) {
  return all.slice(1).map((now, at) => [now.at, Math.max(0, (of(now) - of(all[at])) / ((now.at - all[at].at) / 1_000))]);
}
