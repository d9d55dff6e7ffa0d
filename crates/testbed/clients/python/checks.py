"""Collects checks and runs them, one line each: `ok NAME`, or `FAIL NAME: why`."""

import asyncio
import inspect
import os
import sys
import time

URL = os.environ["REMUDA_URL"]
# Absent when no key is required. The first is an administrator's; the second may only use models.
KEY = os.environ.get("REMUDA_KEY")
USER_KEY = os.environ.get("REMUDA_USER_KEY")

# One model on each node of the fleet.
ON_OLLAMA = "llama3.2"
ON_VLLM = "qwen3-8b"
EMBEDDED = "remuda-demo"
CHAT_MODELS = [ON_OLLAMA, ON_VLLM, EMBEDDED]
# One embedding model on each node that has any.
EMBEDDING_MODELS = ["nomic-embed-text", "bge-m3"]

QUESTION = [{"role": "user", "content": "What is Remuda?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"type": "string"}},
            "required": ["city"],
        },
    },
}
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "degrees": {"type": "integer"}},
    "required": ["city", "degrees"],
    "additionalProperties": False,
}

_checks = []


def check(name, models=(None,)):
    """Registers a check; with models it runs once for each and takes the model."""

    def register(function):
        for model in models:
            _checks.append((name if model is None else f"{name} ({model})", function, model))
        return function

    return register


def equal(found, expected, what="value"):
    if found != expected:
        raise AssertionError(f"{what} is {found!r}, not {expected!r}")


def holds(condition, what):
    if not condition:
        raise AssertionError(what)


def refused(error_type, call, status, words):
    """Calls, and demands an error with that status whose text contains the words."""
    try:
        call()
    except error_type as error:
        equal(error.status_code, status, "status")
        holds(words in str(error), f"{words!r} is not in {error}")
        return error
    raise AssertionError(f"no error, but {status} was due")


def eventually(what, condition):
    """Waits until the condition holds, 15 s at most: what nodes have in memory is learned by looking."""
    deadline = time.monotonic() + 15
    while not condition():
        holds(time.monotonic() < deadline, f"never: {what}")
        time.sleep(0.1)


def run():
    failed = 0
    for name, function, model in _checks:
        try:
            result = function() if model is None else function(model)
            if inspect.isawaitable(result):
                asyncio.run(result)
            print(f"ok {name}", flush=True)
        except Exception as error:
            failed += 1
            text = " ".join(f"{type(error).__name__}: {error}".split())
            print(f"FAIL {name}: {text[:2000]}", flush=True)
    sys.exit(1 if failed else 0)
