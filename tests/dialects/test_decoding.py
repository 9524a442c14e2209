"""JSON that is not quite JSON, and what else of an answer a provider may leave out or say in its own way."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace.dialects import load
from headrace.dialects.answers import answer_in_common
from headrace.dialects.base import Target
from headrace.dialects.collect import collect
from headrace.dialects.decoding import decode
from headrace.types import ChatRequest, StreamEvent
from headrace.wire import Frame, Headers, HttpResponse

TARGET = Target("provider", "model")
ASKED = ChatRequest(model="model", messages=(), stream=True)


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (rb'{"a": "\ud83d"}', {"a": "\ufffd"}),
        (rb'{"a": "x\\ud83d \ud83d\ude00"}', {"a": "x\\ud83d 😀"}),
        (rb'{"a": "\ude00 \ud83d\ude00"}', {"a": "\ufffd 😀"}),
        (b'{"a": [NaN, -Infinity, 1e400, 1.5, 9007199254740993]}', {"a": [None, None, None, 1.5, 9007199254740993]}),
    ],
)
def test_half_an_emoji_and_numbers_of_python_are_read(data: bytes, value: Any) -> None:
    assert decode(data) == decode(data.decode()) == value


@pytest.mark.parametrize("data", [b"", b'{"a": "\\ud83', b'{"a": NaN', b"{'a': 1}", b'{"a": "\xff"}', b"nan"])
def test_what_is_cut_or_no_json_stays_an_error(data: bytes) -> None:
    with pytest.raises((ValueError, UnicodeDecodeError)):
        decode(data)


def told(name: str, *frames: Any) -> list[StreamEvent]:
    reader = load(name).read_stream(ASKED, TARGET)
    events = [event for frame in frames for event in reader.feed(Frame(frame if isinstance(frame, bytes) else json.dumps(frame).encode()))]
    return [*events, *reader.close()]


def chunk(*calls: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"tool_calls": list(calls)}, "finish_reason": finish}]}


def call(id: str | None, name: str | None, arguments: str, **index: int) -> dict[str, Any]:
    return {**index, "id": id, "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize("index", [{}, {"index": 0}])
def test_parallel_calls_of_one_index_or_none_are_not_joined(index: dict[str, int]) -> None:
    """Servers that know no index, or give each call the same."""
    first, second = call("a", "add", '{"x"', **index), call("b", "mul", '{"y": 2}', **index)
    events = told("openai_chat", chunk(first), chunk(call(None, None, ": 1}", **index)), chunk(second), chunk(finish="tool_calls"))
    (choice,) = collect(events).choices
    assert [(one.id, one.name, one.arguments) for one in choice.message.tool_calls] == [("a", "add", '{"x": 1}'), ("b", "mul", '{"y": 2}')]


def test_a_call_whose_every_piece_has_another_id_stays_one() -> None:
    pieces = [chunk(call("a", "add", '{"x"', index=0)), chunk(call("b", None, ": 1}", index=0)), chunk(finish="tool_calls")]
    (choice,) = collect(told("openai_chat", *pieces)).choices
    assert [(one.name, one.arguments) for one in choice.message.tool_calls] == [("add", '{"x": 1}')]


def test_a_text_block_that_begins_without_a_text_has_one() -> None:
    events = told(
        "anthropic_messages",
        {"type": "message_start", "message": {"id": "m", "model": "model", "content": []}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        {"type": "message_stop"},
    )
    assert collect(events).choices[0].message.text == "Hello"


def test_an_end_behind_more_blanks_is_an_end() -> None:
    said = {"choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": None}]}
    assert collect(told("openai_chat", said, b" [DONE]")).choices[0].message.text == "x"


def read(name: str, body: Any) -> Any:
    return load(name).read_response(HttpResponse(200, Headers(), json.dumps(body).encode()), ASKED, TARGET)


def test_a_call_without_an_input_is_told_to_callers_of_chat_completions() -> None:
    use = {"toolUse": {"toolUseId": "a", "name": "now"}}
    hub = read("bedrock_converse", {"output": {"message": {"role": "assistant", "content": [use]}}, "stopReason": "tool_use"})
    (call,) = json.loads(json.dumps(load("openai_chat").write_response(hub)))["choices"][0]["message"]["tool_calls"]
    assert (call["id"], call["function"]["name"]) == ("a", "now")


def test_notes_on_a_part_of_tomorrow_stop_no_answer_in_messages() -> None:
    part = {"type": "output_new", "annotations": [{"type": "url_citation", "url": "https://a.example", "start_index": 0, "end_index": 1}]}
    body = {"object": "response", "output": [{"type": "message", "role": "assistant", "content": [part]}], "status": "completed"}
    told = load("anthropic_messages").write_response(answer_in_common(read("openai_responses", body), "anthropic_messages"))
    assert told["role"] == "assistant"
