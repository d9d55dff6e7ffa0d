// Begins: who is signed in decides which pages there are; the address decides which one is shown.

import { get, post } from "./core/api.js";
import { h, show } from "./core/dom.js";
import * as live from "./core/live.js";
import * as router from "./core/router.js";
import * as session from "./core/session.js";
import { View } from "./core/view.js";
import { rightsOf } from "./core/rights.js";
import { drawShell, followConnection } from "./shell.js";
import { ROUTES } from "./pages/index.js";
import { signIn } from "./pages/signin.js";
import { empty, failure } from "./widgets/state.js";

const app = document.getElementById("app");
let me = null;
let view = null;
let main = null;

/** Learns who calls, and shows the address's page or the way in. */
async function begin() {
  leave();
  if (!session.read()) return enter();
  try {
    me = await get("/api/v1/me");
  } catch (error) {
    if (!session.read()) return enter();
    show(app, h("main", { class: "alone" }, failure(error)));
    setTimeout(begin, 2_000);
    return;
  }
  live.start();
  main = h("main", { id: "main" });
  drawShell(app, main, me, signOut);
  navigate();
}

/** Asks who it is. */
function enter() {
  live.stop();
  me = null;
  signIn(app);
}

function leave() {
  view?.end();
  view = null;
}

function navigate() {
  if (!me) return;
  const before = view;
  leave();
  const found = router.current();
  main.replaceChildren();
  const page = found?.page;
  const rights = rightsOf(me);
  view = new View(main, found ?? { params: {}, query: new URLSearchParams() }, me);
  const own = view;
  if (page && page.needs && !rights[page.needs]) {
    own.draw = () => empty("Not for you", `Your role (${me.role}${me.platform_admin ? "" : " of an organisation"}) does not include this page. An administrator of the platform can change that under People.`);
  } else if (page) {
    page.open(own, rights);
  } else {
    own.draw = () => empty("There is no such page", "The address may be mistyped, or from another version.", h("a", { class: "button", href: router.link("/") }, "To the start"));
  }
  document.title = `${page?.title ?? "Not found"} · Remuda`;
  drawShell(app, main, me, signOut);
  own.now();
  // What had the focus is gone with the page before: the next stop of the keyboard is in this one.
  if (before && document.activeElement === document.body) main.querySelector("h1")?.focus({ preventScroll: true });
}

async function signOut() {
  // A server that does not answer must not keep anybody from leaving: the session ends by itself.
  try { await post("/api/v1/logout"); } catch { /* As said. */ }
  session.forget();
}

let signedIn = Boolean(session.read());
session.onChange((now) => {
  const before = signedIn;
  signedIn = Boolean(now);
  if (before && !now) { leave(); enter(); } else if (!before && now && !me) begin();
});
followConnection();
router.begin(ROUTES, navigate);
begin();
