"""Gemini's dialect against what was really sent. Says so and skips where the recordings are not on this machine."""

from __future__ import annotations

import pytest

from conformance import gemini_checks as checks
from conformance.corpus import Exchange, everything, folder
from conformance.test_openai_chat import hold

pytestmark = pytest.mark.skipif(
    folder() is None,
    reason="no recorded traffic here: set HEADRACE_WIRE to its folder (shared/wire beside the repository is found by itself)",
)


def answers() -> list[Exchange]:
    return [it for it in checks.exchanges() if it.status < 300 and isinstance(it.response_json, dict) and not checks.is_error(it)]


def asked() -> list[Exchange]:
    return [it for it in checks.exchanges() if it.status < 300 and isinstance(it.request_json, dict)]


def streams() -> list[Exchange]:
    them = [it for it in checks.exchanges() if it.status < 300 and (it.sse_text or isinstance(it.response_json, list))]
    return [it for it in them if not checks.is_error(it) and "mid_stream_error" not in it.tags and "stream_cut" not in it.tags]


def test_every_answer_is_written_again_as_it_was_read() -> None:
    assert hold(checks.answer, answers()) > 0


def test_every_answer_says_in_the_hub_what_it_said_on_the_wire() -> None:
    assert hold(checks.told, answers()) > 0


def test_every_call_has_an_id_and_is_why_its_answer_ended() -> None:
    assert hold(checks.called, answers()) > 0


def test_every_answer_can_be_sent_back_through_openais_words() -> None:
    assert hold(checks.replayed, answers()) > 0


def test_every_request_is_written_again_with_the_same_meaning() -> None:
    assert hold(checks.request, asked()) > 0


def test_every_request_keeps_its_meaning_through_openais_words() -> None:
    assert hold(checks.translated, asked()) > 0


def test_every_stream_adds_up_and_passes_through() -> None:
    assert hold(checks.stream, streams()) > 0


def test_a_stream_cut_anywhere_fails_and_invents_nothing() -> None:
    assert hold(checks.cuts, streams()) > 0


def test_every_refusal_is_the_right_kind() -> None:
    assert hold(checks.error, [it for it in checks.exchanges() if checks.is_error(it)]) > 0


def test_every_embedding_is_asked_for_and_read() -> None:
    them = [it for it in everything() if it.provider == "gemini" and it.endpoint == "embeddings" and it.status < 300]
    assert hold(checks.embedded, them) > 0
