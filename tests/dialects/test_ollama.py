"""Ollama's own API: what every field means, in both halves, and what must hold of any value."""

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
from headrace.errors import APIResponseValidationError, BadRequestError, Failure, HeadraceError, Kind
from headrace.types import (
    ChatRequest,
    Finished,
    Image,
    Message,
    Started,
    StreamEvent,
    Text,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    UsageReported,
)
from headrace.wire import Headers, HttpResponse

DIALECT: Any = load("ollama")
OWN = Target("ollama", "qwen3", "http://localhost:11434", (("authorization", "Bearer secret"),))
FOREIGN = Target("ollama", "qwen3", "http://localhost:11434", (), "openai_chat")
ASKED = ChatRequest(model="m", messages=(), stream=True, include_usage=True)
HI = {"role": "user", "content": "hi"}
CALL = {"function": {"name": "f", "arguments": {"a": [1, 2.5, None]}}}


def body_of(request: ChatRequest, target: Target = OWN) -> Any:
    return json.loads(DIALECT.write_request(request, target).body)


def reply(body: Any) -> HttpResponse:
    return HttpResponse(200, Headers(), json.dumps(body).encode())


REQUESTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no stream": {"stream": False},
    "a system message": {"messages": [{"role": "system", "content": "Be brief."}, HI]},
    "pictures": {"messages": [{"role": "user", "content": "look", "images": ["iVBORw0KGgoAAA", "/9j/AAAA", "AAAA"]}]},
    "calls": {"messages": [HI, {"role": "assistant", "content": "", "tool_calls": [CALL, CALL]}]},
    "a call with an id": {"messages": [HI, {"role": "assistant", "content": "x", "tool_calls": [{"id": "c1", **CALL}]}]},
    "arguments as text": {
        "messages": [HI, {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}]
    },
    "no arguments": {"messages": [HI, {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f"}}]}]},
    "a result": {"messages": [HI, {"role": "tool", "content": "rain", "tool_name": "f"}]},
    "a result by id": {"messages": [HI, {"role": "tool", "content": "rain", "tool_call_id": "c1"}]},
    "thinking": {"messages": [HI, {"role": "assistant", "content": "x", "thinking": "Hm."}]},
    "no content": {"messages": [HI, {"role": "assistant"}]},
    "tools": {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]},
    "no tools": {"tools": []},
    "options": {"options": {"num_predict": 9, "temperature": 0.5, "top_p": 0.9, "top_k": 5, "seed": 7, "stop": ["END"], "num_ctx": 99}},
    "no options": {"options": {}},
    "json": {"format": "json"},
    "a schema": {"format": {"type": "object"}},
    "no format": {"format": ""},
    "think": {"think": True},
    "do not": {"think": False},
    "think hard": {"think": "high"},
    "ollama's own": {"keep_alive": "5m", "truncate": True, "shift": False},
    "probabilities": {"logprobs": True, "top_logprobs": 3},
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_written_again_as_it_was_read(name: str) -> None:
    body = {"model": "qwen3", "messages": [HI], "stream": True, **REQUESTS[name]}
    hub = DIALECT.read_request(body)
    assert body_of(hub) == body
    assert DIALECT.read_request(body_of(hub)) == hub


def test_ollama_streams_unless_it_is_told_not_to() -> None:
    assert DIALECT.read_request({"model": "m", "messages": [HI]}).stream is True
    assert DIALECT.read_request({"model": "m", "messages": [HI], "stream": False}).stream is False


def test_a_result_without_an_id_belongs_to_the_call_of_its_name() -> None:
    other = {"function": {"name": "g", "arguments": {}}}
    turns = [HI, {"role": "assistant", "content": "", "tool_calls": [CALL, other]}]
    results = [{"role": "tool", "content": "1", "tool_name": "g"}, {"role": "tool", "content": "2", "tool_name": "f"}]
    messages = DIALECT.read_request({"model": "m", "messages": [*turns, *results]}).messages
    first, second = (call.id for call in messages[1].tool_calls)
    assert [message.content[0].call_id for message in messages[2:]] == [second, first]


def test_a_result_that_names_no_call_was_nobodys() -> None:
    """LangChain's: OpenAI refused the conversation."""
    called = [{"id": "c1", **CALL}, {"id": "c2", **CALL}]
    results = [{"role": "tool", "content": "1"}, {"role": "tool", "content": "2"}]
    turns = [HI, {"role": "assistant", "content": "", "tool_calls": called}, *results]
    messages = DIALECT.read_request({"model": "m", "messages": turns}).messages
    assert [message.content[0].call_id for message in messages[2:]] == ["c1", "c2"]


def test_a_picture_says_what_it_is() -> None:
    [message] = DIALECT.read_request({"model": "m", "messages": [{"role": "user", "images": ["iVBORw0KGgoAAA", "AAAA"]}]}).messages
    assert [part.url[:24] for part in message.content if isinstance(part, Image)] == [
        "data:image/png;base64,iV",
        "data:application/octet-s",
    ]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ([], "the body"),
        ({"messages": [HI]}, "model"),
        ({"model": "m", "messages": "hi"}, "messages"),
        ({"model": "m", "messages": [{"role": "bot"}]}, r"messages\[0\]\.role"),
        ({"model": "m", "messages": [{"role": "user", "content": []}]}, r"messages\[0\]\.content"),
        ({"model": "m", "messages": [{"role": "user", "images": [1]}]}, r"messages\[0\]\.images\[0\]"),
        ({"model": "m", "messages": [HI], "options": {"seed": "x"}}, r"options\.seed"),
        ({"model": "m", "messages": [HI], "stream": "yes"}, "stream"),
        ({"model": "m", "messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}]}, r"tool_calls\[0\]\.function\.name"),
    ],
)
def test_a_bad_request_is_named(body: Any, field: str) -> None:
    with pytest.raises(BadRequestError, match=field):
        DIALECT.read_request(body)


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [("", {}), ('{"a":1}', {"a": 1}), ("{broken", {"arguments": "{broken"}), ("[1]", {"arguments": [1]})],
)
def test_arguments_are_an_object_whatever_a_model_wrote(arguments: str, sent: Any) -> None:
    turn = Message(role="assistant", content=(ToolCall(id="c1", name="f", arguments=arguments),))
    request = ChatRequest(model="m", messages=(Message(role="user", content=(Text(text="hi"),)), turn))
    assert body_of(request, FOREIGN)["messages"][1]["tool_calls"][0]["function"]["arguments"] == sent


ANSWERS: dict[str, dict[str, Any]] = {
    "text": {},
    "an empty text": {"message": {"role": "assistant", "content": ""}},
    "calls": {"message": {"role": "assistant", "content": "", "tool_calls": [CALL]}},
    "thinking": {"message": {"role": "assistant", "content": "x", "thinking": "Hm."}},
    "a full window": {"done_reason": "length"},
    "loaded": {"done_reason": "load"},
    "a word nobody knows": {"done_reason": "bored"},
    "no reason": {"done_reason": None},
    "no count of the prompt": {"prompt_eval_count": None},
    "a count of nothing": {"prompt_eval_count": 0},
    "probabilities": {"logprobs": [{"token": "hi", "logprob": -0.5, "bytes": [104, 105], "top_logprobs": []}]},
    "durations": {"total_duration": 1, "load_duration": 2, "prompt_eval_duration": 3, "eval_duration": 4},
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_written_again_as_it_was_read(name: str) -> None:
    head = {"model": "qwen3", "created_at": "2025-06-05T00:31:30.675583867Z", "message": {"role": "assistant", "content": "hello"}}
    body = {**head, "done": True, "done_reason": "stop", "prompt_eval_count": 3, "eval_count": 1, **ANSWERS[name]}
    body = {name: value for name, value in body.items() if value is not None}
    hub = DIALECT.read_response(reply(body), ASKED, OWN)
    written = json.loads(json.dumps(DIALECT.write_response(hub)))
    assert written == body
    assert DIALECT.read_response(reply(written), ASKED, OWN) == hub


@pytest.mark.parametrize("body", [[], "x", {"done": True}, {"message": []}, {"message": {"content": 1}}, {"message": {"tool_calls": [1]}}])
def test_an_answer_that_is_none_is_a_bad_response(body: Any) -> None:
    with pytest.raises(APIResponseValidationError, match="ollama: the response"):
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
    """Events that Ollama can say: one choice, thinking, one text, calls with whole arguments in any number of pieces."""
    pieces = st.lists(hubs.SOME_TEXT, max_size=3)
    events: list[StreamEvent] = [Started(model="m", created=draw(st.integers(0, 10**9)))]
    events += [ThinkingDelta(text=text, extra={"field": "reasoning_content"}) for text in draw(pieces)]
    events += [TextDelta(text=text) for text in draw(pieces)]
    calls = [ToolCallDelta(index=index, id=f"c{index}", name="f") for index in range(draw(st.integers(0, 2)))]
    more = [ToolCallDelta(index=call.index, arguments=piece) for call in calls for piece in ('{"a"', ":1}")]
    events += [*calls, *(more if draw(st.booleans()) else more[::2] + more[1::2])]
    events.append(Finished(finish="tool_calls" if calls else draw(st.sampled_from(["stop", "length"]))))
    counts = draw(st.integers(1, 10**9)), draw(st.integers(1, 10**9))
    usage = msgspec.structs.replace(draw(hubs.usages()), input=counts[0], output=counts[1], total=sum(counts))
    plain = msgspec.structs.replace(usage, cached=0, cache_write=0, reasoning=0, audio_input=0, audio_output=0, extra={})
    return [*events, UsageReported(usage=plain)]


@given(events=streams())
def test_a_stream_is_read_back_as_it_was_meant(events: list[StreamEvent]) -> None:
    whole, again = collect(events), collect(read(written(events)))
    assert again.choices == whole.choices
    assert (again.model, again.created, again.usage) == (whole.model, whole.created, whole.usage)
    answer = DIALECT.read_response(reply(DIALECT.write_response(whole)), ASKED, OWN)
    assert (answer.choices, answer.usage) == (whole.choices, whole.usage)


@pytest.mark.parametrize(
    "data", [b"[1]\n", b"{broken}\n", b'{"message": 1}\n', b'{"message": {"content": 1}}\n', b'{"message": {"tool_calls": 1}}\n']
)
def test_a_broken_line_is_a_bad_response(data: bytes) -> None:
    with pytest.raises(APIResponseValidationError, match="ollama"):
        read(data)


def test_what_is_written_ends_in_an_error_when_it_fails() -> None:
    writer = DIALECT.write_stream(ASKED)
    data = writer.feed(TextDelta(text="hel")) + writer.fail(Failure(Kind.SERVER, "it broke"))
    with pytest.raises(HeadraceError, match="it broke"):
        read(data)
