"""Ollama's own dialect against what was really sent. Says so and skips where the recordings are not on this machine."""

from __future__ import annotations

import pytest

from conformance import ollama_checks as checks
from conformance.corpus import Exchange, everything, folder
from conformance.ollama_checks import OLLAMA
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
    return [it for it in checks.exchanges() if it.status < 300 and it.response_text]


def test_every_answer_is_written_again_as_it_was_read() -> None:
    assert hold(OLLAMA.answer, answers()) > 0


def test_every_answer_says_in_the_hub_what_it_said_on_the_wire() -> None:
    assert hold(OLLAMA.told, answers()) > 0


def test_every_answer_can_be_sent_back_through_openais_words() -> None:
    assert hold(OLLAMA.replayed, answers()) > 0


def test_every_request_is_written_again_with_the_same_meaning() -> None:
    assert hold(OLLAMA.request, asked()) > 0


def test_every_request_keeps_its_meaning_through_openais_words() -> None:
    assert hold(OLLAMA.translated, asked()) > 0


def test_every_stream_adds_up_and_passes_through() -> None:
    assert hold(OLLAMA.stream, streams()) > 0


def test_a_stream_cut_anywhere_fails_and_invents_nothing() -> None:
    assert hold(OLLAMA.cuts, streams()) > 0


def test_the_embedding_of_the_older_endpoint_is_read() -> None:
    assert hold(checks.embedded, [it for it in everything() if it.path == "/api/embeddings"]) > 0
