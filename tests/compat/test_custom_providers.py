"""Providers that are the program's own: `litellm.custom_provider_map` and `CustomLLM`, directly and behind a Router, in both colours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import headrace
from conftest import Colour
from headrace.compat.litellm import accept, custom, stand_in
from headrace.layers import around
from headrace.objects import ModelResponse

MESSAGES = [{"role": "user", "content": "Hello"}]


@pytest.fixture(autouse=True)
def settings() -> Iterator[Any]:
    module = stand_in.module("litellm")
    before, layers = dict(vars(module)), around._layers
    yield module
    vars(module).clear()
    vars(module).update(before)
    around._layers = layers


class Parrot(custom.CustomLLM):
    """Says what it heard, in every way a handler can."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def completion(self, model: str, messages: list[Any], model_response: ModelResponse, **rest: Any) -> Any:
        self.asked.append({"model": model, "messages": messages, **rest})
        model_response.choices[0].message.content = f"sync {messages[-1]['content']}"
        return model_response

    async def acompletion(self, model: str, messages: list[Any], model_response: ModelResponse, **rest: Any) -> Any:
        await asyncio.sleep(0)
        self.asked.append({"model": model, "messages": messages, **rest})
        model_response.choices[0].message.content = f"async {messages[-1]['content']}"
        return model_response

    def streaming(self, *args: Any, messages: list[Any], **rest: Any) -> Iterator[dict[str, Any]]:
        for word in ("sync ", messages[-1]["content"]):
            yield {"text": word, "is_finished": False, "finish_reason": "", "index": 0, "tool_use": None, "usage": None}
        usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
        yield {"text": "", "is_finished": True, "finish_reason": "stop", "index": 0, "tool_use": None, "usage": usage}

    async def astreaming(self, *args: Any, messages: list[Any], **rest: Any) -> AsyncIterator[dict[str, Any]]:
        for word in ("async ", messages[-1]["content"]):
            await asyncio.sleep(0)
            yield {"text": word, "is_finished": False, "finish_reason": "", "index": 0}
        yield {"text": "", "is_finished": True, "finish_reason": "stop", "index": 0}

    def embedding(self, model: str, input: list[str], model_response: Any, **rest: Any) -> Any:
        model_response.data = [{"object": "embedding", "index": at, "embedding": [1.0, 2.0]} for at in range(len(input))]
        return model_response

    async def aembedding(self, **asked: Any) -> Any:
        return self.embedding(**asked)


def parrot() -> Parrot:
    made = Parrot()
    accept("custom_provider_map", [{"provider": "parrot", "custom_handler": made}])
    return made


def ask(
    colour: Colour, on: Any = headrace, name: str = "completion", model: str = "parrot/grey", said: Any = MESSAGES, **options: Any
) -> Any:
    async def whole() -> Any:
        answer = await getattr(on, f"a{name}")(model, said, **options)
        return [chunk async for chunk in answer] if options.get("stream") else answer

    if colour.is_async:
        return asyncio.run(whole())
    answer = getattr(on, name)(model, said, **options)
    return list(answer) if options.get("stream") else answer


def test_a_handler_answers_in_its_colour_and_is_told_what_was_asked(colour: Colour) -> None:
    handler = parrot()
    answer = ask(colour, temperature=0.5, api_key="k", metadata={"a": 1}, timeout=7)
    assert answer.choices[0].message.content == f"{colour.name} Hello"
    (asked,) = handler.asked
    assert (asked["model"], asked["messages"], asked["optional_params"]) == ("grey", MESSAGES, {"temperature": 0.5})
    assert (asked["api_key"], asked["litellm_params"]["metadata"], asked["timeout"]) == ("k", {"a": 1}, 7.0)


