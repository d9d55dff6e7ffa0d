// Chat with any model, or with two beside each other: streaming, stopping, options, pictures; and the same call as code.

import { h, keep, show } from "../core/dom.js";
import { usable } from "../core/models.js";
import { link } from "../core/router.js";
import { fields } from "../widgets/form.js";
import { empty, failure, heading, loading } from "../widgets/state.js";
import { Lane } from "./lane.js";
import { showCode } from "./code.js";

const MOST_IMAGE_BYTES = 8 * 1024 * 1024;

export default {
  title: "Playground",
  needs: "inference",
  open(view, rights) {
    let [models, images] = [null, []];
    const options = fields([
      { name: "system", label: "System prompt", type: "area", rows: 3 },
      { name: "temperature", label: "Temperature", type: "number", min: 0, max: 2, step: "0.05" },
      { name: "max_tokens", label: "Most tokens", type: "number", min: 1, max: 1_000_000 },
      { name: "top_p", label: "Top p", type: "number", min: 0, max: 1, step: "0.01" },
      { name: "seed", label: "Seed", type: "number" },
      { name: "stop", label: "Stop at", type: "list", rows: 2, help: "One text per line." },
    ]);
    const prompt = h("textarea", { class: "prompt", rows: 3, "aria-label": "Message", placeholder: "Ask something. Enter sends, Shift+Enter makes a new line.", onkeydown: (event) => { if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); send(); } } });
    const picker = h("input", { type: "file", accept: "image/*", multiple: true, class: "offscreen", tabindex: "-1", "aria-label": "Pictures", onchange: () => take([...picker.files]) });
    const lanes = [];
    const lane = (name) => {
      const made = new Lane(name, { explain: rights.platform, change: () => { remember(); view.refresh(); } });
      lanes.push(made);
      return made;
    };
    const remember = () => view.narrow({ model: lanes[0]?.model ?? "", beside: lanes[1]?.model ?? "" });
    const busy = () => lanes.some((one) => one.busy);
    view.atEnd(() => lanes.forEach((one) => one.stop()));
    view.once(async (signal) => {
      models = await usable(signal);
      const chat = models.filter((model) => !model.embeds);
      const wanted = [view.query.get("model") || chat[0]?.name, view.query.get("beside")].filter(Boolean);
      wanted.forEach(lane);
    });
    async function take(files) {
      for (const file of files) {
        if (!file.type.startsWith("image/") || file.size > MOST_IMAGE_BYTES) continue;
        images = [...images, { name: file.name, url: await dataUrl(file) }];
      }
      picker.value = "";
      view.refresh();
    }
    function send() {
      const text = prompt.value.trim();
      if ((!text && images.length === 0) || busy()) return;
      const content = images.length === 0 ? text : [{ type: "text", text }, ...images.map(({ url }) => ({ type: "image_url", image_url: { url } }))];
      for (const one of lanes) one.send(content, bodyOptions());
      [prompt.value, images] = ["", []];
      view.refresh();
    }
    function bodyOptions() {
      const { system, stop, ...rest } = options.read();
      const set = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== null));
      return { system: system?.trim() || null, body: stop.length > 0 ? { ...set, stop } : set };
    }
    const settings = h("details", { class: "card options", open: window.innerWidth > 1080 }, h("summary", {}, "Options"), options.element);
    const form = h("form", { class: "composer", onsubmit: (event) => { event.preventDefault(); send(); }, ondragover: (event) => event.preventDefault(), ondrop: (event) => { event.preventDefault(); take([...event.dataTransfer.files]); } });
    view.draw = () => {
      const chat = (models ?? []).filter((model) => !model.embeds);
      return [
        heading("Playground", { actions: [
          lanes.length === 1 && chat.length > 1 && h("button", { class: "button", type: "button", onclick: () => { lane((chat.find((model) => model.name !== lanes[0].model) ?? chat[0]).name); remember(); } }, "Compare with another"),
          lanes.length > 0 && h("button", { class: "button", type: "button", onclick: () => showCode(lanes[0].request(prompt.value.trim() || "Hello", bodyOptions(), true)) }, "As code"),
          lanes.some((one) => one.turns.length > 0) && h("button", { class: "button", type: "button", onclick: () => { lanes.forEach((one) => one.clear()); view.refresh(); } }, "Clear"),
        ].filter(Boolean) }),
        view.error && failure(view.error),
        models === null ? !view.error && loading() : lanes.length === 0
          ? empty("No model to talk to", "No node has a model for chat that you may use.", rights.platform && h("a", { class: "button primary", href: link("/models") }, "Models"))
          : h("div", { class: "play" },
            h("div", { class: "lanes" }, lanes.map((one, at) => keep(one.draw(chat, at === 1 ? () => { one.stop(); lanes.splice(1, 1); remember(); } : null)))),
            keep(settings),
            keep(composer())),
      ];
    };
    function composer() {
      show(form,
        h("div", { class: "chips" }, images.map((image, at) => h("button", { class: "chip picture", type: "button", title: `Take ${image.name} away`, onclick: () => { images = images.filter((_, other) => other !== at); view.refresh(); } }, h("img", { src: image.url, alt: "" }), image.name, " ×"))),
        keep(prompt), keep(picker),
        h("div", { class: "row between" },
          h("button", { class: "button quiet", type: "button", onclick: () => picker.click() }, "Add pictures"),
          busy() ? h("button", { key: "stop", class: "button", type: "button", onclick: () => lanes.forEach((one) => one.stop()) }, "Stop") : h("button", { key: "send", class: "button primary", type: "submit" }, lanes.length > 1 ? "Send to both" : "Send")));
      return form;
    }
  },
};

const dataUrl = (file) => new Promise((resolve, reject) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result);
  reader.onerror = () => reject(reader.error);
  reader.readAsDataURL(file);
});
