// What if another policy chose? The own requests of the last hours, replayed over the fleet as it is.

import { post } from "../core/api.js";
import { h, s } from "../core/dom.js";
import { count, counted, figure, moment, percent, span } from "../core/format.js";
import { choice } from "../widgets/form.js";
import { card, chip, empty, failure, heading, loading, notice } from "../widgets/state.js";

const POLICIES = ["remuda", "least_load", "round_robin", "peak_ewma", "prefix_affinity"];
const SPANS = { "1h": 3_600_000, "6h": 6 * 3_600_000, "24h": 86_400_000, "7d": 7 * 86_400_000 };
const [WIDTH, HEIGHT] = [600, 200];

export default {
  title: "Simulator",
  needs: "platform",
  open(view) {
    let [found, busy] = [null, false];
    const chosen = () => (view.query.get("policies") ?? POLICIES.join()).split(",").filter((name) => POLICIES.includes(name));
    const run = async () => {
      busy = true;
      view.refresh();
      await view.once(async (signal) => {
        const age = SPANS[view.query.get("since") ?? "24h"] ?? SPANS["24h"];
        found = await post("/api/v1/simulations", { policies: chosen(), since: new Date(Date.now() - age).toISOString(), rate: Number(view.query.get("rate") ?? 1) }, { signal });
      });
      busy = false;
      view.refresh();
    };
    const pick = (name) => {
      const now = chosen();
      const next = now.includes(name) ? now.filter((one) => one !== name) : POLICIES.filter((one) => one === name || now.includes(one));
      view.narrow({ policies: next.length === POLICIES.length ? "" : next.join() });
    };
    view.draw = () => [
      heading("Simulator", { sub: "the requests of the last hours, replayed" }),
      h("div", { class: "toolbar" },
        choice("Requests of", view.query.get("since") ?? "24h", [["1h", "Last hour"], ["6h", "Last 6 hours"], ["24h", "Last day"], ["7d", "Last week"]], (since) => view.narrow({ since })),
        choice("Rate", view.query.get("rate") ?? "1", [["0.5", "half as fast"], ["1", "as fast as recorded"], ["2", "twice as fast"], ["5", "5 times as fast"], ["10", "10 times as fast"]], (rate) => view.narrow({ rate })),
        h("fieldset", { class: "row" }, h("legend", { class: "offscreen" }, "Policies"), POLICIES.map((name) => h("label", { class: "check", key: name }, h("input", { type: "checkbox", checked: chosen().includes(name), onchange: () => pick(name) }), " ", name))),
        h("span", { class: "spring" }),
        h("button", { class: "button primary", type: "button", disabled: busy || chosen().length === 0, "aria-busy": busy ? "true" : null, onclick: run }, "Run")),
      view.error && failure(view.error, run),
      busy ? loading("Replaying…") : found ? shown(found)
        : !view.error && empty("What if another policy chose?", "The requests that were recorded arrive again, in virtual time, at nodes as fast as yours were found to be. Nothing is sent anywhere.", h("button", { class: "button primary", type: "button", onclick: run }, "Run")),
    ];
  },
};

function shown({ requests, left_out: leftOut, from, to, fleet, results }) {
  const best = (of, sign = 1) => Math.min(...results.map((one) => sign * of(one))) * sign;
  const lowest = best((one) => one.first_token.p99_ms);
  const ms = (value) => span(value * 1_000);
  const guessed = fleet.filter((node) => !node.learned);
  return [
    h("p", { class: "muted" }, `${counted(requests, "request")} from ${moment(from)} to ${moment(to)}${leftOut > 0 ? `; ${count(leftOut)} left out, whose model no node has now` : ""}. Arrivals do not wait for answers and prompts are taken as new, so this is an estimate.`),
    guessed.length > 0 && notice("warn", `The speed of ${guessed.map((node) => node.name).slice(0, 5).join(", ")}${guessed.length > 5 ? " and others" : ""} is not known yet: taken for a small server with one GPU.`),
    card("How the policies compare", { flush: true, exports: "policies" }, h("div", { class: "grid-frame", tabindex: "0" }, h("table", { class: "grid" },
      h("thead", {}, h("tr", {}, ["Policy", "First token p50", "p99", "To the end p50", "p99", "Goodput /s", "Lost", "Loads", "Fairness", "Slots taken"].map((name, at) => h("th", { scope: "col", class: at > 0 ? "right" : null }, name)))),
      h("tbody", {}, results.map((one) => h("tr", { key: one.policy },
        h("th", { scope: "row" }, one.policy, one.first_token.p99_ms === lowest && results.length > 1 && [" ", chip("best p99", "loaded")]),
        [ms(one.first_token.p50_ms), ms(one.first_token.p99_ms), ms(one.end_to_end.p50_ms), ms(one.end_to_end.p99_ms), figure(one.goodput_per_second), count(one.lost), count(one.cold_loads), one.fairness.toFixed(2), percent(one.slot_utilisation)].map((value) => h("td", { class: "right" }, value)))))))),
    card("Time to the first token", { aside: "share of requests that had it within" }, curves(results)),
    card("The fleet as it was simulated", { flush: true, exports: "simulated-fleet" }, h("div", { class: "grid-frame", tabindex: "0" }, h("table", { class: "grid" },
      h("thead", {}, h("tr", {}, ["Node", "Reads tokens/s", "Writes tokens/s", "At the same time", ""].map((name, at) => h("th", { scope: "col", class: at > 0 ? "right" : null }, name || h("span", { class: "offscreen" }, "Note"))))),
      h("tbody", {}, fleet.slice(0, 200).map((node) => h("tr", { key: node.name }, h("th", { scope: "row" }, node.name), [figure(node.prefill_tokens_per_second), figure(node.decode_tokens_per_second), count(node.slots), node.learned ? "learned" : "assumed"].map((value) => h("td", { class: "right" }, value)))))))),
  ];
}

/** One curve for each policy: the share of requests over the time, on a logarithmic scale. */
function curves(results) {
  const all = results.flatMap((one) => one.first_token_percentiles_ms).filter((value) => value > 0);
  const [low, high] = [Math.max(0.1, Math.min(...all)), Math.max(1, ...all)];
  const x = (value) => (Math.log(Math.max(value, low) / low) / Math.log(Math.max(high / low, 1.01))) * WIDTH;
  const y = (share) => HEIGHT - share * HEIGHT;
  const marks = [0, 0.25, 0.5, 0.75, 1].map((share) => low * (high / low) ** share);
  return h("figure", { class: "plot" },
    h("div", { class: "plot-frame" },
      h("div", { class: "plot-y", "aria-hidden": "true" }, ["100 %", "50 %", "0 %"].map((words) => h("span", {}, words))),
      s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", height: HEIGHT, "aria-label": `Time to the first token: ${results.map((one) => `${one.policy} ${span(one.first_token.p50_ms * 1_000)} in the median`).join(", ")}` },
        [0, 0.5, 1].map((share) => s("line", { class: "rule", x1: 0, x2: WIDTH, y1: y(share), y2: y(share) })),
        results.map((one, at) => s("polyline", { class: ["line", `curve-${at}`], points: one.first_token_percentiles_ms.map((value, index) => `${x(value).toFixed(1)},${y((index + 1) / 100).toFixed(1)}`).join(" ") })))),
    h("div", { class: "plot-x", "aria-hidden": "true" }, marks.map((value) => h("span", {}, span(value * 1_000)))),
    h("figcaption", { class: "legend" }, results.map((one, at) => h("span", {}, h("i", { class: ["swatch", `curve-${at}`], "aria-hidden": "true" }), one.policy))));
}
