// Small plots, drawn as SVG. Each says in words what it shows, for who cannot see it.

import { h, s } from "../core/dom.js";
import { figure } from "../core/format.js";

const WIDTH = 600;

/** Returns a round number not below `value`, for the top of a scale. */
function ceiling(value) {
  if (value <= 0) return 1;
  const size = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((step) => step * size).find((step) => step >= value * 0.999);
}

/**
 * Lines over time with axes. `series`: `{label, kind, points: [[at, value]]}`; `from` and `to` in milliseconds; `unit` writes a value.
 * Times without a value leave a gap.
 */
export function plot({ label, series, from, to, unit = figure, height = 150, gap = 30_000 }) {
  const top = ceiling(Math.max(0, ...series.flatMap((one) => one.points.filter(([at]) => at >= from).map(([, value]) => value))));
  const x = (at) => ((at - from) / (to - from)) * WIDTH;
  const y = (value) => height - (value / top) * height;
  const ticks = [0, 0.5, 1];
  const minutes = [0, 0.25, 0.5, 0.75, 1];
  const seconds = to - from < 5 * 60_000 ? { second: "2-digit" } : {};
  const day = { month: "short", day: "numeric" };
  const clock = (at) => (to - from > 48 * 3_600_000 ? new Date(at).toLocaleDateString(undefined, day) : new Date(at).toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit", hour12: false, ...seconds }));
  // A line of nothing but noughts would only be in the way.
  const seen = (one) => one.kind !== "bad" || one.points.some(([, value]) => value > 0);
  const words = series.map((one) => `${one.label} ${one.points.length > 0 ? unit(one.points.at(-1)[1]) : "unknown"}`).join(", ");
  return h("figure", { class: "plot" },
    h("div", { class: "plot-frame" },
      h("div", { class: "plot-y", "aria-hidden": "true" }, [...ticks].reverse().map((share) => h("span", {}, unit(top * share)))),
      s("svg", { viewBox: `0 0 ${WIDTH} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": `${label}: ${words}`, height },
        ticks.map((share) => s("line", { class: "rule", x1: 0, x2: WIDTH, y1: y(top * share), y2: y(top * share) })),
        series.filter(seen).map((one) => pieces(one.points.filter(([at]) => at >= from - gap), gap).map((piece) => drawn(piece, one.kind, x, y, height))))),
    h("div", { class: "plot-x", "aria-hidden": "true" }, minutes.map((share) => h("span", {}, clock(from + (to - from) * share)))),
    series.length > 1 && h("figcaption", { class: "legend" }, series.map((one) => h("span", {}, h("i", { class: ["swatch", one.kind], "aria-hidden": "true" }), one.label))));
}

function drawn(piece, kind, x, y, height) {
  const points = piece.map(([at, value]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
  const [first, last] = [x(piece[0][0]).toFixed(1), x(piece.at(-1)[0]).toFixed(1)];
  return [
    s("polygon", { class: ["area", kind], points: `${first},${height} ${points} ${last},${height}` }),
    s("polyline", { class: ["line", kind], points }),
  ];
}

/** Divides points where more than `gap` lies between two. */
function pieces(points, gap) {
  const found = [];
  let last = -Infinity;
  for (const point of points) {
    if (point[0] - last > gap) found.push([]);
    found.at(-1).push(point);
    last = point[0];
  }
  return found;
}

/** A bar of parts beside each other: `{label, value, kind, words}`. */
export function parts(all, label) {
  const total = all.reduce((sum, part) => sum + part.value, 0) || 1;
  let at = 0;
  return h("div", { class: "parts" },
    s("svg", { viewBox: "0 0 1000 14", preserveAspectRatio: "none", role: "img", "aria-label": `${label}: ${all.map((part) => `${part.label} ${part.words}`).join(", ")}` },
      all.map((part) => {
        const width = (part.value / total) * 1000;
        const rect = s("rect", { class: part.kind, x: at, y: 0, width: Math.max(0, width), height: 14 });
        at += width;
        return rect;
      })),
    h("div", { class: "legend" }, all.map((part) => h("span", {}, h("i", { class: ["swatch", part.kind], "aria-hidden": "true" }), `${part.label} `, h("b", {}, part.words)))));
}
