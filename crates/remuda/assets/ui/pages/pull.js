// Pulls that go on while one looks at other pages.

import { open } from "../core/api.js";
import { fleet } from "../core/fleet.js";
import { lines } from "../core/ndjson.js";
import { observed } from "../core/observed.js";
import * as dialog from "../widgets/dialog.js";
import { toast } from "../widgets/toast.js";

/** `{id, model, nodes, status, completed, total, done, error, fresh, stop, dismiss}`. */
export const pulls = observed([]);
let counter = 0;

/** Asks what to pull where. */
export function startPull(model = "", node = "") {
  const able = fleet.get().nodes.filter((one) => one.kind === "ollama").map((one) => one.name);
  dialog.ask("Pull a model", [
    { name: "model", label: "Model", required: true, value: model, placeholder: "llama3.2:3b", help: "A name of Ollama's library, or hf.co/… for a repository of GGUF files." },
    able.length <= 200
      ? { name: "nodes", label: "To", type: "select", value: node, options: [["", "where the model is, else the node that holds least"], ["all", `all Ollama nodes (${able.length})`], ...able] }
      : { name: "nodes", label: "To", value: node, help: "Names of nodes, separated by commas; all; or empty for the node that holds least." },
  ], "Pull", async (values) => { pull(values.model, values.nodes ?? ""); return null; });
}

function pull(model, nodes) {
  const abort = new AbortController();
  const one = { id: (counter += 1), model, nodes, status: "starting", completed: 0, total: 0, done: false, error: null };
  one.stop = () => abort.abort();
  one.dismiss = () => pulls.set(pulls.get().filter((other) => other !== one));
  const change = (what) => { Object.assign(one, what); pulls.set([...pulls.get()]); };
  pulls.set([one, ...pulls.get()].slice(0, 20));
  follow(model, nodes, abort.signal, change).then(
    () => { change({ done: true, fresh: true, status: "pulled" }); toast(`${model} is pulled.`); },
    (error) => change({ done: true, fresh: true, error: error.name === "AbortError" ? "stopped: what was fetched stays on the node, and the next pull goes on from there" : error.message }),
  );
}

async function follow(model, nodes, signal, change) {
  const response = await open("POST", "/api/pull", { query: { node: nodes }, body: { model, stream: true }, signal });
  const layers = new Map();
  let last = 0;
  let ended = false;
  for await (const line of lines(response)) {
    const step = JSON.parse(line);
    if (step.error) throw new Error(step.error);
    ended = step.status === "success";
    if (step.digest && step.total) layers.set(step.digest, [step.completed ?? 0, step.total]);
    // A report comes every few milliseconds: people see some each second.
    if (Date.now() - last < 100 && !ended) continue;
    last = Date.now();
    const sum = (at) => [...layers.values()].reduce((whole, layer) => whole + layer[at], 0);
    change({ status: step.status ?? "", completed: sum(0), total: sum(1) });
  }
  if (!ended) throw new Error("The report ended without success: try again, it goes on where it stopped.");
}