def test_a_handlers_chunks_are_a_stream_like_any_other(colour: Colour) -> None:
    parrot()
    chunks = ask(colour, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == f"{colour.name} Hello"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["stop"]


def test_a_chunk_for_usage_alone_comes_only_to_who_asked_for_it() -> None:
    parrot()
    plain, counted = (ask(Colour("sync"), stream=True, **more) for more in ({}, {"stream_options": {"include_usage": True}}))
    assert all(chunk.choices for chunk in plain)
    assert plain[-1].usage.total_tokens == 3
    assert (len(counted), counted[-2].choices[0].finish_reason) == (len(plain) + 1, "stop")
    assert [chunk.usage.total_tokens for chunk in counted if chunk.get("usage")] == [3]


def test_a_router_has_handlers_among_its_deployments(colour: Colour) -> None:
    parrot()
    router = headrace.Router([{"model_name": "group", "litellm_params": {"model": "parrot/grey", "rpm": 60_000}}])
    assert ask(colour, router, model="group").choices[0].message.content == f"{colour.name} Hello"
    assert len(ask(colour, router, model="group", stream=True)) >= 3


def test_a_handler_makes_vectors(colour: Colour) -> None:
    parrot()
    assert ask(colour, name="embedding", said=["a", "b"]).data[1]["embedding"] == [1.0, 2.0]


def test_a_provider_added_to_the_map_in_place_is_seen_at_the_next_call(settings: Any) -> None:
    accept("custom_provider_map", [])
    settings.custom_provider_map.append({"provider": "later", "custom_handler": Parrot()})
    assert headrace.completion("later/x", MESSAGES).choices[0].message.content == "sync Hello"


class Failing(custom.CustomLLM):
    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def completion(self, *args: Any, **asked: Any) -> Any:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return {"choices": [{"index": 0, "message": {"role": "assistant", "content": "at last"}, "finish_reason": "stop"}]}


def test_a_handlers_status_decides_about_another_try() -> None:
    handler = Failing(custom.CustomLLMError(status_code=503, message="busy"))
    accept("custom_provider_map", [{"provider": "failing", "custom_handler": handler}])
    assert headrace.completion("failing/x", MESSAGES, num_retries=1).choices[0].message.content == "at last"
    refusing = Failing(custom.CustomLLMError(status_code=400, message="never"))
    accept("custom_provider_map", [{"provider": "failing", "custom_handler": refusing}])
    with pytest.raises(custom.CustomLLMError, match="never") as caught:
        headrace.completion("failing/x", MESSAGES, num_retries=3)
    assert (caught.value.status_code, refusing.calls) == (400, 1)


def test_whatever_else_a_handler_raises_names_the_provider_and_keeps_its_cause() -> None:
    accept("custom_provider_map", [{"provider": "failing", "custom_handler": Failing(ValueError("oops"))}])
    with pytest.raises(headrace.APIConnectionError, match="the handler of failing raised ValueError: oops") as caught:
        headrace.completion("failing/x", MESSAGES, num_retries=0)
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_method_that_a_handler_lacks_is_named(colour: Colour) -> None:
    accept("custom_provider_map", [{"provider": "empty", "custom_handler": custom.CustomLLM()}])
    with pytest.raises(custom.CustomLLMError, match=f"CustomLLM has no {'a' if colour.is_async else ''}completion"):
        ask(colour, model="empty/x", num_retries=0)


@pytest.mark.parametrize("entry", [{}, {"provider": "x"}, "x", {"provider": 3, "custom_handler": Parrot()}])
def test_a_map_that_cannot_work_is_refused_where_it_is_set(entry: Any) -> None:
    with pytest.raises(headrace.ConfigurationError, match=r"custom_provider_map\[0\]"):
        accept("custom_provider_map", [entry])


def test_who_leaves_a_handlers_stream_ends_it() -> None:
    ended: list[bool] = []

    class Endless(custom.CustomLLM):
        def streaming(self, *args: Any, **asked: Any) -> Iterator[dict[str, Any]]:
            try:
                while True:
                    yield {"text": "on and ", "is_finished": False, "finish_reason": "", "index": 0}
            finally:
                ended.append(True)

    accept("custom_provider_map", [{"provider": "endless", "custom_handler": Endless()}])
    stream = headrace.completion("endless/x", MESSAGES, stream=True)
    next(stream)
    stream.close()
    del stream
    assert ended == [True]


class Plain(custom.CustomLLM):
    """A handler that names what it takes, and no more, as litellm's documentation has them."""

    def completion(self, model: str, messages: list[Any], optional_params: dict[str, Any]) -> Any:  # type: ignore[override]
        return answer(f"{model} heard {messages[-1]['content']} at {optional_params['temperature']}")

    async def acompletion(self, model: str, messages: list[Any], optional_params: dict[str, Any]) -> Any:  # type: ignore[override]
        return self.completion(model, messages, optional_params)

    def streaming(self, model: str) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        yield {"text": model, "is_finished": True, "finish_reason": "stop", "index": 0}

    async def astreaming(self, model: str) -> AsyncIterator[dict[str, Any]]:  # type: ignore[override]
        for chunk in self.streaming(model):
            yield chunk

    def embedding(self, model: str, input: list[str], litellm_params: dict[str, Any]) -> Any:  # type: ignore[override]
        return {"object": "list", "model": model, "data": [{"index": 0, "embedding": [1.0], "object": "embedding"}]}

    async def aembedding(self, model: str, input: list[str], litellm_params: dict[str, Any]) -> Any:  # type: ignore[override]
        return self.embedding(model, input, litellm_params)


def answer(text: str) -> dict[str, Any]:
    return {"id": "x", "object": "chat.completion", "created": 0, "model": "m",
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}]}  # fmt: skip


def test_a_handler_that_takes_few_arguments_failed_over_those_it_does_not_take(colour: Colour) -> None:
    accept("custom_provider_map", [{"provider": "plain", "custom_handler": Plain()}])

    async def all_of_them() -> tuple[Any, Any, str]:
        whole = await headrace.acompletion("plain/m", MESSAGES, temperature=0.5)
        vectors = await headrace.aembedding("plain/m", ["a"])
        stream = await headrace.acompletion("plain/m", MESSAGES, stream=True)
        return whole, vectors, "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    if colour.is_async:
        whole, vectors, text = asyncio.run(all_of_them())
    else:
        whole, vectors = headrace.completion("plain/m", MESSAGES, temperature=0.5), headrace.embedding("plain/m", ["a"])
        text = "".join(chunk.choices[0].delta.content or "" for chunk in headrace.completion("plain/m", MESSAGES, stream=True))
    assert whole.choices[0].message.content == "m heard Hello at 0.5"
    assert vectors.data[0]["embedding"] == [1.0]
    assert text == "m"


@pytest.mark.parametrize("routed", [False, True])
def test_an_address_means_what_the_handler_makes_of_it(routed: bool) -> None:
    """Symptom: `api_base="my-own-place"` was refused, and behind a Router a handler was given neither address nor key."""
    parrot = Parrot()
    accept("custom_provider_map", [{"provider": "parrot", "custom_handler": parrot}])
    given = {"api_base": "my-own-place", "api_key": "sk-own"}
    if routed:
        router = headrace.Router([{"model_name": "g", "litellm_params": {"model": "parrot/grey", **given}}])
        router.completion("g", MESSAGES)
    else:
        headrace.completion("parrot/grey", MESSAGES, **given)  # type: ignore[call-overload]
    assert (parrot.asked[0]["api_base"], parrot.asked[0]["api_key"]) == ("my-own-place", "sk-own")
