"""OpenAI's Responses against what was really sent. Says so and skips where the recordings are not on this machine."""

from __future__ import annotations

import pytest

from conformance import responses_checks as checks
from conformance.corpus import Exchange, folder
from conformance.test_openai_chat import hold

pytestmark = pytest.mark.skipif(
    folder() is None,
    reason="no recorded traffic here: set HEADRACE_WIRE to its folder (shared/wire beside the repository is found by itself)",
)


def answers() -> list[Exchange]:
    them = [it for it in checks.exchanges() if it.status < 300 and isinstance(it.response_json, dict)]
    return [it for it in them if it.id not in checks.EXCEPTIONS]


def asked() -> list[Exchange]:
    return [it for it in checks.exchanges() if it.status < 300 and isinstance(it.request_json, dict)]


def streams() -> list[Exchange]:
    them = [it for it in checks.exchanges() if it.sse_text and "mid_stream_error" not in it.tags and "stream_cut" not in it.tags]
    return [it for it in them if it.id not in checks.EXCEPTIONS]


def test_every_answer_is_written_again_as_it_was_read() -> None:
    assert hold(checks.answer, answers()) > 0


def test_exceptions_stay_under_one_in_a_hundred() -> None:
    assert len(checks.EXCEPTIONS) * 100 <= len(answers())


def test_every_answer_says_in_the_hub_what_it_said_on_the_wire() -> None:
    assert hold(checks.told, answers()) > 0


def test_every_answer_can_be_sent_back_through_the_words_of_chat() -> None:
    assert hold(checks.replayed, answers()) > 0


def test_every_answer_of_chat_suits_the_official_client_of_responses() -> None:
    assert hold(checks.answer_for_sdk, answers()) > 0


def test_every_request_is_written_again_with_the_same_meaning() -> None:
    assert hold(checks.request, asked()) > 0


def test_every_request_keeps_its_meaning_through_the_words_of_chat() -> None:
    them = [it for it in asked() if it.request_json.get("input")]  # one names a stored prompt alone
    assert hold(checks.translated, them) > 0


def test_every_stream_adds_up() -> None:
    assert hold(checks.stream, streams()) > 0


def test_every_stream_written_anew_suits_the_official_client() -> None:
    assert hold(checks.for_sdk, streams()) > 0


def test_a_stream_broken_by_an_error_raises_it() -> None:
    assert hold(checks.broken, streams()) > 0


def test_a_stream_cut_after_any_frame_fails_and_invents_nothing() -> None:
    assert hold(checks.cuts, streams()) > 0


def test_every_refusal_is_the_right_kind() -> None:
    assert hold(checks.error, [it for it in checks.exchanges() if it.status >= 400]) > 0
