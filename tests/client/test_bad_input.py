"""Each kind of bad input raises an error of the right class that names the field and the fix, and contains no secret."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from tests.client.upstream import CHAT, Client, Reply, Upstream

import headrace
from headrace.wire import DEFAULT_MAX_BODY

KEY = "sk-test-1234567890"


def test_an_unknown_provider_is_named_with_its_neighbours(client: Client) -> None:
    with pytest.raises(headrace.BadRequestError, match=r"(?s)opnai.*openai"):
        client.chat(model="opnai/gpt-4o", base_url=None)


def test_a_missing_key_names_the_variable(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GROQ_API_KEY", raising=False)
    with pytest.raises(headrace.AuthenticationError, match=r"(?s)GROQ_API_KEY.*api_key|api_key.*GROQ_API_KEY"):
        client.chat(model="groq/llama", base_url=None, api_key=None)


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"timeout": -1}, headrace.ConfigurationError, "timeout must be a positive number of seconds"),
        ({"timeout": "soon"}, headrace.ConfigurationError, "timeout must be seconds"),
        ({"num_retries": -1}, headrace.ConfigurationError, "num_retries must be a whole number"),
        ({"base_url": "example.com"}, headrace.ConfigurationError, "base_url must begin with http"),
        ({"base_url": 7}, headrace.ConfigurationError, "base_url must be a string"),
        ({"base_url": ["http://a"]}, headrace.ConfigurationError, "base_url must be a string, got a list of 1 items"),
        ({"base_url": "http://127.0.0.1:99999/v1"}, headrace.ConfigurationError, "the port of base_url must be a number from 0 to 65535"),
        ({"base_url": "http://127.0.0.1:http/v1"}, headrace.ConfigurationError, "the port of base_url"),
        ({"base_url": "http://127.0.0.1:80/v 1"}, headrace.ConfigurationError, "base_url contains characters"),
        ({"custom_llm_provider": 3}, headrace.ConfigurationError, "custom_llm_provider must be a string, got the int 3"),
        ({"custom_llm_provider": "opnai"}, headrace.BadRequestError, "(?s)'opnai' \\(from custom_llm_provider\\).*openai"),
        ({"organization": ["o"]}, headrace.ConfigurationError, "organization must be a string"),
        ({"request_timeout": -1}, headrace.ConfigurationError, "timeout must be a positive number"),
        ({"extra_body": [1]}, headrace.BadRequestError, "extra_body must be a mapping"),
        ({"extra_headers": "x"}, headrace.BadRequestError, "extra_headers must be a mapping"),
        ({"api_key": 5}, headrace.ConfigurationError, "api_key must be a string"),
        ({"response_format": int}, headrace.BadRequestError, "response_format must be a mapping or a pydantic model class"),
        ({"logit_bias": {"a": object()}}, headrace.BadRequestError, "cannot be written as JSON"),
        ({"model": ""}, headrace.BadRequestError, "model must be a non-empty string"),
    ],
)
def test_wrong_arguments_are_named(client: Client, options: dict[str, Any], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        client.chat(**options)


@pytest.mark.parametrize("messages", [None, [], "hi", {"role": "user"}])
def test_messages_must_be_a_list(client: Client, messages: Any) -> None:
    with pytest.raises(headrace.BadRequestError, match="messages must be a non-empty list"):
        client.call("completion", "openai/m", messages)


@pytest.mark.parametrize("message", ["hi", 5, None, ["user", "hi"]])
def test_a_message_that_is_none_is_named_by_its_place(client: Client, upstream: Upstream, message: Any) -> None:
    with pytest.raises(headrace.BadRequestError, match=r"messages\[1\] must be a mapping such as {'role': 'user'"):
        client.call("completion", "openai/m", [{"role": "user", "content": "hi"}, message])
    assert upstream.seen == []


@pytest.mark.parametrize("name", ["timeout", "request_timeout"])
@pytest.mark.parametrize("seconds", [0.2, "0.2"])
def test_time_limits_as_litellm_and_yaml_give_them(client: Client, upstream: Upstream, name: str, seconds: Any) -> None:
    upstream.answer(Reply(CHAT, delay=10))
    with pytest.raises(headrace.Timeout):
        client.chat(**{name: seconds})
    assert name not in upstream.seen[0].body


def test_an_empty_embedding_input_is_refused(client: Client) -> None:
    with pytest.raises(headrace.BadRequestError, match="input must not be empty"):
        client.call("embedding", "openai/e", [])


def test_an_unreachable_host(client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(headrace.APIConnectionError, match=f"127.0.0.1:{port}"):
        client.chat(base_url=f"http://127.0.0.1:{port}/v1")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"id": "x", "choices": [', "application/json"),
        (b"<!doctype html><html><title>502 Bad Gateway</title></html>", "text/html"),
        (b"[1, 2]", "application/json"),
        (b"", "application/json"),
    ],
)
def test_an_answer_that_is_not_json_says_what_it_is(client: Client, upstream: Upstream, body: bytes, content_type: str) -> None:
    upstream.answer(Reply(body, headers={"content-type": content_type}))
    with pytest.raises(headrace.APIResponseValidationError):
        client.chat()


def test_an_html_error_page_keeps_its_status(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(b"<html><body>nginx</body></html>", status=502, headers={"content-type": "text/html"}))
    with pytest.raises(headrace.BadGatewayError) as caught:
        client.chat()
    assert caught.value.status_code == 502


def test_an_oversized_answer_is_refused(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(b"{}", headers={"content-length": str(DEFAULT_MAX_BODY + 1)}))
    with pytest.raises(headrace.APIResponseValidationError, match="larger than allowed"):
        client.chat()


def test_a_redirect_is_an_error_not_followed(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(b"", status=302, headers={"location": "http://169.254.169.254/"}))
    with pytest.raises(headrace.HeadraceError):
        client.chat()
    assert len(upstream.seen) == 1


def test_a_slow_answer_times_out(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(CHAT, delay=10))
    with pytest.raises(headrace.Timeout):
        client.chat(timeout=0.2)


def test_the_wait_for_the_first_token_has_its_own_limit(client: Client, upstream: Upstream) -> None:
    upstream.answer(Reply(pieces=[b""], delay=10))
    with pytest.raises(headrace.Timeout, match="no response in time"):
        client.chat(stream=True, timeout=headrace.Timeouts(connect=5, first_byte=0.2))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429, 500, 503])
def test_no_error_shows_the_key(client: Client, upstream: Upstream, status: int) -> None:
    said = f"Incorrect API key provided: {KEY}. You can find your key"
    upstream.answer(Reply({"error": {"message": said, "code": None}}, status=status))
    with pytest.raises(headrace.HeadraceError) as caught:
        client.chat(api_key=KEY)
    assert KEY not in str(caught.value)
    assert KEY not in repr(caught.value)
    assert caught.value.status_code == status


def test_an_empty_prompt_is_refused(client: Client) -> None:
    with pytest.raises(headrace.BadRequestError, match="prompt must not be empty"):
        client.call("text_completion", "openai/m", "")
