"""Providers without a row, in the forms that OpenAI-compatible servers have: what callers get from them; sync and async."""

from __future__ import annotations

from typing import Any

import pytest
from tests.client.upstream import CHAT, Client, Reply, Upstream, chunk, sse

import headrace
from headrace.dialects.openai_chat.responses import finish_of, read_usage
from headrace.dialects.quota import read_quota
from headrace.errors import Kind


@pytest.mark.parametrize(
    ("status", "body", "error", "says"),
    [
        (
            400,
            {"ResponseMetadata": {"Error": {"Code": "InvalidParameter", "Message": "no such field"}}},
            headrace.BadRequestError,
            "no such field",
        ),
        (401, {"Response": {"Error": {"Code": "AuthFailure", "Message": "bad signature"}}}, headrace.AuthenticationError, "bad signature"),
        (401, {"base_resp": {"status_code": 1004, "status_msg": "login fail"}}, headrace.AuthenticationError, "login fail"),
        (
            401,
            {"fault": {"faultstring": "Invalid ApiKey", "detail": {"errorcode": "oauth.v2"}}},
            headrace.AuthenticationError,
            "Invalid ApiKey",
        ),
        (400, {"error_code": 336003, "error_msg": "messages length must be odd"}, headrace.BadRequestError, "must be odd"),
        (403, {"error": {"code": "insufficient_user_quota", "message": "spent"}}, headrace.RateLimitError, "spent"),
    ],
)
def test_a_refusal_says_why_whatever_envelope_it_comes_in(
    client: Client, upstream: Upstream, status: int, body: Any, error: type[Exception], says: str
) -> None:
    """The message was lost, and with it what to do: only the status was told."""
    upstream.answer(Reply(body, status))
    with pytest.raises(error, match=says):
        client.chat("hi")


@pytest.mark.parametrize(
    ("body", "seconds"),
    [({"error": {"message": "slow", "retry_after": 7}}, 7.0), ({"message": "slow", "code": "busy", "retry_after_ms": 2500}, 2.5)],
)
def test_seconds_to_wait_are_read_from_a_refusals_body(client: Client, upstream: Upstream, body: Any, seconds: float) -> None:
    upstream.answer(Reply(body, 429))
    with pytest.raises(headrace.RateLimitError) as refused:
        client.chat("hi", num_retries=0)
    assert refused.value.failure.retry_after == seconds


def test_a_refusal_under_a_good_status_is_one(client: Client, upstream: Upstream) -> None:
    """MiniMax's form, without choices: callers met a TypeError of Python's."""
    upstream.answer(Reply({"choices": None, "base_resp": {"status_code": 1002, "status_msg": "rate limit"}}))
    with pytest.raises(headrace.HeadraceError, match="rate limit"):
        client.chat("hi")


@pytest.mark.parametrize("body", [{}, {"code": 0, "data": CHAT}, {"object": "chat.completion", "choices": None}])
def test_a_chat_without_choices_is_no_answer(client: Client, upstream: Upstream, body: Any) -> None:
    upstream.answer(Reply(body))
    with pytest.raises(headrace.APIResponseValidationError, match="has no choices"):
        client.chat("hi")


@pytest.mark.parametrize(
    "event", [{"detail": "the worker died"}, {"choices": None, "base_resp": {"status_code": 1000, "status_msg": "the worker died"}}]
)
def test_an_error_in_mid_stream_is_one_in_any_form(client: Client, upstream: Upstream, event: Any) -> None:
    """It was passed over, and the stream ended well with half an answer."""
    upstream.answer(Reply(pieces=sse(chunk("half"), event)))
    with pytest.raises(headrace.HeadraceError, match="the worker died"):
        list(client.chat("hi", stream=True))


@pytest.mark.parametrize(
    ("word", "means"),
    [
        ("eos_token", "stop"),
        ("end_turn", "stop"),
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("tool_use", "tool_calls"),
        ("safety", "content_filter"),
        ("abort", "error"),
        ("of_tomorrow", "other"),
    ],
)
def test_words_for_the_end_of_other_dialects_are_understood(word: str, means: str) -> None:
    assert finish_of(word, called=False) == means


@pytest.mark.parametrize(
    ("told", "means"),
    [
        ({"input_tokens": 9, "output_tokens": 2}, {"input": 9, "output": 2, "total": 11}),
        (
            {"prompt_tokens": 9, "completion_tokens": 2, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 3},
            {"cached": 4, "cache_write": 3},
        ),
        ({"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14, "reasoning_tokens": 4}, {"output": 5, "reasoning": 4}),
    ],
)
def test_counts_are_read_by_whatever_name(told: Any, means: dict[str, int]) -> None:
    usage = read_usage(told)
    assert {name: getattr(usage, name) for name in means} == means


def test_limits_are_read_from_headers_spelled_with_another_hyphen() -> None:
    [view] = read_quota({"x-rate-limit-limit": "60", "x-rate-limit-remaining": "0", "x-rate-limit-reset": "9"}, now_wall=0.0)
    assert (view.limit, view.remaining, view.reset) == (60.0, 0.0, 9.0)


@pytest.mark.parametrize(("code", "kind"), [(1002, Kind.RATE_LIMIT), (1008, Kind.PAYMENT), (1026, Kind.CONTENT_POLICY)])
def test_minimaxs_numbers_are_known(client: Client, upstream: Upstream, code: int, kind: Kind) -> None:
    upstream.answer(Reply({"base_resp": {"status_code": code, "status_msg": "no"}}))
    with pytest.raises(headrace.HeadraceError) as refused:
        client.chat("hi", model="minimax/MiniMax-M2", num_retries=0)
    assert refused.value.failure.kind is kind
