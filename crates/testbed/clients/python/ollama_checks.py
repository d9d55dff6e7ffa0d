"""The `ollama` client from PyPI, unmodified, against Remuda."""

import json

from ollama import AsyncClient, Client, ResponseError

from checks import (
    CHAT_MODELS, EMBEDDED, EMBEDDING_MODELS, KEY, ON_OLLAMA, ON_VLLM, QUESTION, SCHEMA, URL, USER_KEY, WEATHER,
    check, equal, eventually, holds, refused, run,
)

HEADERS = {"Authorization": f"Bearer {KEY}"} if KEY else {}
client = Client(host=URL, headers=HEADERS)
GREEDY = {"temperature": 0}
SCRIPTED = [ON_OLLAMA, ON_VLLM]


def chat(model, prompt=None, **more):
    messages = QUESTION if prompt is None else [{"role": "user", "content": prompt}]
    return client.chat(model=model, messages=messages, options=GREEDY, **more)


@check("chat", CHAT_MODELS)
def _(model):
    answer = chat(model)
    holds(answer.message.content, "the answer is empty")
    equal(answer.message.role, "assistant", "role")
    equal(answer.done, True, "done")
    equal(answer.done_reason, "stop", "done_reason")
    holds(answer.prompt_eval_count > 0 and answer.eval_count > 0, f"no token counts: {answer}")
    holds(answer.total_duration > 0, "no total_duration")
    holds(answer.model.split(":")[0] == model, f"model is {answer.model}")


@check("chat, streamed, equals the whole answer", CHAT_MODELS)
def _(model):
    parts = list(chat(model, stream=True))
    equal("".join(part.message.content or "" for part in parts), chat(model).message.content, "text")
    holds(len(parts) > 2, f"{len(parts)} parts are no stream")
    holds(parts[-1].done and not any(part.done for part in parts[:-1]), "done stands not in the last part only")
    holds(parts[-1].eval_count > 0, "no eval_count in the last part")


@check("chat of several turns", CHAT_MODELS)
def _(model):
    messages = [
        {"role": "system", "content": "Be brief."},
        *QUESTION,
        {"role": "assistant", "content": "A gateway."},
        {"role": "user", "content": "Which port does it listen on?"},
    ]
    holds(client.chat(model=model, messages=messages, options=GREEDY).message.content, "the answer is empty")


@check("num_predict ends an answer", CHAT_MODELS)
def _(model):
    answer = client.chat(model=model, messages=QUESTION, options={"temperature": 0, "num_predict": 3})
    equal(answer.done_reason, "length", "done_reason")
    equal(answer.eval_count, 3, "eval_count")


@check("stop ends an answer", CHAT_MODELS)
def _(model):
    whole = chat(model).message.content
    stop = whole.split()[3]
    answer = client.chat(model=model, messages=QUESTION, options={"temperature": 0, "stop": [stop]})
    equal(answer.message.content.rstrip(), whole.split(stop)[0].rstrip(), "text")


@check("generate", CHAT_MODELS)
def _(model):
    answer = client.generate(model=model, prompt="What is Remuda?", options=GREEDY)
    holds(answer.response and answer.done, f"no answer: {answer}")
    holds(answer.eval_count > 0, "no eval_count")


@check("generate, streamed, equals the whole answer", CHAT_MODELS)
def _(model):
    ask = {"model": model, "prompt": "What is Remuda?", "options": GREEDY}
    parts = list(client.generate(**ask, stream=True))
    equal("".join(part.response for part in parts), client.generate(**ask).response, "text")
    holds(parts[-1].done, "no final part")


@check("generate without a prompt loads the model", CHAT_MODELS)
def _(model):
    answer = client.generate(model=model)
    equal((answer.response, answer.done_reason), ("", "load"), "response and done_reason")


