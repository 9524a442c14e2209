"""Streams between Cohere's v2 Chat and the hub."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

from headrace.dialects import failures
from headrace.dialects.base import Target
from headrace.dialects.cohere.messages import PLAN
from headrace.dialects.cohere.responses import (
    FAILED,
    annotated,
    finish_of,
    finish_word,
    own_word,
    read_logprob,
    read_usage,
    write_logprobs,
    write_usage,
)
from headrace.dialects.decoding import decode
from headrace.dialects.fields import obj
from headrace.errors import APIResponseValidationError, BadRequestError, Failure, HeadraceError, Kind, TruncatedStream, error_of
from headrace.types import (
    ChatRequest,
    Finished,
    Json,
    Logprobs,
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
EVENTS: Final = "events"
"""The key in a response's `extra` that holds unknown events."""


class Reader:
    """Turns wire events into hub events. A stream is complete after `message-end`."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._ended = False
        self._calls: dict[Json, int] = {}
        self._empty: set[Json] = set()
        """Calls whose arguments have not begun."""
        self._blocks: dict[Json, int] = {}
        """Numbers of the thinking blocks by order of appearance; the tool plan counts as one."""
        self._strange: dict[Json, dict[str, Json]] = {}
        """Blocks of an unknown type, as received so far."""

    def feed(self, frame: Frame, *, last: bool = False) -> list[StreamEvent]:
        """Raises HeadraceError for an error within the stream or an invalid event."""
        if not frame.data or frame.data.isspace() or frame.data[:6] == b"[DONE]":
            return []
        try:
            event = decode(frame.data)
            return list(self._events(obj(event, "the event")))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            if last:
                return []
            raise self._broken() from None
        except (AttributeError, TypeError, ValueError, BadRequestError):
            raise self._broken() from None

    def close(self) -> list[StreamEvent]:
        """Raises TruncatedStream unless the message had ended."""
        if not self._ended:
            message = f"{self._target.provider}: the stream ended early"
            raise TruncatedStream.of(Failure(Kind.TRUNCATED, message, provider=self._target.provider, model=self._target.model))
        return []

    def _events(self, event: Mapping[str, Json]) -> Iterator[StreamEvent]:
        kind = event.get("type")
        if kind is None and (event.get("message") or event.get("error")):
            raise self._failed(event)
        if not isinstance(kind, str):
            raise BadRequestError("type must be a string")
        read = self._readers.get(kind)
        if read is None:  # an unknown event
            yield Noted(extra={EVENTS: [dict(event)]})
            return
        delta = event.get("delta")
        yield from read(self, event, delta if isinstance(delta, Mapping) else {})

    def _message(self, delta: Mapping[str, Json]) -> Mapping[str, Json]:
        message = delta.get("message")
        return message if isinstance(message, Mapping) else {}

    def _begun(self, event: Mapping[str, Json], delta: Mapping[str, Json]) -> Iterator[StreamEvent]:
        id_ = event.get("id")
        yield Started(id=id_ if isinstance(id_, str) else "")

    def _content(self, event: Mapping[str, Json], delta: Mapping[str, Json]) -> Iterator[StreamEvent]:
        content = self._message(delta).get("content")
        content = content if isinstance(content, Mapping) else {}
        key = event.get("index")
        if key in self._strange or content.get("type", "text") not in ("text", "thinking"):
            _join(self._strange.setdefault(key, {}), content)
            return
        if text := content.get("text"):
            yield TextDelta(text=_string(text))
        if thought := content.get("thinking"):
            yield ThinkingDelta(text=_string(thought), block=self._block(event.get("index")))
        logprobs = event.get("logprobs")
        if isinstance(logprobs, Mapping):
            yield Logprobs(logprobs={"content": [read_logprob(logprobs)]})

    def _content_over(self, event: Mapping[str, Json], delta: Mapping[str, Json]) -> Iterator[StreamEvent]:
        block = self._strange.pop(event.get("index"), None)
        if block is not None:
            yield Noted(level="message", extra={BLOCKS: [block]})

    def _plan(self, event: Mapping[str, Json], delta: Mapping[str, Json]) -> Iterator[StreamEvent]:
        if plan := self._message(delta).get(PLAN):
            yield ThinkingDelta(text=_string(plan), block=self._block(PLAN), extra={"type": PLAN})

    def _block(self, key: Json) -> int:
        return self._blocks.setdefault(key, len(self._blocks))

    def _call(self, event: Mapping[str, Json], delta: Mapping[str, Json]) -> Iterator[StreamEvent]:
        """Begins or continues a call. Cohere has an object where OpenAI has a list."""
        key, call = event.get("index"), self._message(delta).get("tool_calls")
        call = obj(call, "delta.message.tool_calls")
        function = obj(call.get("function"), "delta.message.tool_calls.function")
        new = key not in self._calls
        index = self._calls.setdefault(key, len(self._calls))
        if new:
            self._empty.add(key)
        arguments = function.get("arguments") or ""
        if arguments:
            self._empty.discard(key)
        if not new and not arguments:
            return
        id_, name = (call.get("id"), function.get("name")) if new else ("", "")
        yield ToolCallDelta(index=index, id=_string(id_ or ""), name=_string(name or ""), arguments=_string(arguments))

    def _called(self, event: Mapping[str, Json], delta: Mapping[str, Json]) -> Iterator[StreamEvent]:
        """Ends a call. One without arguments sends no text, so its empty object is added."""
        key = event.get("index")
        if key in self._empty:
            self._empty.discard(key)
            yield ToolCallDelta(index=self._calls[key], arguments="{}")

    def _cited(self, event: Mapping[str, Json], delta: Mapping[str, Json]) -> Iterator[StreamEvent]:
        cited = self._message(delta).get("citations")
        if cited is not None:
            citations = cited if isinstance(cited, list) else [cited]
            yield Noted(level="message", extra={"citations": citations, **annotated(citations)})

    def _over(self, event: Mapping[str, Json], delta: Mapping[str, Json]) -> Iterator[StreamEvent]:
        word = delta.get("finish_reason")
        if delta.get("error") or word in FAILED:
            raise self._failed({"message": delta.get("error") or f"the response ended with {word}"})
        if self._ended:
            return
        self._ended = True
        for key in tuple(self._strange):
            yield from self._content_over({"index": key}, {})
        for key in sorted(self._empty, key=self._calls.__getitem__):
            yield ToolCallDelta(index=self._calls[key], arguments="{}")
        finish = finish_of(word, called=bool(self._calls)) or "stop"
        yield Finished(
            finish=finish, native_finish=own_word(word, finish), extra={"finish_reason": word} if finish == "other" else {}
        )  # fmt: skip
        usage = delta.get("usage")
        if isinstance(usage, Mapping) and usage:
            yield UsageReported(usage=read_usage(usage))

    def _nothing(self, event: Mapping[str, Json], delta: Mapping[str, Json]) -> Iterator[StreamEvent]:
        return iter(())

    _readers: Final[Mapping[str, Callable[[Reader, Mapping[str, Json], Mapping[str, Json]], Iterator[StreamEvent]]]] = {
        "message-start": _begun,
        "content-start": _content,
        "content-delta": _content,
        "content-end": _content_over,
        "tool-plan-delta": _plan,
        "tool-call-start": _call,
        "tool-call-delta": _call,
        "tool-call-end": _called,
        "citation-start": _cited,
        "citation-end": _nothing,
        "message-end": _over,
        "debug": _nothing,
    }

    def _failed(self, body: Mapping[str, Any]) -> HeadraceError:
        return error_of(failures.read_error_inside(body, provider=self._target.provider, model=self._target.model))

    def _broken(self) -> APIResponseValidationError:
        message = f"{self._target.provider}: a stream event is not valid in Cohere's format"
        failure = Failure(Kind.BAD_RESPONSE, message, provider=self._target.provider, model=self._target.model)
        return APIResponseValidationError.of(failure)


def _join(into: dict[str, Json], more: Mapping[str, Json]) -> None:
    """Merges `more` into `into`: strings are appended, anything else is replaced."""
    for name, value in more.items():
        known = into.get(name)
        into[name] = known + value if isinstance(known, str) and isinstance(value, str) else value


def _string(value: Json) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


# ---- writing -----------------------------------------------------------------------------------------------------------------------


class Writer:
    """Turns events into Cohere's, for the first choice only. The last event is held back until the usage is known."""

    def __init__(self, request: ChatRequest) -> None:
        self._begun = False
        self._open: tuple[str, int] | None = None
        self._next = 0
        self._calls: list[int] = []
        self._cited = 0
        self._end: dict[str, Json] | None = None
        self._usage: dict[str, Json] = {}

    def feed(self, event: StreamEvent) -> bytes:
        if getattr(event, "choice", 0) != 0:
            return b""
        match event:
            case UsageReported():
                self._usage = {"usage": write_usage(event.usage)}
                return b""
            case Finished():
                word = event.extra.get("finish_reason") or finish_word(event.finish, event.native_finish)
                self._end = {"finish_reason": word}
                return b"".join([*self._start(""), *self._ends()])
            case Started():
                return b"".join(self._start(event.id))
        return b"".join([*self._start(""), *self._said(event)])

    def close(self) -> bytes:
        end = self._end or {"finish_reason": "COMPLETE"}
        last = b"".join([*self._start(""), *self._ends()])
        return last + _event("message-end", delta={**end, **self._usage}) + b"data: [DONE]\n\n"

    def fail(self, failure: Failure) -> bytes:
        return _event("message-end", delta={"error": failure.message, "finish_reason": "ERROR"})

    def _start(self, id_: str) -> Iterator[bytes]:
        if not self._begun:
            self._begun = True
            message = {"role": "assistant", "content": [], PLAN: "", "tool_calls": [], "citations": []}
            yield b"event: message-start\ndata: " + msgspec.json.encode(
                {"id": id_, "type": "message-start", "delta": {"message": message}}
            ) + b"\n\n"  # fmt: skip

    def _said(self, event: StreamEvent) -> Iterator[bytes]:
        match event:
            case TextDelta() | RefusalDelta():
                yield from self._content("text", 0, event.text)
            case ThinkingDelta() if event.extra.get("type") == PLAN:
                yield _event("tool-plan-delta", delta={"message": {PLAN: event.text}})
            case ThinkingDelta() if event.text:
                yield from self._content("thinking", event.block, event.text)
            case ToolCallDelta():
                yield from self._calling(event)
            case Logprobs():
                yield from self._probable(event)
            case Noted(level="message"):
                yield from self._citing(event.extra.get("citations"))
                yield from self._whole(event.extra.get(BLOCKS))

    def _content(self, kind: str, block: int, text: str, **more: Json) -> Iterator[bytes]:
        if self._open != (kind, block):
            yield from self._close()
            self._open = (kind, block)
            yield _event("content-start", index=self._next, delta={"message": {"content": {"type": kind, kind: ""}}})
        yield _event("content-delta", index=self._next, delta={"message": {"content": {kind: text}}}, **more)

    def _whole(self, blocks: Json) -> Iterator[bytes]:
        """Whole blocks of a type that the caller may know."""
        for block in blocks if isinstance(blocks, list) else ():
            yield from self._close()
            yield _event("content-start", index=self._next, delta={"message": {"content": block}})
            yield _event("content-end", index=self._next)
            self._next += 1

    def _probable(self, event: Logprobs) -> Iterator[bytes]:
        for item in write_logprobs(event.logprobs) or ():
            yield from self._content("text", 0, "", logprobs=item)

    def _calling(self, event: ToolCallDelta) -> Iterator[bytes]:
        function = {"arguments": event.arguments}
        if event.index not in self._calls:
            yield from self._close()
            self._calls.append(event.index)
            call: dict[str, Json] = {"id": event.id, "type": "function", "function": {"name": event.name, **function}}
            yield _event("tool-call-start", index=event.index, delta={"message": {"tool_calls": call}})
        elif event.arguments:
            yield _event("tool-call-delta", index=event.index, delta={"message": {"tool_calls": {"function": function}}})

    def _citing(self, citations: Json) -> Iterator[bytes]:
        for citation in citations if isinstance(citations, list) else ():
            yield _event("citation-start", index=self._cited, delta={"message": {"citations": citation}})
            yield _event("citation-end", index=self._cited)
            self._cited += 1

    def _close(self) -> Iterator[bytes]:
        if self._open is not None:
            self._open = None
            yield _event("content-end", index=self._next)
            self._next += 1

    def _ends(self) -> Iterator[bytes]:
        """Ends all open calls, which may have been interleaved."""
        yield from self._close()
        while self._calls:
            yield _event("tool-call-end", index=self._calls.pop(0))


def _event(kind: str, **fields: Json) -> bytes:
    return f"event: {kind}\ndata: ".encode() + msgspec.json.encode({"type": kind, **fields}) + b"\n\n"
