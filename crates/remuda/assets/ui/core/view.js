// One page while it is shown: what it draws, what it watches, and the end of all that.

import { show } from "./dom.js";
import { repeat } from "./observed.js";
import { setQuery } from "./router.js";

export class View {
  #stop = new AbortController();
  #queued = false;
  #container;
  /** Draws the page: returns a node or a list of nodes. */
  draw = () => [];

  constructor(container, { params, query }, me) {
    Object.assign(this, { params, query, me });
    this.#container = container;
  }

  get signal() { return this.#stop.signal; }
  get stopped() { return this.#stop.signal.aborted; }

  /** Draws again soon; many calls draw once. */
  refresh = () => {
    if (this.#queued || this.stopped) return;
    this.#queued = true;
    requestAnimationFrame(() => {
      this.#queued = false;
      this.now();
    });
  };

  now() {
    if (!this.stopped) show(this.#container, this.draw());
  }

  /** Draws again whenever the value changes. */
  watch(value, then = this.refresh) {
    this.atEnd(value.watch(then));
    return value;
  }

  /** Runs `work(signal)` now and every `ms`, and returns how to hurry it. What it throws is kept in `error` and shown by the page. */
  every(ms, work) {
    const turns = repeat(() => ms, async () => {
      try {
        await work(this.signal);
        this.error = null;
      } catch (error) {
        if (error.name === "AbortError" || this.stopped) return;
        this.error = error;
      }
      this.refresh();
    });
    this.atEnd(turns.stop);
    return turns.now;
  }

  /** Runs `work(signal)` once. */
  async once(work) {
    try {
      await work(this.signal);
      this.error = null;
    } catch (error) {
      if (error.name === "AbortError" || this.stopped) return;
      this.error = error;
    }
    this.refresh();
  }

  /** Changes what the address says of filters, and draws. */
  narrow(changes) {
    this.query = setQuery(changes);
    this.refresh();
  }

  atEnd(work) { this.signal.addEventListener("abort", work, { once: true }); }
  end() { this.#stop.abort(); }
}
