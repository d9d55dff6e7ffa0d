// Collects checks and runs them, one line each: `ok NAME`, or `FAIL NAME: why`.

import assert from "node:assert/strict";

export { assert };

export const URL_OF_REMUDA = process.env.REMUDA_URL;
// Absent when no key is required. The first is an administrator's; the second may only use models.
export const KEY = process.env.REMUDA_KEY;
export const USER_KEY = process.env.REMUDA_USER_KEY;

// One model on each node of the fleet.
export const ON_OLLAMA = "llama3.2";
export const ON_VLLM = "qwen3-8b";
export const EMBEDDED = "remuda-demo";
export const SCRIPTED = [ON_OLLAMA, ON_VLLM];
export const CHAT_MODELS = [...SCRIPTED, EMBEDDED];
// One embedding model on each node that has any.
export const EMBEDDING_MODELS = ["nomic-embed-text", "bge-m3"];

export const QUESTION = [{ role: "user", content: "What is Remuda?" }];
export const WEATHER = {
  type: "function",
  function: {
    name: "weather",
    description: "The weather of a city",
    parameters: {
      type: "object",
      properties: { city: { type: "string" }, unit: { type: "string" } },
      required: ["city"],
    },
  },
};
export const SCHEMA = {
  type: "object",
  properties: { city: { type: "string" }, degrees: { type: "integer" } },
  required: ["city", "degrees"],
  additionalProperties: false,
};

const checks = [];

// Registers a check; with models it runs once for each and takes the model.
export function check(name, models, action) {
  if (action === undefined) checks.push([name, models]);
  else for (const model of models) checks.push([`${name} (${model})`, () => action(model)]);
}

export async function collect(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

// Calls, and demands an error with that status whose text contains the words.
export async function refused(call, status, words) {
  let error;
  try {
    await call();
  } catch (thrown) {
    error = thrown;
  }
  assert.ok(error, `no error, but ${status} was due`);
  assert.equal(error.status_code ?? error.status, status, `status of ${error}`);
  assert.ok(String(error.message).includes(words), `${words} is not in ${error.message}`);
  return error;
}

export async function run() {
  let failed = 0;
  for (const [name, action] of checks) {
    try {
      await action();
      console.log(`ok ${name}`);
    } catch (error) {
      failed += 1;
      console.log(`FAIL ${name}: ${String(error?.stack ?? error).replace(/\s+/g, " ").slice(0, 2000)}`);
    }
  }
  process.exit(failed === 0 ? 0 : 1);
}
