"""Streams between Bedrock's ConverseStream and the hub."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from headrace.dialects.base import Target
from headrace.dialects.bedrock_converse import errors
from headrace.dialects.bedrock_converse.blocks import CITED, unwrapped, wrap
from headrace.dialects.bedrock_converse.eventstream import event as written
from headrace.dialects.bedrock_converse.eventstream import exception
from headrace.dialects.bedrock_converse.responses import FINISHES, finish_of, finish_word, own_word, read_usage, write_usage
from headrace.dialects.bedrock_converse.structured import Answers
from headrace.dialects.decoding import decode
from headrace.dialects.fields import bad, obj
from headrace.errors import APIResponseValidationError, BadRequestError, Failure, Kind, TruncatedStream, error_of
from headrace.types import (
    AudioDelta,
    ChatRequest,
    Finished,
    Json,
    Noted,
    RefusalDelta,
    Started,
    StreamEvent,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    UsageReported,
)
from headrace.wire import Frame

BLOCKS: Final = "content_blocks"
"""The key in a message's `extra` for blocks unknown to the hub, as `collect` expects it."""

_PADDING: Final = "p"
"""Random padding against guessing a stream's content from packet sizes."""


class Reader:
    """Turns wire events into hub events. `messageStop` ends the stream; `metadata` with the usage follows it."""

    def __init__(self, target: Target, answers: Answers | None = None) -> None:
        self._target = target
        self._answers = answers
        self._started = False
        self._finished = False
        self._usage: Mapping[str, Json] | None = None
        self._told = False
        self._blocks: dict[Json, _Block] = {}
        self._calls = 0
        self._thoughts = 0
        self._texts = 0

    def feed(self, frame: Frame, *, last: bool = False) -> list[StreamEvent]:
        """Raises HeadraceError for an exception within the stream or an unreadable event."""
        read = self._events.get(frame.event or "")
        if read is None:
            return self._unknown(frame)
        try:
            payload = obj(decode(frame.data), frame.event or "")
            events = list(read(self, payload))
            return events if self._answers is None else self._answers.of(events)
        except (AttributeError, TypeError, ValueError, RecursionError, msgspec.DecodeError, BadRequestError):
            message = f"{self._target.provider}: a {frame.event} event of the stream is not valid in Converse's format"
            failure = Failure(Kind.BAD_RESPONSE, message, provider=self._target.provider, model=self._target.model)
            raise APIResponseValidationError.of(failure) from None

    def close(self) -> list[StreamEvent]:
        """Raises TruncatedStream unless `messageStop` was received."""
        if not self._finished:
            message = f"{self._target.provider}: the stream ended before messageStop"
            raise TruncatedStream.of(Failure(Kind.TRUNCATED, message, provider=self._target.provider, model=self._target.model))
        return list(self._report())

    def _unknown(self, frame: Frame) -> list[StreamEvent]:
        """Ignores unknown events. Raises HeadraceError for a frame that has no data or event type, or is named like an error."""
        name = frame.event or ""
        if name and frame.data and not name.lower().endswith(("exception", "error", "failure")):
            return []
        raise error_of(errors.read_inside(name, frame.data, self._target))

    def _message_start(self, payload: Mapping[str, Json]) -> Iterator[StreamEvent]:
        if not self._started:
            self._started = True
            yield Started(model=self._target.model)

    def _block_start(self, payload: Mapping[str, Json]) -> Iterator[StreamEvent]:
        yield from self._message_start({})
        start = obj(payload.get("start") or {}, "start")
        index = payload.get("contentBlockIndex")
        use = start.get("toolUse")
        if isinstance(use, Mapping) and use.get("type") != "server_tool_use":
            self._blocks[index] = block = _Block("call", self._calls)
            self._calls += 1
            extra = {name: value for name, value in use.items() if name not in ("toolUseId", "name")}
            yield ToolCallDelta(
                index=block.number,
                id=use.get("toolUseId") or "",
                name=use.get("name") or "",
                extra={"toolUse": extra} if extra else {},
            )
        elif start:
            self._blocks[index] = _Block("other", held=dict(start))

    def _block_delta(self, payload: Mapping[str, Json]) -> Iterator[StreamEvent]:
        yield from self._message_start({})
        delta = obj(payload.get("delta"), "delta")
        index = payload.get("contentBlockIndex")
        block = self._blocks.get(index)
        for name, value in delta.items():
            if block is not None and block.kind == "other":
                block.hold(name, value)
            elif name == "text":
                yield from self._text(index, value)
            elif name == "toolUse":
                yield self._arguments(index, obj(value, "delta.toolUse"))
            elif name == "reasoningContent":
                yield from self._thinking(index, obj(value, "delta.reasoningContent"))
            elif name == "citation":
                yield TextDelta(text="", block=self._numbered(index, "text").number, extra={CITED: [value]})
            else:
                block = self._blocks[index] = _Block("other")
                block.hold(name, value)

    def _numbered(self, index: Json, kind: str) -> _Block:
        """The block at `index`. Text and reasoning blocks begin with their first delta."""
        block = self._blocks.get(index)
        if block is None or block.kind != kind:
            number = self._texts if kind == "text" else self._thoughts
            block = self._blocks[index] = _Block(kind, number)
            if kind == "text":
                self._texts += 1
            else:
                self._thoughts += 1
        return block

    def _text(self, index: Json, text: Json) -> Iterator[StreamEvent]:
        if not isinstance(text, str):
            raise bad("delta.text", "a string", text)
        block = self._numbered(index, "text")
        if text:
            yield TextDelta(text=text, block=block.number)

    def _arguments(self, index: Json, use: Mapping[str, Json]) -> StreamEvent:
        block = self._blocks.get(index)
        if block is None or block.kind != "call":
            raise bad("contentBlockIndex", "that of a tool use that has begun", index)
        return ToolCallDelta(index=block.number, arguments=_joined("", use.get("input")))

    def _thinking(self, index: Json, content: Mapping[str, Json]) -> Iterator[StreamEvent]:
        block = self._numbered(index, "thinking")
        inner = content.get("reasoningText")
        said = inner if isinstance(inner, Mapping) else content
        text, signature, redacted = said.get("text"), said.get("signature"), content.get("redactedContent")
        block.redacted += redacted if isinstance(redacted, str) else ""
        for name, value in (("text", text), ("signature", signature)):
            if value is not None and not isinstance(value, str):
                raise bad(f"delta.reasoningContent.{name}", "a string", value)
        if text or signature:
            yield ThinkingDelta(text=text or "", signature=signature or None, block=block.number)

    def _block_stop(self, payload: Mapping[str, Json]) -> Iterator[StreamEvent]:
        block = self._blocks.pop(payload.get("contentBlockIndex"), None)
        if block is not None:
            yield from block.end()

    def _message_stop(self, payload: Mapping[str, Json]) -> Iterator[StreamEvent]:
        yield from self._message_start({})
        for block in self._blocks.values():
            yield from block.end()
        self._blocks.clear()
        extra = {name: value for name, value in payload.items() if name not in ("stopReason", _PADDING) and value is not None}
        if extra:
            yield Noted(extra=extra)
        word = payload.get("stopReason")
        finish = finish_of(word, called=self._calls > 0) or "stop"
        if not self._finished:
            self._finished = True
            kept = {} if word is None or (isinstance(word, str) and word in FINISHES) else {"stopReason": word}
            yield Finished(finish=finish, native_finish=own_word(word, finish), extra=kept)
        yield from self._report_if_known()

    def _metadata(self, payload: Mapping[str, Json]) -> Iterator[StreamEvent]:
        told = {name: value for name, value in payload.items() if name not in ("usage", _PADDING) and value is not None}
        extra = {name: value for name, value in told.items() if value != _METRICS.get(name)}
        if extra:
            yield Noted(extra=extra)
        usage = payload.get("usage")
        if isinstance(usage, Mapping) and usage:
            self._usage = usage
        yield from self._report_if_known()

    def _report_if_known(self) -> Iterator[StreamEvent]:
        if self._finished and self._usage is not None:
            yield from self._report()

    def _report(self) -> Iterator[StreamEvent]:
        if self._usage is not None and not self._told:
            self._told = True
            yield UsageReported(usage=read_usage(self._usage))

    _events: Final[Mapping[str, Callable[[Reader, Mapping[str, Json]], Iterator[StreamEvent]]]] = {
        "messageStart": _message_start,
        "contentBlockStart": _block_start,
        "contentBlockDelta": _block_delta,
        "contentBlockStop": _block_stop,
        "messageStop": _message_stop,
        "metadata": _metadata,
    }


