"""litellm's settings and callbacks around real calls: answers are made here (`mock_response`), the way they take is the real one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

import headrace
from conftest import Colour
from headrace.compat.litellm import accept, caching, listening, stand_in
from headrace.layers import around

MESSAGES = [{"role": "user", "content": "Hello"}]


@pytest.fixture(autouse=True)
def settings() -> Iterator[Any]:
    module = stand_in.module("litellm")
    before = dict(vars(module))
    yield module
    vars(module).clear()
    vars(module).update(before)
    around._layers = ()


def call(colour: Colour, **options: Any) -> Any:
    function = headrace.acompletion if colour.is_async else headrace.completion

    async def whole() -> Any:
        answer = await headrace.acompletion("openai/gpt-4o", MESSAGES, **options)
        if options.get("stream"):
            answer = [chunk async for chunk in answer]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return answer

    if colour.is_async:
        return asyncio.run(whole())
    answer = function("openai/gpt-4o", MESSAGES, **options)
    return list(answer) if options.get("stream") else answer


class Heard(listening.CustomLogger):
    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[str, Any, Any]] = []

    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self.events.append(("sync success", kwargs, response_obj))

    def log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self.events.append(("sync failure", kwargs, response_obj))

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self.events.append(("async success", kwargs, response_obj))

    async def async_log_failure_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self.events.append(("async failure", kwargs, response_obj))


@pytest.mark.parametrize("stream", [False, True])
def test_a_logger_hears_once_of_every_call_in_its_colour(colour: Colour, stream: bool) -> None:
    heard = Heard()
    accept("callbacks", [heard])
    accept("success_callback", [heard])
    call(colour, mock_response="Hi there", stream=stream, metadata={"trace": 1}, temperature=0.5)
    ((event, kwargs, answer),) = heard.events
    assert event == ("async success" if colour.is_async else "sync success")
    assert answer.choices[0].message.content == "Hi there"
    assert kwargs["model"] == "gpt-4o"
    assert kwargs["custom_llm_provider"] == "openai"
    assert kwargs["litellm_params"]["metadata"] == {"trace": 1}
    assert kwargs["optional_params"]["temperature"] == 0.5
    assert kwargs["standard_logging_object"]["status"] == "success"
    assert ("complete_streaming_response" in kwargs) == stream


def test_a_logger_hears_of_failures(colour: Colour) -> None:
    heard = Heard()
    accept("callbacks", [heard])
    with pytest.raises(headrace.AuthenticationError):
        call(colour, mock_response=headrace.AuthenticationError("no", "openai", "gpt-4o"))
    if not colour.is_async:  # the loop of the async call ended with it
        ((event, kwargs, _),) = heard.events
        assert event == "sync failure"
        assert isinstance(kwargs["exception"], headrace.AuthenticationError)


def test_functions_hear_of_a_call_before_and_after(colour: Colour) -> None:
    told: list[Any] = []
    accept("input_callback", [lambda kwargs: told.append(kwargs["messages"])])
    accept("success_callback", [lambda kwargs, answer, start, end: told.append((answer.usage.total_tokens > 0, end >= start))])
    call(colour, mock_response="Hi")
    assert told == [MESSAGES, (True, True)]


def test_a_callback_that_fails_disturbs_no_call(colour: Colour) -> None:
    accept("success_callback", [lambda *_: 1 / 0])
    assert call(colour, mock_response="Hi").choices[0].message.content == "Hi"


def test_a_stream_given_up_is_told_with_what_had_arrived() -> None:
    heard = Heard()
    accept("callbacks", [heard])
    stream = headrace.completion("openai/gpt-4o", MESSAGES, mock_response="one two three", stream=True)
    next(stream), next(stream)
    stream.close()
    ((_, _, answer),) = heard.events
    assert answer.choices[0].message.content == "one "


def test_an_integration_that_is_only_named_is_refused_clearly() -> None:
    accept("success_callback", ["langfuse"])
    with pytest.raises(headrace.ConfigurationError, match=r"success_callback names the integration 'langfuse'"):
        headrace.completion("openai/gpt-4o", MESSAGES, mock_response="Hi")


def test_a_router_s_call_is_told_as_well(colour: Colour) -> None:
    heard = Heard()
    accept("callbacks", [heard])
    params = {"model": "openai/gpt-4o", "api_key": "k", "mock_response": "from the deployment"}
    router = headrace.Router([{"model_name": "group", "litellm_params": params}])

    async def whole() -> Any:
        answer = await router.acompletion("group", MESSAGES)
        await asyncio.sleep(0)
        return answer

    answer = asyncio.run(whole()) if colour.is_async else router.completion("group", MESSAGES)
    assert answer.choices[0].message.content == "from the deployment"
    assert len(heard.events) == 1


def test_fallbacks_of_a_call_are_asked_in_turn() -> None:
    accept("drop_params", True)
    behind = [{"model": "openai/gpt-4o-mini", "mock_response": "the second"}]
    answer = headrace.completion("openai/gpt-4o", MESSAGES, mock_response="litellm.RateLimitError", fallbacks=behind, num_retries=0)
    assert answer.choices[0].message.content == "the second"


@pytest.mark.parametrize("kind", ["local", "disk"])
def test_a_cache_answers_what_was_asked_before(kind: str, tmp_path: Any) -> None:
    accept("cache", caching.Cache(type=kind, disk_cache_dir=str(tmp_path)))
    first = headrace.completion("openai/gpt-4o", MESSAGES, mock_response="one")
    second = headrace.completion("openai/gpt-4o", MESSAGES, mock_response="two")
    fresh = headrace.completion("openai/gpt-4o", MESSAGES, mock_response="three", cache={"no-cache": True})
    assert [a.choices[0].message.content for a in (first, second, fresh)] == ["one", "one", "three"]
    assert second._hidden_params["cache_hit"] is True
    assert second._hidden_params["response_cost"] == 0.0


def test_a_cache_that_is_not_here_is_refused_by_name() -> None:
    with pytest.raises(headrace.ConfigurationError, match="'redis'"):
        caching.Cache(type="redis")
