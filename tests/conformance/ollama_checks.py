"""What is known of Ollama's wire apart from headrace."""

from __future__ import annotations

import copy
import json
from typing import Any

from conformance.checks import differences
from conformance.corpus import Exchange, everything
from conformance.native_checks import Body, Native
from headrace.types import EmbeddingRequest
from headrace.wire import Headers, HttpResponse


def exchanges() -> list[Exchange]:
    return [it for it in everything() if it.endpoint == "ollama-chat"]


def by_hand(body: Body) -> Body:
    message = body["message"]
    calls = [[call.get("id", ""), call["function"]["name"], call["function"]["arguments"]] for call in message.get("tool_calls") or []]
    return {
        "text": message.get("content") or "",
        "thinking": message.get("thinking") or "",
        "calls": calls,
        "end": "tool_calls" if calls else body["done_reason"],
        "usage": [body.get("prompt_eval_count", 0), body.get("eval_count", 0), 0, 0],
    }


def added_up(text: str) -> Body:
    lines = [json.loads(line) for line in text.splitlines()]
    message: Body = {"content": "", "thinking": "", "tool_calls": []}
    for line in lines:
        for name, more in line["message"].items():
            if name != "role":
                message[name] += more
    return {**lines[-1], "message": message}


def same_words(body: Body) -> Body:
    """`stream` or nothing, and empty options, tools or pictures or nothing."""
    body = copy.deepcopy(body)
    body.setdefault("stream", True)
    return body


OLLAMA = Native("ollama", by_hand, added_up, b'"done":true', same_words, has_ids=False)


def embedded(exchange: Exchange) -> list[str]:
    """The older endpoint's single vector is read as the newer one's first."""
    body = exchange.response_json
    reply = HttpResponse(200, Headers(), json.dumps(body).encode())
    dialect: Any = OLLAMA.dialect
    read = dialect.read_embedding_response(reply, EmbeddingRequest(model="m", input="x"), OLLAMA.target(exchange))
    return list(differences([body["embedding"]], [list(item.values) for item in read.data]))