@check("embed", EMBEDDING_MODELS)
def _(model):
    answer = client.embed(model=model, input=["one", "two", "one"])
    equal(len(answer.embeddings), 3, "vectors")
    equal(answer.embeddings[0], answer.embeddings[2], "the vector of the same text")
    holds(answer.embeddings[0] != answer.embeddings[1], "different texts have the same vector")
    holds(abs(sum(x * x for x in answer.embeddings[0]) - 1) < 1e-3, "the vector's length is not 1")
    holds(answer.prompt_eval_count > 0, "no prompt_eval_count")


@check("embeddings, the older call", EMBEDDING_MODELS)
def _(model):
    holds(len(client.embeddings(model=model, prompt="one").embedding) > 1, "no vector")


@check("list shows the union of the fleet")
def _():
    listed = {model.model.removesuffix(":latest"): model for model in client.list().models}
    for name in [*CHAT_MODELS, *EMBEDDING_MODELS]:
        holds(name in listed, f"{name} is not among {sorted(listed)}")
    holds(listed[ON_OLLAMA].size > 0 and listed[ON_OLLAMA].digest, "no size or digest")
    holds(listed[EMBEDDED].size > 0 and listed[EMBEDDED].details.family, "no size or family of the embedded model")
    holds(all(model.modified_at for model in listed.values()), "a model has no modified_at")


@check("show", CHAT_MODELS)
def _(model):
    shown = client.show(model)
    holds("completion" in (shown.capabilities or []), f"capabilities: {shown.capabilities}")
    holds(shown.details is not None, "no details")


@check("ps")
def _():
    chat(EMBEDDED)
    chat(ON_OLLAMA)

    def loaded():
        names = {model.model.removesuffix(":latest") for model in client.ps().models}
        return names >= {ON_OLLAMA, EMBEDDED}

    eventually("both models are in memory", loaded)


@check("pull with progress, then delete")
def _():
    steps = list(client.pull("tinyllama", stream=True))
    equal([step.status for step in steps].count("success"), 1, "number of `success`")
    equal(steps[-1].status, "success", "last step")
    layers = [step for step in steps if step.total]
    holds(layers and layers[-1].completed == layers[-1].total, f"no finished layer: {steps}")
    done = [step.completed or 0 for step in layers]
    equal(done, sorted(done), "bytes in order")
    holds("tinyllama:latest" in [model.model for model in client.list().models], "not listed after the pull")
    equal(client.delete("tinyllama").status, "success", "delete")
    holds("tinyllama:latest" not in [model.model for model in client.list().models], "listed after the deletion")


@check("pull in one piece")
def _():
    equal(client.pull("tinyllama").status, "success", "status")
    client.delete("tinyllama")


@check("pull of a model that no registry has")
def _():
    def pull():
        for _ in client.pull("missing-model", stream=True):
            pass

    try:
        pull()
    except ResponseError as error:
        holds("does not exist" in str(error), f"error: {error}")
    else:
        raise AssertionError("no error")


@check("copy, use the copy, delete it")
def _():
    equal(client.copy(ON_OLLAMA, "my-copy").status, "success", "copy")
    try:
        holds(chat("my-copy").message.content, "the copy does not answer")
    finally:
        equal(client.delete("my-copy").status, "success", "delete")
    refused(ResponseError, lambda: chat("my-copy"), 404, "my-copy")


@check("structured output by schema", SCRIPTED)
def _(model):
    answer = chat(model, "The weather? [[testbed json]]", format=SCHEMA)
    equal(json.loads(answer.message.content), {"city": "Uppsala", "degrees": 7}, "answer")


@check("structured output by format=json, streamed", SCRIPTED)
def _(model):
    parts = chat(model, "The weather? [[testbed json]]", format="json", stream=True)
    equal(json.loads("".join(part.message.content or "" for part in parts))["degrees"], 7, "degrees")


@check("structured output of the embedded engine")
def _():
    schema = {"type": "object", "properties": {"sure": {"type": "boolean"}}, "required": ["sure"], "additionalProperties": False}
    answer = chat(EMBEDDED, format=schema)
    holds(isinstance(json.loads(answer.message.content)["sure"], bool), answer.message.content)


