"""What is known of Cohere's wire apart from headrace."""

from __future__ import annotations

import copy
import json
from typing import Any

from conformance.checks import differences
from conformance.corpus import Exchange, everything
from conformance.native_checks import ASKED, Body, Native
from headrace.dialects.base import Target
from headrace.errors import Kind
from headrace.types import EmbeddingRequest
from headrace.wire import Headers, HttpResponse

ENDS = {"COMPLETE": "stop", "STOP_SEQUENCE": "stop", "MAX_TOKENS": "length", "TOOL_CALL": "tool_calls"}


def exchanges(endpoint: str = "cohere-v2-chat") -> list[Exchange]:
    return [it for it in everything() if it.provider == "cohere" and it.endpoint == endpoint]


def by_hand(body: Body) -> Body:
    message = body["message"]
    content = message.get("content") or []
    usage = body.get("usage")
    tokens = (usage or {}).get("tokens", {})
    return {
        "text": "".join(part["text"] for part in content if part["type"] == "text"),
        "thinking": "".join(part["thinking"] for part in content if part["type"] == "thinking") + (message.get("tool_plan") or ""),
        "calls": [
            [call["id"], call["function"]["name"], json.loads(call["function"]["arguments"] or "{}")]
            for call in message.get("tool_calls") or []
        ],
        "end": ENDS[body["finish_reason"]],
        "usage": usage
        and [tokens["input_tokens"], tokens["output_tokens"], usage.get("cached_tokens", 0), tokens.get("reasoning_tokens", 0)],
    }


def added_up(text: str) -> Body:
    body: Body = {"message": {"content": [], "tool_plan": "", "tool_calls": [], "citations": []}}
    message = body["message"]
    for line in text.splitlines():
        if not line.startswith("data:") or line[5:].strip() == "[DONE]":
            continue
        event = json.loads(line[5:])
        said = event.get("delta", {}).get("message") or {}
        match event["type"]:
            case "content-start":
                message["content"].append(said["content"])
            case "content-delta":
                for name, more in said["content"].items():
                    message["content"][-1][name] += more
            case "tool-plan-delta":
                message["tool_plan"] += said["tool_plan"]
            case "tool-call-start":
                message["tool_calls"].append(said["tool_calls"])
            case "tool-call-delta":
                message["tool_calls"][-1]["function"]["arguments"] += said["tool_calls"]["function"]["arguments"]
            case "citation-start":
                message["citations"].append(said["citations"])
            case "message-end":
                body |= event["delta"]
    return body


def same_words(body: Body) -> Body:
    """`stream: false` or nothing."""
    body = copy.deepcopy(body)
    if body.get("stream") is False:
        del body["stream"]
    return body


COHERE = Native("cohere", by_hand, added_up, b"message-end", same_words)


def cited(exchange: Exchange) -> list[str]:
    """Citations come with the message, in Cohere's words; those of documents in OpenAI's too."""
    if exchange.response_json:
        source = exchange.response_json["message"].get("citations") or []
        message = COHERE.read(exchange, exchange.response_json).choices[0].message
    else:
        from headrace.dialects.collect import collect

        source = added_up(exchange.sse_text or "")["message"]["citations"]
        message = collect(COHERE.each_event((exchange.sse_text or "").encode(), exchange)).choices[0].message
    wrong = list(differences(source, list(message.extra.get("citations", ()))))
    documents = [one for citation in source for one in citation["sources"] if one["type"] == "document"]
    told = message.extra.get("annotations", ())
    return wrong + ([] if len(told) == len(documents) else [f"{len(told)} annotations of {len(documents)} documents"])


def expected_kind(exchange: Exchange) -> Kind:
    body = json.dumps(exchange.response_json)
    if "TOO_MANY_TOKENS" in body:
        return Kind.CONTEXT_WINDOW
    return {400: Kind.BAD_REQUEST, 401: Kind.AUTHENTICATION, 404: Kind.NOT_FOUND, 429: Kind.RATE_LIMIT}[exchange.status]


def error(exchange: Exchange) -> list[str]:
    return COHERE.error(exchange, expected_kind(exchange))


def embedded(exchange: Exchange) -> list[str]:
    """An embedding's reply is read whole; a request for texts is written as it was recorded."""
    body, asked = exchange.response_json, exchange.request_json
    dialect: Any = COHERE.dialect
    reply = HttpResponse(200, Headers(), json.dumps(body).encode())
    read = dialect.read_embedding_response(reply, EmbeddingRequest(model="m", input="x"), COHERE.target(exchange))
    wrong = list(differences(body["embeddings"]["float"], [list(item.values) for item in read.data]))
    billed = body["meta"]["billed_units"]["input_tokens"]
    wrong += [] if read.usage is not None and read.usage.input == billed else ["the usage differs"]
    extra = {name: value for name, value in asked.items() if name not in ("model", "texts", "output_dimension")}
    ask = EmbeddingRequest(model=asked["model"], input=asked["texts"], dimensions=asked.get("output_dimension"), extra=extra)
    written = dialect.write_embedding_request(ask, Target("cohere", asked["model"], "https://api.cohere.com/v2"))
    wrong += [] if written.url.endswith(exchange.path or "") else [f"it goes to {written.url}"]
    given = {name: value for name, value in asked.items() if value is not None}
    return wrong + list(differences(given, json.loads(written.body)))


__all__ = ["ASKED", "COHERE", "cited", "embedded", "error", "exchanges"]
