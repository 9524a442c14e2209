"""`stream_chunk_builder`: a complete response from a caller's chunks."""

from __future__ import annotations

from typing import Any

import pytest
from tests.client.upstream import Client, Reply, Upstream, chunk, sse

import headrace
from headrace.objects import ModelResponseStream


def delta(finish: str | None = None, index: int = 0, **fields: Any) -> ModelResponseStream:
    choice = {"index": index, "delta": fields, "finish_reason": finish}
    return ModelResponseStream.wrap({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})


def test_text_reasoning_and_usage_are_merged() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    chunks = [
        delta(role="assistant", reasoning_content="Hm, "),
        delta(reasoning_content="a mill."),
        delta(content="Hel"),
        delta(content="lo"),
        delta("stop"),
        {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": usage},
    ]
    answer = headrace.stream_chunk_builder(chunks, messages=[{"role": "user", "content": "hi"}])
    assert isinstance(answer, headrace.ModelResponse)
    assert (answer.object, answer.id, answer.model) == ("chat.completion", "c", "m")
    message = answer.choices[0].message
    assert (message.role, message.content, message.reasoning_content) == ("assistant", "Hello", "Hm, a mill.")
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 5


def test_tool_calls_are_put_together_by_their_index() -> None:
    def call(index: int, arguments: str, **more: Any) -> dict[str, Any]:
        return {"index": index, "function": {"arguments": arguments, **({"name": more.pop("name")} if "name" in more else {})}, **more}

    chunks = [
        delta(role="assistant", tool_calls=[call(0, "", id="call_1", type="function", name="weather")]),
        delta(tool_calls=[call(1, "", id="call_2", type="function", name="time")]),
        delta(tool_calls=[call(0, '{"city": ')]),
        delta(tool_calls=[call(1, "{}")]),
        delta(tool_calls=[call(0, '"Ulm"}')]),
        delta("tool_calls"),
    ]
    calls = headrace.stream_chunk_builder(chunks).choices[0].message.tool_calls
    found = [(made.id, made.function.name, made.function.arguments) for made in calls]
    assert found == [("call_1", "weather", '{"city": "Ulm"}'), ("call_2", "time", "{}")]


def test_each_choice_is_its_own() -> None:
    chunks = [delta(index=1, content="b"), delta(index=0, content="a"), delta("stop", 0), delta("length", 1)]
    choices = headrace.stream_chunk_builder(chunks).choices
    assert [(choice.message.content, choice.finish_reason) for choice in choices] == [("a", "stop"), ("b", "length")]


def test_a_stream_that_broke_off_has_no_finish() -> None:
    choice = headrace.stream_chunk_builder([delta(content="Hel")]).choices[0]
    assert (choice.message.content, choice.finish_reason) == ("Hel", None)


def test_text_completions_are_texts() -> None:
    def piece(text: str, finish: str | None = None) -> dict[str, Any]:
        return {"id": "t", "object": "text_completion", "model": "m", "choices": [{"index": 0, "text": text, "finish_reason": finish}]}

    answer = headrace.stream_chunk_builder([piece("one "), piece("two", "stop")])
    assert isinstance(answer, headrace.TextCompletionResponse)
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("one two", "stop")


def test_nothing_is_nothing() -> None:
    assert headrace.stream_chunk_builder([]) is None


@pytest.mark.parametrize("as_dicts", [False, True])
def test_what_a_stream_gave_becomes_what_a_call_would_have_given(client: Client, upstream: Upstream, as_dicts: bool) -> None:
    upstream.answer(Reply(pieces=sse(chunk("He"), chunk("llo"), chunk(None, "stop"))))
    chunks = client.chat(stream=True)
    answer = headrace.stream_chunk_builder([item.model_dump() for item in chunks] if as_dicts else chunks)
    assert answer.choices[0].message.content == "Hello"
    assert answer.model_dump()["choices"][0]["finish_reason"] == "stop"