class _Block:
    """An open block, and the data kept until it stops."""

    __slots__ = ("held", "kind", "number", "redacted")

    def __init__(self, kind: str, number: int = 0, held: dict[str, Json] | None = None) -> None:
        self.kind = kind
        self.number = number
        """Its position among the blocks of its kind."""
        self.held = held or {}
        self.redacted = ""

    def hold(self, name: str, value: Json) -> None:
        """Adds data to a block unknown to the hub: strings and lists are appended, an object's fields each by themselves."""
        self.held[name] = _joined(self.held.get(name), value)

    def end(self) -> Iterator[StreamEvent]:
        if self.kind == "other":
            yield Noted(level="message", extra={BLOCKS: [_settled(self.held)]})
        elif self.redacted:
            data = unwrapped(self.redacted)
            kept = {"redacted": "as it came"} if data is None else {}
            yield ThinkingDelta(data=self.redacted if data is None else data, block=self.number, extra=kept)


def _joined(known: Json, more: Json) -> Any:
    match known, more:
        case (Mapping(), Mapping()):
            return {**known, **{name: _joined(known.get(name), value) for name, value in more.items()}}
        case (Mapping(), list()):
            return {**known, "content": [*(known.get("content") or []), *more]}
        case (list(), list()):
            return [*known, *more]
        case (str(), str()):
            return known + more
        case ("", None):
            return ""
        case ("", _):
            return msgspec.json.encode(more).decode()
    return more


