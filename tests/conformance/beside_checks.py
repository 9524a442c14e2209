"""What must hold of recorded rankings and counts of tokens."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from conformance.checks import differences
from conformance.corpus import Exchange
from conformance.judge import ASKED
from headrace.dialects import load
from headrace.dialects.base import Target
from headrace.dialects.collect import collect
from headrace.dialects.counts import COUNTS, answer, question
from headrace.dialects.forms import Formed, form_of
from headrace.wire import Headers, HttpRequest, HttpResponse

HEADRACES = {"top_k": "top_n"}
"""Words of a provider's that its callers here say otherwise."""


def ranked(exchange: Exchange) -> list[str]:
    """The request is written as it was recorded, the scores are read as they came, best first, and what stands beside them stays."""
    asked, answer = exchange.request_json, exchange.response_json
    body = {HEADRACES.get(name, name): value for name, value in asked.items()}
    form = Formed(form_of("rerank", exchange.provider), Target(exchange.provider, body["model"], "https://e.com"), body, "rerank")
    wrong = list(differences(asked, json.loads(form.write().body)))
    read = form.read(HttpResponse(200, Headers(), json.dumps(answer).encode()))
    scores = answer.get("results") or answer["data"]
    beside = {name: value for name, value in answer.items() if value is not scores}
    wrong += list(differences(sorted(scores, key=lambda item: -item["relevance_score"]), read.pop("results")))
    return wrong + list(differences(beside, read))


DIALECTS = {"anthropic": "anthropic_messages", "gemini": "gemini", "vertex": "gemini", "bedrock": "bedrock_converse"}


def counted(exchange: Exchange) -> list[str]:
    """The recorded question is what is made of the chat inside it, at the recorded place; the answer's number is read."""
    count, path = COUNTS[DIALECTS[exchange.provider]], exchange.path or ""
    asked, number = exchange.request_json, exchange.response_json[count.field]
    chat = HttpRequest("POST", "", (), json.dumps(inside(asked)).encode())
    made = question(count, chat, path.removesuffix(count.place) + count.suffix)
    wrong = list(differences(asked, json.loads(made.body)))
    wrong += [] if made.url == path else [f"asked at {made.url}"]
    return wrong + ([] if answer(count, exchange.response_json, exchange.provider, "m") == number else ["another number"])


def inside(asked: Any) -> Any:
    whole = asked.get("generateContentRequest")
    return asked.get("input", {}).get("converse") or whole or asked


def counts(exchanges: Iterable[Exchange]) -> list[Exchange]:
    """Those that ask in a chat's own words: of Bedrock's some hold the body of an invocation."""
    them = [it for it in exchanges if it.endpoint == "count_tokens" and isinstance(it.request_json, dict)]
    return [it for it in them if "invokeModel" not in (it.request_json.get("input") or ())]


def texts(exchange: Exchange) -> list[str]:
    """A text completion's stream adds up to the texts of its chunks, and ends as they say."""
    reader, events = load("openai_chat").read_stream(ASKED, Target(exchange.provider, "m")), []
    for frame in exchange.frames():
        events += reader.feed(frame)
    whole = collect([*events, *reader.close()])
    chunks = [json.loads(frame.data) for frame in exchange.frames() if frame.data[:1] == b"{"]
    said: dict[int, str] = {}
    for choice in (choice for chunk in chunks for choice in chunk.get("choices") or ()):
        said[choice.get("index") or 0] = said.get(choice.get("index") or 0, "") + (choice.get("text") or "")
    told = {choice.index: choice.message.text for choice in whole.choices}
    return list(differences({str(at): text for at, text in said.items()}, {str(at): text for at, text in told.items()}))
