"""Writes Gemini's streams as server-sent events: text as it arrives, each call whole, finish reasons in the last chunk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from headrace.dialects.base import only_says, only_thinks
from headrace.dialects.citations import ANNOTATIONS
from headrace.dialects.gemini.failures import write_error_body
from headrace.dialects.gemini.names import ours
from headrace.dialects.gemini.notes import SOURCES, grounded, write_logprobs
from headrace.dialects.gemini.parts import ROLE, write_part
from headrace.dialects.gemini.responses import NOTES, write_finish, write_usage
from headrace.dialects.gemini.streams import BLOCKS
from headrace.errors import Failure
from headrace.types import (
    Audio,
    AudioDelta,
    ChatRequest,
    Extra,
    Finished,
    Json,
    Logprobs,
    Noted,
    RefusalDelta,
    Started,
    StreamEvent,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolCall,
    ToolCallDelta,
    UsageReported,
)

_SPOKEN: Final = "audio/L16;codec=pcm;rate=24000"
"""The audio format of Gemini's speech, and of OpenAI's streams (pcm16)."""


def frame(chunk: Mapping[str, Json]) -> bytes:
    """A chunk as a server-sent event."""
    return b"data: " + msgspec.json.encode(chunk) + b"\r\n\r\n"


_PIECE: Final = b'data: {"candidates":[{"content":{"parts":[{"text":%b}],"role":"model"},"index":%d}],%b\r\n\r\n'


_THOUGHT: Final = _PIECE.replace(b"}],", b',"thought":true}],', 1)


class Writer:
    """Turns events into chunks. Finish reasons and usage are held for the last chunk, calls until they are complete."""

    def __init__(self, request: ChatRequest) -> None:
        self._head: dict[str, Json] = {"modelVersion": request.model}
        self._tail = msgspec.json.encode(self._head)[1:]
        """JSON that ends every chunk."""
        self._first: Extra = {}
        self._calls: dict[tuple[int, int], list[ToolCallDelta]] = {}
        self._finished: list[Finished] = []
        self._usage: dict[str, Json] = {}
        self._texts: dict[int, list[str]] = {}
        self._cited: dict[int, list[Json]] = {}
        """Annotations of each candidate, for its last chunk. Not used for candidates that have sources in Gemini's format."""
        self._grounded: set[int] = set()

    def feed(self, event: StreamEvent) -> bytes:
        if only_says(event) and not self._first:
            self._texts.setdefault(event.choice, []).append(event.text)
            return _PIECE % (msgspec.json.encode(event.text), event.choice, self._tail)
        if only_thinks(event) and not self._first:
            return _THOUGHT % (msgspec.json.encode(event.text), event.choice, self._tail)
        match event:
            case Started():
                said = {"modelVersion": event.model or self._head["modelVersion"], "responseId": event.id}
                self._head = {name: value for name, value in said.items() if value}
                self._tail = msgspec.json.encode(self._head)[1:]
                self._first = ours(event.extra)
                return b""
            case UsageReported():
                self._usage = write_usage(event.usage)
                return b""
            case Finished():
                self._finished.append(event)
                return self._called(event.choice)
            case ToolCallDelta():
                self._calls.setdefault((event.choice, event.index), []).append(event)
                return b""
            case Noted(level="response"):
                return self._chunk([], ours(event.extra)) if ours(event.extra) else b""
        return self._said(event)

    def close(self) -> bytes:
        """What was held back: unfinished calls, then the end of every candidate."""
        waiting = b"".join([self._called(index) for index in sorted({choice for choice, _ in self._calls})])
        usage = {"usageMetadata": self._usage} if self._usage else {}
        ends = [self._end(event) for event in self._finished if "candidates" not in event.extra]
        return waiting + (self._chunk(ends, usage) if ends or usage or self._first else b"")

    def fail(self, failure: Failure) -> bytes:
        return frame(write_error_body(failure))

    def _chunk(self, candidates: list[Json], extra: Extra) -> bytes:
        first, self._first = self._first, {}
        return frame({**({"candidates": candidates} if candidates else {}), **extra, **first, **self._head})

    def _candidate(self, index: int, parts: list[Json], extra: Extra, role: Json = "model") -> bytes:
        content: Extra = {"content": {"parts": parts, "role": role}} if parts or role != "model" else {}
        return self._chunk([{**content, "index": index, **extra}], {})

    def _said(self, event: Any) -> bytes:
        """The chunk for an event of one candidate."""
        match event:
            case Noted(level="choice"):
                extra = ours(event.extra)
                if extra.keys() & SOURCES:
                    self._grounded.add(event.choice)
                return self._candidate(event.choice, [], extra) if extra else b""
            case Noted():
                return self._noted(event)
            case Logprobs():
                made = write_logprobs(event.logprobs)
                return self._candidate(event.choice, [], {"logprobsResult": made}) if made else b""
        if isinstance(event, TextDelta):
            self._texts.setdefault(event.choice, []).append(event.text)
        part = _part(event)
        return b"" if part is None else self._candidate(event.choice, [part], {})

    def _noted(self, event: Noted) -> bytes:
        """The chunk for extra message fields. Blocks with a `type` are another dialect's and are dropped."""
        self._cited.setdefault(event.choice, []).extend(event.extra.get(ANNOTATIONS) or ())
        blocks = event.extra.get(BLOCKS)
        them = [block for block in blocks if isinstance(block, dict) and "type" not in block] if isinstance(blocks, list) else []
        extra = {name: value for name, value in ours(event.extra).items() if name not in NOTES}
        role = extra.pop(ROLE, "model")
        if not them and not extra and role == "model":
            return b""
        content = {"parts": them, "role": role, **extra}
        return self._chunk([{"content": content, "index": event.choice}], {})

    def _called(self, choice: int) -> bytes:
        keys = sorted(key for key in self._calls if key[0] == choice)
        parts = [write_part(_whole(self._calls.pop(key)), "", foreign=False) for key in keys]
        return self._candidate(choice, parts, {}) if parts else b""

    def _end(self, event: Finished) -> dict[str, Json]:
        end = {**write_finish(event.finish, event.native_finish), **ours(event.extra)}
        if event.choice not in self._grounded and event.choice in self._cited:
            made = grounded(self._cited[event.choice], "".join(self._texts.get(event.choice, ())))
            end |= {"groundingMetadata": made} if made else {}
        return {"content": {"parts": [{"text": ""}], "role": "model"}, **end, "index": event.choice}


