"""Pieces of streams that no recording has: kinds that nobody knows yet, in every place where a kind may stand, and values of other shapes.

What the reader tells must add up, be written again as a stream and as one answer, and read the same.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace.dialects import load
from headrace.dialects.base import Target
from headrace.dialects.collect import collect
from headrace.errors import APIResponseValidationError
from headrace.types import ChatRequest, ChatResponse, StreamEvent
from headrace.wire import Frame, Headers, HttpResponse

TARGET = Target("provider", "model")
ASKED = ChatRequest(model="model", messages=(), stream=True, include_usage=True)
Events = list[tuple[str | None, Any]]


def read(dialect: str, events: Events) -> list[StreamEvent]:
    reader = load(dialect).read_stream(ASKED, TARGET)
    frames = [Frame(event if isinstance(event, bytes) else json.dumps(event).encode(), name) for name, event in events]
    return [told for frame in frames for told in reader.feed(frame)] + reader.close()


def told(dialect: str, events: Events) -> ChatResponse:
    """What a stream adds up to; the same once it was written again."""
    one = read(dialect, events)
    made, writer, framing = load(dialect), load(dialect).write_stream(ASKED), load(dialect).framing()
    data = b"".join([writer.feed(event) for event in one]) + writer.close()
    reader = made.read_stream(ASKED, TARGET)
    again = [event for frame in [*framing.feed(data), *framing.close()] for event in reader.feed(frame)] + reader.close()
    whole = collect(one)
    assert said(collect(again)) == said(whole)
    return whole


def said(whole: ChatResponse) -> list[Any]:
    parts = [part for choice in whole.choices for part in choice.message.content]
    return [(type(part), *[getattr(part, name, None) for name in ("text", "type", "name", "arguments")]) for part in parts]


def blocks(dialect: str, events: Events) -> list[Any]:
    """The blocks of the stream's answer, as the dialect writes it whole."""
    body = json.loads(json.dumps(load(dialect).write_response(told(dialect, events))))
    match dialect:
        case "openai_chat":
            return body["choices"][0]["message"]["content"]  # type: ignore[no-any-return]
        case "openai_responses":
            return body["output"]  # type: ignore[no-any-return]
        case "cohere":
            return body["message"]["content"]  # type: ignore[no-any-return]
    return body["content"]  # type: ignore[no-any-return]


# ---- Chat Completions ----------------------------------------------------------------------------------------------------------------


def chunk(delta: Any, finish: str | None = None, index: Any = 0, **more: Any) -> tuple[None, Any]:
    choice = {"index": index, "delta": delta, "finish_reason": finish, **more}
    return None, {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


DONE: tuple[None, bytes] = (None, b"[DONE]")


def test_what_mistrals_texts_refer_to_stands_between_them() -> None:
    """The references were said of the message, and lost when the answer was written whole."""
    reference = {"type": "reference", "reference_ids": [2]}
    stream = [chunk({"role": "assistant", "content": "one"}), chunk({"content": [reference]}), chunk({"content": "two"}), chunk({}, "stop")]
    assert blocks("openai_chat", [*stream, DONE]) == [{"type": "text", "text": "one"}, reference, {"type": "text", "text": "two"}]


def test_a_thought_is_told_whatever_stands_beside_its_text() -> None:
    """One unknown item in the list, and the whole thought was no thought."""
    thinking = [{"type": "text", "text": "hm", "mood": 1}, {"type": "reference", "reference_ids": [1]}]
    part = {"type": "thinking", "thinking": thinking, "closed": True}
    assert told("openai_chat", [chunk({"content": [part]}), chunk({}, "stop"), DONE]).choices[0].message.thinking == "hm"
    written = blocks("openai_chat", [chunk({"content": [part]}), chunk({}, "stop"), DONE])
    assert {"type": "reference", "reference_ids": [1]} in [item for block in written for item in block["thinking"]]
    body = {"choices": [{"index": 0, "message": {"role": "assistant", "content": [part]}, "finish_reason": "stop"}]}
    hub = load("openai_chat").read_response(reply(body), ASKED, TARGET)
    assert hub.choices[0].message.thinking == "hm"
    assert load("openai_chat").write_response(hub)["choices"][0]["message"]["content"] == [part]


def test_a_streamed_call_of_a_new_kind_keeps_its_kind() -> None:
    call = {"index": 0, "id": "a", "type": "hologram", "hologram": {"x": "1"}}
    whole = told("openai_chat", [chunk({"tool_calls": [call]}), chunk({}, "tool_calls"), DONE])
    assert load("openai_chat").write_response(whole)["choices"][0]["message"]["tool_calls"] == [call]


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content", "refusal"])
@pytest.mark.parametrize("value", [7, 2.5, {"type": "x"}, [None], ["x"]])
def test_what_is_no_text_is_kept_and_told_as_none(name: str, value: Any) -> None:
    """It was told as text, and whoever put the texts together raised TypeError."""
    whole = told("openai_chat", [chunk({"content": "Hi"}), chunk({name: value}), chunk({}, "stop"), DONE])
    [message] = [choice.message for choice in whole.choices]
    assert (message.text, message.extra[name]) == ("Hi", value)


@pytest.mark.parametrize("value", [7, "x", [None]])
def test_logprobs_of_another_shape_are_kept(value: Any) -> None:
    whole = told("openai_chat", [chunk({"content": "Hi"}, logprobs=value), chunk({}, "stop"), DONE])
    assert (whole.choices[0].logprobs, whole.choices[0].extra["logprobs"]) == (None, value)


@pytest.mark.parametrize("name", ["id", "name"])
def test_a_calls_id_or_name_that_is_no_text_is_none(name: str) -> None:
    """As it came, whoever wrote it in another dialect raised TypeError."""
    call: Any = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}
    (call if name == "id" else call["function"])[name] = 7
    [made] = told("openai_chat", [chunk({"tool_calls": [call]}), chunk({}, "tool_calls"), DONE]).choices[0].message.tool_calls
    assert getattr(made, name) == ""


