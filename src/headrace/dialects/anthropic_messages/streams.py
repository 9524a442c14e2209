"""Reads streams of Anthropic's Messages: turns wire events into hub events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from headrace.dialects.anthropic_messages.responses import ENDING, read_end, read_usage, text
from headrace.dialects.anthropic_messages.watching import count
from headrace.dialects.base import Target
from headrace.dialects.decoding import decode
from headrace.dialects.failures import read_error_inside
from headrace.dialects.fields import rest
from headrace.errors import APIResponseValidationError, BadRequestError, Failure, Kind, TruncatedStream, error_of
from headrace.types import (
    Finished,
    Json,
    Noted,
    Started,
    StreamEvent,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    UsageReported,
)
from headrace.wire import Frame

BLOCKS: Final = "content_blocks"
"""The key in a message's `extra` that holds, unchanged, the blocks unknown to the hub."""

EVENTS: Final = "events"
"""The key in a response's `extra` that holds unknown events."""

_STARTED: Final = frozenset({"id", "model", "content", "usage"})
_STARTED_USUAL: Final[Mapping[str, Json]] = {"type": "message", "role": "assistant"}
_DELTA: Final = frozenset({"type", "delta", "usage"})
_STOP: Final = frozenset({"type"})

_HEADS: Final[Mapping[str, Mapping[str, Json]]] = {
    "text_delta": {"type": "text", "text": ""},
    "thinking_delta": {"type": "thinking", "thinking": ""},
}


