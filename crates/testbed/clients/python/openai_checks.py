"""The `openai` client from PyPI, unmodified, against Remuda."""

import json
import time

import openai
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from checks import (
    CHAT_MODELS, EMBEDDED, EMBEDDING_MODELS, KEY, ON_OLLAMA, ON_VLLM, QUESTION, SCHEMA, URL, USER_KEY, WEATHER,
    check, equal, holds, refused, run,
)

BASE = f"{URL}/v1"
SETTINGS = {"base_url": BASE, "api_key": KEY or "unused", "max_retries": 0}
client = OpenAI(**SETTINGS)
SCRIPTED = [ON_OLLAMA, ON_VLLM]


class Weather(BaseModel):
    """The weather of a city."""

    city: str
    degrees: int


def chat(model, prompt=None, **more):
    messages = QUESTION if prompt is None else [{"role": "user", "content": prompt}]
    return client.chat.completions.create(model=model, messages=messages, temperature=0, **more)


def joined(stream):
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


@check("chat", CHAT_MODELS)
def _(model):
    answer = chat(model)
    equal(answer.object, "chat.completion", "object")
    choice = answer.choices[0]
    holds(choice.message.content and choice.message.role == "assistant", f"no answer: {answer}")
    equal(choice.finish_reason, "stop", "finish_reason")
    usage = answer.usage
    holds(usage.prompt_tokens > 0 and usage.completion_tokens > 0, f"usage: {usage}")
    equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens, "total_tokens")


@check("chat, streamed, equals the whole answer", CHAT_MODELS)
def _(model):
    chunks = list(chat(model, stream=True))
    equal(joined(chunks), chat(model).choices[0].message.content, "text")
    equal({chunk.object for chunk in chunks}, {"chat.completion.chunk"}, "object")
    equal(len({chunk.id for chunk in chunks}), 1, "number of ids")
    equal(chunks[-1].choices[0].finish_reason, "stop", "finish_reason")
    holds(all(chunk.usage is None for chunk in chunks), "usage that nobody asked for")


@check("usage in a stream", CHAT_MODELS)
def _(model):
    chunks = list(chat(model, stream=True, stream_options={"include_usage": True}))
    equal(chunks[-1].choices, [], "choices of the last chunk")
    usage = chunks[-1].usage
    holds(usage.completion_tokens > 0 and usage.prompt_tokens > 0, f"usage: {usage}")
    equal(usage.completion_tokens, chat(model).usage.completion_tokens, "completion_tokens")
    equal(sum(chunk.usage is not None for chunk in chunks), 1, "chunks with usage")


@check("the stream helper", CHAT_MODELS)
def _(model):
    with client.chat.completions.stream(model=model, messages=QUESTION, temperature=0) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    holds(final.choices[0].message.content, "no text")


@check("max_tokens and max_completion_tokens", CHAT_MODELS)
def _(model):
    for limit in ("max_tokens", "max_completion_tokens"):
        answer = chat(model, **{limit: 3})
        equal(answer.choices[0].finish_reason, "length", f"finish_reason with {limit}")
        equal(answer.usage.completion_tokens, 3, f"completion_tokens with {limit}")


@check("stop", CHAT_MODELS)
def _(model):
    whole = chat(model).choices[0].message.content
    stop = whole.split()[3]
    answer = chat(model, stop=stop)
    equal(answer.choices[0].message.content.rstrip(), whole.split(stop)[0].rstrip(), "text")


@check("content parts and a system message", CHAT_MODELS)
def _(model):
    answer = client.chat.completions.create(
        model=model,
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "What is Remuda?"}]},
        ],
    )
    holds(answer.choices[0].message.content, "no text")


@check("completions", CHAT_MODELS)
def _(model):
    answer = client.completions.create(model=model, prompt="What is Remuda?", temperature=0, max_tokens=8)
    equal(answer.object, "text_completion", "object")
    holds(answer.choices[0].text, "no text")
    equal(answer.usage.completion_tokens, 8, "completion_tokens")


