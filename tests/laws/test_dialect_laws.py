"""The laws of `headrace.dialects.base`, for every dialect."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from dialects import hubs
from headrace.dialects import SERVED, load
from headrace.dialects.base import Dialect, Target
from headrace.dialects.collect import collect
from headrace.errors import POLICY, ConfigurationError, Failure, HeadraceError, Kind, TruncatedStream
from headrace.types import ChatRequest, ChatResponse, Finished, Message, StreamEvent, Text
from headrace.wire import Headers, HttpResponse

TARGET = Target("provider", "theirs", "https://api.example.com/v1", (("authorization", "Bearer secret"),))
ASKED = ChatRequest(model="m", messages=(Message(role="user", content=(Text(text="hi"),)),), stream=True, include_usage=True)
DIALECTS = {name: load(name) for name in SERVED}
EVERY = pytest.mark.parametrize("dialect", [pytest.param(dialect, id=name) for name, dialect in DIALECTS.items()])
EXACT = pytest.mark.parametrize("dialect", [pytest.param(load("openai_chat"), id="openai_chat")])
"""The dialect that can say every value of `hubs`, so nothing may change. What the others change is in their own tests."""


def each() -> Iterator[Dialect]:
    """Every dialect, for the same random value: generating one takes longer than reading it with all dialects."""
    for name, dialect in DIALECTS.items():
        note(name)
        yield dialect


def reply(body: Any) -> HttpResponse:
    return HttpResponse(200, Headers.of({"content-type": "application/json"}), msgspec.json.encode(body))


def written(dialect: Dialect, events: Iterable[StreamEvent]) -> bytes:
    writer = dialect.write_stream(ASKED)
    return b"".join([writer.feed(event) for event in events]) + writer.close()


def read(dialect: Dialect, pieces: Iterable[bytes]) -> list[StreamEvent]:
    events: list[StreamEvent] = []
    read_into(events, dialect, pieces)
    return events


def read_into(events: list[StreamEvent], dialect: Dialect, pieces: Iterable[bytes]) -> None:
    """Collects events, so that those before an error can be inspected."""
    frames, reader = dialect.framing(), dialect.read_stream(ASKED, TARGET)
    for piece in pieces:
        for frame in frames.feed(piece):
            events += reader.feed(frame)
    for frame in frames.close():
        events += reader.feed(frame, last=True)
    events += reader.close()


@EXACT
@given(request=hubs.REQUESTS)
def test_a_written_request_reads_back_unchanged(dialect: Dialect, request: ChatRequest) -> None:
    sent = dialect.write_request(request, TARGET)
    assert dialect.read_request(msgspec.json.decode(sent.body)) == msgspec.structs.replace(request, model="theirs")


@EXACT
@given(response=hubs.answers())
def test_a_written_response_reads_back_unchanged(dialect: Dialect, response: ChatResponse) -> None:
    assert dialect.read_response(reply(dialect.write_response(response)), ASKED, TARGET) == response


@EXACT
@given(events=hubs.streams())
def test_a_stream_adds_up_to_the_complete_response(dialect: Dialect, events: list[StreamEvent]) -> None:
    whole = collect(events)
    assert collect(read(dialect, [written(dialect, events)])) == whole
    assert dialect.read_response(reply(dialect.write_response(whole)), ASKED, TARGET) == whole


@given(events=hubs.streams(), place=st.integers(0, 100_000))
def test_a_stream_cut_at_any_byte_fails_without_an_invented_finish_reason(events: list[StreamEvent], place: int) -> None:
    for dialect in each():
        data = written(dialect, events)
        whole = read(dialect, [data])
        got: list[StreamEvent] = []
        failed = False
        try:
            read_into(got, dialect, [data[: place % len(data)]])
        except TruncatedStream:
            failed = True
        if not failed:
            begun = {event.choice for event in got if hasattr(event, "choice")}
            assert begun == {event.choice for event in got if isinstance(event, Finished)}, "not failed although a choice is unfinished"
        finished = [event for event in got if isinstance(event, Finished)]
        assert finished == [event for event in whole if isinstance(event, Finished)][: len(finished)]


@given(events=hubs.streams(), places=st.lists(st.integers(0, 100_000), max_size=8))
def test_how_bytes_are_split_makes_no_difference(events: list[StreamEvent], places: list[int]) -> None:
    for dialect in each():
        data = written(dialect, events)
        marks = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
        assert read(dialect, [data[start:end] for start, end in pairwise(marks)]) == read(dialect, [data])


BODIES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "x", "text", "assistant", "function", "stop", "error"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([
                "choices", "message", "delta",
                "content", "role", "tool_calls", "function", "arguments", "name", "id", "index", "type", "text",
                "usage", "finish_reason", "messages", "model", "error", "reasoning_details", "image_url", "audio", "input", "tools", "stop",
                "stream_options", "tool_choice", "response_format", "logprobs", "completion_tokens_details", "data", "object", "created",
            ]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)  # fmt: skip


@given(body=BODIES)
def test_any_input_raises_only_headraces_errors(body: Any) -> None:
    """Garbage from a provider is a bad response, and garbage from a caller a bad request, never a TypeError."""
    for dialect in each():
        attempts: list[Callable[[], Any]] = [
            partial(dialect.read_response, reply(body), ASKED, TARGET),
            partial(dialect.read_request, body),
            partial(dialect.read_error, HttpResponse(429, Headers(), msgspec.json.encode(body)), TARGET),
            partial(read, dialect, [b"data: " + msgspec.json.encode(body) + b"\n\ndata: [DONE]\n\n"]),
        ]
        for attempt in attempts:
            with suppress(HeadraceError):
                attempt()


@EVERY
def test_requests_carry_the_targets_model_address_and_headers(dialect: Dialect) -> None:
    sent = dialect.write_request(ASKED, TARGET)
    assert sent.url.startswith("https://api.example.com/v1/")
    assert ("authorization", "Bearer secret") in sent.headers
    assert b'"theirs"' in sent.body or "theirs" in sent.url  # some have it in the path
    assert "secret" not in repr(sent)
    assert "secret" not in repr(TARGET)


@EVERY
@pytest.mark.parametrize("kind", list(Kind))
def test_every_failure_can_be_written_and_keeps_whose_fault_it_was(dialect: Dialect, kind: Kind) -> None:
    told = dialect.write_error(Failure(kind, "what happened", retry_after=2.5))
    assert told.status == POLICY[kind].status
    again = dialect.read_error(told, TARGET)
    assert "what happened" in again.message
    assert again.retry_after in (None, 2.5)


def test_an_unknown_dialect_is_named() -> None:
    with pytest.raises(ConfigurationError, match="'klingon'"):
        load("klingon")