def _whole(pieces: Sequence[ToolCallDelta]) -> ToolCall:
    """The call assembled from its deltas. The last one has its kind; a signature may come with any."""
    return ToolCall(
        id=next((piece.id for piece in pieces if piece.id), ""),
        name=next((piece.name for piece in pieces if piece.name), ""),
        arguments="".join([piece.arguments for piece in pieces]),
        kind=pieces[-1].kind,
        signature=next((piece.signature for piece in reversed(pieces) if piece.signature), None),
        extra={name: value for piece in pieces for name, value in ours(piece.extra).items()},
    )


def _part(event: Any) -> dict[str, Json] | None:
    extra = ours(event.extra)
    match event:
        case TextDelta():
            return write_part(Text(text=event.text, signature=event.signature, extra=extra), "", foreign=False)
        case RefusalDelta():
            return {"text": event.text}
        case ThinkingDelta() if event.text or event.signature:
            return write_part(Thinking(text=event.text, signature=event.signature, extra=extra), "", foreign=False)
        case AudioDelta() if event.data:
            kind = {} if event.format else {"mimeType": _SPOKEN}
            return write_part(Audio(data=event.data, format=event.format, extra={**kind, **extra}), "", foreign=False)
        case AudioDelta() if event.transcript:
            return {"text": event.transcript}
    return None