@check("completions, streamed, with usage", CHAT_MODELS)
def _(model):
    ask = {"model": model, "prompt": "What is Remuda?", "temperature": 0, "max_tokens": 8}
    chunks = list(client.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)
    equal(text, client.completions.create(**ask).choices[0].text, "text")
    equal(chunks[-1].usage.completion_tokens, 8, "completion_tokens")


@check("responses", CHAT_MODELS)
def _(model):
    answer = client.responses.create(model=model, input="What is Remuda?", temperature=0)
    equal((answer.object, answer.status), ("response", "completed"), "object and status")
    holds(answer.output_text, "no text")
    holds(answer.usage.output_tokens > 0, f"usage: {answer.usage}")


@check("responses, streamed, equal the whole answer", CHAT_MODELS)
def _(model):
    ask = {"model": model, "instructions": "Be brief.", "input": "What is Remuda?", "temperature": 0}
    events = list(client.responses.create(**ask, stream=True))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    equal(text, client.responses.create(**ask).output_text, "text")
    equal(events[0].type, "response.created", "first event")
    equal(events[-1].type, "response.completed", "last event")
    equal(events[-1].response.output_text, text, "text of the last event")
    numbers = [event.sequence_number for event in events]
    equal(numbers, sorted(set(numbers)), "sequence numbers")


@check("embeddings", EMBEDDING_MODELS)
def _(model):
    answer = client.embeddings.create(model=model, input=["one", "two", "one"])
    equal([item.index for item in answer.data], [0, 1, 2], "indices")
    equal(answer.data[0].embedding, answer.data[2].embedding, "the vector of the same text")
    holds(abs(sum(x * x for x in answer.data[0].embedding) - 1) < 1e-3, "the vector's length is not 1")
    holds(answer.usage.prompt_tokens > 0, "no usage")
    plain = client.embeddings.create(model=model, input=["one"], encoding_format="float")
    holds(
        all(abs(a - b) < 1e-6 for a, b in zip(plain.data[0].embedding, answer.data[0].embedding, strict=True)),
        "float and base64 differ",
    )


@check("models")
def _():
    names = [model.id.removesuffix(":latest") for model in client.models.list()]
    for name in [*CHAT_MODELS, *EMBEDDING_MODELS]:
        holds(name in names, f"{name} is not among {names}")
        equal(client.models.retrieve(name).id.removesuffix(":latest"), name, "id")


@check("structured output", SCRIPTED)
def _(model):
    form = {"type": "json_schema", "json_schema": {"name": "weather", "strict": True, "schema": SCHEMA}}
    answer = chat(model, "The weather? [[testbed json]]", response_format=form)
    equal(json.loads(answer.choices[0].message.content), {"city": "Uppsala", "degrees": 7}, "answer")
    answer = chat(model, "The weather? [[testbed json]]", response_format={"type": "json_object"})
    equal(json.loads(answer.choices[0].message.content)["degrees"], 7, "degrees")


@check("structured output parsed into a class", SCRIPTED)
def _(model):
    messages = [{"role": "user", "content": "The weather? [[testbed json]]"}]
    answer = client.chat.completions.parse(model=model, messages=messages, response_format=Weather)
    equal(answer.choices[0].message.parsed, Weather(city="Uppsala", degrees=7), "parsed")


@check("structured output of responses", SCRIPTED)
def _(model):
    answer = client.responses.parse(model=model, input="The weather? [[testbed json]]", text_format=Weather)
    equal(answer.output_parsed, Weather(city="Uppsala", degrees=7), "parsed")


@check("structured output of the embedded engine")
def _():
    schema = {"type": "object", "properties": {"sure": {"type": "boolean"}}, "required": ["sure"], "additionalProperties": False}
    answer = chat(EMBEDDED, response_format={"type": "json_schema", "json_schema": {"name": "sure", "schema": schema}})
    content = answer.choices[0].message.content
    holds(isinstance(json.loads(content)["sure"], bool), content)


