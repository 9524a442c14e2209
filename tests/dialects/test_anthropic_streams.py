"""Streams of Anthropic's Messages, and what must hold of any value in its dialect."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialects import hubs
from dialects.test_anthropic_messages import ANSWER, ASKED, DIALECT, FOREIGN, OWN, USAGE, body_of, reply
from headrace import types as hub
from headrace.dialects.base import Target
from headrace.dialects.collect import collect
from headrace.errors import APIResponseValidationError, BadRequestError, HeadraceError, TruncatedStream
from headrace.types import ChatRequest, ChatResponse, Finished, StreamEvent, Text, ToolCallDelta, UsageReported
from headrace.wire import Frame, Headers, HttpResponse


def event(kind: str, **fields: Any) -> Frame:
    return Frame(json.dumps({"type": kind, **fields}).encode(), kind)


def opened(index: int, **block: Any) -> Frame:
    return event("content_block_start", index=index, content_block=block)


def delta(index: int, kind: str, **said: Any) -> Frame:
    return event("content_block_delta", index=index, delta={"type": kind, **said})


def stopped(index: int) -> Frame:
    return event("content_block_stop", index=index)


START = event("message_start", message={**ANSWER, "content": [], "stop_reason": None})
STOP = event("message_stop")


def ended(reason: str | None = "end_turn", **usage: Any) -> list[Frame]:
    fields = {"delta": {"stop_reason": reason, "stop_sequence": None}, "usage": {"output_tokens": 9, **usage}}
    return [event("message_delta", **fields), STOP]


def read_frames(*frames: Frame) -> list[StreamEvent]:
    reader = DIALECT.read_stream(ASKED, OWN)
    return [*[said for frame in frames for said in reader.feed(frame)], *reader.close()]


def read_bytes(pieces: list[bytes]) -> list[StreamEvent]:
    cutter, reader = DIALECT.framing(), DIALECT.read_stream(ASKED, OWN)
    events = [said for piece in pieces for frame in cutter.feed(piece) for said in reader.feed(frame)]
    return [*events, *[said for frame in cutter.close() for said in reader.feed(frame, last=True)], *reader.close()]


def written(events: list[Any]) -> bytes:
    writer = DIALECT.write_stream(ASKED)
    return b"".join([writer.feed(said) for said in events]) + writer.close()


def answer_of(events: list[StreamEvent]) -> Any:
    return json.loads(msgspec.json.encode(DIALECT.write_response(collect(events))))


WHOLE = [
    START,
    event("ping"),
    opened(0, type="thinking", thinking="", signature=""),
    delta(0, "thinking_delta", thinking="h"),
    delta(0, "thinking_delta", thinking="m"),
    delta(0, "signature_delta", signature="c2ln"),
    stopped(0),
    opened(1, type="redacted_thinking", data="b3BhcXVl"),
    stopped(1),
    opened(2, type="server_tool_use", id="s", name="web_search", input={}),
    delta(2, "input_json_delta", partial_json='{"query":'),
    delta(2, "input_json_delta", partial_json='"x"}'),
    stopped(2),
    opened(3, type="web_search_tool_result", tool_use_id="s", content=[{"url": "u"}]),
    stopped(3),
    opened(4, type="text", text="", citations=[]),
    delta(4, "text_delta", text="Hel"),
    delta(4, "citations_delta", citation={"cited_text": "x"}),
    delta(4, "text_delta", text="lo"),
    delta(4, "citations_delta", citation={"cited_text": "y"}),
    stopped(4),
    opened(5, type="text", text=""),
    delta(5, "text_delta", text="!"),
    stopped(5),
    opened(6, type="tool_use", id="t1", name="f", input={}, caller={"type": "direct"}),
    delta(6, "input_json_delta", partial_json=""),
    delta(6, "input_json_delta", partial_json='{"a":'),
    delta(6, "input_json_delta", partial_json="1}"),
    stopped(6),
    opened(7, type="tool_use", id="t2", name="g", input={}),
    stopped(7),
    *ended("tool_use", cache_read_input_tokens=4),
]
WHOLE_CONTENT = [
    {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
    {"type": "redacted_thinking", "data": "b3BhcXVl"},
    {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}},
    {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"url": "u"}]},
    {"type": "text", "text": "Hello", "citations": [{"cited_text": "x"}, {"cited_text": "y"}]},
    {"type": "text", "text": "!"},
    {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}, "caller": {"type": "direct"}},
    {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
]


def test_a_stream_adds_up_to_the_answer_it_would_have_been() -> None:
    usage = {**USAGE, "cache_read_input_tokens": 4, "output_tokens": 9}
    assert answer_of(read_frames(*WHOLE)) == {**ANSWER, "content": WHOLE_CONTENT, "stop_reason": "tool_use", "usage": usage}


def test_a_stream_passes_through_event_by_event() -> None:
    events = read_frames(*WHOLE)
    assert read_bytes([written(events)]) == events


def test_a_stream_is_framed_as_the_api_frames_it() -> None:
    data = written(read_frames(START, opened(0, type="text", text=""), delta(0, "text_delta", text="hi"), stopped(0), *ended()))
    names = [line[7:] for line in data.decode().splitlines() if line.startswith("event: ")]
    block = ["content_block_start", "content_block_delta", "content_block_stop"]
    assert names == ["message_start", *block, "message_delta", "message_stop"]
    assert data.endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')


def test_a_text_without_words_is_still_a_block() -> None:
    events = read_frames(START, opened(0, type="text", text=""), stopped(0), *ended())
    assert answer_of(events)["content"] == [{"type": "text", "text": ""}]
    assert read_bytes([written(events)]) == events


def test_usage_is_told_once_at_the_end_in_its_latest_form() -> None:
    early = event("message_delta", delta={}, usage={"output_tokens": 1, "input_tokens": None})
    events = read_frames(START, early, *ended(input_tokens=50))
    assert [said for said in events if isinstance(said, UsageReported)] == [events[-1]]
    assert events[-1] == UsageReported(usage=hub.Usage(input=50, output=9, total=59))
    assert isinstance(events[-2], Finished)


def test_a_count_that_is_null_takes_none_back() -> None:
    [*_, told] = read_frames(START, *ended(input_tokens=None))
    assert told == UsageReported(usage=hub.Usage(input=3, output=9, total=12))


def test_a_source_is_told_once_also_where_its_text_begins_with_it() -> None:
    events: list[StreamEvent] = [hub.TextDelta(text="a", extra={"citations": [{"cited_text": "x"}]}), Finished(finish="stop")]
    assert answer_of(read_bytes([written(events)]))["content"] == [{"type": "text", "text": "a", "citations": [{"cited_text": "x"}]}]


def test_blanks_behind_complete_arguments_open_no_second_call() -> None:
    call = ToolCallDelta(index=0, id="c", name="f", arguments="{}")
    events: list[StreamEvent] = [call, hub.TextDelta(text="x"), ToolCallDelta(index=0, arguments=" "), Finished(finish="tool_calls")]
    assert [block["type"] for block in answer_of(read_bytes([written(events)]))["content"]] == ["text", "tool_use"]


def test_events_and_blocks_of_tomorrow_are_kept() -> None:
    new = {"type": "invented", "a": 1}
    block = {"type": "invented_block", "text": "a", "n": 1}
    more = delta(0, "invented_delta", text="b", n=2, more=[1])
    data = written(read_frames(START, Frame(json.dumps(new).encode(), "invented"), opened(0, **block), more, stopped(0), *ended()))
    assert json.dumps(new, separators=(",", ":")).encode() in data
    assert answer_of(read_bytes([data]))["content"] == [{"type": "invented_block", "text": "ab", "n": 2, "more": [1]}]


@pytest.mark.parametrize("place", range(len(WHOLE)))
def test_a_stream_cut_after_any_event_fails_and_invents_no_finish(place: int) -> None:
    reader = DIALECT.read_stream(ASKED, OWN)
    events = [said for frame in WHOLE[:place] for said in reader.feed(frame)]
    assert not any(isinstance(said, Finished | UsageReported) for said in events)
    with pytest.raises(TruncatedStream):
        reader.close()


def test_what_comes_after_the_end_is_not_read() -> None:
    assert read_frames(START, *ended(), START, Frame(b"[DONE]"), Frame(b"{broken")) == read_frames(START, *ended())


def test_blocks_that_mix_or_never_begin_are_read_by_their_place() -> None:
    call = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
    frames = [opened(1, **call), delta(0, "text_delta", text="a"), delta(1, "input_json_delta", partial_json="{}"), stopped(1)]
    events = read_frames(START, *frames, delta(0, "text_delta", text="b"), *ended("tool_use"))
    assert answer_of(events)["content"] == [{"type": "text", "text": "ab"}, call]


def test_the_text_of_a_custom_tool_is_said_inside_an_object() -> None:
    begun = ToolCallDelta(index=0, id="c", name="shell", kind="custom")
    pieces = [ToolCallDelta(index=0, arguments=piece, kind="custom") for piece in ('ls "a', '"\n')]
    [block] = answer_of(read_bytes([written([begun, *pieces, Finished(finish="tool_calls")])]))["content"]
    assert block["input"] == {"input": 'ls "a"\n'}


def test_an_event_is_known_by_its_frames_name_too() -> None:
    bare = [Frame(json.dumps({k: v for k, v in json.loads(frame.data).items() if k != "type"}).encode(), frame.event) for frame in WHOLE]
    assert read_frames(*bare) == read_frames(*WHOLE)


@pytest.mark.parametrize(
    "data",
    [
        b"{broken",
        b"[]",
        b'{"type":"message_start"}',
        b'{"type":"content_block_start","content_block":{}}',
        b'{"type":"content_block_start","content_block":{"type":1}}',
    ],
)
def test_a_frame_that_is_no_event_is_a_bad_response(data: bytes) -> None:
    with pytest.raises(APIResponseValidationError, match="anthropic"):
        read_frames(Frame(data))


def test_pieces_of_two_calls_that_mix_come_out_one_call_after_the_other() -> None:
    events: list[StreamEvent] = [
        ToolCallDelta(index=0, id="a", name="f"),
        ToolCallDelta(index=1, id="b", name="g", arguments='{"b"'),
        ToolCallDelta(index=0, arguments='{"a":'),
        hub.TextDelta(text="meanwhile"),
        ToolCallDelta(index=1, arguments=":2}"),
        ToolCallDelta(index=0, arguments="1}"),
        Finished(finish="tool_calls"),
    ]
    assert answer_of(read_bytes([written(events)]))["content"] == [
        {"type": "text", "text": "meanwhile"},
        {"type": "tool_use", "id": "a", "name": "f", "input": {"a": 1}},
        {"type": "tool_use", "id": "b", "name": "g", "input": {"b": 2}},
    ]


def test_a_call_is_told_while_it_comes_and_not_at_the_end() -> None:
    writer = DIALECT.write_stream(ASKED)
    assert b'"name":"f"' in writer.feed(ToolCallDelta(index=0, id="a", name="f"))
    assert b"partial_json" in writer.feed(ToolCallDelta(index=0, arguments='{"a":1}'))
    assert b'"name":"g"' in writer.feed(ToolCallDelta(index=1, id="b", name="g"))


# ---- what must hold of any value ---------------------------------------------------------------------------------------------------


def sent_or_refused(request: ChatRequest, target: Target) -> Any:
    """The body; None for content that cannot be said and for nothing left to say."""
    try:
        body = body_of(request, target)
    except BadRequestError:
        return None
    return body if body["messages"] else None


@pytest.mark.parametrize("target", [OWN, FOREIGN], ids=["own", "foreign"])
@given(request=hubs.REQUESTS)
def test_what_was_written_is_read_and_written_again_the_same(target: Target, request: ChatRequest) -> None:
    body = sent_or_refused(request, target)
    if body is None:
        return
    read = DIALECT.read_request(body)
    again = body_of(read)
    assert again == body
    assert DIALECT.read_request(again) == read


@given(request=hubs.REQUESTS)
def test_texts_calls_results_and_images_survive_from_another_dialect(request: ChatRequest) -> None:
    body = sent_or_refused(request, FOREIGN)
    if body is None:
        return
    read = DIALECT.read_request(body)
    assert spoken(read, "user") == spoken(request, "user")
    assert spoken(read, "system", "developer") == spoken(request, "system", "developer")
    kinds: dict[type, Callable[[Any], Any]] = {
        hub.ToolCall: lambda part: (part.id, part.name),
        hub.ToolResult: lambda part: (part.call_id, part.is_error),
        hub.Image: lambda part: part.url,
    }
    for kind, key in kinds.items():
        found = [[key(part) for message in one.messages for part in message.content if isinstance(part, kind)] for one in (read, request)]
        assert found[0] == found[1]


def spoken(request: ChatRequest, *roles: str) -> str:
    """What was said in those roles, without the blank texts that Anthropic refuses."""
    texts = [part for message in request.messages if message.role in roles for part in message.content if isinstance(part, Text)]
    return "".join(part.text for part in texts if part.text.strip())


@given(response=hubs.answers())
def test_an_answer_is_read_and_written_again_the_same(response: ChatResponse) -> None:
    body = json.loads(msgspec.json.encode(DIALECT.write_response(response)))
    read = DIALECT.read_response(reply(body), ASKED, OWN)
    assert json.loads(msgspec.json.encode(DIALECT.write_response(read))) == body
    [choice], first = read.choices, response.choices[0]
    assert [(call.id, call.name) for call in choice.message.tool_calls] == [(call.id, call.name) for call in first.message.tool_calls]
    assert choice.message.text.startswith(first.message.text)
    assert choice.message.thinking == first.message.thinking


@given(events=hubs.streams())
def test_a_stream_of_another_dialect_keeps_its_texts_calls_and_finish(events: list[StreamEvent]) -> None:
    [read], told = collect(read_bytes([written(events)])).choices, collect(events).choices[0]
    assert read.message.text == told.message.text + "".join(part.text for part in told.message.content if isinstance(part, hub.Refusal))
    assert read.message.thinking == told.message.thinking
    assert [(call.id, call.name, call.arguments) for call in read.message.tool_calls] == [
        (call.id, call.name, call.arguments or "{}") for call in told.message.tool_calls
    ]
    assert read.finish == told.finish


@given(order=st.permutations([0, 0, 0, 1, 1, 1, 2, 2, 2]), place=st.integers(0, 9))
def test_calls_mixed_in_any_way_keep_their_arguments(order: list[int], place: int) -> None:
    pieces = {index: iter(['{"a"', ":", f"{index}}}"]) for index in range(3)}
    begun: list[StreamEvent] = [ToolCallDelta(index=index, id=f"c{index}", name="f") for index in range(3)]
    events: list[StreamEvent] = [*begun, *[ToolCallDelta(index=index, arguments=next(pieces[index])) for index in order]]
    events.insert(place, hub.TextDelta(text="x"))
    [choice] = collect(read_bytes([written([*events, Finished(finish="tool_calls")])])).choices
    found = {call.id: json.loads(call.arguments) for call in choice.message.tool_calls}
    assert found == {f"c{index}": {"a": index} for index in range(3)}
    assert choice.message.text == "x"


@given(places=st.lists(st.integers(0, 10_000), max_size=8))
def test_how_the_bytes_arrive_changes_nothing(places: list[int]) -> None:
    data = b"".join([b"event: " + (frame.event or "").encode() + b"\ndata: " + frame.data + b"\n\n" for frame in WHOLE])
    marks = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    assert read_bytes([data[begin:end] for begin, end in pairwise(marks)]) == read_frames(*WHOLE)


WORDS = st.sampled_from([
    "type", "text", "role", "content", "messages", "source", "base64", "media_type", "data", "url", "file", "file_id", "document", "image",
    "tool_use", "tool_result", "tool_use_id", "input", "id", "name", "thinking", "signature", "redacted_thinking", "is_error", "citations",
    "system", "tools", "tool_choice", "input_schema", "metadata", "user_id", "output_config", "output_format", "format", "json_schema",
    "schema", "stop_sequences", "max_tokens", "model", "stop_reason", "usage", "input_tokens", "output_tokens_details", "message", "delta",
    "index", "content_block", "partial_json", "citation", "message_start", "content_block_start", "content_block_delta",
    "content_block_stop", "message_delta", "message_stop", "text_delta", "citations_delta", "input_json_delta", "signature_delta",
    "thinking_delta", "error", "user", "assistant", "auto", "tool", "enabled", "budget_tokens", "title", "data:x",
])  # fmt: skip


def objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Some of them say what they are."""
    fields = st.dictionaries(WORDS, inner, max_size=5)
    return fields | st.builds(lambda kind, more: {**more, "type": kind}, WORDS, fields)


