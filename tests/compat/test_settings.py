"""litellm's settings: each has its meaning, or says in the log that it has none. Every one is read at the call."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import httpx2
import pytest
from tests.client.upstream import CHAT, Client, Reply, Upstream

import headrace
from conftest import Colour
from headrace.compat.litellm import accept, caching, globals, stand_in
from headrace.compat.litellm.more_errors import JSONSchemaValidationError
from headrace.layers import around

MESSAGES = [{"role": "user", "content": "Hello"}]


@pytest.fixture(autouse=True)
def settings() -> Iterator[Any]:
    module = stand_in.module("litellm")
    before, layers, standing = dict(vars(module)), around._layers, headrace.Router.standing
    yield module
    vars(module).clear()
    vars(module).update(before)
    around._layers, headrace.Router.standing = layers, standing


def test_an_alias_stands_for_its_model(client: Client, upstream: Upstream) -> None:
    accept("model_alias_map", {"mine": "openai/theirs"})
    client.chat(model="mine")
    assert upstream.seen[0].body["model"] == "theirs"


def test_everything_goes_by_the_proxy_when_asked(client: Client, upstream: Upstream) -> None:
    accept("use_litellm_proxy", True)
    client.chat(model="anthropic/claude")
    assert (upstream.seen[0].path, upstream.seen[0].body["model"]) == ("/v1/chat/completions", "anthropic/claude")


def test_a_budget_that_is_spent_lets_no_call_through(colour: Colour, settings: Any) -> None:
    accept("max_budget", 0.000001)
    options: dict[str, Any] = {"mock_response": "Hi there " * 50}

    def call() -> Any:
        async def whole() -> Any:
            return await headrace.acompletion("openai/gpt-4o", MESSAGES, **options)

        return colour.run(whole) if colour.is_async else headrace.completion("openai/gpt-4o", MESSAGES, **options)

    cost = call()._hidden_params["response_cost"]
    assert settings._current_cost == pytest.approx(cost)
    with pytest.raises(headrace.BudgetExceededError, match="max_budget") as caught:
        call()
    assert caught.value.current_cost == pytest.approx(cost)  # type: ignore[attr-defined]


def test_a_stream_counts_against_the_budget_too(settings: Any) -> None:
    accept("max_budget", 1.0)
    stream = headrace.completion("openai/gpt-4o", MESSAGES, mock_response="Hi", stream=True, stream_options={"include_usage": True})
    assert len(list(stream)) > 1
    assert settings._current_cost > 0


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_calls_go_by_the_program_s_own_client(library: Any, upstream: Upstream, settings: Any) -> None:
    with library.Client(headers={"x-mine": "yes"}) as session:
        accept("client_session", session)
        answer = headrace.completion("openai/m", MESSAGES, base_url=upstream.url, api_key="k")
        assert answer.choices[0].message.content == "hello"
    assert upstream.seen[0].headers["x-mine"] == "yes"


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_async_calls_go_by_the_program_s_own_client(library: Any, upstream: Upstream) -> None:
    import asyncio

    async def whole() -> Any:
        async with library.AsyncClient(headers={"x-mine": "yes"}) as session:
            accept("aclient_session", session)
            return await headrace.acompletion("openai/m", MESSAGES, base_url=upstream.url, api_key="k")

    assert asyncio.run(whole()).choices[0].message.content == "hello"
    assert upstream.seen[0].headers["x-mine"] == "yes"


def test_a_client_of_a_foreign_library_is_refused_by_name(upstream: Upstream) -> None:
    accept("client_session", object())
    with pytest.raises(headrace.ConfigurationError, match="must be an httpx2 or httpx client"):
        headrace.completion("openai/m", MESSAGES, base_url=upstream.url, api_key="k")


def test_a_file_of_certificates_that_is_not_there_is_named() -> None:
    accept("ssl_verify", "/nowhere/ca.pem")
    with pytest.raises(headrace.ConfigurationError, match="ssl_verify"):
        headrace.completion("openai/m", MESSAGES, base_url="https://localhost:1/v1", api_key="k", num_retries=0)


def test_what_a_provider_would_refuse_is_made_fit(client: Client, upstream: Upstream) -> None:
    accept("modify_params", True)
    called = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    conversation = [{"role": "assistant", "tool_calls": [called]}, {"role": "tool", "tool_call_id": "c", "content": "x"}]
    upstream.replies = [Reply({"id": "m", "type": "message", "role": "assistant", "content": [], "usage": {}, "stop_reason": "end_turn"})]
    client.call("completion", "anthropic/claude-sonnet-4-5", conversation, max_tokens=10_000_000, base_url=upstream.url)
    body = upstream.seen[0].body
    assert body["messages"][0] == {"role": "user", "content": "Continue."} or body["messages"][0]["role"] == "user"
    assert len(body["tools"]) == 1
    assert body["max_tokens"] < 10_000_000


def test_openai_s_own_conversations_are_left_as_they_are(client: Client, upstream: Upstream) -> None:
    accept("modify_params", True)
    conversation = [{"role": "assistant", "content": "Well?"}]
    client.call("completion", "openai/m", conversation)
    assert upstream.seen[0].body["messages"] == conversation
    assert "tools" not in upstream.seen[0].body


SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object", "required": ["a"]}}}


def test_an_answer_is_held_to_its_schema_when_asked() -> None:
    accept("enable_json_schema_validation", True)
    headrace.completion("openai/m", MESSAGES, mock_response='{"a": 1}', response_format=SCHEMA)
    with pytest.raises(JSONSchemaValidationError):
        headrace.completion("openai/m", MESSAGES, mock_response="{}", response_format=SCHEMA)


def test_what_was_said_is_kept_from_callbacks_when_asked(settings: Any) -> None:
    heard: list[Any] = []
    done = threading.Event()

    def listen(kwargs: Any, answer: Any, start: Any, end: Any) -> None:
        heard.extend([kwargs, answer])
        done.set()

    accept("turn_off_message_logging", True)
    accept("success_callback", [listen])
    answer = headrace.completion("openai/m", MESSAGES, mock_response="secret answer")
    assert done.wait(5)
    assert "Hello" not in repr(heard)
    assert "secret" not in repr(heard)
    assert answer.choices[0].message.content == "secret answer"
    assert heard[1].usage == answer.usage


def test_a_router_takes_over_what_it_is_not_told() -> None:
    accept("num_retries", 5)
    entry = {"model_name": "g", "litellm_params": {"model": "openai/m", "api_key": "k"}}
    assert headrace.Router([entry])._engine.settings.retries_for("g").retries == 5
    assert headrace.Router([entry], num_retries=1)._engine.settings.retries_for("g").retries == 1


def test_a_router_of_litellms_starts_without_a_key_and_says_so(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Symptom: programs whose tests mock every answer did not start without keys."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    entry = {"model_name": "g", "litellm_params": {"model": "openai/m"}}
    with monkeypatch.context() as native:
        native.setattr(headrace.Router, "standing", dict)
        with pytest.raises(headrace.ConfigurationError, match="openai needs a key"):
            headrace.Router([entry])
    accept("drop_params", False)
    router = headrace.Router([entry])
    assert "deployment 'g': openai needs a key" in caplog.text
    answer = router.completion("g", [{"role": "user", "content": "hi"}], mock_response="hello")
    assert answer.choices[0].message.content == "hello"


def test_fallbacks_for_all_routers_are_checked_like_a_router_s_own() -> None:
    accept("fallbacks", [{"g": ["nobody"]}])
    entry = {"model_name": "g", "litellm_params": {"model": "openai/m", "api_key": "k"}}
    with pytest.raises(headrace.ConfigurationError, match="nobody"):
        headrace.Router([entry])


def test_models_behind_all_calls_are_asked_in_turn(client: Client, upstream: Upstream) -> None:
    accept("model_fallbacks", ["openai/second"])
    upstream.replies = [Reply({"error": {"message": "no"}}, status=500), Reply(CHAT)]
    client.chat(model="openai/first")
    assert [seen.body["model"] for seen in upstream.seen] == ["first", "second"]


@pytest.mark.parametrize("name", sorted(globals.WITHOUT_EFFECT))
def test_a_setting_without_effect_says_so_and_what_to_use(name: str, caplog: pytest.LogCaptureFixture) -> None:
    globals._say.cache_clear()
    accept(name, True)
    assert f"litellm.{name} has no effect in headrace: " in caplog.text


def test_a_debug_line_names_the_call_and_not_what_it_says(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="LiteLLM"):
        accept("set_verbose", True)
        headrace.completion("openai/gpt-4o", MESSAGES, mock_response="x", temperature=0.1)
    assert "chat openai/gpt-4o with temperature" in caplog.text
    assert "Hello" not in caplog.text


def test_a_program_decides_what_is_the_same_call(settings: Any, client: Client, upstream: Upstream) -> None:
    """Symptom: `litellm.cache.get_cache_key = …` was not there to be replaced."""
    accept("cache", cache := caching.Cache())
    assert cache.get_cache_key(model="m", messages=[1], api_key="a") == cache.get_cache_key(messages=[1], model="m", api_key="b")
    client.chat("one", model="openai/m")
    client.chat("two", model="openai/m")
    assert len(upstream.seen) == 2
    cache.get_cache_key = lambda **kwargs: f"own {kwargs['model']} {kwargs['messages'][0]['role']}"  # type: ignore[method-assign]
    client.chat("three", model="openai/m")
    client.chat("four", model="openai/m")
    assert len(upstream.seen) == 3
