// One conversation with one model.

import { ApiError, open } from "../core/api.js";
import { h, show } from "../core/dom.js";
import { count, figure, span } from "../core/format.js";
import { events } from "../core/ndjson.js";
import { link } from "../core/router.js";
import { copyButton } from "../widgets/copy.js";
import { choice } from "../widgets/form.js";
import { icon } from "../widgets/icon.js";
import { failure } from "../widgets/state.js";

export class Lane {
  #abort = null;
  #change;
  #explain;
  #log = h("div", { class: "log", role: "log", "aria-live": "off", tabindex: "0" });
  #head = h("div", { class: "lane-head" });
  #element = h("section", { class: "lane card" }, this.#head, this.#log);
  #drawing = false;

  constructor(model, { explain, change }) {
    Object.assign(this, { model, turns: [] });
    this.#change = change;
    this.#explain = explain;
  }

  get busy() { return this.#abort !== null; }

  /** The body of a call, with what was said before unless `alone`. */
  request(content, { system, body }, alone = false) {
    const before = alone ? [] : this.turns.filter((turn) => !turn.error).map(({ role, content: said }) => ({ role, content: said }));
    return { model: this.model, messages: [...(system ? [{ role: "system", content: system }] : []), ...before, { role: "user", content }], ...body };
  }

  clear() {
    this.stop();
    this.turns = [];
    this.#paint();
  }

  stop() { this.#abort?.abort(); }

  async send(content, options) {
    const body = { ...this.request(content, options), stream: true, stream_options: { include_usage: true } };
    const answer = { role: "assistant", content: "", thinking: "", started: performance.now() };
    this.turns.push({ role: "user", content }, answer);
    const abort = (this.#abort = new AbortController());
    this.#log.setAttribute("aria-busy", "true");
    this.#change();
    this.#paint(true);
    try {
      const response = await open("POST", "/v1/chat/completions", { body, signal: abort.signal });
      Object.assign(answer, { node: response.headers.get("x-remuda-node"), id: response.headers.get("x-request-id"), waited: response.headers.get("x-remuda-queue-wait-ms") });
      for await (const event of events(response)) this.#take(answer, event);
    } catch (error) {
      if (error.name === "AbortError") answer.stopped = true;
      else answer.error = error;
    }
    answer.ended = performance.now();
    this.#abort = null;
    this.#log.removeAttribute("aria-busy");
    this.#paint();
    this.#change();
  }

  #take(answer, event) {
    if (event.error) throw new ApiError(event.error.message ?? String(event.error), { requestId: answer.id });
    const delta = event.choices?.[0]?.delta ?? {};
    const [text, thinking] = [delta.content ?? "", delta.reasoning_content ?? delta.reasoning ?? ""];
    if (text || thinking) {
      answer.first ??= performance.now();
      answer.chunks = (answer.chunks ?? 0) + 1;
      answer.content += text;
      answer.thinking += thinking;
    }
    if (event.usage) answer.usage = event.usage;
    if (event.choices?.[0]?.finish_reason) answer.finish = event.choices[0].finish_reason;
    this.#paint();
  }

  /** Draws the lane; `drop` takes it away. */
  draw(models, drop) {
    const names = models.map((model) => model.name);
    if (!names.includes(this.model)) names.unshift(this.model);
    show(this.#head,
      choice("Model", this.model, names, (model) => { this.model = model; this.#change(); }),
      h("span", { class: "spring" }), drop && h("button", { class: "icon-button", type: "button", "aria-label": "Close this one", onclick: drop }, icon("close")));
    this.#log.setAttribute("aria-label", `Conversation with ${this.model}`);
    this.#paint();
    return this.#element;
  }

  #paint(toEnd = false) {
    if (this.#drawing) return;
    this.#drawing = true;
    requestAnimationFrame(() => {
      this.#drawing = false;
      const log = this.#log;
      const atEnd = toEnd || log.scrollHeight - log.scrollTop - log.clientHeight < 60;
      show(log, this.turns.length === 0 ? h("p", { class: "muted center-text" }, "What you say and what comes back is shown here. It is not kept.") : this.turns.map((turn, at) => this.#turn(turn, at)));
      if (atEnd) log.scrollTop = log.scrollHeight;
    });
  }

  #turn(turn, at) {
    if (turn.role === "user") {
      const items = Array.isArray(turn.content) ? turn.content : [{ type: "text", text: turn.content }];
      return h("div", { key: at, class: "turn user" }, items.map((part) => (part.type === "text" ? part.text && h("div", { class: "said" }, part.text) : h("img", { class: "sent", src: part.image_url.url, alt: "Picture that was sent" }))));
    }
    return h("div", { key: at, class: "turn answer" },
      turn.thinking && h("details", { class: "thinking" }, h("summary", {}, "Thinking"), h("div", { class: "said muted" }, turn.thinking)),
      turn.content && h("div", { class: "said" }, turn.content),
      !turn.content && !turn.thinking && !turn.error && !turn.ended && h("span", { class: "waiting", role: "status" }, "Waiting for the first token"),
      turn.error && failure(turn.error),
      turn.ended && this.#foot(turn));
  }

  #foot(turn) {
    const tokens = turn.usage?.completion_tokens ?? turn.chunks ?? 0;
    const seconds = turn.first ? (turn.ended - turn.first) / 1_000 : 0;
    const facts = [
      turn.first && `first token ${span((turn.first - turn.started) * 1_000)}`,
      tokens > 1 && seconds > 0.001 && `${figure((tokens - 1) / seconds)} tok/s`,
      tokens > 0 && `${count(tokens)} tokens`,
      turn.waited && `waited ${span(Number(turn.waited) * 1_000)}`,
      turn.stopped && "stopped", turn.finish === "length" && "cut at the most tokens",
    ].filter(Boolean);
    return h("div", { class: "turn-foot muted small" }, turn.node && (this.#explain ? h("a", { href: link("/nodes", turn.node) }, turn.node) : h("span", {}, turn.node)), facts.map((fact) => h("span", {}, fact)),
      this.#explain && turn.id && h("a", { href: link("/requests", turn.id) }, "why"), turn.content && copyButton(turn.content));
  }
}
