// Settings that apply while the server runs, with their history and the way back.

import { changed, get, post, put } from "../core/api.js";
import { h } from "../core/dom.js";
import { count, when } from "../core/format.js";
import * as dialog from "../widgets/dialog.js";
import { card, chip, empty, failure, heading, loading } from "../widgets/state.js";

export default {
  title: "Settings",
  needs: "platform",
  open(view) {
    let [config, history] = [null, []];
    const hurry = view.every(10_000, async (signal) => {
      config = await get("/api/v1/system/config", {}, { signal });
      history = (await get("/api/v1/system/config/history", { limit: 50 }, { signal })).items;
    });
    const set = (changes, words) => put("/api/v1/system/config", { config: changes }, changed(config.etag)).then(() => { hurry(); return words; });
    const change = (setting) => dialog.ask(`Change ${setting.key}`, [
      setting.choices ? { name: "value", label: "Value", type: "select", value: setting.value, options: setting.choices }
        : { name: "value", label: "Value", type: "number", required: true, min: setting.minimum, max: setting.maximum, value: setting.value, help: `${count(setting.minimum)} to ${count(setting.maximum)}; ${setting.default} while nobody sets it.` },
    ], "Set", ({ value }) => set({ [setting.key]: value }, `${setting.key} is ${value} now.`), { body: h("p", {}, setting.description) });
    const reset = (setting) => dialog.confirm(`Reset ${setting.key}?`, h("p", {}, `It becomes ${setting.default} again, as the configuration file or the program has it, in place of ${setting.value}. At once, on all replicas.`), "Reset", () => set({ [setting.key]: null }, `${setting.key} is ${setting.default} again.`));
    const back = (version) => dialog.confirm(`Go back to version ${version}?`, h("p", {}, `Every setting becomes what it was at version ${version}${version === 0 ? ": nothing set" : ""}. That is a change of its own, and can be undone the same way.`), "Go back", async () => { await post("/api/v1/system/config/rollback", { version }, changed(config.etag)); hurry(); return `The settings are those of version ${version}.`; });
    view.draw = () => [
      heading("Settings", { sub: config && `Version ${config.version}. In effect at once; everything else stands in the configuration file.` }),
      view.error && failure(view.error, hurry),
      config === null ? !view.error && loading() : card("Values", { flush: true, exports: "settings" }, h("div", { class: "grid-frame", tabindex: "0" }, h("table", { class: "grid" },
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Setting"), h("th", { scope: "col" }, "Value"), h("th", { scope: "col", class: "not-on-phone" }, "Otherwise"), h("th", { scope: "col", class: "not-on-phone" }, "For"), h("th", { scope: "col" }, h("span", { class: "offscreen" }, "Actions")))),
        h("tbody", {}, config.settings.map((one) => h("tr", { key: one.key }, h("td", {}, h("code", {}, one.key)), h("td", {}, h("b", {}, String(one.value)), one.set && [" ", chip("set here", "loaded")]), h("td", { class: "not-on-phone muted" }, String(one.default)), h("td", { class: "wide not-on-phone prose" }, one.description),
          h("td", { class: "right" }, h("span", { class: "row tight end" }, one.set && h("button", { class: "button small", type: "button", onclick: () => reset(one), "aria-label": `Reset ${one.key}` }, "Reset"), h("button", { class: "button small", type: "button", onclick: () => change(one), "aria-label": `Change ${one.key}` }, "Change")))))))),
      ),
      config && card("History", { flush: true, exports: history.length > 0 && "history" }, history.length === 0 ? empty("Nothing was changed yet", "Changes made here or by remuda setting are listed with the way back.") : h("div", { class: "grid-frame", tabindex: "0" }, h("table", { class: "grid" },
        h("thead", {}, h("tr", {}, ["Version", "When", "By", "What", ""].map((name) => h("th", { scope: "col" }, name || h("span", { class: "offscreen" }, "Actions"))))),
        h("tbody", {}, history.map((one) => h("tr", { key: one.version }, h("td", {}, one.version), h("td", {}, when(one.at)), h("td", {}, one.by),
          h("td", { class: "wide" }, one.differences.map((each) => h("div", {}, h("code", {}, each.key), " ", h("del", {}, String(each.old ?? "unset")), " → ", h("ins", {}, String(each.new ?? "unset"))))),
          h("td", { class: "right" }, one.version !== config.version ? h("button", { class: "button small", type: "button", onclick: () => back(one.version) }, "Go back to this") : h("span", { class: "muted" }, "now"))))))),
        history.length > 0 && !history.some((one) => one.version === 0) && h("div", { class: "row center pad" }, h("button", { class: "button small", type: "button", onclick: () => back(0) }, "Go back to nothing set"))),
    ];
  },
};