def _settled(block: dict[str, Json]) -> dict[str, Json]:
    """A built-in tool's call with its input decoded from the streamed JSON."""
    match block:
        case {"toolUse": {"input": str(text), **use}, **others}:
            try:
                return {"toolUse": {**use, "input": msgspec.json.decode(text) if text else {}}, **others}
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                return block
    return block


# ---- writing -----------------------------------------------------------------------------------------------------------------------


_METRICS: Final[Mapping[str, Json]] = {"metrics": {"latencyMs": 0}}
"""Metrics that clients require, for providers that report none."""


class Writer:
    """Turns events into AWS event stream messages, for the first choice only. The fields of `metadata` are held back until the end."""

    def __init__(self, request: ChatRequest) -> None:
        self._begun = False
        self._open: dict[tuple[str, int], int] = {}
        """Open blocks by kind and number. Only calls may be open at the same time."""
        self._next = 0
        self._metadata: dict[str, Json] = {}
        self._stop: dict[str, Json] = {}

    def feed(self, event: StreamEvent) -> bytes:
        if getattr(event, "choice", 0) != 0:
            return b""
        match event:
            case UsageReported():
                self._metadata["usage"] = write_usage(event.usage)
                return b""
            case Noted(level="response"):
                self._note(event.extra)
                return b""
            case Started():
                self._note(event.extra)
        return b"".join([*self._start(), *self._said(event)])

    def close(self) -> bytes:
        return written("metadata", {**_METRICS, **self._metadata}) if self._metadata else b""

    def fail(self, failure: Failure) -> bytes:
        name, body = errors.write_inside(failure)
        return exception(name, body)

    def _note(self, extra: Mapping[str, Json]) -> None:
        for name, value in extra.items():
            if value is not msgspec.UNSET:
                (self._stop if name == "additionalModelResponseFields" else self._metadata)[name] = value

    def _start(self) -> Iterator[bytes]:
        if not self._begun:
            self._begun = True
            yield written("messageStart", {"role": "assistant"})

    def _said(self, event: StreamEvent) -> Iterator[bytes]:
        match event:
            case TextDelta():
                yield from self._text(event)
            case RefusalDelta():
                yield from self._delta("text", 0, {"text": event.text})
            case AudioDelta() if event.transcript:
                yield from self._delta("text", 0, {"text": event.transcript})
            case ThinkingDelta():
                yield from self._thinking(event)
            case ToolCallDelta():
                yield from self._call(event)
            case Noted():
                yield from self._noted(event)
            case Finished():
                word = event.extra.get("stopReason") or finish_word(event.finish, event.native_finish)
                yield from self._stopped()
                yield written("messageStop", {"stopReason": word, **self._stop})

    def _delta(self, kind: str, number: int, delta: Json, start: Json = None) -> Iterator[bytes]:
        index = self._open.get((kind, number))
        if index is None:
            if kind != "call" or any(open_kind != "call" for open_kind, _ in self._open):
                yield from self._stopped()
            index = self._open[kind, number] = self._next
            self._next += 1
            if start is not None:
                yield written("contentBlockStart", {"contentBlockIndex": index, "start": start})
        if delta is not None:
            yield written("contentBlockDelta", {"contentBlockIndex": index, "delta": delta})

    def _text(self, event: TextDelta) -> Iterator[bytes]:
        cited = event.extra.get(CITED)
        for citation in cited if isinstance(cited, list) else ():
            if isinstance(citation, Mapping) and "type" not in citation:  # Anthropic's have one
                yield from self._delta("text", event.block, {"citation": citation})
        if event.text or not cited:
            yield from self._delta("text", event.block, {"text": event.text})

    def _thinking(self, event: ThinkingDelta) -> Iterator[bytes]:
        if event.data is not None:
            redacted = event.data if event.extra.get("redacted") else wrap(event.data)
            yield from self._delta("thinking", event.block, {"reasoningContent": {"redactedContent": redacted}})
        if event.text or (event.signature is None and event.data is None):
            yield from self._delta("thinking", event.block, {"reasoningContent": {"text": event.text}})
        if event.signature is not None:
            yield from self._delta("thinking", event.block, {"reasoningContent": {"signature": event.signature}})

    def _call(self, event: ToolCallDelta) -> Iterator[bytes]:
        inner = event.extra.get("toolUse")
        start = {"toolUse": {"toolUseId": event.id, "name": event.name, **(inner if isinstance(inner, Mapping) else {})}}
        delta = {"toolUse": {"input": event.arguments}} if event.arguments else None
        yield from self._delta("call", event.index, delta, start)

    def _noted(self, event: Noted) -> Iterator[bytes]:
        """Whole blocks of this dialect. Blocks of another dialect have a `type` and are dropped."""
        blocks = event.extra.get(BLOCKS)
        for block in blocks if isinstance(blocks, list) else ():
            if isinstance(block, Mapping) and "type" not in block:
                yield from self._stopped()
                index, self._next = self._next, self._next + 1
                yield written("contentBlockStart", {"contentBlockIndex": index, "start": block})
                yield written("contentBlockStop", {"contentBlockIndex": index})

    def _stopped(self) -> Iterator[bytes]:
        for index in self._open.values():
            yield written("contentBlockStop", {"contentBlockIndex": index})
        self._open.clear()
