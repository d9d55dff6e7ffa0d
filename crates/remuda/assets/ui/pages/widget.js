// One widget: its slots, what it is joined with, drawn as a small graph; joining, parting, removing.

import { ApiError, get, post } from "../core/api.js";
import { h, s } from "../core/dom.js";
import { counted } from "../core/format.js";
import { fleet } from "../core/fleet.js";
import { go, link } from "../core/router.js";
import * as dialog from "../widgets/dialog.js";
import { card, chip, empty, facts, failure, heading, loading, notice } from "../widgets/state.js";

/** Widgets that are drawn at most. */
const DRAWN = 40;
const [WIDTH, HEIGHT, RADIUS] = [720, 420, 150];

export default {
  title: "Widget",
  needs: "platform",
  open(view) {
    const serial = view.params.serial;
    const path = `/api/v1/inventory/widgets/${encodeURIComponent(serial)}`;
    let [widget, component, missing] = [null, null, false];
    view.watch(fleet);
    const hurry = view.every(15_000, async (signal) => {
      try {
        [widget, component] = await Promise.all([get(path, {}, { signal }), get(`${path}/component`, { limit: DRAWN }, { signal })]);
        missing = false;
      } catch (error) {
        if (!(error instanceof ApiError) || error.status !== 404) throw error;
        missing = true;
      }
    });
    view.draw = () => [
      heading(serial, {
        back: { href: link("/inventory"), label: "Inventory" },
        sub: widget?.name,
        actions: widget && !missing && [
          h("button", { class: "button", type: "button", onclick: () => join(widget, hurry) }, "Join"),
          h("button", { class: "button danger-quiet", type: "button", onclick: () => drop(widget) }, "Remove"),
        ],
      }),
      view.error && failure(view.error, hurry),
      missing ? empty("There is no such widget", "It may have been removed, or its serial number is written otherwise.", h("a", { class: "button", href: link("/inventory") }, "Inventory"))
        : widget ? shown(widget, component, hurry) : !view.error && loading(),
    ];
  },
};

function shown(widget, component, hurry) {
  const nodes = widget.nodes.map((id) => fleet.get().nodes.find((node) => node.id === id)?.name ?? id);
  return [
    h("div", { class: "columns even" },
      card("Slots", { flush: widget.slots.length > 0, exports: widget.slots.length > 0 && "slots" }, widget.slots.length === 0 ? h("p", { class: "muted" }, "It has no slots.") : h("table", { class: "grid" },
        h("thead", {}, h("tr", {}, ["Port", "Joined with", ""].map((name) => h("th", { scope: "col" }, name || h("span", { class: "offscreen" }, "Actions"))))),
        h("tbody", {}, widget.slots.map(({ port, partner }, at) => h("tr", { key: at },
          h("th", { scope: "row" }, port), h("td", { class: "wide" }, partner ? h("a", { href: link("/inventory", partner) }, partner) : h("span", { class: "muted" }, "free")),
          h("td", { class: "right" }, partner && h("button", { class: "button small danger-quiet", type: "button", "aria-label": `Part from ${partner} on ${port}`, onclick: () => part(widget, port, partner, hurry) }, "Part"))))))),
      card("About", {}, facts(["Name", widget.name], ["Part of", nodes.length > 0 && h("span", { class: "chips" }, nodes.map((name) => h("a", { class: "chip loaded", href: link("/nodes", name) }, name)))]))),
    component && card("What hangs together with it", { aside: component.complete ? counted(component.widgets.length, "widget") : `the nearest ${component.widgets.length}` },
      component.widgets.length < 2 ? h("p", { class: "muted" }, "Nothing is joined with it.") : graph(widget.serial_number, component.widgets),
      !component.complete && notice("warn", "More hangs together than can be drawn.")),
  ];
}

