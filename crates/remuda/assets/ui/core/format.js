// How figures, spans and moments are written. Times are shown in the viewer's zone, with the full moment in the tooltip.

import { h } from "./dom.js";

const whole = new Intl.NumberFormat("en");
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hour12: false });

/** What stands for something that is not known. */
export const NOTHING = "–";

export const count = (value) => (value === null || value === undefined ? NOTHING : whole.format(value));

/** A rate or another figure with about three digits: `0.42`, `12.3`, `1,240`, `18.2k`. */
export function figure(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return NOTHING;
  if (value === 0) return "0";
  if (value < 10) return value.toFixed(value < 1 ? 2 : 1);
  if (value < 100) return value.toFixed(value < 20 ? 1 : 0);
  if (value < 10_000) return whole.format(Math.round(value));
  if (value < 1_000_000) return `${(value / 1_000).toFixed(value < 100_000 ? 1 : 0)}k`;
  return `${(value / 1_000_000).toFixed(1)}M`;
}

/** A span given in microseconds. */
export function span(micros) {
  if (micros === null || micros === undefined || Number.isNaN(micros)) return NOTHING;
  if (micros < 1_000) return micros === 0 ? "0 ms" : `${Math.round(micros)} µs`;
  if (micros < 10_000) return `${(micros / 1_000).toFixed(1)} ms`;
  if (micros < 1_000_000) return `${Math.round(micros / 1_000)} ms`;
  if (micros < 60_000_000) return `${(micros / 1_000_000).toFixed(micros < 10_000_000 ? 2 : 1)} s`;
  const seconds = Math.round(micros / 1_000_000);
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3_600)} h ${Math.floor((seconds % 3_600) / 60)} min`;
}

export function bytes(value) {
  if (value === null || value === undefined) return NOTHING;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (value >= 1_024 && at < units.length - 1) { value /= 1_024; at += 1; }
  return `${at === 0 ? value : value.toFixed(value < 10 ? 1 : 0)} ${units[at]}`;
}

export const percent = (share) => (share === null || share === undefined || Number.isNaN(share) ? NOTHING : `${(share * 100).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`);

/** `12 s ago`, `in 3 h`. */
export function ago(moment, now = Date.now()) {
  if (!moment) return "never";
  const seconds = Math.round((now - new Date(moment).getTime()) / 1_000);
  const size = Math.abs(seconds);
  const [amount, unit] = size < 60 ? [size, "s"] : size < 3_600 ? [Math.round(size / 60), "min"] : size < 86_400 ? [Math.round(size / 3_600), "h"] : [Math.round(size / 86_400), "d"];
  if (size < 2) return "now";
  return seconds >= 0 ? `${amount} ${unit} ago` : `in ${amount} ${unit}`;
}

/** The moment itself, for exports and tooltips. */
export const moment = (text) => (text ? full.format(new Date(text)) : "");

/** An element that says when: the time of today, the day before that. */
export function when(text, style = "clock") {
  if (!text) return h("span", { class: "muted" }, "never");
  const date = new Date(text);
  const today = date.toDateString() === new Date().toDateString();
  const words = style === "ago" ? ago(text) : today ? clock.format(date) : day.format(date);
  return h("time", { datetime: text, title: full.format(date) }, words);
}

/** A browser or program in a few words, from what it calls itself. */
export function program(agent) {
  if (!agent) return NOTHING;
  const [, name, version] = /(Edg|OPR|Firefox|HeadlessChrome|Chrome|Version)\/(\d+)/.exec(agent) ?? [];
  const system = ["Windows", "Android", "iPhone", "iPad", "Mac OS", "Linux"].find((one) => agent.includes(one));
  if (!name || !system) return agent;
  const known = { Edg: "Edge", OPR: "Opera", HeadlessChrome: "Chrome", Version: "Safari" }[name] ?? name;
  return `${known} ${version} on ${system === "Mac OS" ? "macOS" : system}`;
}

export const shortId = (id) => (id && id.length > 12 ? `${id.slice(0, 8)}…${id.slice(-4)}` : id ?? NOTHING);

/** Makes a count with its word: `1 node`, `3 nodes`. */
export const counted = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;
