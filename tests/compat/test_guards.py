"""litellm's guardrails (`CustomGuardrail` in `litellm.callbacks`) around real calls, in both colours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import headrace
from conftest import Colour
from headrace.compat.litellm import accept, stand_in
from headrace.compat.litellm.listening import CustomGuardrail
from headrace.compat.litellm.more_errors import GuardrailRaisedException
from headrace.compat.litellm.values import GuardrailEventHooks
from headrace.layers import around

MESSAGES = [{"role": "user", "content": "say litellm"}]


@pytest.fixture(autouse=True)
def settings() -> Iterator[Any]:
    module = stand_in.module("litellm")
    before, layers = dict(vars(module)), around._layers
    yield module
    vars(module).clear()
    vars(module).update(before)
    around._layers = layers


class Masking(CustomGuardrail):
    """As the proxy's documentation shows them."""

    async def async_pre_call_hook(self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: Any) -> Any:
        assert call_type == "completion"
        await cache.async_set_cache("seen", data["model"])
        for message in data["messages"]:
            message["content"] = message["content"].replace("litellm", "***")
        return {**data, "temperature": 0.5}

    async def async_post_call_success_hook(self, data: dict[str, Any], user_api_key_dict: Any, response: Any) -> Any:
        response.choices[0].message.content += f" (asked: {data['messages'][0]['content']}, {data['temperature']})"

    async def async_post_call_streaming_iterator_hook(self, user_api_key_dict: Any, response: Any, request_data: Any) -> AsyncIterator[Any]:
        async for chunk in response:
            await asyncio.sleep(0)
            if chunk.choices[0].delta.content:
                chunk.choices[0].delta.content = chunk.choices[0].delta.content.upper()
            yield chunk


def say(colour: Colour, **options: Any) -> Any:
    messages = [dict(message) for message in MESSAGES]

    async def whole() -> Any:
        answer = await headrace.acompletion("openai/m", messages, mock_response="well said", **options)
        return [chunk async for chunk in answer] if options.get("stream") else answer

    if colour.is_async:
        answer = asyncio.run(whole())
    else:
        answer = headrace.completion("openai/m", messages, mock_response="well said", **options)
        answer = list(answer) if options.get("stream") else answer
    if not options.get("stream"):
        return answer.choices[0].message.content
    return "".join(chunk.choices[0].delta.content or "" for chunk in answer if chunk.choices)


def test_hooks_change_what_is_asked_and_what_is_said(colour: Colour) -> None:
    accept("callbacks", [Masking(guardrail_name="mask", default_on=True)])
    assert say(colour) == "well said (asked: say ***, 0.5)"


def test_a_hook_over_chunks_changes_a_stream(colour: Colour) -> None:
    accept("callbacks", [Masking(guardrail_name="mask", default_on=True)])
    assert say(colour, stream=True) == "WELL SAID"


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        (GuardrailEventHooks.pre_call, "well said"),
        ("post_call", "well said (asked: say litellm, none)"),
        (["pre_call", "post_call"], "well said (asked: say ***, 0.5)"),
    ],
)
def test_only_the_hooks_of_its_events_are_run(hook: Any, said: str) -> None:
    class Guard(Masking):
        async def async_post_call_success_hook(self, data: dict[str, Any], user_api_key_dict: Any, response: Any) -> Any:
            data.setdefault("temperature", "none")
            await super().async_post_call_success_hook(data, user_api_key_dict, response)

    accept("callbacks", [Guard(guardrail_name="mask", event_hook=hook, default_on=True)])
    assert say(Colour("sync")) == said


def test_a_guardrail_that_is_not_on_for_all_is_named_by_the_call(colour: Colour) -> None:
    accept("callbacks", [Masking(guardrail_name="mask")])
    assert say(colour) == "well said"
    assert "***" in say(colour, guardrails=["mask"])
    assert "***" in say(colour, metadata={"guardrails": ["mask"]})


class Refusing(CustomGuardrail):
    def __init__(self, error: Exception, **options: Any) -> None:
        super().__init__(guardrail_name="no", default_on=True, **options)
        self.error = error

    async def async_moderation_hook(self, data: dict[str, Any], user_api_key_dict: Any, call_type: Any) -> None:
        raise self.error


class HTTPException(Exception):  # FastAPI's name
    def __init__(self, status_code: int, detail: Any) -> None:
        self.status_code, self.detail = status_code, detail


@pytest.mark.parametrize(
    ("raised", "caught"),
    [
        (ValueError("not that word"), headrace.ContentPolicyViolationError),
        (GuardrailRaisedException("no", "not that word"), headrace.ContentPolicyViolationError),
        (HTTPException(403, "not that word"), headrace.PermissionDeniedError),
        (headrace.RateLimitError("not that word", "", ""), headrace.RateLimitError),
        (KeyError("not that word"), KeyError),
    ],
)
def test_who_refuses_by_raising_is_heard_in_the_callers_words(colour: Colour, raised: Exception, caught: type[Exception]) -> None:
    accept("callbacks", [Refusing(raised)])
    with pytest.raises(caught, match="not that word"):
        say(colour)


def test_a_text_in_place_of_a_request_refuses_it(colour: Colour) -> None:
    class Saying(CustomGuardrail):
        async def async_pre_call_hook(self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: Any) -> str:
            return "not today"

    accept("callbacks", [Saying(guardrail_name="no", default_on=True)])
    with pytest.raises(headrace.ContentPolicyViolationError, match="not today"):
        say(colour)


def test_whether_a_guardrail_holds_can_be_asked() -> None:
    guard = Masking(guardrail_name="mask", event_hook=GuardrailEventHooks.pre_call)
    assert not guard.should_run_guardrail({}, GuardrailEventHooks.pre_call)
    assert guard.should_run_guardrail({"metadata": {"guardrails": ["mask"]}}, "pre_call")
    assert not guard.should_run_guardrail({"guardrails": ["mask"]}, GuardrailEventHooks.post_call)
