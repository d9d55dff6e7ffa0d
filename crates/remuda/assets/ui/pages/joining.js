// Machines that join by their agents: an invitation, and those that say on the network that they belong nowhere.

import { get, post } from "../core/api.js";
import { h } from "../core/dom.js";
import { moment, when } from "../core/format.js";
import * as dialog from "../widgets/dialog.js";
import { card } from "../widgets/state.js";

/** Asks for a name, and shows the line that makes a machine the node of this name. */
export function invite(name = "", shownThere = null) {
  dialog.ask("Invite a machine", [
    { name: "name", label: "Name of the node", required: true, value: name, placeholder: "gpu2", pattern: "[A-Za-z0-9._\\-]{1,64}", help: "Letters, digits, dot, underscore and hyphen." },
  ], "Invite", async (values) => {
    const made = await post("/api/v1/nodes/invite", values);
    const url = made.url ?? `https://${location.hostname}:${made.port}`;
    dialog.secret(`Invitation for ${made.name}`, `remuda agent --join ${url} --token ${made.token}`,
      `Run this line on the machine${shownThere ? ` whose agent shows ${shownThere}` : ""}. It works once, until ${moment(made.expires_at)}; hand it to nobody else.`);
    return null;
  });
}

/** What agents say on the network, read now and again; returns how it is drawn. */
export function discovered(view) {
  let heard = [];
  view.every(10_000, async (signal) => { ({ items: heard } = await get("/api/v1/agents/discovered", {}, { signal })); });
  return () => heard.length > 0 && card("Found on the network", { key: "discovered" },
    h("p", { class: "muted" }, "Agents that say that they belong to no Remuda. Anybody on the network can say so: compare the code with the one that the machine shows. None is let in without an invitation."),
    h("div", { class: "grid-frame", tabindex: "0" }, h("table", { class: "grid", "aria-label": "Agents found on the network" },
      h("thead", {}, h("tr", {}, ["Code", "Machine", "Agent", "Addresses", "Heard", ""].map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", {}, heard.map((one) => h("tr", { key: `${one.code} ${one.host}` },
        h("td", {}, h("code", {}, one.code)), h("td", {}, one.host), h("td", {}, `${one.version} ${one.target}`), h("td", { class: "wide" }, one.addresses.join(", ")), h("td", {}, when(one.last_heard, "ago")),
        h("td", { class: "right" }, h("button", { class: "button small", type: "button", onclick: () => invite(one.host, one.code) }, "Invite"))))))));
}
