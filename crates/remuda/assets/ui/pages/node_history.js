// How a node was: whether it could be used, how busy it was, and its machine, over hours to a year.

import { get } from "../core/api.js";
import { h } from "../core/dom.js";
import { plot } from "../widgets/chart.js";
import { choice } from "../widgets/form.js";
import { card, failure } from "../widgets/state.js";

const HOUR_MS = 3_600_000;
const RANGES = [["6", "6 hours"], ["24", "24 hours"], ["168", "7 days"], ["720", "30 days"], ["8760", "A year"]];

/** Reads the history of the node that the page shows, and returns how it is drawn. */
export function nodeHistory(view, path) {
  let [told, failed] = [null, null];
  const hours = () => Number(view.query.get("hours")) || 6;
  const hurry = view.every(60_000, async (signal) => {
    const [to, back] = [Date.now(), hours()];
    const since = new Date(to - back * HOUR_MS).toISOString();
    try {
      told = { ...(await get(`${path}/history`, { since }, { signal })), from: to - back * HOUR_MS, to };
      failed = null;
    } catch (error) {
      if (error.name === "AbortError") throw error;
      failed = error;
    }
  });
  return () => card("History", { aside: choice("Time", String(hours()), RANGES, (value) => { view.narrow({ hours: value }); hurry(); }) },
    failed ? failure(failed, hurry) : !told ? h("p", { class: "muted" }, "Reading…") : told.items.length === 0
      ? h("p", { class: "muted" }, "Nothing is known of this time: nodes are looked at every ten seconds while this server runs, and a minute is told when it is over.") : drawn(told));
}

function drawn({ items, step_seconds: seconds, from, to }) {
  const series = (label, kind, value) => ({ label, kind, points: items.map((item) => [new Date(item.starts_at).getTime(), value(item)]).filter(([, one]) => one !== undefined && one !== null) });
  const percent = (value) => `${Math.round(value)} %`;
  const shared = { from, to, gap: 2.5 * seconds * 1_000, height: 110 };
  const any = (...lines) => lines.filter((line) => line.points.length > 0);
  const machine = any(series("processor", "one", (item) => item.cpu_percent), series("memory", "two", (item) => item.memory_percent));
  const gpus = any(series("GPUs", "one", (item) => item.gpu_percent), series("their memory", "two", (item) => item.gpu_memory_percent));
  const heat = any(series("hottest GPU", "bad", (item) => item.gpu_celsius_most));
  return h("div", { class: "columns even" },
    h("div", {}, h("h3", {}, "Could be used"), plot({ label: "Share of the time in which it could be used", ...shared, unit: percent, series: [series("could be used", "one", (item) => (100 * item.usable) / item.samples)] })),
    h("div", {}, h("h3", {}, "Requests under way"), plot({ label: "Requests under way", ...shared, series: [series("at most", "two", (item) => item.in_flight_most), series("in the mean", "one", (item) => item.in_flight)] })),
    machine.length > 0 && h("div", {}, h("h3", {}, "Machine"), plot({ label: "Use of the machine", ...shared, unit: percent, series: machine })),
    gpus.length > 0 && h("div", {}, h("h3", {}, "GPUs"), plot({ label: "Use of the GPUs", ...shared, unit: percent, series: gpus })),
    heat.length > 0 && h("div", {}, h("h3", {}, "Hottest GPU"), plot({ label: "Temperature of the hottest GPU", ...shared, unit: (value) => `${Math.round(value)} °C`, series: heat })));
}
