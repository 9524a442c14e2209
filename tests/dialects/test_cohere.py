"""Cohere's v2 Chat: what every field means, in both halves, and what must hold of any value."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialects import hubs
from headrace.dialects import load
from headrace.dialects.base import Target
from headrace.dialects.collect import collect
from headrace.errors import APIResponseValidationError, BadRequestError, Failure, Kind
from headrace.types import (
    ChatRequest,
    Finished,
    Message,
    Noted,
    Started,
    StreamEvent,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCallDelta,
    UsageReported,
)
from headrace.wire import Headers, HttpResponse

DIALECT: Any = load("cohere")
OWN = Target("cohere", "command-a", "https://api.cohere.com/v2", (("authorization", "Bearer secret"),))
ASKED = ChatRequest(model="m", messages=(), stream=True, include_usage=True)
HI = {"role": "user", "content": "hi"}
CALL = {"id": "f_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


def body_of(request: ChatRequest, target: Target = OWN) -> Any:
    return json.loads(DIALECT.write_request(request, target).body)


def reply(body: Any) -> HttpResponse:
    return HttpResponse(200, Headers(), json.dumps(body).encode())


REQUESTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "a list of one text": {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]},
    "a system message": {"messages": [{"role": "system", "content": "Be brief."}, HI]},
    "an empty text": {"messages": [HI, {"role": "assistant", "content": ""}, HI]},
    "no content": {"messages": [HI, {"role": "assistant", "content": None, "tool_calls": [CALL]}, HI]},
    "an image": {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://e.com/a.png"}}]}]},
    "an image with detail and more": {
        "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,", "detail": "low", "x": 1}, "y": 2}]}]
    },
    "a plan and calls": {"messages": [HI, {"role": "assistant", "tool_plan": "Look.", "tool_calls": [CALL]}]},
    "thinking": {
        "messages": [HI, {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "x"}]}]
    },
    "citations sent back": {"messages": [HI, {"role": "assistant", "content": "x", "citations": [{"start": 0, "end": 1}]}]},
    "a result": {"messages": [HI, {"role": "tool", "tool_call_id": "f_1", "content": "rain"}]},
    "a result as a document": {
        "messages": [HI, {"role": "tool", "tool_call_id": "f_1", "content": [{"type": "document", "document": {"data": {"a": "b"}}}]}]
    },
    "tools": {"tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}]},
    "no tool": {"tool_choice": "NONE"},
    "a choice nobody knows": {"tool_choice": "ANY"},
    "sampling": {"temperature": 0.5, "p": 0.9, "k": 5, "seed": 7, "presence_penalty": 0.1, "frequency_penalty": 0.2, "logprobs": True},
    "ends": {"max_tokens": 9, "stop_sequences": ["END"]},
    "thinking off": {"thinking": {"type": "disabled"}},
    "thinking on": {"thinking": {"type": "enabled"}},
    "a budget": {"thinking": {"type": "enabled", "token_budget": 99}},
    "text": {"response_format": {"type": "text"}},
    "json": {"response_format": {"type": "json_object"}},
    "a schema": {"response_format": {"type": "json_object", "json_schema": {"type": "object"}}},
    "a form nobody knows": {"response_format": {"type": "xml"}},
    "documents": {"documents": ["a", {"id": "1", "data": {"text": "b"}}], "citation_options": {"mode": "FAST"}},
    "cohere's own": {"safety_mode": "OFF", "strict_tools": True, "priority": 3, "raw_prompting": True},
    "a stream": {"stream": True},
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_written_again_as_it_was_read(name: str) -> None:
    body = {"model": "command-a", "messages": [HI], **REQUESTS[name]}
    hub = DIALECT.read_request(body)
    assert body_of(hub) == body
    assert DIALECT.read_request(body_of(hub)) == hub


@pytest.mark.parametrize("name", [name for name, more in REQUESTS.items() if not isinstance(more.get("response_format", {}).get("x"), str)])
def test_cohere_sdks_own_types_take_what_is_written(name: str) -> None:
    from cohere import ChatMessageV2
    from cohere.core.unchecked_base_model import construct_type

    for message in body_of(DIALECT.read_request({"model": "m", "messages": [HI], **REQUESTS[name]}))["messages"]:
        typed: Any = construct_type(type_=ChatMessageV2, object_=message)
        assert typed.role == message["role"]
        assert type(typed).__name__ == f"{message['role'].title()}ChatMessageV2"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], "the body"),
        ({"messages": [HI]}, "model"),
        ({"model": "m", "messages": []}, "messages"),
        ({"model": "m", "messages": ["hi"]}, r"messages\[0\]"),
        ({"model": "m", "messages": [{"role": "bot", "content": ""}]}, r"messages\[0\]\.role"),
        ({"model": "m", "messages": [{"role": "user", "content": [{"text": "x"}]}]}, r"messages\[0\]\.content\[0\]\.type"),
        ({"model": "m", "messages": [{"role": "tool", "content": "x"}]}, r"messages\[0\]\.tool_call_id"),
        ({"model": "m", "messages": [HI], "p": "high"}, "p must be a number"),
        ({"model": "m", "messages": [HI], "stop_sequences": [1]}, r"stop_sequences\[0\]"),
        ({"model": "m", "messages": [HI], "thinking": "yes"}, "thinking"),
    ],
)
def test_a_bad_request_is_named(body: Any, field: str) -> None:
    with pytest.raises(BadRequestError, match=field):
        DIALECT.read_request(body)


USAGE = {"billed_units": {"input_tokens": 3, "output_tokens": 1}, "tokens": {"input_tokens": 20, "output_tokens": 2}, "cached_tokens": 0}
ANSWERS: dict[str, dict[str, Any]] = {
    "text": {"message": {"role": "assistant", "content": [{"type": "text", "text": "hello"}]}},
    "an empty text": {"message": {"role": "assistant", "content": [{"type": "text", "text": ""}]}},
    "no content": {"message": {"role": "assistant"}},
    "an empty content": {"message": {"role": "assistant", "content": []}},
    "calls": {"message": {"role": "assistant", "tool_plan": "Look.", "tool_calls": [CALL]}, "finish_reason": "TOOL_CALL"},
    "a stop sequence": {"finish_reason": "STOP_SEQUENCE"},
    "a full window": {"finish_reason": "MAX_TOKENS"},
    "a word nobody knows": {"finish_reason": "BORED"},
    "no usage": {"usage": None},
    "counts nobody knows": {"usage": {"tokens": {"input_tokens": 9, "output_tokens": 0, "image_tokens": 4}, "x": 1}},
    "only what is paid for": {"usage": {"billed_units": {"input_tokens": 3, "output_tokens": 1}}},
    "probabilities": {"logprobs": [{"text": "hi", "token_ids": [5], "logprobs": [-0.5]}]},
    "more": {"meta": {"api_version": {"version": "2"}}},
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_written_again_as_it_was_read(name: str) -> None:
    hello = {"role": "assistant", "content": [{"type": "text", "text": "hello"}]}
    body = {"id": "1", "finish_reason": "COMPLETE", "message": hello, "usage": USAGE, **ANSWERS[name]}
    body = {name: value for name, value in body.items() if value is not None}
    hub = DIALECT.read_response(reply(body), ASKED, OWN)
    written = json.loads(json.dumps(DIALECT.write_response(hub)))
    assert written == body
    assert DIALECT.read_response(reply(written), ASKED, OWN) == hub


@pytest.mark.parametrize("body", [[], "x", {"id": "1"}, {"message": []}, {"message": {"content": 1}}, {"message": {"tool_calls": [1]}}])
def test_an_answer_that_is_none_is_a_bad_response(body: Any) -> None:
    with pytest.raises(APIResponseValidationError, match="cohere: the response"):
        DIALECT.read_response(reply(body), ASKED, OWN)


# ---- streams -----------------------------------------------------------------------------------------------------------------------


def read(data: bytes) -> list[StreamEvent]:
    frames, reader = DIALECT.framing(), DIALECT.read_stream(ASKED, OWN)
    events = [event for frame in frames.feed(data) for event in reader.feed(frame)]
    return events + [event for frame in frames.close() for event in reader.feed(frame, last=True)] + list(reader.close())


def written(events: list[StreamEvent]) -> bytes:
    writer = DIALECT.write_stream(ASKED)
    return b"".join([writer.feed(event) for event in events]) + writer.close()


@st.composite
def streams(draw: st.DrawFn) -> list[StreamEvent]:
    """Events that Cohere can say: one choice, thinking and a plan, one text, calls whose pieces may come mixed."""
    pieces = st.lists(hubs.SOME_TEXT, min_size=1, max_size=3)
    events: list[StreamEvent] = [Started(id=draw(hubs.SOME_TEXT))]
    if draw(st.booleans()):
        events += [ThinkingDelta(text=text) for text in draw(pieces)]
    if draw(st.booleans()):
        events += [ThinkingDelta(text=text, block=len(events) > 1, extra={"type": "tool_plan"}) for text in draw(pieces)]
    if draw(st.booleans()):
        events += [TextDelta(text=text) for text in draw(pieces)]
        citations = draw(st.lists(st.just({"start": 0, "end": 1, "sources": []}), max_size=2))
        events += [Noted(level="message", extra={"citations": [citation]}) for citation in citations]
    calls = [ToolCallDelta(index=index, id=f"f_{index}", name="f") for index in range(draw(st.integers(0, 2)))]
    more = [ToolCallDelta(index=call.index, arguments=piece) for call in calls for piece in ('{"a"', ": 1}")]
    events += [*calls, *(more if draw(st.booleans()) else more[::2] + more[1::2])]
    events.append(Finished(finish="tool_calls" if calls else draw(st.sampled_from(["stop", "length", "content_filter"]))))
    usage = msgspec.structs.replace(draw(hubs.usages()), cache_write=0, audio_input=0, audio_output=0, extra={})
    return [*events, UsageReported(usage=usage)]


@given(events=streams())
def test_a_stream_is_read_back_as_it_was_meant(events: list[StreamEvent]) -> None:
    """But for the words of a finish that Cohere does not say, and a call's number of pieces."""
    whole, again = collect(events), collect(read(written(events)))
    assert msgspec.structs.replace(again.choices[0], native_finish=None) == whole.choices[0]
    assert again.usage is not None
    assert (again.id, msgspec.structs.replace(again.usage, extra={})) == (whole.id, whole.usage)
    answer = DIALECT.read_response(reply(DIALECT.write_response(whole)), ASKED, OWN)
    assert answer.choices[0].message == whole.choices[0].message


