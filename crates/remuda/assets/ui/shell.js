// What stands around every page: the way to the others, how fresh all is, theme, leaving.

import { h, keep, show } from "./core/dom.js";
import { ago } from "./core/format.js";
import { connection } from "./core/live.js";
import { BASE, link } from "./core/router.js";
import { rightsOf } from "./core/rights.js";
import { icon } from "./widgets/icon.js";

const GROUPS = [
  [null, [
    ["/overview", "Overview", "platform"],
    ["/nodes", "Nodes", "platform"],
    ["/models", "Models", "platform"],
    ["/placement", "Placement", "platform"],
    ["/rollouts", "Roll-outs", "platform"],
    ["/agents", "Agent updates", "platform"],
    ["/queue", "Queue", "platform"],
    ["/requests", "Requests", "platform"],
    ["/usage", "Usage", "platform"],
    ["/simulator", "Simulator", "platform"],
  ]],
  ["Try", [
    ["/playground", "Playground", "inference"],
    ["/embeddings", "Embeddings", "inference"],
    ["/jobs", "Jobs", "inference"],
  ]],
  ["Access", [
    ["/keys", "Keys", "people"],
    ["/people", "People", "people"],
    ["/invitations", "Invitations", "people"],
    ["/organisations", "Organisations", "people"],
    ["/audit", "Changes", "people"],
  ]],
  ["System", [
    ["/inventory", "Inventory", "platform"],
    ["/work", "Deferred work", "platform"],
    ["/settings", "Settings", "platform"],
    ["/database", "Database", "platform"],
  ]],
];

/** How long a lost connection is not worth a word: a restart of the server takes as long. */
const PATIENCE_MS = 1_500;

let menuOpen = false;
let again = null;

/** Draws the surroundings with `main` in their middle. */
export function drawShell(app, main, me, signOut) {
  menuOpen = false;
  again = () => paint(app, main, me, signOut);
  again();
}

function paint(app, main, me, signOut) {
  const rights = rightsOf(me);
  const here = location.pathname;
  const item = ([path, label]) => {
    const href = link(path);
    const current = here === href || here.startsWith(`${href}/`);
    return h("a", { href, class: "nav-item", "aria-current": current ? "page" : null }, label);
  };
  const groups = GROUPS.map(([name, items]) => [name, items.filter(([, , right]) => rights[right])]).filter(([, items]) => items.length > 0);
  show(app,
    h("a", { class: "skip", href: "#main", onclick: (event) => { event.preventDefault(); main.querySelector("h1")?.focus(); } }, "Skip to the page"),
    h("header", { class: "top" },
      h("button", { class: "icon-button", type: "button", "aria-label": "Menu", "aria-expanded": String(menuOpen), "aria-controls": "nav", onclick: () => { menuOpen = !menuOpen; again(); } }, icon("menu")),
      h("a", { class: "brand", href: `${BASE}/` }, "Remuda"), freshness()),
    h("div", { class: ["side", menuOpen && "open"] },
      h("a", { class: "brand", href: `${BASE}/` }, h("span", { class: "mark", "aria-hidden": "true" }, "R"), "Remuda"),
      h("nav", { id: "nav", "aria-label": "Pages" }, groups.map(([name, items]) => h("div", { class: "nav-group" }, name && h("div", { class: "nav-title" }, name), items.map(item)))),
      h("div", { class: "side-foot" },
        freshness(),
        h("a", { class: "nav-item who", href: link("/account"), "aria-current": here === link("/account") ? "page" : null }, h("span", {}, me.name), h("span", { class: "muted small" }, me.platform_admin ? "platform administrator" : me.role)),
        h("div", { class: "row tight" },
          h("button", { class: "button quiet small", type: "button", onclick: turnTheme, title: "Light or dark" }, themeWord()),
          h("a", { class: "button quiet small", href: "/docs/", target: "_blank", rel: "noopener" }, "API"),
          h("button", { class: "button quiet small", type: "button", onclick: signOut }, "Sign out")))),
    keepMain(main));
}

const keepMain = (main) => {
  const frame = document.querySelector(".frame") ?? h("div", { class: "frame" });
  if (main.parentNode !== frame) frame.replaceChildren(h("div", { class: "stale", hidden: true, role: "status" }), main);
  return keep(frame);
};

/** Says whether what is shown is live. */
function freshness() {
  const { state } = connection.get();
  const [tone, words] = { live: ["good", "Live"], connecting: ["calm", "Connecting"], lost: ["bad", "Not connected"], off: ["calm", "Off"] }[state];
  return h("span", { class: ["badge", "fresh", tone], "data-connection": state, title: state === "live" ? "Changes arrive by themselves" : "What is shown may be old" }, h("i", { class: "dot", "aria-hidden": "true" }), words);
}

/** Has the surroundings say when the connection is lost, and since when. */
export function followConnection() {
  const tick = () => {
    const { state, since } = connection.get();
    const stale = document.querySelector(".stale");
    if (!stale) return;
    const lost = state === "lost" && Date.now() - since > PATIENCE_MS;
    stale.hidden = !lost;
    if (lost) show(stale, h("strong", {}, "The connection to the server is lost. "), `What you see is from ${ago(since)}. It goes on by itself as soon as the server answers.`);
  };
  connection.watch(() => { again?.(); tick(); });
  setInterval(tick, 1_000);
}

const present = () => document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
const themeWord = () => (present() === "dark" ? "Light" : "Dark");

function turnTheme() {
  const next = present() === "dark" ? "light" : "dark";
  document.documentElement.dataset.theme = next;
  try { localStorage.setItem("remuda.theme", next); } catch { /* Chosen for this page alone. */ }
  again();
}
