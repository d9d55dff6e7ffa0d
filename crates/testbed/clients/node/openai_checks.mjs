// The `openai` client from npm, unmodified, against Remuda.

import OpenAI from "openai";

import {
  CHAT_MODELS, EMBEDDED, EMBEDDING_MODELS, KEY, ON_OLLAMA, ON_VLLM, QUESTION, SCHEMA, SCRIPTED, URL_OF_REMUDA, USER_KEY,
  WEATHER, assert, check, collect, refused, run,
} from "./checks.mjs";

const withKey = (apiKey) => new OpenAI({ baseURL: `${URL_OF_REMUDA}/v1`, apiKey, maxRetries: 0 });
const client = withKey(KEY ?? "unused");
const ask = (content) => [{ role: "user", content }];
const textOf = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta?.content ?? "").join("");
const chat = (body) => client.chat.completions.create({ messages: QUESTION, temperature: 0, ...body });

check("chat", CHAT_MODELS, async (model) => {
  const answer = await chat({ model });
  assert.ok(answer.choices[0].message.content);
  assert.equal(answer.choices[0].finish_reason, "stop");
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
  assert.ok(answer.usage.completion_tokens > 0);
});

check("chat, streamed, equals the whole answer", CHAT_MODELS, async (model) => {
  const chunks = await collect(await chat({ model, stream: true }));
  assert.equal(textOf(chunks), (await chat({ model })).choices[0].message.content);
  assert.equal(chunks.at(-1).choices[0].finish_reason, "stop");
});

check("usage in a stream", CHAT_MODELS, async (model) => {
  const chunks = await collect(await chat({ model, stream: true, stream_options: { include_usage: true } }));
  assert.deepEqual(chunks.at(-1).choices, []);
  assert.ok(chunks.at(-1).usage.completion_tokens > 0);
});

check("the stream helper", CHAT_MODELS, async (model) => {
  const stream = client.chat.completions.stream({ model, messages: QUESTION, temperature: 0 });
  let text = "";
  stream.on("content", (delta) => { text += delta; });
  assert.equal(await stream.finalContent(), text);
  assert.ok(text);
});

check("an aborted stream leaves the client usable", SCRIPTED, async (model) => {
  const messages = ask("Slowly. [[testbed token_ms=20 tokens=200]]");
  const stream = await client.chat.completions.create({ model, messages, stream: true });
  for await (const _ of stream) break;
  assert.ok((await chat({ model })).choices[0].message.content);
});

check("completions", CHAT_MODELS, async (model) => {
  const body = { model, prompt: "What is Remuda?", temperature: 0, max_tokens: 8 };
  const answer = await client.completions.create(body);
  assert.equal(answer.usage.completion_tokens, 8);
  const chunks = await collect(await client.completions.create({ ...body, stream: true }));
  assert.equal(chunks.map((chunk) => chunk.choices[0]?.text ?? "").join(""), answer.choices[0].text);
});

check("responses", CHAT_MODELS, async (model) => {
  const body = { model, input: "What is Remuda?", temperature: 0 };
  const answer = await client.responses.create(body);
  assert.equal(answer.status, "completed");
  assert.ok(answer.output_text && answer.usage.output_tokens > 0);
  const events = await collect(await client.responses.create({ ...body, stream: true }));
  const deltas = events.filter((event) => event.type === "response.output_text.delta");
  assert.equal(deltas.map((event) => event.delta).join(""), answer.output_text);
  assert.equal(events.at(-1).type, "response.completed");
});

check("the stream helper of responses", CHAT_MODELS, async (model) => {
  const final = await client.responses.stream({ model, input: "What is Remuda?" }).finalResponse();
  assert.ok(final.output_text);
});

check("embeddings", EMBEDDING_MODELS, async (model) => {
  const answer = await client.embeddings.create({ model, input: ["one", "two"] });
  assert.equal(answer.data.length, 2);
  const plain = await client.embeddings.create({ model, input: "one", encoding_format: "float" });
  assert.equal(plain.data[0].embedding.length, answer.data[0].embedding.length);
  plain.data[0].embedding.forEach((x, at) => assert.ok(Math.abs(x - answer.data[0].embedding[at]) < 1e-6));
});

check("models", async () => {
  const names = (await collect(client.models.list())).map((model) => model.id.replace(/:latest$/, ""));
  for (const name of [...CHAT_MODELS, ...EMBEDDING_MODELS]) {
    assert.ok(names.includes(name), `${name} not in ${names}`);
    assert.equal((await client.models.retrieve(name)).id.replace(/:latest$/, ""), name);
  }
});

check("structured output", SCRIPTED, async (model) => {
  const answer = await client.chat.completions.parse({
    model,
    messages: ask("The weather? [[testbed json]]"),
    response_format: { type: "json_schema", json_schema: { name: "weather", strict: true, schema: SCHEMA } },
  });
  assert.deepEqual(JSON.parse(answer.choices[0].message.content), { city: "Uppsala", degrees: 7 });
});

check("structured output of the embedded engine", async () => {
  const schema = { type: "object", properties: { sure: { type: "boolean" } }, required: ["sure"], additionalProperties: false };
  const answer = await chat({ model: EMBEDDED, response_format: { type: "json_schema", json_schema: { name: "sure", schema } } });
  assert.equal(typeof JSON.parse(answer.choices[0].message.content).sure, "boolean");
});

check("tools", SCRIPTED, async (model) => {
  const messages = ask("The weather? [[testbed tool_call]]");
  const answer = await chat({ model, messages, tools: [WEATHER] });
  assert.equal(answer.choices[0].finish_reason, "tool_calls");
  const call = answer.choices[0].message.tool_calls[0];
  assert.deepEqual([call.function.name, JSON.parse(call.function.arguments).city], ["weather", "Uppsala"]);
  const result = { role: "tool", tool_call_id: call.id, content: "7 degrees" };
  const again = await chat({
    model, messages: [...ask("The weather?"), answer.choices[0].message, result], tools: [WEATHER],
  });
  assert.ok(again.choices[0].message.content);
});

check("tools, streamed", SCRIPTED, async (model) => {
  const messages = ask("The weather? [[testbed tool_call]]");
  const stream = client.chat.completions.stream({ model, messages, tools: [WEATHER] });
  const final = await stream.finalChatCompletion();
  const call = final.choices[0].message.tool_calls[0];
  assert.deepEqual([call.function.name, JSON.parse(call.function.arguments).city], ["weather", "Uppsala"]);
});

check("unknown model: 404", async () => {
  const error = await refused(() => chat({ model: "no-such-model" }), 404, "no-such-model");
  assert.equal(error.code, "model_not_found");
  await refused(() => chat({ model: "no-such-model", stream: true }), 404, "no-such-model");
  await refused(() => client.models.retrieve("no-such-model"), 404, "no-such-model");
});

check("no messages and wrong types: 400", CHAT_MODELS, async (model) => {
  await refused(() => chat({ model, messages: [] }), 400, "messages");
  await refused(() => chat({ model, messages: "hello" }), 400, "messages");
});

if (KEY) {
  check("wrong key: 401", async () => {
    const wrong = withKey("rmd_wrong");
    await refused(() => wrong.chat.completions.create({ model: ON_OLLAMA, messages: QUESTION }), 401, "key");
    await refused(() => collect(wrong.models.list()), 401, "key");
  });

  check("a user's key may use models", async () => {
    const answer = await withKey(USER_KEY).chat.completions.create({ model: ON_VLLM, messages: QUESTION });
    assert.ok(answer.choices[0].message.content);
  });
}

await run();
