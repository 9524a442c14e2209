"""Writes streams of Anthropic's Messages: one block at a time, whatever order the deltas arrive in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from headrace.dialects.anthropic_messages.failures import write_error_body
from headrace.dialects.anthropic_messages.responses import call_id, ours, write_end, write_usage
from headrace.dialects.anthropic_messages.streams import BLOCKS, EVENTS
from headrace.dialects.base import only_calls, only_says, only_thinks
from headrace.errors import Failure
from headrace.types import (
    AudioDelta,
    ChatRequest,
    Extra,
    Finished,
    Json,
    Noted,
    RefusalDelta,
    Started,
    StreamEvent,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    Usage,
    UsageReported,
)

_Key = tuple[str, int]

_TOP: Final = frozenset({"context_management"})
"""Fields that go next to the delta of `message_delta`, not inside it."""


def frame(event: Mapping[str, Json]) -> bytes:
    """An event as a server-sent event."""
    return b"event: " + str(event.get("type", "message")).encode() + b"\ndata: " + msgspec.json.encode(event) + b"\n\n"


_PIECE: Final = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"text_delta","text":%b}}\n\n'


_THOUGHT: Final = _PIECE.replace(b"text", b"thinking")
_ARGUMENTS: Final = _PIECE.replace(b'"text_delta","text"', b'"input_json_delta","partial_json"')


class Writer:
    """Turns hub events into server-sent events, for the first choice only. `message_stop` is written only after a proper end."""

    def __init__(self, request: ChatRequest) -> None:
        self._model = request.model
        self._id = ""
        self._begun = False
        self._blocks = _Blocks()
        self._finished: Finished | None = None
        self._usage: Usage | None = None
        self._noted: dict[str, Json] = {}

    def feed(self, event: StreamEvent) -> bytes:
        if self._begun:
            if only_says(event):
                if event.choice == 0 and (index := self._blocks.telling("text", event.block)) is not None:
                    return _PIECE % (index, msgspec.json.encode(event.text))
            elif only_thinks(event):
                if event.choice == 0 and (index := self._blocks.telling("thinking", event.block)) is not None:
                    return _THOUGHT % (index, msgspec.json.encode(event.text))
            elif only_calls(event) and event.choice == 0 and (index := self._blocks.calling(event.index, event.arguments)) is not None:
                return _ARGUMENTS % (index, msgspec.json.encode(event.arguments))
        return b"".join([frame(made) for made in self._events(event)])

    def close(self) -> bytes:
        return b"".join([frame(made) for made in self._ending()])

    def fail(self, failure: Failure) -> bytes:
        return frame(write_error_body(failure))

    def _events(self, event: StreamEvent) -> Iterator[dict[str, Json]]:
        if isinstance(event, Started):
            if not self._begun:
                yield self._start(event)
            return
        if not self._begun:
            yield self._start(Started())
        match event:
            case UsageReported():
                self._usage = event.usage
            case Noted(level="response"):
                yield from self._note(event.extra)
            case Finished(choice=0):
                self._finished = event
            case Noted(level="message", choice=0):
                for block in _objects(event.extra.get(BLOCKS)):
                    yield from self._blocks.add(("whole", self._blocks.count()), block)
            case TextDelta(choice=0) | RefusalDelta(choice=0) | ThinkingDelta(choice=0) | ToolCallDelta(choice=0) | AudioDelta(choice=0):
                yield from self._blocks.add(_key(event), event)

    def _start(self, event: Started) -> dict[str, Json]:
        self._begun = True
        self._id = event.id
        self._blocks.response_id = event.id
        message = {
            "id": event.id,
            "type": "message",
            "role": "assistant",
            "model": event.model or self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
            **ours(event.extra),
        }
        return {"type": "message_start", "message": message}

    def _note(self, extra: Extra) -> Iterator[dict[str, Json]]:
        yield from _objects(extra.get(EVENTS))
        self._noted |= {name: value for name, value in ours(extra).items() if name != EVENTS}

    def _ending(self) -> Iterator[dict[str, Json]]:
        if not self._begun:
            yield self._start(Started())
        yield from self._blocks.end()
        finished = self._finished
        end = write_end(None, None, {}) if finished is None else write_end(finished.finish, finished.native_finish, finished.extra)
        beside = {name: value for name, value in self._noted.items() if name in _TOP}
        inside = {name: value for name, value in self._noted.items() if name not in _TOP}
        usage = {"output_tokens": 0} if self._usage is None else write_usage(self._usage)
        yield {"type": "message_delta", "delta": {**inside, **end}, "usage": usage, **beside}
        yield {"type": "message_stop"}


def _is_object(text: str) -> bool:
    """Whether the text is a complete JSON object, so that nothing can follow it."""
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return False


def _objects(value: Json) -> list[dict[str, Json]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _key(event: Any) -> _Key:
    """The block an event belongs to."""
    match event:
        case ToolCallDelta():
            return "call", event.index
        case ThinkingDelta():
            return "thinking", event.block
        case TextDelta():
            return "text", event.block
    return "text", -1  # refusals and audio transcripts are text here


class _Blocks:
    """Blocks in the order they began. A tool call stays open until its arguments are complete; later blocks wait meanwhile."""

    def __init__(self) -> None:
        self.response_id = ""
        self._index = -1
        self._open: _Key | None = None
        self._arguments = ""
        self._whole = False
        """Whether the open call's arguments were complete at the last check, which is not repeated for the same text."""
        self._checked = ""
        self._bare = False
        """Whether the open call's input is free-form text (OpenAI's custom tools), which is wrapped in an object here."""
        self._waiting: dict[_Key, list[Any]] = {}
        self._closed: set[_Key] = set()

    def telling(self, *key: Json) -> int | None:
        """The index of the block with that key, if it is open and no other block waits."""
        return self._index if key == self._open and not self._waiting else None

    def calling(self, call: int, arguments: str) -> int | None:
        """The index of an open call's block, with `arguments` appended to those received so far."""
        if self._open != ("call", call) or self._waiting or self._bare:
            return None
        self._arguments += arguments
        return self._index

    def count(self) -> int:
        """The number of blocks so far."""
        return self._index + 1 + len(self._waiting)

    def add(self, key: _Key, event: Any) -> Iterator[dict[str, Json]]:
        if key == self._open:
            yield from self._pieces(event)
        elif key not in self._closed or key[0] != "call":
            self._waiting.setdefault(key, []).append(event)
        if self._waiting and self._may_close():
            yield from self._advance()

    def end(self) -> Iterator[dict[str, Json]]:
        while self._waiting:
            yield from self._next()
        yield from self._close()

    def _advance(self) -> Iterator[dict[str, Json]]:
        while self._waiting and self._may_close():
            yield from self._next()

    def _may_close(self) -> bool:
        """Whether the open block may be closed.

        A call may not before its arguments are complete, since later deltas would have no place.
        """
        if self._open is None or self._open[0] != "call":
            return True
        if self._arguments != self._checked:
            self._checked = self._arguments
            self._whole = _is_object(self._arguments)
        return self._whole

    def _next(self) -> Iterator[dict[str, Json]]:
        yield from self._close()
        key = next(iter(self._waiting))
        events = self._waiting.pop(key)
        self._open = key
        self._index += 1
        self._arguments = self._checked = ""
        self._whole = False
        if key[0] == "whole":
            yield self._started(events[0])
            return
        yield self._started(self._head(key, events))
        self._bare = isinstance(events[0], ToolCallDelta) and events[0].kind == "custom"
        if self._bare:
            yield from self._delta("input_json_delta", "partial_json", '{"input":"')
        for event in events:
            yield from self._pieces(event)

    def _close(self) -> Iterator[dict[str, Json]]:
        if self._open is not None:
            if self._bare:
                yield from self._delta("input_json_delta", "partial_json", '"}')
            self._closed.add(self._open)
            self._open, self._bare = None, False
            yield {"type": "content_block_stop", "index": self._index}

    def _started(self, block: Json) -> dict[str, Json]:
        return {"type": "content_block_start", "index": self._index, "content_block": block}

    def _head(self, key: _Key, events: list[Any]) -> dict[str, Json]:
        first = events[0]
        extra = dict(ours(first.extra))
        match first:
            case ToolCallDelta():
                id_ = next((event.id for event in events if event.id), "") or call_id(self.response_id, self._index)
                name = next((event.name for event in events if event.name), "")
                return {"type": "tool_use", "id": id_, "name": name, "input": {}, **extra}
            case ThinkingDelta() if first.data is not None:
                return {"type": "redacted_thinking", "data": first.data, **extra}
            case ThinkingDelta():
                return {"type": "thinking", "thinking": "", "signature": "", **extra}
        if "citations" in extra:
            extra["citations"] = []
        return {"type": "text", "text": "", **extra}

    def _pieces(self, event: Any) -> Iterator[dict[str, Json]]:
        match event:
            case ToolCallDelta():
                piece = event.arguments
                if self._bare:
                    piece = msgspec.json.encode(piece)[1:-1].decode()
                self._arguments += piece
                yield from self._delta("input_json_delta", "partial_json", piece)
            case ThinkingDelta():
                yield from self._delta("thinking_delta", "thinking", event.text)
                yield from self._delta("signature_delta", "signature", event.signature)
            case AudioDelta():
                yield from self._delta("text_delta", "text", event.transcript)
            case _:
                yield from self._delta("text_delta", "text", event.text)
                for citation in _objects(event.extra.get("citations")):
                    yield from self._delta("citations_delta", "citation", citation)

    def _delta(self, kind: str, name: str, value: Json) -> Iterator[dict[str, Json]]:
        if value:
            yield {"type": "content_block_delta", "index": self._index, "delta": {"type": kind, name: value}}
