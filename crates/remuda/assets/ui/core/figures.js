// The figures of the moment: the server sums up the last minutes once for everybody, and sends them over the WebSocket every few seconds.

import { get } from "./api.js";
import { connection, subscribe } from "./live.js";
import { observed, repeat } from "./observed.js";

export const WINDOW_MS = 15 * 60_000;

/** Without a WebSocket the figures are asked for so often; with one, only to begin with. */
const ALONE_MS = 5_000;
const LIVE_MS = 5 * 60_000;
/** Steps of the past that one point of a plot is the mean of: half a minute, as the figures of the moment. */
const MEAN = 6;

/** `{now, points, nodes, error}`: what the server said last, `{at, requests, failed, tokens}` a second since a quarter of an hour ago, and the rates of nodes since the page watches. */
export const figures = observed({ now: null, points: [], nodes: [], error: null }, follow);

function follow() {
  const turns = repeat(() => (connection.get().state === "live" ? LIVE_MS : ALONE_MS), async () => {
    try {
      const read = await get("/api/v1/system/figures", { history: true });
      figures.set({ ...figures.get(), points: past(read.history), error: null });
      add(read);
    } catch (error) {
      figures.set({ ...figures.get(), error });
    }
  });
  const ends = [
    subscribe("system_metrics", (data) => { if (data?.figures) add(data.figures); }),
    connection.watch(({ state }) => { if (state === "live" || state === "lost") turns.now(); }),
  ];
  return () => {
    turns.stop();
    ends.forEach((end) => end());
  };
}

function add(now) {
  const at = new Date(now.at).getTime();
  const { points, nodes } = figures.get();
  // What comes again after an interruption is known already.
  if (points.length > 0 && points.at(-1).at >= at) { figures.set({ ...figures.get(), now }); return; }
  const point = { at, requests: now.requests_per_second, failed: now.failed_per_second, tokens: now.tokens_per_second };
  figures.set({
    now,
    points: [...points.filter((one) => one.at > at - WINDOW_MS), point],
    nodes: [...nodes.filter((one) => one.at > at - WINDOW_MS), { at, of: new Map(now.nodes.map((node) => [node.name, node])) }],
    error: null,
  });
}

/** Makes points of the steps that the server has kept. */
function past({ step_seconds: step, from, requests, failed, tokens }) {
  if (!from) return [];
  const begun = new Date(from).getTime();
  const mean = (values, index) => {
    const near = values.slice(Math.max(0, index + 1 - MEAN), index + 1);
    return near.reduce((sum, value) => sum + value, 0) / (near.length * step);
  };
  return requests.map((_, index) => ({ at: begun + (index + 1) * step * 1_000, requests: mean(requests, index), failed: mean(failed, index), tokens: mean(tokens, index) }));
}

/** What a node does now: `{in_flight, requests_per_second, tokens_per_second}`. */
export function ofNode(name) {
  const none = { in_flight: 0, requests_per_second: 0, tokens_per_second: 0 };
  const { now } = figures.get();
  return now ? now.nodes.find((node) => node.name === name) ?? none : null;
}