class Reader:
    """Reads one message. The finish reason and usage are reported once the message is complete."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._blocks: dict[int, _Block] = {}
        """Open blocks by index."""
        self._texts = self._thoughts = self._calls = 0
        self._usage: dict[str, Json] = {}
        self._end: dict[str, Json] = {}
        self._done = False

    def feed(self, frame: Frame, *, last: bool = False) -> list[StreamEvent]:
        """Raises HeadraceError for an error within the stream or an invalid event."""
        if self._done or not frame.data.strip():
            return []
        event = self._decoded(frame, last=last)
        if event is None:
            return []
        kind = event.get("type", "error" if "error" in event else frame.event)
        if kind == "error":
            raise error_of(read_error_inside(event, provider=self._target.provider, model=self._target.model))
        try:
            if kind == "content_block_delta" and isinstance(block := self._blocks.get(event.get("index", 0)), _SAYING):
                return list(block.delta(event["delta"]))  # nearly every event
            return list(self._events(kind, event))
        except (AttributeError, LookupError, TypeError, ValueError, BadRequestError):
            raise self._bad("a stream event is not valid in Anthropic's format") from None

    def close(self) -> list[StreamEvent]:
        """Raises TruncatedStream unless the message was complete."""
        if self._done:
            return []
        message = f"{self._target.provider}: the stream ended before the message was complete"
        raise TruncatedStream.of(Failure(Kind.TRUNCATED, message, provider=self._target.provider, model=self._target.model))

    def _decoded(self, frame: Frame, *, last: bool) -> Mapping[str, Json] | None:
        """The event; None for `[DONE]` or data cut off by the end of the connection, which `close` reports."""
        if frame.data.strip() == b"[DONE]":
            return None  # some gateways append OpenAI's end marker
        try:
            event = decode(frame.data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            if last:
                return None
            raise self._bad("a stream event is not JSON") from None
        if not isinstance(event, dict):
            raise self._bad("a stream event is not a JSON object")
        return event

    def _bad(self, what: str) -> APIResponseValidationError:
        failure = Failure(Kind.BAD_RESPONSE, f"{self._target.provider}: {what}", provider=self._target.provider, model=self._target.model)
        return APIResponseValidationError.of(failure)

    def _events(self, kind: Json, event: Mapping[str, Json]) -> Iterator[StreamEvent]:
        match kind:
            case "message_start":
                yield self._started(event["message"])
            case "content_block_start":
                yield from self._opened(event.get("index", 0), event["content_block"])
            case "content_block_delta":
                yield from self._more(event.get("index", 0), event["delta"])
            case "content_block_stop":
                yield from self._stopped(event.get("index", 0))
            case "message_delta":
                yield from self._ending(event)
            case "message_stop":
                for index in tuple(self._blocks):
                    yield from self._stopped(index)
                yield from self._noted(rest(event, _STOP))
                yield from self._complete()
            case "ping":
                pass
            case _:
                yield Noted(extra={EVENTS: [event]})

    def _started(self, message: Mapping[str, Json]) -> Started:
        self._usage = count(self._usage, message.get("usage"))
        self._end = {name: message[name] for name in ENDING if message.get(name) is not None}
        extra = {
            name: value
            for name, value in message.items()
            if name not in _STARTED and name not in ENDING and value is not None and _STARTED_USUAL.get(name) != value
        }
        return Started(id=text(message.get("id")), model=text(message.get("model")), extra=extra)

    def _opened(self, index: int, source: Mapping[str, Json]) -> Iterator[StreamEvent]:
        yield from self._stopped(index)
        kind = source["type"]
        block: _Block
        if kind == "text" and isinstance(source.get("text") or "", str):
            block, self._texts = _TextBlock(self._texts), self._texts + 1
        elif kind in ("thinking", "redacted_thinking"):
            block, self._thoughts = _ThinkingBlock(self._thoughts), self._thoughts + 1
        elif kind == "tool_use" and isinstance(source.get("name"), str):
            block, self._calls = _CallBlock(self._calls), self._calls + 1
        elif isinstance(kind, str):
            block = _OtherBlock()
        else:
            raise TypeError("a block's type is not a string")
        self._blocks[index] = block
        yield from block.start(source)

    def _more(self, index: int, delta: Mapping[str, Json]) -> Iterator[StreamEvent]:
        """A delta of a block. If the block was never opened, its type is inferred from the delta where possible."""
        if index not in self._blocks:
            head = _HEADS.get(delta["type"])
            if head is None:
                yield _unknown(delta)
                return
            yield from self._opened(index, head)
        yield from self._blocks[index].delta(delta)

    def _stopped(self, index: int) -> Iterator[StreamEvent]:
        block = self._blocks.pop(index, None)
        if block is not None:
            yield from block.stop()

    def _ending(self, event: Mapping[str, Json]) -> Iterator[StreamEvent]:
        delta = event.get("delta") or {}
        self._end |= {name: value for name, value in delta.items() if name in ENDING and (value is not None or name not in self._end)}
        self._usage = count(self._usage, event.get("usage"))
        yield from self._noted({name: value for name, value in delta.items() if name not in ENDING and name != "type"})
        yield from self._noted(rest(event, _DELTA))

    def _noted(self, extra: Mapping[str, Json]) -> Iterator[StreamEvent]:
        said = {name: value for name, value in extra.items() if value is not None}
        if said:
            yield Noted(extra=said)

    def _complete(self) -> Iterator[StreamEvent]:
        self._done = True
        finish, native, extra = read_end({"stop_sequence": None, **self._end}, called=self._calls > 0)
        if finish is not None:
            yield Finished(finish=finish, native_finish=native, extra={name: value for name, value in extra.items() if value is not None})
        if self._usage:
            yield UsageReported(usage=read_usage(self._usage))


# ---- blocks ------------------------------------------------------------------------------------------------------------------------


class _Block:
    """One block between its start and stop events. Unknown deltas of a known block are kept in the message's `extra`."""

    def start(self, source: Mapping[str, Json]) -> Iterator[StreamEvent]:
        yield from ()

    def delta(self, delta: Mapping[str, Json]) -> Iterator[StreamEvent]:
        yield from ()

    def stop(self) -> Iterator[StreamEvent]:
        yield from ()


def _unknown(delta: Mapping[str, Json]) -> Noted:
    return Noted(level="message", extra={"content_deltas": [dict(delta)]})


