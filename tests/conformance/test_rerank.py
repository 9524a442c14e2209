"""Reranking against what was really sent. Says so and skips where the recordings are not on this machine."""

from __future__ import annotations

import json

import pytest

from conformance.checks import differences
from conformance.corpus import Exchange, everything, folder
from conformance.test_openai_chat import hold
from headrace.dialects.base import Target
from headrace.dialects.forms import Formed, form_of
from headrace.wire import Headers, HttpResponse

pytestmark = pytest.mark.skipif(
    folder() is None,
    reason="no recorded traffic here: set HEADRACE_WIRE to its folder (shared/wire beside the repository is found by itself)",
)

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


def test_every_reranking_is_asked_for_and_read() -> None:
    assert hold(ranked, [it for it in everything() if it.endpoint == "rerank" and it.status < 300]) > 0
