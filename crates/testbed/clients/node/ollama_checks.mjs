// The `ollama` client from npm, unmodified, against Remuda.

import { Ollama } from "ollama";

import {
  CHAT_MODELS, EMBEDDED, EMBEDDING_MODELS, KEY, ON_OLLAMA, QUESTION, SCHEMA, SCRIPTED, URL_OF_REMUDA, USER_KEY, WEATHER,
  assert, check, collect, refused, run,
} from "./checks.mjs";

const withKey = (key) => new Ollama({ host: URL_OF_REMUDA, headers: key ? { Authorization: `Bearer ${key}` } : {} });
const client = withKey(KEY);
const options = { temperature: 0 };
const ask = (content) => [{ role: "user", content }];
const textOf = (parts) => parts.map((part) => part.message.content ?? "").join("");

check("chat", CHAT_MODELS, async (model) => {
  const answer = await client.chat({ model, messages: QUESTION, options });
  assert.ok(answer.message.content);
  assert.equal(answer.message.role, "assistant");
  assert.equal(answer.done_reason, "stop");
  assert.ok(answer.eval_count > 0 && answer.prompt_eval_count > 0 && answer.total_duration > 0);
});

check("chat, streamed, equals the whole answer", CHAT_MODELS, async (model) => {
  const parts = await collect(await client.chat({ model, messages: QUESTION, options, stream: true }));
  const whole = await client.chat({ model, messages: QUESTION, options });
  assert.equal(textOf(parts), whole.message.content);
  assert.ok(parts.length > 2 && parts.at(-1).done);
});

check("an aborted stream leaves the client usable", SCRIPTED, async (model) => {
  const other = withKey(KEY);
  const messages = ask("Slowly. [[testbed token_ms=20 tokens=200]]");
  await assert.rejects(async () => {
    for await (const _ of await other.chat({ model, messages, stream: true })) other.abort();
  }, { name: "AbortError" });
  assert.ok((await other.chat({ model, messages: QUESTION })).message.content);
});

check("generate", CHAT_MODELS, async (model) => {
  const answer = await client.generate({ model, prompt: "What is Remuda?", options });
  assert.ok(answer.response && answer.done && answer.eval_count > 0);
  const parts = await collect(await client.generate({ model, prompt: "What is Remuda?", options, stream: true }));
  assert.equal(parts.map((part) => part.response).join(""), answer.response);
});

check("embed", EMBEDDING_MODELS, async (model) => {
  const answer = await client.embed({ model, input: ["one", "two", "one"] });
  assert.equal(answer.embeddings.length, 3);
  assert.deepEqual(answer.embeddings[0], answer.embeddings[2]);
  assert.notDeepEqual(answer.embeddings[0], answer.embeddings[1]);
  assert.ok((await client.embeddings({ model, prompt: "one" })).embedding.length > 1);
});

check("list, show, ps, version", async () => {
  const names = (await client.list()).models.map((model) => model.name.replace(/:latest$/, ""));
  for (const name of [...CHAT_MODELS, ...EMBEDDING_MODELS]) assert.ok(names.includes(name), `${name} not in ${names}`);
  for (const model of CHAT_MODELS) {
    const shown = await client.show({ model });
    assert.ok(shown.details && shown.model_info, `show ${model}`);
  }
  const loaded = (await client.ps()).models.map((model) => model.name);
  assert.ok(loaded.includes(`${ON_OLLAMA}:latest`), `${loaded}`);
  assert.match((await client.version()).version, /^\d+\.\d+/);
});

check("pull with progress, then delete", async () => {
  const steps = await collect(await client.pull({ model: "tinyllama", stream: true }));
  assert.equal(steps.at(-1).status, "success");
  assert.equal(steps.filter((step) => step.status === "success").length, 1);
  assert.ok(steps.some((step) => step.total > 0 && step.completed === step.total), "no finished layer");
  const has = async () => (await client.list()).models.some((model) => model.name === "tinyllama:latest");
  assert.ok(await has(), "not listed after the pull");
  assert.equal((await client.delete({ model: "tinyllama" })).status, "success");
  assert.ok(!(await has()), "listed after the deletion");
});

check("copy, use the copy, delete it", async () => {
  assert.equal((await client.copy({ source: ON_OLLAMA, destination: "npm-copy" })).status, "success");
  try {
    assert.ok((await client.chat({ model: "npm-copy", messages: QUESTION })).message.content);
  } finally {
    await client.delete({ model: "npm-copy" });
  }
});

check("structured output by schema", SCRIPTED, async (model) => {
  const answer = await client.chat({ model, messages: ask("The weather? [[testbed json]]"), format: SCHEMA });
  assert.deepEqual(JSON.parse(answer.message.content), { city: "Uppsala", degrees: 7 });
});

check("structured output of the embedded engine", async () => {
  const format = { type: "object", properties: { sure: { type: "boolean" } }, required: ["sure"], additionalProperties: false };
  const answer = await client.chat({ model: EMBEDDED, messages: QUESTION, format });
  assert.equal(typeof JSON.parse(answer.message.content).sure, "boolean");
});

check("tools", SCRIPTED, async (model) => {
  const messages = ask("The weather? [[testbed tool_call]]");
  const answer = await client.chat({ model, messages, tools: [WEATHER] });
  const call = answer.message.tool_calls[0].function;
  assert.deepEqual([call.name, call.arguments.city], ["weather", "Uppsala"]);
  const parts = await collect(await client.chat({ model, messages, tools: [WEATHER], stream: true }));
  const calls = parts.flatMap((part) => part.message.tool_calls ?? []);
  assert.deepEqual(calls.map((one) => one.function.name), ["weather"]);
});

check("unknown model: 404", async () => {
  await refused(() => client.chat({ model: "no-such-model", messages: QUESTION }), 404, "no-such-model");
  await refused(() => client.chat({ model: "no-such-model", messages: QUESTION, stream: true }), 404, "no-such-model");
  await refused(() => client.show({ model: "no-such-model" }), 404, "no-such-model");
  await refused(() => client.embed({ model: "no-such-model", input: "x" }), 404, "no-such-model");
});

check("wrong type: 400", CHAT_MODELS, async (model) => {
  await refused(() => client.chat({ model, messages: "hello" }), 400, "messages");
});

if (KEY) {
  check("no key and a wrong key: 401", async () => {
    for (const key of [undefined, "rmd_wrong"]) {
      await refused(() => withKey(key).chat({ model: ON_OLLAMA, messages: QUESTION }), 401, "key");
      await refused(() => withKey(key).list(), 401, "key");
    }
  });

  check("a user's key: models yes, model commands no", async () => {
    const user = withKey(USER_KEY);
    assert.ok((await user.chat({ model: ON_OLLAMA, messages: QUESTION })).message.content);
    await refused(() => user.delete({ model: ON_OLLAMA }), 403, "admin");
  });
}

await run();
