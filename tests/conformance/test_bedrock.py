"""Converse against what was really sent. Says so and skips where the recordings are not on this machine."""

from __future__ import annotations

import pytest

from conformance import bedrock_checks as checks
from conformance.corpus import Exchange, everything, folder
from conformance.test_openai_chat import hold

pytestmark = pytest.mark.skipif(
    folder() is None,
    reason="no recorded traffic here: set HEADRACE_WIRE to its folder (shared/wire beside the repository is found by itself)",
)


def answers() -> list[Exchange]:
    return [it for it in checks.exchanges() if it.status < 300 and isinstance(it.response_json, dict) and "output" in it.response_json]


def asked() -> list[Exchange]:
    return [it for it in checks.exchanges() if it.status < 300 and isinstance(it.request_json, dict)]


def streams(*, broken: bool = False) -> list[Exchange]:
    them = [it for it in checks.exchanges() if it.eventstream_b64 or (it.response_text or "").startswith('{"')]
    return [it for it in them if ("mid_stream_error" in it.tags) == broken and "stream_cut" not in it.tags]


def test_every_answer_is_written_again_as_it_was_read() -> None:
    assert hold(checks.answer, answers()) > 0


def test_every_answer_says_in_the_hub_what_it_said_on_the_wire() -> None:
    assert hold(checks.told, answers()) > 0


def test_every_answer_can_be_sent_back_through_openais_words() -> None:
    assert hold(checks.replayed, answers()) > 0


def test_every_request_is_written_again_with_the_same_meaning() -> None:
    them = [it for it in everything() if it.endpoint == "count_tokens" and it.provider == "bedrock"]
    assert hold(checks.request, [*asked(), *them]) > 0


def test_every_request_goes_to_the_address_it_was_sent_to() -> None:
    assert hold(checks.address, [it for it in asked() if not it.reply_only]) > 0


def test_every_request_keeps_its_meaning_through_openais_words() -> None:
    assert hold(checks.translated, asked()) > 0


def test_every_stream_adds_up_and_passes_through() -> None:
    assert hold(checks.stream, streams()) > 0


def test_a_stream_cut_anywhere_fails_and_invents_nothing() -> None:
    assert hold(checks.cuts, streams()) > 0


def test_an_error_in_mid_stream_is_raised() -> None:
    hold(checks.failed_in_mid_stream, streams(broken=True))  # none is recorded so far


def test_every_refusal_is_the_right_kind() -> None:
    assert hold(checks.error, checks.refusals()) > 0
