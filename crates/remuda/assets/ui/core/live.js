// One WebSocket for the page: connects again by itself after a random wait, resumes every topic where it stopped, and says how fresh what it shows is.

import { observed } from "./observed.js";
import * as session from "./session.js";

/** A sign of life is asked for so often, and missed after so long. */
const BEAT_MS = 10_000;
const SILENCE_MS = 25_000;
const LONGEST_WAIT_MS = 10_000;

/** How the connection stands: `off`, `connecting`, `live` or `lost`, and since when. */
export const connection = observed({ state: "off", since: Date.now() });

const listeners = new Map();
const positions = new Map();
let socket = null;
let known = false;
let tries = 0;
let heard = 0;
let retry = null;
let wanted = false;

const say = (state) => { if (connection.get().state !== state) connection.set({ state, since: Date.now() }); };

/** Begins to listen, for whoever is signed in. */
export function start() {
  wanted = true;
  if (!socket) connect();
}

export function stop() {
  wanted = false;
  clearTimeout(retry);
  socket?.close();
  socket = null;
  positions.clear();
  say("off");
}

/** Calls `listener(data, message)` for each message of the topic, and returns how to stop. `listener(null)` says that messages were missed. */
export function subscribe(topic, listener) {
  const all = listeners.get(topic) ?? new Set();
  listeners.set(topic, all.add(listener));
  if (known && all.size === 1) ask("subscribe", [topic]);
  return () => {
    all.delete(listener);
    if (all.size > 0) return;
    listeners.delete(topic);
    positions.delete(topic);
    if (known) send({ type: "unsubscribe", data: { topics: [topic] } });
  };
}

const send = (message) => { if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message)); };

function ask(type, topics) {
  const from = topics.map((topic) => (positions.has(topic) ? { topic, after: positions.get(topic) } : topic));
  if (from.length > 0) send({ type, id: topics.join(), data: { topics: from } });
}

async function connect() {
  clearTimeout(retry);
  if (connection.get().state !== "lost") say("connecting");
  let token = null;
  try { token = await session.token(); } catch { /* Not reachable: tried again below. */ }
  if (!wanted) return;
  if (!token) { later(); return; }
  known = false;
  const own = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
  socket = own;
  own.onopen = () => { heard = Date.now(); send({ type: "auth", token }); };
  own.onmessage = (event) => { if (socket === own) receive(JSON.parse(event.data)); };
  own.onclose = (event) => {
    if (socket !== own) return;
    socket = null;
    known = false;
    if (!wanted) return;
    say("lost");
    // The credential ended or its rights changed: with the next token it goes on, or the page learns that it is signed out.
    if (event.code === 4001 || event.code === 4003) session.renew(token).then(later, later);
    else later();
  };
}

function later() {
  socket = null;
  if (!wanted) return;
  if (connection.get().state !== "lost" && tries > 0) say("lost");
  const longest = Math.min(LONGEST_WAIT_MS, 250 * 2 ** Math.min(tries, 6));
  tries += 1;
  clearTimeout(retry);
  retry = setTimeout(connect, longest / 2 + Math.random() * (longest / 2));
}

function receive(message) {
  heard = Date.now();
  if (message.type === "auth_confirmed") {
    if (known) return;
    known = true;
    tries = 0;
    for (const topic of listeners.keys()) ask("subscribe", [topic]);
    say("live");
  } else if (message.type === "subscription_confirmed") {
    for (const [topic, position] of Object.entries(message.data.positions ?? {})) positions.set(topic, position);
    for (const [topic, whole] of Object.entries(message.data.resumed ?? {})) if (!whole) tell(topic, null, message);
  } else if (message.topic) {
    if (message.id) positions.set(message.topic, message.id);
    tell(message.topic, message.data ?? {}, message);
  }
}

function tell(topic, data, message) {
  for (const listener of [...(listeners.get(topic) ?? [])]) listener(data, message);
}

setInterval(() => {
  if (!socket || !known) return;
  if (Date.now() - heard > SILENCE_MS) {
    // The network swallowed the connection: waiting for its end would take minutes.
    const gone = socket;
    socket = null;
    known = false;
    gone.close();
    say("lost");
    later();
  } else send({ type: "heartbeat" });
}, BEAT_MS);

session.onChange((now) => {
  if (now && known) send({ type: "auth", token: now.access });
});
window.addEventListener("online", () => { if (wanted && !socket) connect(); });
document.addEventListener("visibilitychange", () => { if (!document.hidden && wanted && !socket) connect(); });
