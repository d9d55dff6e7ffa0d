// The nodes as this page knows them: read whole, kept fresh by what the WebSocket tells, and read again now and then.

import { all } from "./api.js";
import { connection, subscribe } from "./live.js";
import { observed, repeat } from "./observed.js";

/** How often the list is read again: changes and figures come by themselves while the connection is live. */
const LIVE_MS = 20_000;
const ALONE_MS = 3_000;
/** All open pages hear of a change at once: they read the list one after the other. */
const SPREAD_MS = 2_000;
const LARGE = 200;
const LARGE_MS = 15_000;

/** `{nodes, at, error}`; `at` is 0 until the first answer. */
export const fleet = observed({ nodes: [], at: 0, error: null }, follow);

let turns = null;
/** Reads the list anew at once, after a change made here. */
export const reread = () => turns?.now();

function follow() {
  turns = repeat(() => (connection.get().state === "live" ? LIVE_MS : fleet.get().nodes.length > LARGE ? LARGE_MS : ALONE_MS), read);
  let soon = null;
  const hurry = () => { clearTimeout(soon); soon = setTimeout(() => turns?.now(), 200 + Math.random() * SPREAD_MS); };
  const ends = [
    subscribe("node_status", (data) => { if (data?.node_id) apply(data); hurry(); }),
    subscribe("model_update", hurry),
    subscribe("system_metrics", (data) => { if (data?.figures) count(data.figures.nodes); }),
    connection.watch(({ state }) => { if (state === "live") hurry(); }),
  ];
  return () => {
    clearTimeout(soon);
    turns.stop();
    turns = null;
    ends.forEach((end) => end());
  };
}

async function read() {
  try {
    fleet.set({ nodes: await all("/api/v1/nodes", { sort: "name" }), at: Date.now(), error: null });
  } catch (error) {
    fleet.set({ ...fleet.get(), error });
  }
}

/** Shows a change of state before the list is read again. */
function apply({ node_id: id, status, details }) {
  const { nodes, ...rest } = fleet.get();
  const next = status === "deleted"
    ? nodes.filter((node) => node.id !== id)
    : nodes.map((node) => (node.id === id ? { ...node, state: status, reason: details?.reason ?? null } : node));
  fleet.set({ ...rest, nodes: next });
}

/** Shows how much is under way at each node. */
function count(busy) {
  const { nodes, ...rest } = fleet.get();
  const known = new Map(busy.map((node) => [node.name, node.in_flight]));
  fleet.set({ ...rest, nodes: nodes.map((node) => ({ ...node, in_flight: known.get(node.name) ?? 0 })) });
}

/** How bad a state is, for sorting: the worst first. */
export const SEVERITY = { unhealthy: 0, suspect: 1, draining: 2, new: 3, busy: 4, ready: 5 };
