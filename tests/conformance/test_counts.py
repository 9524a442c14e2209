"""Counts of tokens against what was really asked and answered. Says so and skips where the recordings are not on this machine."""

from __future__ import annotations

import json
from typing import Any

import pytest

from conformance.checks import differences
from conformance.corpus import Exchange, everything, folder
from conformance.test_openai_chat import hold
from headrace.dialects.counts import COUNTS, answer, question
from headrace.wire import HttpRequest

pytestmark = pytest.mark.skipif(
    folder() is None,
    reason="no recorded traffic here: set HEADRACE_WIRE to its folder (shared/wire beside the repository is found by itself)",
)

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


def test_every_count_is_asked_for_and_read() -> None:
    them = [
        it
        for it in everything()
        if it.endpoint == "count_tokens" and it.status < 300 and "invokeModel" not in it.request_json.get("input", ())
    ]
    assert hold(counted, them) > 0