@pytest.mark.parametrize(
    "data",
    [
        b"data: [1]\n\n",
        b"data: {broken}\n\n",
        b'data: {"type": 7}\n\n',
        b'data: {"type": "content-delta", "delta": {"message": {"content": {"text": 1}}}}\n\n',
        b'data: {"type": "tool-call-start", "index": 0, "delta": {"message": {}}}\n\n',
    ],
)
def test_a_broken_event_is_a_bad_response(data: bytes) -> None:
    with pytest.raises(APIResponseValidationError, match="cohere"):
        read(data)


def test_an_event_from_tomorrow_is_kept_and_breaks_nothing() -> None:
    strange = {"type": "from-tomorrow", "said": 1}
    data = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in (
        {"type": "message-start", "id": "a"}, strange, {"type": "message-end", "delta": {"finish_reason": "COMPLETE"}},
    ))  # fmt: skip
    assert read(data) == [Started(id="a"), Noted(extra={"events": [strange]}), Finished(finish="stop")]


def test_what_is_written_ends_in_an_error_when_it_fails() -> None:
    writer = DIALECT.write_stream(ASKED)
    data = writer.feed(TextDelta(text="hel")) + writer.fail(Failure(Kind.SERVER, "it broke"))
    with pytest.raises(Exception, match="it broke"):
        read(data)


def test_thoughts_of_another_provider_go_without_their_seals() -> None:
    turn = Message(role="assistant", content=(Thinking(text="Hm.", signature="s"), Thinking(data="sealed"), Text(text="x")))
    request = ChatRequest(model="m", messages=(Message(role="user", content=(Text(text="hi"),)), turn))
    sent = body_of(request, Target("cohere", "m", "https://e.com", (), "anthropic_messages"))
    assert sent["messages"][1]["content"] == [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "x"}]
