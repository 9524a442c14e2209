"""Settings that a caller can make in request headers."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from tests.gateway.conftest import KEY
from tests.gateway.persistence import Gateway

from headrace.errors import BadRequestError
from headrace.gateway.headers import options_of

ASK = [{"role": "user", "content": "Name a river."}]


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({"x-headrace-timeout": "2.5", "x-litellm-num-retries": "0"}, {"timeout": 2.5, "num_retries": 0}),
        ({"x-litellm-tags": "a, b,", "x-headrace-priority": "0"}, {"tags": ["a", "b"], "priority": 0}),
        ({"x-litellm-stream-timeout": "3", "x-headrace-max-wait": "0"}, {"stream_timeout": 3.0, "max_wait": 0.0}),
        ({"x-claude-code-session-id": "s"}, {"session_id": "s"}),
        ({"x-claude-code-session-id": "s", "x-litellm-session-id": "t"}, {"session_id": "t"}),
        ({"x-litellm-session-id": "t", "x-litellm-trace-id": "u"}, {"session_id": "u"}),
        ({"x-stainless-read-timeout": "600"}, {"total_timeout": 600.0}),
        ({"x-stainless-read-timeout": "None", "x-server-timeout": "30"}, {"total_timeout": 30.0}),
        ({"content-type": "application/json", "authorization": "x"}, {}),
    ],
)
def test_headers_are_options_of_the_call(headers: dict[str, str], found: dict[str, Any]) -> None:
    assert options_of(headers, stream=False) == found


def test_a_stream_is_kept_alive_however_long_its_client_waits_for_other_answers() -> None:
    assert options_of({"x-stainless-read-timeout": "600"}, stream=True) == {}


@pytest.mark.parametrize("value", ["soon", "-1", "inf", "nan"])
def test_a_header_that_cannot_be_read_is_named_and_not_repeated(value: str) -> None:
    with pytest.raises(BadRequestError, match="x-headrace-timeout") as caught:
        options_of({"x-headrace-timeout": value}, stream=False)
    assert f" {value} " not in f" {caught.value} "


def test_a_call_that_cannot_be_answered_while_its_client_waits_is_refused_at_once(base: str) -> None:
    client = openai.OpenAI(api_key=KEY, base_url=f"{base}/v1", max_retries=0, timeout=20)

    def several() -> None:
        for _ in range(3):
            client.chat.completions.create(model="narrow", messages=ASK)

    with pytest.raises(openai.RateLimitError) as caught:
        several()
    assert int(caught.value.response.headers["retry-after-ms"]) > 20_000


@pytest.mark.parametrize("at", ["sqlite"], indirect=True)
def test_notes_and_traces_of_headers_were_read_over(gateway: Gateway) -> None:
    """`x-litellm-spend-logs-metadata` and `x-litellm-trace-id`."""
    key = gateway.key()
    said = {"x-litellm-spend-logs-metadata": '{"job": 7, "mill": "upper"}', "x-litellm-trace-id": "t-1"}
    body = {"model": "gpt", "messages": ASK, "max_tokens": 5}
    for _ in range(3):  # the later ones would take the fast path
        gateway.ask("/v1/chat/completions", {**body, "metadata": {"spend_logs_metadata": {"job": 8}}}, key, **said)
    gateway.ask("/openai/v1/of-tomorrow", {"model": "gpt"}, key, 404, **said)
    calls = gateway.ask("/spend/logs")
    assert [call["metadata"]["spend_logs_metadata"] for call in calls[1:]] == [{"job": 8, "mill": "upper"}] * 3
    assert calls[0]["metadata"]["spend_logs_metadata"] == {"job": 7, "mill": "upper"}
    assert [call["session_id"] for call in calls[1:]] == ["t-1"] * 3
    wrong = gateway.ask("/v1/chat/completions", body, key, 400, **{"x-litellm-spend-logs-metadata": "job 7"})["error"]["message"]
    assert "x-litellm-spend-logs-metadata must be a JSON object" in wrong