GARBAGE = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | WORDS, lambda inner: st.lists(inner, max_size=3) | objects(inner), max_leaves=25
)


@given(bodies=st.lists(GARBAGE, min_size=1, max_size=4))
def test_whatever_comes_only_headraces_errors_come_out(bodies: list[Any]) -> None:
    body = bodies[0]
    turns = [{"role": "user", "content": body}, {"role": "assistant", "content": [body]}]
    asked = {**(body if isinstance(body, dict) else {}), "model": "m", "messages": turns}
    attempts: list[Callable[[], Any]] = [
        lambda: DIALECT.read_request(body),
        lambda: body_of(DIALECT.read_request(asked)),
        lambda: body_of(DIALECT.read_request(asked), FOREIGN),
        lambda: DIALECT.write_response(DIALECT.read_response(reply(body), ASKED, OWN)),
        lambda: DIALECT.write_response(DIALECT.read_response(reply({**ANSWER, "content": bodies, "usage": body}), ASKED, OWN)),
        lambda: DIALECT.read_error(HttpResponse(400, Headers(), json.dumps(body).encode()), OWN),
        lambda: passed_through([Frame(json.dumps(one).encode()) for one in bodies]),
        lambda: passed_through([opened(0, **one) for one in bodies[:1] if isinstance(one, dict)] + [event_of(one) for one in bodies[1:]]),
    ]
    for attempt in attempts:
        with suppress(HeadraceError):
            attempt()


def event_of(body: Any) -> Frame:
    return event("content_block_delta", index=0, delta=body)


def passed_through(frames: list[Frame]) -> None:
    events = read_frames(START, *frames, stopped(0), *ended())
    written(events)
    answer_of(events)
