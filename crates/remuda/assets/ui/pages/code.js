// A call as code: for a shell, for Python, for JavaScript. Keys stand in the environment, never in the text.

import { h } from "../core/dom.js";
import { copyButton } from "../widgets/copy.js";
import * as dialog from "../widgets/dialog.js";

const PLACEHOLDER_URL = /^data:[^,]{0,80},/;

/** Shows the call of a chat. */
export function showCode(body) {
  const shown = dialog.open("As code", h("div", { class: "dialog-body" }, pieces(body).map(([name, text]) => h("section", {}, h("div", { class: "row between" }, h("h3", {}, name), copyButton(text)), h("pre", { class: "code", tabindex: "0", "aria-label": name }, text))),
    h("p", { class: "muted small" }, "REMUDA_API_KEY holds an API key (Keys, New key). On this machine none is needed unless keys are required.")), { wide: true });
  return shown;
}

export function pieces(body) {
  const base = location.origin;
  const short = shortened(body);
  const json = JSON.stringify(short, null, 2);
  const embeds = "input" in body;
  const path = embeds ? "/v1/embeddings" : "/v1/chat/completions";
  // Inside single quotes a shell takes everything as it is but the quote itself.
  const quoted = json.replaceAll("'", `'\\''`);
  return [
    ["curl", `curl ${base}${path} \\\n  -H "authorization: Bearer $REMUDA_API_KEY" \\\n  -H 'content-type: application/json' \\\n  -d '${quoted}'`],
    ["Python", `import os\nfrom openai import OpenAI\n\nclient = OpenAI(base_url="${base}/v1", api_key=os.environ.get("REMUDA_API_KEY", "none"))\nanswer = client.${embeds ? "embeddings" : "chat.completions"}.create(${python(short)})\nprint(${embeds ? "len(answer.data[0].embedding)" : "answer.choices[0].message.content"})`],
    ["JavaScript", `import OpenAI from "openai";\n\nconst client = new OpenAI({ baseURL: "${base}/v1", apiKey: process.env.REMUDA_API_KEY ?? "none" });\nconst answer = await client.${embeds ? "embeddings" : "chat.completions"}.create(${json});\nconsole.log(${embeds ? "answer.data[0].embedding.length" : "answer.choices[0].message.content"});`],
  ];
}

/** JSON is also Python here, but for three words. */
function python(value, depth = 1) {
  const pad = "    ".repeat(depth);
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map((item) => python(item, depth + 1)).join(", ")}]`;
  if (typeof value !== "object") return JSON.stringify(value);
  const entries = Object.entries(value);
  if (depth === 1) return `\n${entries.map(([key, item]) => `${pad}${key}=${python(item, depth + 1)},\n`).join("")}`;
  return `{${entries.map(([key, item]) => `${JSON.stringify(key)}: ${python(item, depth + 1)}`).join(", ")}}`;
}

/** Pictures are too long to be read: their beginning stands for them. */
function shortened(value) {
  if (typeof value === "string") return PLACEHOLDER_URL.test(value) && value.length > 200 ? `${value.slice(0, 60)}…` : value;
  if (Array.isArray(value)) return value.map(shortened);
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, shortened(item)]));
  return value;
}
