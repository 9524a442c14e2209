"""What custom providers of litellm's programs are written with: its HTTP clients, its mocks, its names for chunks."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import openai
import pytest
from tests.client.upstream import Reply, Upstream

import headrace
from conftest import Colour
from headrace.compat.litellm import activate, stand_in
from headrace.compat.litellm.clients import AsyncHTTPHandler, HTTPHandler
from headrace.compat.litellm.many import mock_completion
from headrace.layers import around

MESSAGES = [{"role": "user", "content": "x"}]


def post(colour: Colour, url: str, **given: Any) -> Any:
    async def whole() -> Any:
        client = AsyncHTTPHandler(timeout=10)
        try:
            return await client.post(url, **given)
        finally:
            await client.close()

    if colour.is_async:
        return asyncio.run(whole())
    client = HTTPHandler(timeout=10)
    try:
        return client.post(url, **given)
    finally:
        client.close()


@pytest.mark.parametrize("given", [{"json": {"a": 1}}, {"data": '{"a": 1}'}, {"content": b'{"a": 1}'}])
def test_a_handler_s_client_posts_what_it_is_given(upstream: Upstream, colour: Colour, given: dict[str, Any]) -> None:
    headers = {"content-type": "application/json", "x-mine": "yes"}
    assert post(colour, f"{upstream.url}/mine", headers=headers, **given).json()["object"] == "chat.completion"
    assert (upstream.seen[0].body, upstream.seen[0].headers["x-mine"]) == ({"a": 1}, "yes")


def test_an_error_s_status_is_raised_as_httpx_does(upstream: Upstream, colour: Colour) -> None:
    upstream.replies = [Reply({"error": "no"}, status=503)]
    with pytest.raises(httpx.HTTPStatusError):
        post(colour, f"{upstream.url}/mine", json={})


def test_a_mock_needs_no_key_and_no_network() -> None:
    answer = mock_completion("gpt-4o", MESSAGES, n=3)
    assert [choice.message.content for choice in answer.choices] == ["This is a mock request"] * 3
    said = "".join(chunk.choices[0].delta.content or "" for chunk in mock_completion("gpt-4o", MESSAGES, stream=True) if chunk.choices)
    assert said == "This is a mock request"


def test_a_mock_that_never_answers_is_ended_by_the_time_limit(colour: Colour) -> None:
    options: dict[str, Any] = {"mock_timeout": True, "timeout": 0.05, "num_retries": 0, "api_key": "k"}

    async def whole() -> Any:
        return await headrace.acompletion("openai/gpt-4o", MESSAGES, **options)

    with pytest.raises(headrace.Timeout, match="mock_timeout"):
        colour.run(whole) if colour.is_async else headrace.completion("openai/gpt-4o", MESSAGES, **options)


PROGRAM = """
import headrace
headrace.install_as_litellm()
import litellm
from litellm import ChatCompletionUsageBlock, CustomLLM, GenericStreamingChunk
from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler, HTTPHandler
from litellm.utils import custom_llm_setup
assert GenericStreamingChunk(text="a", index=0) == {"text": "a", "index": 0}
class Mine(CustomLLM):
    def embedding(self, model, input, model_response, **asked):
        model_response.data = [{"object": "embedding", "embedding": [0.1], "index": at} for at, _ in enumerate(input)]
        return model_response
litellm.custom_provider_map = [{"provider": "mine", "custom_handler": Mine()}]
custom_llm_setup()
assert litellm.get_llm_provider("mine/x")[1] == "mine"
assert litellm.embedding("mine/m", ["a", "b"]).data[1] == {"object": "embedding", "embedding": [0.1], "index": 1}
"""


def test_a_custom_provider_is_written_as_litellm_s_pages_show() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=60)


@pytest.fixture
def settings() -> Iterator[None]:
    module = stand_in.module("litellm")
    before, layers = dict(vars(module)), around._layers
    activate()
    yield
    vars(module).clear()
    vars(module).update(before)
    around._layers = layers


def ask(colour: Colour, make: Callable[[bool], Any], **options: Any) -> Any:
    """A chat with the client that `make` makes for its colour."""

    async def awaited() -> Any:
        client = make(True)
        try:
            return await headrace.acompletion("openai/m", MESSAGES, client=client, **options)
        finally:
            await (client.close() if hasattr(client, "close") else client.aclose())

    if colour.is_async:
        return asyncio.run(awaited())
    client = make(False)
    try:
        return headrace.completion("openai/m", MESSAGES, client=client, **options)
    finally:
        client.close()


def test_a_call_goes_by_the_client_of_openais_sdk_that_it_is_given(settings: None, upstream: Upstream, colour: Colour) -> None:
    def make(awaited: bool) -> Any:
        return (openai.AsyncOpenAI if awaited else openai.OpenAI)(api_key="sk-theirs", base_url=upstream.url, organization="org-1")

    assert ask(colour, make).choices[0].message.content == "hello"
    headers = upstream.seen[0].headers
    assert (headers["authorization"], headers["openai-organization"]) == ("Bearer sk-theirs", "org-1")
    ask(colour, make, api_key="sk-own")
    assert upstream.seen[1].headers["authorization"] == "Bearer sk-own"
    assert "client" not in upstream.seen[1].body


@pytest.mark.parametrize("handler", [False, True], ids=["httpx", "HTTPHandler"])
def test_a_call_goes_by_the_http_client_that_it_is_given(settings: None, upstream: Upstream, colour: Colour, handler: bool) -> None:
    def make(awaited: bool) -> Any:
        inner = (httpx.AsyncClient if awaited else httpx.Client)(headers={"x-by": "theirs"})
        if not handler:
            return inner
        return AsyncHTTPHandler(client=inner) if awaited else HTTPHandler(client=inner)

    ask(colour, make, api_key="sk-own", base_url=upstream.url)
    assert (upstream.seen[0].headers["x-by"], upstream.seen[0].headers["authorization"]) == ("theirs", "Bearer sk-own")


@pytest.mark.parametrize("client", [3, httpx.AsyncClient])
def test_a_client_of_the_wrong_kind_is_refused_with_what_it_should_be(settings: None, client: Any) -> None:
    given = client() if callable(client) else client
    with pytest.raises(headrace.BadRequestError, match="client must be a blocking client of OpenAI's SDK"):
        headrace.completion("openai/m", MESSAGES, client=given, api_key="sk-own")


def test_a_client_is_not_ignored_where_nobody_took_litellms_place(upstream: Upstream) -> None:
    with pytest.raises(headrace.BadRequestError, match="install_as_litellm"):
        headrace.completion("openai/m", MESSAGES, client=object(), api_key="sk-own", base_url=upstream.url)
