"""Cohere's dialect against what was really sent. Says so and skips where the recordings are not on this machine."""

from __future__ import annotations

import pytest

from conformance import cohere_checks as checks
from conformance.cohere_checks import COHERE
from conformance.corpus import Exchange, folder
from conformance.test_openai_chat import hold

pytestmark = pytest.mark.skipif(
    folder() is None,
    reason="no recorded traffic here: set HEADRACE_WIRE to its folder (shared/wire beside the repository is found by itself)",
)


def answers() -> list[Exchange]:
    return [it for it in checks.exchanges() if it.status < 300 and isinstance(it.response_json, dict)]


def asked() -> list[Exchange]:
    return [it for it in checks.exchanges() if it.status < 300 and isinstance(it.request_json, dict)]


def streams() -> list[Exchange]:
    return [it for it in checks.exchanges() if it.status < 300 and it.sse_text]


def test_every_answer_is_written_again_as_it_was_read() -> None:
    assert hold(COHERE.answer, answers()) > 0


def test_every_answer_says_in_the_hub_what_it_said_on_the_wire() -> None:
    assert hold(COHERE.told, answers()) > 0


def test_every_answer_can_be_sent_back_through_openais_words() -> None:
    assert hold(COHERE.replayed, answers()) > 0


def test_every_citation_is_told() -> None:
    assert hold(checks.cited, [*answers(), *streams()]) > 0


def test_every_request_is_written_again_with_the_same_meaning() -> None:
    assert hold(COHERE.request, asked()) > 0


def test_every_request_keeps_its_meaning_through_openais_words() -> None:
    assert hold(COHERE.translated, asked()) > 0


def test_every_stream_adds_up_and_passes_through() -> None:
    assert hold(COHERE.stream, streams()) > 0


def test_a_stream_cut_anywhere_fails_and_invents_nothing() -> None:
    assert hold(COHERE.cuts, streams()) > 0


def test_every_refusal_is_the_right_kind() -> None:
    assert hold(checks.error, [it for it in checks.exchanges() if it.status >= 400]) > 0


def test_every_embedding_is_asked_for_and_read() -> None:
    assert hold(checks.embedded, [it for it in checks.exchanges("embeddings") if it.status < 300]) > 0
