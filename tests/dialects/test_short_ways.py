"""What nearly every event is has a short way through writers and translators: it says what the long one says."""

from __future__ import annotations

import importlib
import json
from collections import deque
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given

from dialects import hubs
from headrace.dialects import load
from headrace.dialects.answers import InCommon
from headrace.dialects.base import Target
from headrace.dialects.openai_stream import Said
from headrace.dialects.serve import Rewritten
from headrace.dialects.translate import TranslatedChunks
from headrace.framing import SseReader
from headrace.passing import Written
from headrace.types import ChatRequest, Finished, StreamEvent, TextDelta, ThinkingDelta, ToolCallDelta

ASKED = ChatRequest(model="m", messages=(), stream=True, include_usage=True)
WRITERS = {
    "openai_chat": "openai_chat.streams",
    "openai_responses": "openai_responses.stream_writing",
    "anthropic_messages": "anthropic_messages.writing",
    "gemini": "gemini.writing",
}
CALLERS = pytest.mark.parametrize("caller", WRITERS)


def written(caller: str, events: Iterable[StreamEvent]) -> list[Any]:
    writer = load(caller).write_stream(ASKED)
    data = b"".join([writer.feed(event) for event in events]) + writer.close()
    return [(frame.event, frame.data if frame.data[:1] == b"[" else json.loads(frame.data)) for frame in SseReader().feed(data)]


@CALLERS
@given(events=hubs.streams())
def test_a_short_way_writes_what_the_long_one_does(caller: str, events: list[StreamEvent]) -> None:
    short = written(caller, events)
    module = importlib.import_module(f"headrace.dialects.{WRITERS[caller]}")
    with ExitStack() as patches:
        for short_way in ("only_says", "only_thinks", "only_calls"):
            if hasattr(module, short_way):
                patches.enter_context(patch.object(module, short_way, return_value=False))
        assert written(caller, events) == short


@CALLERS
def test_pieces_of_a_text_take_the_short_way(caller: str) -> None:
    writer = load(caller).write_stream(ASKED)
    writer.feed(TextDelta(text="hello"))
    with patch("msgspec.json.encode", side_effect=lambda value: repr(value).encode()) as encode:
        assert b"'world'" in writer.feed(TextDelta(text="world"))
    assert encode.call_args.args == ("world",)  # the words, and no object around them


@CALLERS
def test_pieces_of_a_thought_take_a_short_way_too(caller: str) -> None:
    writer = load(caller).write_stream(ASKED)
    long_way = {"openai_chat": "chunks", "openai_responses": "_written", "anthropic_messages": "_events", "gemini": "_said"}[caller]
    for event in (TextDelta(text="so"), ThinkingDelta(text="hello")):
        writer.feed(event)
    with patch.object(writer, long_way, wraps=getattr(writer, long_way)) as asked:
        assert b"world" in writer.feed(ThinkingDelta(text="world"))
    assert asked.mock_calls == [] if caller != "openai_chat" else not asked.feed.called


@pytest.mark.parametrize("caller", ["openai_chat", "openai_responses", "anthropic_messages"])
def test_arguments_in_pieces_take_a_short_way_too(caller: str) -> None:
    writer = load(caller).write_stream(ASKED)
    long_way = {"openai_chat": "chunks", "openai_responses": "_written", "anthropic_messages": "_events"}[caller]
    begun = ToolCallDelta(index=0, id="call_1", name="weather")
    for event in (TextDelta(text="so"), begun, ToolCallDelta(index=0, arguments="{")):
        writer.feed(event)
    with patch.object(writer, long_way, wraps=getattr(writer, long_way)) as asked:
        assert b"city" in writer.feed(ToolCallDelta(index=0, arguments='"city"'))
    assert asked.mock_calls == [] if caller != "openai_chat" else not asked.feed.called


@pytest.mark.parametrize("caller", ["openai_chat", "openai_responses", "anthropic_messages", "gemini"])
@given(events=hubs.streams())
def test_thoughts_and_calls_are_told_in_common_as_on_the_long_way(caller: str, events: list[StreamEvent]) -> None:
    def told() -> list[StreamEvent]:
        common = InCommon(caller)
        return [one for event in events for one in common.feed(event)]

    short = told()
    with (
        patch("headrace.dialects.answers.only_thinks", return_value=False),
        patch("headrace.dialects.answers.only_calls", return_value=False),
    ):
        assert told() == short


@CALLERS
def test_a_translated_stream_is_the_same_in_bytes_and_in_chunks(caller: str) -> None:
    source = "anthropic_messages" if caller == "openai_chat" else "openai_chat"
    events = [*[TextDelta(text=word) for word in ("one ", "two ", "three")], Finished(finish="stop")]
    teller = load(source).write_stream(ASKED)
    data = b"".join([teller.feed(event) for event in events]) + teller.close()

    def told(*, in_pieces: bool) -> list[Any]:
        reader = load(source).read_stream(ASKED, Target("p", "m"))
        made: Any = (
            TranslatedChunks(reader, ASKED, "chat")
            if caller == "openai_chat"
            else Rewritten(reader, load(caller).write_stream(ASKED), caller)
        )
        pieces, ready = Written(load(source).framing(), made, caller, lambda event: event), deque[bytes]()
        if not in_pieces:
            pieces._pieces = made.chunks
        pieces.feed(data, ready)
        pieces.close(ready)
        frames = SseReader().feed(b"".join(ready))
        return [(frame.event, frame.data if frame.data[:1] == b"[" else json.loads(frame.data)) for frame in frames]

    assert told(in_pieces=True) == told(in_pieces=False)


def test_what_a_translated_chat_said_is_noted_on_either_way() -> None:
    """Another deployment goes on from it when the stream breaks off."""
    teller = load("anthropic_messages").write_stream(ASKED)
    data = b"".join([teller.feed(TextDelta(text=word)) for word in ("one ", "two ", "three")])
    noted = []
    for way in ("pieces", "chunks"):
        chunks = TranslatedChunks(load("anthropic_messages").read_stream(ASKED, Target("p", "m")), ASKED, "chat")
        chunks.said = Said()
        for frame in SseReader().feed(data):
            list(getattr(chunks, way)(frame))
        noted.append((chunks.said.texts, chunks.said.plain, chunks.said.first))
    assert noted[0] == noted[1]
    assert "".join(noted[0][0]) == "one two three"
