"""OpenAI's dialect against what providers really sent. Says so and skips where the recordings are not on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from conformance import checks
from conformance.corpus import Exchange, everything, exchanges, folder
from headrace.errors import HeadraceError, Kind

pytestmark = pytest.mark.skipif(
    folder() is None,
    reason="no recorded traffic here: set HEADRACE_WIRE to its folder (shared/wire beside the repository is found by itself)",
)


def hold(check: Callable[[Exchange], list[str]], them: Iterable[Exchange]) -> int:
    """How many exchanges `check` was held against. Fails with what is wrong with each."""
    wrong, count = [], 0
    for exchange in them:
        count += 1
        wrong += [f"{exchange}: {problem}" for problem in check(exchange)]
    assert not wrong, f"{len(wrong)} of {count}\n" + "\n".join(wrong[:40])
    return count


def answers(kind: str = "") -> list[Exchange]:
    return [it for it in exchanges(kind) if it.status < 300 and isinstance(it.response_json, dict) and not it.is_error]


def streams(*, broken: bool = False) -> list[Exchange]:
    return [it for it in exchanges("chat") if it.sse_text and ("mid_stream_error" in it.tags) == broken]


def test_every_answer_is_written_again_as_it_was_read() -> None:
    assert hold(checks.answer, answers()) > 0


def test_exceptions_stay_under_one_in_a_hundred() -> None:
    them = answers("chat")
    excepted = [it for it in them if any(rule in checks.EXCEPTIONS for rule in checks.meant(it.response_json)[1])]
    assert len(excepted) * 100 <= len(them)


def test_every_answer_says_in_the_hub_what_it_said_on_the_wire() -> None:
    assert hold(checks.content_is_told, answers("chat")) > 0


def test_every_request_is_written_again_with_the_same_meaning() -> None:
    them = [it for it in exchanges("chat") if it.status < 300 and isinstance(it.request_json, dict)]
    assert hold(checks.request, them) > 0


def test_every_stream_adds_up() -> None:
    assert hold(checks.stream, streams()) > 0


def test_every_stream_passes_through_unchanged() -> None:
    them = [it for it in exchanges() if it.sse_text and "mid_stream_error" not in it.tags]
    assert hold(checks.passed_through, them) > 0


def test_a_stream_cut_anywhere_fails_and_invents_nothing() -> None:
    assert hold(checks.cuts, streams()) > 0


def test_an_error_in_mid_stream_is_raised() -> None:
    for exchange in streams(broken=True):
        with pytest.raises(HeadraceError) as caught:
            checks.events_of((exchange.sse_text or "").encode(), exchange)
        assert caught.value.failure.kind is not Kind.TRUNCATED


def test_every_refusal_is_the_right_kind() -> None:
    assert hold(checks.error, [it for it in exchanges() if it.is_error and it.response_json is not None]) > 0


def test_every_rate_limit_header_is_read() -> None:
    """Of all dialects: gateways hand the headers of one on with the bodies of another."""
    them = [it for it in everything() if any("ratelimit" in name for name in it.response_headers or {})]
    assert hold(checks.headers, them) > 0