def test_places_may_come_as_texts_and_nothing_else() -> None:
    """A choice's or a call's place that was a text was sorted among numbers: TypeError."""
    call = {"index": "1", "id": "b", "function": {"name": "g", "arguments": "{}"}}
    first = {"index": 0.0, "id": "a", "function": {"name": "f", "arguments": "{}"}}
    stream = [chunk({"tool_calls": [call]}), chunk({"tool_calls": [first]}), chunk({"content": "x"}, index="1")]
    whole = told("openai_chat", [*stream, chunk({}, "tool_calls"), chunk({}, "stop", 1), DONE])
    assert [choice.index for choice in whole.choices] == [0, 1]
    assert [call.name for call in whole.choices[0].message.tool_calls] == ["f", "g"]
    for bad in ("x", "", [], {}, 1.5):
        with pytest.raises(APIResponseValidationError):
            read("openai_chat", [chunk({"content": "x"}, index=bad)])
        with pytest.raises(APIResponseValidationError):
            read("openai_chat", [chunk({"tool_calls": [{**call, "index": bad}]})])


# ---- the others ----------------------------------------------------------------------------------------------------------------------


def opened(index: int, block: Any, *deltas: Any) -> Events:
    return [
        ("content_block_start", {"type": "content_block_start", "index": index, "content_block": block}),
        *[("content_block_delta", {"type": "content_block_delta", "index": index, "delta": delta}) for delta in deltas],
        ("content_block_stop", {"type": "content_block_stop", "index": index}),
    ]


STARTED: Events = [("message_start", {"type": "message_start", "message": {"id": "m", "role": "assistant", "model": "c", "content": []}})]
STOPPED: Events = [
    ("message_delta", {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}}),
    ("message_stop", {"type": "message_stop"}),
]


@pytest.mark.parametrize("block", [{"type": "text", "text": None}, {"type": "text"}, {"type": "text", "text": ""}])
def test_a_text_of_anthropics_begins_empty_however_that_is_said(block: Any) -> None:
    """With null it was a block that nobody knows, and its text was no text."""
    whole = told("anthropic_messages", [*STARTED, *opened(0, block, {"type": "text_delta", "text": "Hi"}), *STOPPED])
    assert whole.choices[0].message.text == "Hi"


def test_an_unknown_block_of_anthropics_is_put_together() -> None:
    strange = opened(0, {"type": "hologram", "data": ""}, *[{"type": "hologram_delta", "data": data} for data in ("ab", "cd")])
    assert blocks("anthropic_messages", [*STARTED, *strange, *STOPPED]) == [{"type": "hologram", "data": "abcd"}]


def test_an_unknown_block_of_coheres_is_put_together() -> None:
    """It was dropped."""

    def content(kind: str, **said: Any) -> tuple[None, Any]:
        return None, {"type": kind, "index": 0, "delta": {"message": {"content": said}}}

    stream: Events = [
        (None, {"type": "message-start", "id": "m"}),
        content("content-start", type="hologram", data=""), content("content-delta", data="ab"), content("content-delta", data="cd"),
        (None, {"type": "content-end", "index": 0}),
        (None, {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}}),
    ]  # fmt: skip
    assert blocks("cohere", stream) == [{"type": "hologram", "data": "abcd"}]
    assert blocks("cohere", [*stream[:-2], stream[-1]]) == [{"type": "hologram", "data": "abcd"}]


def test_an_unknown_part_in_a_message_of_responses_is_streamed_on() -> None:
    """It was told, and left out when the stream was written."""
    part = {"type": "output_hologram", "data": "Hi"}
    text = {"type": "output_text", "text": "Ho", "annotations": []}
    item = {"id": "msg", "type": "message", "role": "assistant", "status": "completed", "content": [text, part]}
    place = {"output_index": 0, "item_id": "msg"}
    events: list[Any] = [
        {"type": "response.created", "response": {"id": "r", "status": "in_progress", "model": "m", "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        {"type": "response.content_part.added", **place, "content_index": 1, "part": {**part, "data": ""}},
        {"type": "response.output_hologram.delta", **place, "content_index": 1, "delta": "Hi"},
        {"type": "response.content_part.done", **place, "content_index": 1, "part": part},
        {"type": "response.content_part.added", **place, "content_index": 0, "part": {**text, "text": ""}},
        {"type": "response.output_text.delta", **place, "content_index": 0, "delta": "Ho"},
        {"type": "response.output_text.done", **place, "content_index": 0, "text": "Ho"},
        {"type": "response.content_part.done", **place, "content_index": 0, "part": text},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": {"id": "r", "status": "completed", "model": "m", "output": [item]}},
    ]
    [message] = blocks("openai_responses", [(event["type"], event) for event in events])
    assert message["content"] == [text, part]


@pytest.mark.parametrize("value", [7, 2.5, [None], {"type": "x"}])
def test_converses_thinking_that_is_no_text_is_the_providers_mistake(value: Any) -> None:
    """It was told as text, and whoever put the texts together raised TypeError."""
    with pytest.raises(APIResponseValidationError):
        read("bedrock_converse", [("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": value}}})])


def reply(body: Any) -> HttpResponse:
    return HttpResponse(200, Headers(), json.dumps(body).encode())