@check("tools", SCRIPTED)
def _(model):
    answer = chat(model, "The weather? [[testbed tool_call]]", tools=[WEATHER])
    choice = answer.choices[0]
    equal(choice.finish_reason, "tool_calls", "finish_reason")
    call = choice.message.tool_calls[0]
    holds(call.id, "the call has no id")
    equal((call.function.name, json.loads(call.function.arguments)["city"]), ("weather", "Uppsala"), "call")
    again = client.chat.completions.create(
        model=model,
        messages=[
            {"role": "user", "content": "The weather?"},
            choice.message,
            {"role": "tool", "tool_call_id": call.id, "content": "7 degrees"},
        ],
        tools=[WEATHER],
    )
    holds(again.choices[0].message.content, "no answer after the tool's result")


@check("tools, streamed", SCRIPTED)
def _(model):
    name, arguments, finish = "", "", None
    for chunk in chat(model, "The weather? [[testbed tool_call]]", tools=[WEATHER], stream=True):
        for choice in chunk.choices:
            finish = choice.finish_reason or finish
            for call in choice.delta.tool_calls or []:
                name += call.function.name or ""
                arguments += call.function.arguments or ""
    equal((name, json.loads(arguments)["city"], finish), ("weather", "Uppsala", "tool_calls"), "call")


@check("tools of responses", SCRIPTED)
def _(model):
    tool = {"type": "function", **WEATHER["function"]}
    answer = client.responses.create(model=model, input="The weather? [[testbed tool_call]]", tools=[tool])
    calls = [item for item in answer.output if item.type == "function_call"]
    equal([(call.name, json.loads(call.arguments)["city"]) for call in calls], [("weather", "Uppsala")], "calls")


@check("log probabilities", SCRIPTED)
def _(model):
    answer = chat(model, logprobs=True, top_logprobs=2)
    content = answer.choices[0].logprobs.content
    equal(len(content), answer.usage.completion_tokens, "tokens with log probabilities")
    equal(len(content[0].top_logprobs), 2, "alternatives")


@check("response headers name the request and the node")
def _():
    raw = client.chat.completions.with_raw_response.create(model=ON_VLLM, messages=QUESTION)
    holds(raw.headers.get("x-request-id"), "no x-request-id")
    equal(raw.headers.get("x-remuda-node"), "vllm", "x-remuda-node")


@check("unknown model: 404")
def _():
    error = refused(openai.NotFoundError, lambda: chat("no-such-model"), 404, "no-such-model")
    equal(error.code, "model_not_found", "code")
    refused(openai.NotFoundError, lambda: chat("no-such-model", stream=True), 404, "no-such-model")
    refused(openai.NotFoundError, lambda: client.models.retrieve("no-such-model"), 404, "no-such-model")


@check("no messages: 400", CHAT_MODELS)
def _(model):
    refused(
        openai.BadRequestError,
        lambda: client.chat.completions.create(model=model, messages=[]), 400, "messages")


@check("wrong type: 400", CHAT_MODELS)
def _(model):
    refused(openai.BadRequestError, lambda: chat(model, extra_body={"messages": "hello"}), 400, "messages")


@check("asynchronous chat, streamed chat, embeddings, responses and models", SCRIPTED)
async def _(model):
    async with AsyncOpenAI(**SETTINGS) as other:
        answer = await other.chat.completions.create(model=model, messages=QUESTION)
        text = ""
        async for chunk in await other.chat.completions.create(model=model, messages=QUESTION, stream=True):
            text += (chunk.choices[0].delta.content or "") if chunk.choices else ""
        equal(text, answer.choices[0].message.content, "text")
        holds((await other.embeddings.create(model=EMBEDDING_MODELS[0], input="x")).data, "no vector")
        holds((await other.responses.create(model=model, input="x")).output_text, "no text")
        holds([one async for one in other.models.list()], "no models")


def batch_file(lines):
    text = "\n".join(json.dumps(line) for line in lines)
    return client.files.create(file=("lines.jsonl", text.encode()), purpose="batch")


