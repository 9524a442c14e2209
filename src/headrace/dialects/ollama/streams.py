"""Streams between Ollama's own API and the hub: one JSON object per line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from headrace.dialects import failures
from headrace.dialects.base import Target
from headrace.dialects.call_ids import Turn
from headrace.dialects.decoding import decode
from headrace.dialects.fields import items, obj, optional
from headrace.dialects.ollama.messages import read_call, write_call
from headrace.dialects.ollama.responses import (
    COUNTS,
    epoch,
    finish_of,
    finish_word,
    id_of,
    kept_counts,
    moment,
    own_word,
    read_logprobs,
    read_usage,
    write_usage,
)
from headrace.errors import APIResponseValidationError, BadRequestError, Failure, Kind, TruncatedStream, error_of
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
    ToolCall,
    ToolCallDelta,
    UsageReported,
)
from headrace.wire import Frame

_LINE: Final = frozenset({"model", "created_at", "message", "response", "done", "done_reason", "logprobs", *COUNTS})
_MESSAGE: Final = frozenset({"role", "content", "thinking", "tool_calls"})


class Reader:
    """Turns lines into events. A stream is complete after a line with `done`."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._calls = Turn("")
        self._called = 0
        self._begun = False
        self._done = False

    def feed(self, frame: Frame, *, last: bool = False) -> list[StreamEvent]:
        """Raises HeadraceError for an error within the stream or an invalid line."""
        try:
            return list(self._events(obj(decode(frame.data), "the line")))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            if last:
                return []
            raise self._broken() from None
        except (AttributeError, TypeError, ValueError, BadRequestError):
            raise self._broken() from None

    def close(self) -> list[StreamEvent]:
        """Raises TruncatedStream unless a line with `done` was received."""
        if not self._done:
            message = f"{self._target.provider}: the stream ended early"
            raise TruncatedStream.of(Failure(Kind.TRUNCATED, message, provider=self._target.provider, model=self._target.model))
        return []

    def _events(self, line: Mapping[str, Json]) -> Iterator[StreamEvent]:
        if line.get("error"):
            raise error_of(failures.read_error_inside(line, provider=self._target.provider, model=self._target.model))
        if not self._begun:
            self._begun = True
            stamp = line.get("created_at")
            self._calls = Turn(stamp if isinstance(stamp, str) else "")
            extra = {} if stamp is None else {"created_at": stamp}
            yield Started(id=id_of(stamp), model=optional(line.get("model"), "model") or "", created=epoch(stamp), extra=extra)
        message = line.get("message")
        yield from self._said({"content": line.get("response")} if message is None else obj(message, "message"))
        if logprobs := read_logprobs(line.get("logprobs")):
            yield Logprobs(logprobs=logprobs)
        if line.get("done") is True and not self._done:
            yield from self._over(line)

    def _said(self, message: Mapping[str, Json]) -> Iterator[StreamEvent]:
        if thought := optional(message.get("thinking"), "message.thinking"):
            yield ThinkingDelta(text=thought, extra={"field": "reasoning_content"})
        if text := optional(message.get("content"), "message.content"):
            yield TextDelta(text=text)
        for index, value in enumerate(items(message.get("tool_calls"), "message.tool_calls")):
            call = read_call(value, f"message.tool_calls[{index}]", self._calls)
            yield ToolCallDelta(index=self._called, id=call.id, name=call.name, arguments=call.arguments, extra=call.extra)
            self._called += 1
        extra = {name: value for name, value in message.items() if name not in _MESSAGE and value is not None}
        if extra:
            yield Noted(level="message", extra=extra)

    def _over(self, line: Mapping[str, Json]) -> Iterator[StreamEvent]:
        self._done = True
        extra = {name: value for name, value in line.items() if name not in _LINE and value is not None} | kept_counts(line)
        if extra:
            yield Noted(extra=extra)
        word = line.get("done_reason")
        finish = finish_of(word, called=self._called > 0)
        yield Finished(
            finish=finish, native_finish=own_word(word, finish), extra={"done_reason": word} if finish == "other" else {}
        )  # fmt: skip
        usage = read_usage(line)
        if usage is not None:
            yield UsageReported(usage=usage)

    def _broken(self) -> APIResponseValidationError:
        message = f"{self._target.provider}: a line of the stream is not valid in Ollama's format"
        failure = Failure(Kind.BAD_RESPONSE, message, provider=self._target.provider, model=self._target.model)
        return APIResponseValidationError.of(failure)


# ---- writing -----------------------------------------------------------------------------------------------------------------------


class Writer:
    """Turns events into lines, for the first choice only. Calls are sent whole; the fields of the last line are held back for it."""

    def __init__(self, request: ChatRequest) -> None:
        self._head: dict[str, Json] = {"model": request.model, "created_at": moment(0)}
        self._calls: dict[int, ToolCall] = {}
        self._end: dict[str, Json] = {}

    def feed(self, event: StreamEvent) -> bytes:
        if getattr(event, "choice", 0) != 0:
            return b""
        match event:
            case Started():
                self._head = {"model": event.model, "created_at": event.extra.get("created_at") or moment(event.created)}
            case TextDelta() | RefusalDelta():
                return self._line({"content": event.text})
            case ThinkingDelta() if event.text:
                return self._line({"content": "", "thinking": event.text})
            case Logprobs():
                return self._line({"content": ""}, logprobs=event.logprobs.get("content"))
            case ToolCallDelta():
                self._call(event)
            case Noted(level="response"):
                self._end |= event.extra
            case Noted(level="message"):
                return self._line({"content": "", **event.extra})
            case Finished():
                word = event.extra.get("done_reason") or finish_word(event.finish, event.native_finish)
                self._end |= {} if word is None else {"done_reason": word}
                return self._called()
            case UsageReported():
                self._end |= write_usage(event.usage)
        return b""

    def close(self) -> bytes:
        return self._called() + self._line({"content": ""}, done=True, **self._end)

    def fail(self, failure: Failure) -> bytes:
        return msgspec.json.encode({"error": failure.message}) + b"\n"

    def _call(self, event: ToolCallDelta) -> None:
        known = self._calls.get(event.index)
        if known is None:
            self._calls[event.index] = ToolCall(id=event.id, name=event.name, arguments=event.arguments, extra=event.extra)
        else:
            self._calls[event.index] = msgspec.structs.replace(known, arguments=known.arguments + event.arguments)

    def _called(self) -> bytes:
        calls, self._calls = self._calls, {}
        written = [write_call(call, foreign=False) for call in calls.values()]
        return self._line({"content": "", "tool_calls": written}) if written else b""

    def _line(self, message: dict[str, Json], **fields: Json) -> bytes:
        line = {**self._head, "message": {"role": "assistant", **message}, "done": False, **fields}
        return msgspec.json.encode(line) + b"\n"