/** Draws widgets around `centre`, those farther away on wider rings, with a line for each association. */
function graph(centre, widgets) {
  const known = new Map(widgets.map((widget) => [widget.serial_number, widget]));
  const rings = [[centre]];
  const seen = new Set(rings[0]);
  while (rings.at(-1).length > 0) {
    const next = [];
    for (const serial of rings.at(-1)) {
      for (const { partner } of known.get(serial)?.slots ?? []) {
        if (partner && known.has(partner) && !seen.has(partner)) { seen.add(partner); next.push(partner); }
      }
    }
    rings.push(next);
  }
  rings.pop();
  const places = new Map();
  const step = rings.length > 1 ? Math.min(RADIUS, (HEIGHT / 2 - 24) / (rings.length - 1)) : 0;
  rings.forEach((ring, distance) => ring.forEach((serial, at) => {
    const angle = (2 * Math.PI * at) / ring.length - Math.PI / 2 + distance * 0.4;
    places.set(serial, [WIDTH / 2 + Math.cos(angle) * step * distance * 1.7, HEIGHT / 2 + Math.sin(angle) * step * distance]);
  }));
  const lines = new Map();
  for (const widget of widgets) {
    for (const { port, partner } of widget.slots) {
      if (!partner || !places.has(partner) || !places.has(widget.serial_number) || partner < widget.serial_number) continue;
      const key = `${widget.serial_number} ${partner}`;
      lines.set(key, { from: widget.serial_number, to: partner, ports: [...(lines.get(key)?.ports ?? []), port] });
    }
  }
  const words = [...lines.values()].map(({ from, to, ports }) => `${from} with ${to} on ${ports.join(", ")}`).join("; ");
  return h("div", { class: "graph" }, s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `Associations: ${words}` },
    [...lines.values()].map(({ from, to, ports }) => {
      const [[x1, y1], [x2, y2]] = [places.get(from), places.get(to)];
      return [s("line", { class: "rule", x1, y1, x2, y2 }), s("text", { class: "port", x: (x1 + x2) / 2, y: (y1 + y2) / 2 - 4, "text-anchor": "middle" }, ports.join(" "))];
    }),
    [...places].map(([serial, [x, y]]) => s("g", { class: serial === centre ? "centre" : null },
      s("circle", { cx: x, cy: y, r: serial === centre ? 9 : 6 }),
      s("text", { x, y: y - 13, "text-anchor": "middle" }, serial.length > 18 ? `${serial.slice(0, 17)}…` : serial)))),
  h("ul", { class: "chips" }, [...places.keys()].filter((serial) => serial !== centre).map((serial) => h("li", { key: serial }, h("a", { class: "chip", href: link("/inventory", serial) }, serial)))));
}

function join(widget, then) {
  const free = [...new Set(widget.slots.filter(({ partner }) => !partner).map(({ port }) => port))];
  if (free.length === 0) { dialog.open("No free slot", h("div", { class: "dialog-body" }, h("p", {}, `All slots of ${widget.serial_number} are taken. Part it from something first.`))); return; }
  dialog.ask(`Join ${widget.serial_number}`, [
    { name: "port", label: "Port", type: "select", value: free[0], options: free },
    { name: "widget2_sn", label: "With the widget of serial number", required: true, help: "It needs a free slot of the same port." },
  ], "Join", async (values) => {
    await post("/rpc/associate_widgets", { widget1_sn: widget.serial_number, ...values });
    then();
    return "They are joined.";
  });
}

function part(widget, port, partner, then) {
  dialog.confirm(`Part from ${partner}?`, h("p", {}, `${widget.serial_number} and ${partner} are parted on ${port}; both slots are free then.`), "Part", async () => {
    await post("/rpc/remove_association", { widget1_sn: widget.serial_number, widget2_sn: partner, port });
    then();
    return "They are parted.";
  });
}

function drop(widget) {
  const partners = widget.slots.filter(({ partner }) => partner).map(({ partner }) => partner);
  dialog.confirm(`Remove ${widget.serial_number}?`, [
    h("p", {}, `${widget.name} is removed for good.`),
    partners.length > 0 && h("p", {}, "It is parted from ", h("span", { class: "chips" }, partners.map((serial) => chip(serial))), "."),
  ], "Remove", async () => {
    await post("/rpc/remove_widget", { widget_sn: widget.serial_number });
    go(link("/inventory"));
    return `${widget.serial_number} is removed.`;
  });
}