class _TextBlock(_Block):
    def __init__(self, number: int) -> None:
        self._number = number
        self._said = False

    def start(self, source: Mapping[str, Json]) -> Iterator[StreamEvent]:
        extra = {name: value for name, value in source.items() if name not in ("type", "text") and value is not None}
        said = source.get("text") or ""  # some providers send null until there is text
        if said or extra:
            yield self._event(said, extra)

    def delta(self, delta: Mapping[str, Json]) -> Iterator[StreamEvent]:
        match delta:
            case {"type": "text_delta", "text": str(said)}:
                if said:
                    yield self._event(said, {})
            case {"type": "citations_delta", "citation": citation}:
                yield self._event("", {"citations": [citation]})
            case _:
                yield _unknown(delta)

    def stop(self) -> Iterator[StreamEvent]:
        if not self._said:
            yield self._event("", {})  # an empty block is still a block

    def _event(self, said: str, extra: Mapping[str, Json]) -> TextDelta:
        self._said = True
        return TextDelta(text=said, block=self._number, extra=extra)


class _ThinkingBlock(_Block):
    def __init__(self, number: int) -> None:
        self._number = number
        self._said = False

    def start(self, source: Mapping[str, Json]) -> Iterator[StreamEvent]:
        thought, signature, data = (text(source.get(name)) for name in ("thinking", "signature", "data"))
        extra = {
            name: value
            for name, value in source.items()
            if name not in ("type", "thinking", "signature", "data") and value is not None
        }  # fmt: skip
        if thought or signature or extra or source["type"] == "redacted_thinking":
            self._said = True
            hidden = data if source["type"] == "redacted_thinking" else None
            yield ThinkingDelta(text=thought, signature=signature or None, data=hidden, block=self._number, extra=extra)

    def delta(self, delta: Mapping[str, Json]) -> Iterator[StreamEvent]:
        match delta:
            case {"type": "thinking_delta", "thinking": str(thought)}:
                if thought:
                    self._said = True
                    yield ThinkingDelta(text=thought, block=self._number)
            case {"type": "signature_delta", "signature": str(signature)}:
                self._said = True
                yield ThinkingDelta(signature=signature, block=self._number)
            case _:
                yield _unknown(delta)

    def stop(self) -> Iterator[StreamEvent]:
        if not self._said:
            yield ThinkingDelta(block=self._number)


class _CallBlock(_Block):
    def __init__(self, number: int) -> None:
        self._number = number
        self._said = False
        self._whole = "{}"
        """The arguments, used if no deltas arrive."""

    def start(self, source: Mapping[str, Json]) -> Iterator[StreamEvent]:
        extra = {
            name: value for name, value in source.items() if name not in ("type", "id", "name", "input") and value is not None
        }  # fmt: skip
        if source.get("input"):
            self._whole = msgspec.json.encode(source["input"]).decode()
        yield ToolCallDelta(index=self._number, id=text(source.get("id")), name=source["name"], extra=extra)

    def delta(self, delta: Mapping[str, Json]) -> Iterator[StreamEvent]:
        match delta:
            case {"type": "input_json_delta", "partial_json": str(piece)}:
                if piece:
                    self._said = True
                    yield ToolCallDelta(index=self._number, arguments=piece)
            case _:
                yield _unknown(delta)

    def stop(self) -> Iterator[StreamEvent]:
        if not self._said:
            yield ToolCallDelta(index=self._number, arguments=self._whole)


_SAYING: Final = (_TextBlock, _ThinkingBlock, _CallBlock)


class _OtherBlock(_Block):
    """Assembles a block unknown to the hub and emits it whole."""

    def __init__(self) -> None:
        self._block: dict[str, Json] = {}
        self._input: list[str] = []

    def start(self, source: Mapping[str, Json]) -> Iterator[StreamEvent]:
        self._block = dict(source)
        yield from ()

    def delta(self, delta: Mapping[str, Json]) -> Iterator[StreamEvent]:
        for name, value in delta.items():
            if name == "partial_json" and isinstance(value, str):
                self._input.append(value)
            elif name == "citation":
                self._block["citations"] = [*(self._block.get("citations") or []), value]
            elif name != "type":
                known = self._block.get(name)
                self._block[name] = known + value if isinstance(known, str) and isinstance(value, str) else value
        yield from ()

    def stop(self) -> Iterator[StreamEvent]:
        given = "".join(self._input)
        if given:
            try:
                self._block["input"] = decode(given)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                self._block["input"] = given
        yield Noted(level="message", extra={BLOCKS: [self._block]})