def batch_line(name, model, prompt="x"):
    body = {"model": model, "messages": [{"role": "user", "content": prompt}], "temperature": 0}
    return {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}


def ended(batch):
    deadline = time.monotonic() + 60
    while batch.status not in ("completed", "failed", "expired", "cancelled"):
        holds(time.monotonic() < deadline, f"it does not end: {batch}")
        time.sleep(0.1)
        batch = client.batches.retrieve(batch.id)
    return batch


@check("files: uploaded, listed, shown, read, deleted")
def _():
    lines = [batch_line(str(number), ON_OLLAMA, "y" * 3000) for number in range(200)]
    made = batch_file(lines)
    equal((made.object, made.purpose, made.filename), ("file", "batch", "lines.jsonl"), "file")
    equal(client.files.retrieve(made.id).bytes, made.bytes, "bytes")
    holds(made.id in [file.id for file in client.files.list(limit=1, purpose="batch")], "it is not listed")
    content = client.files.content(made.id).read()
    equal(len(content), made.bytes, "length of the content")
    equal([json.loads(line) for line in content.splitlines()], lines, "content")
    holds(client.files.delete(made.id).deleted, "not deleted")
    refused(openai.NotFoundError, lambda: client.files.retrieve(made.id), 404, "no file")
    upload = lambda: client.files.create(file=("a.txt", b"x"), purpose="assistants")
    refused(openai.BadRequestError, upload, 400, "purpose")


@check("a batch over two models, with a line that is refused")
def _():
    lines = [batch_line(f"line-{number}", SCRIPTED[number % 2]) for number in range(20)]
    lines.append({**batch_line("wrong", ON_VLLM), "body": {"model": ON_VLLM, "messages": []}})
    made = client.batches.create(
        input_file_id=batch_file(lines).id, endpoint="/v1/chat/completions", completion_window="24h",
        metadata={"of": "a check"})
    equal((made.object, made.metadata), ("batch", {"of": "a check"}), "batch")
    done = ended(made)
    counts = done.request_counts
    equal((done.status, counts.total, counts.completed, counts.failed), ("completed", 21, 20, 1), "counts")
    answers = [json.loads(line) for line in client.files.content(done.output_file_id).text.splitlines()]
    equal([answer["custom_id"] for answer in answers], [line["custom_id"] for line in lines[:20]], "order")
    for answer in answers:
        equal(answer["response"]["status_code"], 200, "status")
        holds(answer["response"]["body"]["choices"][0]["message"]["content"], "no text")
    errors = [json.loads(line) for line in client.files.content(done.error_file_id).text.splitlines()]
    equal([(error["custom_id"], error["response"]["status_code"]) for error in errors], [("wrong", 400)], "errors")
    holds(made.id in [batch.id for batch in client.batches.list(limit=1)], "it is not listed")
    refused(openai.ConflictError, lambda: client.batches.cancel(made.id), 409, "ended")


@check("a batch whose lines cannot be used says which")
def _():
    lines = [batch_line("same", ON_VLLM), batch_line("same", ON_VLLM), {"custom_id": "a"}]
    made = client.batches.create(
        input_file_id=batch_file(lines).id, endpoint="/v1/chat/completions", completion_window="24h")
    done = ended(made)
    equal(done.status, "failed", "status")
    equal([(fault.line, fault.code) for fault in done.errors.data],
          [(2, "duplicate_custom_id"), (3, "invalid_json_line")], "faults")


if KEY:
    @check("wrong key: 401")
    def _():
        wrong = OpenAI(base_url=BASE, api_key="rmd_wrong", max_retries=0)
        ask = {"model": ON_OLLAMA, "messages": QUESTION}
        refused(openai.AuthenticationError, lambda: wrong.chat.completions.create(**ask), 401, "key")
        refused(openai.AuthenticationError, wrong.models.list, 401, "key")

    @check("a user's key may use models")
    def _():
        user = OpenAI(base_url=BASE, api_key=USER_KEY, max_retries=0)
        holds(user.chat.completions.create(model=ON_VLLM, messages=QUESTION).choices, "no answer")

run()