@check("tools", SCRIPTED)
def _(model):
    answer = chat(model, "The weather? [[testbed tool_call]]", tools=[WEATHER])
    call = answer.message.tool_calls[0].function
    equal((call.name, call.arguments["city"]), ("weather", "Uppsala"), "call")
    again = client.chat(
        model=model,
        messages=[
            {"role": "user", "content": "The weather?"},
            answer.message,
            {"role": "tool", "tool_name": "weather", "content": "7 degrees"},
        ],
        tools=[WEATHER],
    )
    holds(again.message.content, "no answer after the tool's result")


@check("tools, streamed", SCRIPTED)
def _(model):
    parts = list(chat(model, "The weather? [[testbed tool_call]]", tools=[WEATHER], stream=True))
    calls = [call.function for part in parts for call in part.message.tool_calls or []]
    equal([(call.name, call.arguments["city"]) for call in calls], [("weather", "Uppsala")], "calls")


@check("a Python function as a tool", SCRIPTED)
def _(model):
    def weather(city: str, unit: str) -> str:
        """The weather of a city.

        Args:
          city: The city
          unit: The unit
        """
        return f"7 degrees in {city}"

    answer = chat(model, "The weather? [[testbed tool_call]]", tools=[weather])
    equal(answer.message.tool_calls[0].function.name, "weather", "name")


@check("log probabilities", SCRIPTED)
def _(model):
    answer = chat(model, logprobs=True, top_logprobs=2)
    equal(len(answer.logprobs), answer.eval_count, "tokens with log probabilities")
    equal(len(answer.logprobs[0].top_logprobs), 2, "alternatives")


@check("unknown model: 404")
def _():
    error = refused(ResponseError, lambda: chat("no-such-model"), 404, "no-such-model")
    holds("not found" in error.error, f"text: {error.error}")


@check("unknown model, streamed: 404")
def _():
    refused(ResponseError, lambda: list(chat("no-such-model", stream=True)), 404, "no-such-model")


@check("unknown model: show, delete and copy say 404")
def _():
    for call in (client.show, client.delete, lambda name: client.copy(name, "other")):
        refused(ResponseError, lambda call=call: call("no-such-model"), 404, "no-such-model")


@check("wrong type: 400", CHAT_MODELS)
def _(model):
    refused(ResponseError, lambda: client._request_raw(
        "POST", "/api/chat", json={"model": model, "messages": "hello"}), 400, "messages")


@check("asynchronous chat, streamed chat, embed and list", SCRIPTED)
async def _(model):
    other = AsyncClient(host=URL, headers=HEADERS)
    answer = await other.chat(model=model, messages=QUESTION)
    text = ""
    async for part in await other.chat(model=model, messages=QUESTION, stream=True):
        text += part.message.content or ""
    equal(text, answer.message.content, "text")
    holds((await other.embed(model=EMBEDDING_MODELS[0], input="x")).embeddings, "no vector")
    holds((await other.list()).models, "no models")


if KEY:
    @check("no key: 401")
    def _():
        anonymous = Client(host=URL)
        refused(ResponseError, lambda: anonymous.chat(model=ON_OLLAMA, messages=QUESTION), 401, "key")
        refused(ResponseError, anonymous.list, 401, "key")

    @check("wrong key: 401")
    def _():
        wrong = Client(host=URL, headers={"Authorization": "Bearer rmd_wrong"})
        refused(ResponseError, lambda: wrong.chat(model=ON_OLLAMA, messages=QUESTION), 401, "key")

    @check("a user's key: models yes, model commands no")
    def _():
        user = Client(host=URL, headers={"Authorization": f"Bearer {USER_KEY}"})
        holds(user.chat(model=ON_OLLAMA, messages=QUESTION).message.content, "no answer")
        refused(ResponseError, lambda: user.pull("tinyllama"), 403, "admin")
        refused(ResponseError, lambda: user.delete(ON_OLLAMA), 403, "admin")

run()
