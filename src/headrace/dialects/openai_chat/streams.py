"""Streams between OpenAI's Chat Completions and the hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

import msgspec

from headrace.dialects.base import Target, only_calls, only_says, only_thinks
from headrace.dialects.fields import common, merged
from headrace.dialects.openai_chat.messages import (
    arguments_text,
    google_extra,
    google_signature,
    is_strange,
    read_content,
    read_detail,
    write_content,
    write_detail,
)
from headrace.dialects.openai_chat.responses import finish_of, finish_word, is_unknown, own_word, read_usage, text, write_usage
from headrace.dialects.openai_stream import ChunkReader
from headrace.errors import APIResponseValidationError, BadRequestError, Failure, Kind
from headrace.types import (
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
    ToolCallDelta,
    UsageReported,
)
from headrace.wire import Frame

_PADDING: Final = frozenset({"obfuscation", "p"})
"""Random padding against guessing a stream's content from packet sizes (OpenAI; Mistral). Only meaningful on its own connection."""

_CHUNK: Final = frozenset({"id", "object", "created", "model", "choices", "usage"}) | _PADDING
_CHOICE: Final = frozenset({"index", "delta", "message", "finish_reason", "logprobs", "usage"})
_DELTA: Final = frozenset({
    "role", "content", "refusal", "tool_calls", "function_call", "audio", "reasoning", "reasoning_content", "reasoning_details",
})  # fmt: skip
_TEXTS: Final = frozenset({"refusal", "reasoning", "reasoning_content"})
"""Text fields; values of other types are kept unchanged."""
_PLAIN: Final = frozenset({"role", "content"})
_CALLING: Final = frozenset({"role", "content", "tool_calls"})
_CALL_PIECE: Final = frozenset({"index", "type", "function"})
_ARGUMENTS: Final = frozenset({"arguments"})


class Reader:
    """Turns chunks into events. Drops repeated finish reasons, and reports usage once at the end even if every chunk has it."""

    def __init__(self, target: Target) -> None:
        self._chunks = ChunkReader(provider=target.provider, model=target.model)
        self._target = target
        self._noted: dict[str, Json] = {}
        """Extra fields of the response so far."""
        self._started = False
        self._choices: dict[int, _ChoiceReader] = {}
        self._told = False

    def feed(self, frame: Frame, *, last: bool = False) -> list[StreamEvent]:
        """Raises HeadraceError for an error within the stream or an invalid chunk."""
        chunk = self._chunks.feed(frame, last=last)
        if chunk is None:
            return self._end() if self._chunks.done else []
        try:
            plain = self._plain(chunk)
            return list(self._events(chunk)) if plain is None else plain
        except (AttributeError, TypeError, ValueError, BadRequestError):
            message = f"{self._target.provider}: a stream chunk is not valid in OpenAI's format"
            failure = Failure(Kind.BAD_RESPONSE, message, provider=self._target.provider, model=self._target.model)
            raise APIResponseValidationError.of(failure) from None

    def close(self) -> list[StreamEvent]:
        """Raises TruncatedStream unless the stream had signalled its end."""
        self._chunks.close()
        return self._end()

    def _end(self) -> list[StreamEvent]:
        if self._told:
            return []
        self._told = True
        events: list[StreamEvent] = [event for choice in self._choices.values() for event in choice.end()]
        if self._chunks.usage is not None:
            events.append(UsageReported(usage=read_usage(self._chunks.usage)))
        return events

    def _plain(self, chunk: Mapping[str, Json]) -> list[StreamEvent] | None:
        """Fast path: the events of a chunk with only text or arguments, as nearly every one is; None for any other chunk."""
        choices = chunk.get("choices")
        if not self._started or type(choices) is not list or len(choices) != 1 or not chunk.keys() <= _CHUNK:
            return None
        choice = choices[0]
        delta, index = choice.get("delta"), choice.get("index")
        reader = self._choices.get(index)
        if choice.get("finish_reason") is not None or choice.get("logprobs") or not choice.keys() <= _CHOICE:
            return None
        if reader is None or reader.parted:
            return None
        if type(delta) is not dict:
            return None
        if delta.keys() <= _PLAIN and type(said := delta.get("content")) is str:
            return [TextDelta(text=said, choice=index)] if said else []
        if delta.keys() <= _CALLING and not delta.get("content") and (piece := reader.piece(delta.get("tool_calls"))) is not None:
            return [piece]
        return None

    def _events(self, chunk: Mapping[str, Json]) -> Iterator[StreamEvent]:
        news: dict[str, Json] = {}
        if not chunk.keys() <= _CHUNK:
            said = {name: value for name, value in chunk.items() if name not in _CHUNK and value is not None}
            news = {name: value for name, value in said.items() if self._noted.get(name) != value}
            self._noted |= news
        if self._started:
            if news:
                yield Noted(extra=news)
        elif chunk.get("id") or chunk.get("choices"):  # Azure's first chunk has neither, only the prompt's filter results
            self._started = True
            created = chunk.get("created")
            created = created if isinstance(created, int) else 0
            yield Started(id=text(chunk.get("id")), model=text(chunk.get("model")), created=created, extra=dict(self._noted))
        for choice in chunk.get("choices") or ():
            index = _number(choice.get("index"), 0)
            reader = self._choices.get(index)
            if reader is None:
                reader = self._choices[index] = _ChoiceReader(index)
            yield from reader.events(choice)


class _ChoiceReader:
    """Turns one choice's deltas into events, with the state needed between them."""

    __slots__ = ("_blocks", "_called", "_calls", "_finished", "_index", "_name", "parted")

    def __init__(self, index: int) -> None:
        self.parted = 0
        """How often another part interrupted the text. Text after an interruption is a new block."""
        self._index = index
        self._called = False
        self._finished = False
        self._blocks: dict[tuple[Json, Json], int] = {}
        self._calls: dict[Json, tuple[str, int]] = {}
        """For each tool call index: the id of the latest call with it, and that call's position among all calls."""
        self._name = ""
        """The field with the plain reasoning; used to ignore the second, as some providers send both."""

    def events(self, choice: Mapping[str, Json]) -> Iterator[StreamEvent]:
        delta = choice.get("delta")
        if delta is None:
            delta = {"content": choice["text"]} if isinstance(choice.get("text"), str) else {}
        yield from self._delta(delta)
        extra = {name: value for name, value in choice.items() if name not in _CHOICE and name != "text" and value is not None}
        if logprobs := choice.get("logprobs"):
            if isinstance(logprobs, Mapping):
                yield Logprobs(logprobs=logprobs, choice=self._index)
            else:
                extra["logprobs"] = logprobs
        if extra:
            yield Noted(level="choice", choice=self._index, extra=extra)
        word = choice.get("finish_reason")
        finish = finish_of(word, called=self._called)
        if finish is not None and not self._finished:
            self._finished = True
            yield Finished(
                finish=finish,
                native_finish=own_word(word, finish),
                choice=self._index,
                extra={"finish_reason": word} if is_unknown(word) else {},
            )

    def end(self) -> Iterator[StreamEvent]:
        """Ends the choice. Tool calls count as a finish reason if the provider gives none."""
        if self._called and not self._finished:
            yield Finished(finish="tool_calls", choice=self._index)

    def piece(self, calls: Json) -> ToolCallDelta | None:
        """Fast path: further arguments of an open call, if `calls` holds nothing else."""
        if type(calls) is not list or len(calls) != 1 or type(call := calls[0]) is not dict or not call.keys() <= _CALL_PIECE:
            return None
        place, inner = self._calls.get(call.get("index")), call.get("function")
        if place is None or type(inner) is not dict or inner.keys() != _ARGUMENTS or type(said := inner["arguments"]) is not str:
            return None
        return ToolCallDelta(index=place[1], arguments=said, choice=self._index)

    def _delta(self, delta: Mapping[str, Json]) -> Iterator[StreamEvent]:
        yield from self._thinking(delta)
        content = delta.get("content")
        if isinstance(content, str):
            if content:
                yield TextDelta(text=content, block=self.parted, choice=self._index)
        elif content:
            yield from self._parts(content)
        if (refusal := delta.get("refusal")) and isinstance(refusal, str):
            yield RefusalDelta(text=refusal, choice=self._index)
        if audio := delta.get("audio"):
            said = {name: audio[name] for name in ("data", "id", "transcript") if isinstance(audio.get(name), str)}
            extra = {name: value for name, value in audio.items() if name not in said}
            yield AudioDelta(**said, choice=self._index, extra=extra)
        for at, call in enumerate(delta.get("tool_calls") or ()):
            if is_strange(call):
                yield Noted(level="message", choice=self._index, extra={"tool_calls": [call]})
                continue
            self._called = True
            yield self._call(call, at)
        legacy = delta.get("function_call")
        if legacy and any(legacy.values()):
            self._called = True
            arguments = arguments_text(legacy.get("arguments"))
            yield ToolCallDelta(index=0, name=legacy.get("name") or "", arguments=arguments, kind="legacy", choice=self._index)
        extra = {
            name: value
            for name, value in delta.items()
            if value is not None and (name not in _DELTA or (name in _TEXTS and value and not isinstance(value, str)))
        }
        if extra:
            yield Noted(level="message", choice=self._index, extra=extra)

    def _thinking(self, delta: Mapping[str, Json]) -> Iterator[StreamEvent]:
        if details := delta.get("reasoning_details"):
            for at, detail in enumerate(details):
                block = self._block(detail, at)
                part = read_detail(detail, block)
                yield ThinkingDelta(
                    text=part.text, signature=part.signature, data=part.data, block=block, choice=self._index, extra=part.extra
                )  # fmt: skip
            return
        for name in ("reasoning_content", "reasoning"):
            if (thought := delta.get(name)) and isinstance(thought, str):
                self._name = self._name or name
                if name == self._name:
                    yield ThinkingDelta(text=thought, choice=self._index, extra={"field": name})

    def _block(self, detail: Mapping[str, Json], at: int) -> int:
        """The block number for a detail, numbered by first appearance. Pieces of one detail share its index and type."""
        return self._blocks.setdefault((detail.get("index", at), detail.get("type")), len(self._blocks))

    def _parts(self, content: Json) -> Iterator[StreamEvent]:
        """Mistral sends reasoning as content parts, along with the text and any references between texts."""
        for part in read_content(content, "content"):
            if isinstance(part, Text):
                beside = {name: value for name, value in part.extra.items() if name != "type"}
                yield TextDelta(text=part.text, block=self.parted, choice=self._index, extra=beside)
            elif isinstance(part, Thinking):
                whole = part.extra.get("thinking") or ()
                extra = {name: value for name, value in part.extra.items() if name != "thinking"}
                if part.text or not whole:
                    yield ThinkingDelta(text=part.text, choice=self._index, extra=extra)
                if strange := [item for item in whole if item.get("type") != "text"]:
                    yield Noted(level="message", choice=self._index, extra={"content": [{**extra, "thinking": strange}]})
            else:
                self.parted += 1
                yield Noted(level="message", choice=self._index, extra={"content": write_content([part])})

    def _call(self, call: Mapping[str, Json], at: int) -> ToolCallDelta:
        custom = call.get("custom")
        inner = custom if isinstance(custom, Mapping) and not call.get("function") else call.get("function") or {}
        extra = {
            name: value
            for name, value in call.items()
            if name not in ("index", "id", "type", "function", "custom", "extra_content") and value is not None
        }
        signature = google_signature(call.get("extra_content"))
        if signature is None and call.get("extra_content"):
            extra["extra_content"] = call["extra_content"]
        return ToolCallDelta(
            index=self._place(_number(call.get("index"), at), text(call.get("id")), named=bool(inner.get("name"))),
            id=text(call.get("id")),
            name=text(inner.get("name")),
            arguments=arguments_text(inner.get("input" if inner is custom else "arguments")),
            kind=cast("Any", "custom" if inner is custom else "function"),
            signature=signature,
            choice=self._index,
            extra=extra,
        )

    def _place(self, index: int, id: str, *, named: bool) -> int:
        """A call's position. A new name and id start another call, even if the provider reuses one index or sends none."""
        last, place = self._calls.get(index, ("", -1))
        if place < 0 or (named and id and last and id != last):
            taken = {place for _, place in self._calls.values()}
            place = index if index not in taken else max(taken) + 1
            last = id
        self._calls[index] = last or id, place
        return place


def _number(value: Json, usual: int) -> int:
    """An index, which may be a numeric string. Raises TypeError for anything else."""
    if type(value) is int:
        return value
    if value is None:
        return usual
    if (isinstance(value, str) and value.isascii() and value.isdecimal()) or (isinstance(value, float) and value.is_integer()):
        return int(value)
    raise TypeError("not an index")


class ChunkMaker:
    """Turns events into chunks. The first chunk of each choice has its role."""

    def __init__(self, request: ChatRequest) -> None:
        self._include_usage = request.include_usage
        self._model = request.model
        self._head: dict[str, Json] = {}
        self._first: Extra = {}
        """Fields for the first chunk only."""
        self._begun: set[int] = set()
        self._finished: set[int] = set()
        self._kinds: dict[tuple[int, int], str] = {}

    @property
    def head(self) -> Mapping[str, Json]:
        """Fields common to all chunks."""
        return self._head

    def goes_on(self, choice: int) -> bool:
        """Whether a choice has begun and the next chunk needs no extra fields."""
        return choice in self._begun and not self._first

    def calls_on(self, choice: int, index: int) -> bool:
        """The same for a tool call."""
        return (choice, index) in self._kinds and not self._first

    def feed(self, event: StreamEvent) -> dict[str, Json] | None:
        """The chunk for an event; None if it needs no chunk."""
        match event:
            case Started():
                said = {"id": event.id or None, "created": event.created or None, "model": event.model or None}
                usual = {"id": "", "object": "chat.completion.chunk", "created": 0, "model": self._model}
                self._head = merged(usual, {}, said)
                self._first = common(event.extra)
                return None
            case UsageReported():
                return self._chunk([], {"usage": write_usage(event.usage)}) if self._include_usage else None
            case Noted(level="response"):
                told = common(event.extra)
                return self._chunk([], told) if told else None
            case Noted(level="choice"):
                return self._delta(event.choice, {}, event.extra)
            case Logprobs():
                return self._delta(event.choice, {}, {"logprobs": event.logprobs})
            case Finished():
                word = event.extra.get("finish_reason") or finish_word(event.finish, event.native_finish)
                self._finished.add(event.choice)
                return self._delta(event.choice, {}, {"finish_reason": word})
        return self._delta(event.choice, self._fields(event), {})

    def _fields(self, event: Any) -> Extra:
        """The delta for an event's content."""
        match event:
            case TextDelta():
                signed = {"extra_content": google_extra(event.signature)} if event.signature else {}
                return {"content": event.text, **common(event.extra), **signed}
            case RefusalDelta():
                return {"refusal": event.text}
            case ThinkingDelta():
                return _write_thinking(event)
            case ToolCallDelta():
                return self._call(event)
            case AudioDelta():
                said = {"data": event.data, "id": event.id, "transcript": event.transcript}
                return {"audio": {**event.extra, **{name: value for name, value in said.items() if value}}}
        extra: Extra = event.extra
        return extra

    def _call(self, event: ToolCallDelta) -> Extra:
        if event.kind == "legacy":
            return {"function_call": {**({"name": event.name} if event.name else {}), "arguments": event.arguments}}
        body = {"name": event.name} if event.name else {}
        body["input" if event.kind == "custom" else "arguments"] = event.arguments
        call: dict[str, Json] = {"index": event.index, **common(event.extra), event.kind: body}
        if (event.choice, event.index) not in self._kinds:
            self._kinds[event.choice, event.index] = event.kind
            call["type"] = event.kind
        if event.id:
            call["id"] = event.id
        if event.signature:
            call["extra_content"] = google_extra(event.signature)
        return {"tool_calls": [call]}

    def _delta(self, index: int, delta: Extra, extra: Extra) -> dict[str, Json]:
        if index not in self._begun:
            self._begun.add(index)
            delta = {"role": "assistant", **delta}
        return self._chunk([{"index": index, "delta": delta, "finish_reason": None, **extra}], {})

    def _chunk(self, choices: list[Json], extra: Extra) -> dict[str, Json]:
        if not self._head:
            self.feed(Started())
        first, self._first = self._first, {}
        return {**self._head, **first, "choices": choices, **extra}


_PIECE: Final = b'data: %b,"choices":[{"index":%d,"delta":{"content":%b},"finish_reason":null}]}\n\n'


_CALL: Final = (
    b'data: %b,"choices":[{"index":%d,"delta":{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]},"finish_reason":null}]}\n\n'
)


_THOUGHT: Final = (
    b'data: %b,"choices":[{"index":%d,"delta":{"reasoning_content":%b,'
    b'"reasoning_details":[{"type":"reasoning.text","index":%d,"text":%b}]},"finish_reason":null}]}\n\n'
)


class Writer:
    """Turns events into server-sent chunks. `[DONE]` is written only after a proper end."""

    def __init__(self, request: ChatRequest) -> None:
        self.chunks = ChunkMaker(request)
        self._head = b""
        """JSON of the fields common to all chunks."""

    def feed(self, event: StreamEvent) -> bytes:
        if (piece := self.piece(event)) is not None:
            return piece
        if type(event) is Started:
            self._head = b""
        chunk = self.chunks.feed(event)
        return b"" if chunk is None else b"data: " + msgspec.json.encode(chunk) + b"\n\n"

    def piece(self, event: StreamEvent) -> bytes | None:
        """Fast path: the chunk for an event with only text, reasoning or arguments; None for any other."""
        if only_says(event):
            if self.chunks.goes_on(event.choice):
                return _PIECE % (self._begin(), event.choice, msgspec.json.encode(event.text))
        elif only_thinks(event):
            if self.chunks.goes_on(event.choice):
                text = msgspec.json.encode(event.text)
                return _THOUGHT % (self._begin(), event.choice, text, event.block, text)
        elif only_calls(event) and self.chunks.calls_on(event.choice, event.index):
            return _CALL % (self._begin(), event.choice, event.index, msgspec.json.encode(event.arguments))
        return None

    def _begin(self) -> bytes:
        self._head = self._head or msgspec.json.encode(self.chunks.head)[:-1]
        return self._head

    def close(self) -> bytes:
        return b"data: [DONE]\n\n"

    def fail(self, failure: Failure) -> bytes:
        return b"data: " + msgspec.json.encode(write_error_body(failure)) + b"\n\n"


def _write_thinking(event: ThinkingDelta) -> Extra:
    part = Thinking(text=event.text, signature=event.signature, data=event.data, extra=event.extra)
    if "field" in part.extra:
        return {part.extra["field"]: part.text}
    if part.extra.get("type") == "thinking":
        return {"content": write_content([part])}
    repeated = {"reasoning_content": event.text} if event.text else {}
    return {**repeated, "reasoning_details": [write_detail(part, event.block)]}


_TYPES: Final[Mapping[Kind, str]] = {
    Kind.AUTHENTICATION: "authentication_error",
    Kind.PERMISSION: "permission_error",
    Kind.NOT_FOUND: "not_found_error",
    Kind.RATE_LIMIT: "rate_limit_error",
    Kind.QUEUE_FULL: "rate_limit_error",
    Kind.QUEUE_TIMEOUT: "rate_limit_error",
    Kind.QUOTA_EXHAUSTED: "insufficient_quota",
    Kind.BUDGET: "budget_exceeded",  # LiteLLM's
    Kind.PAYMENT: "billing_error",
    Kind.OVERLOADED: "overloaded_error",
    Kind.TIMEOUT: "timeout_error",
}
_CODES: Final[Mapping[Kind, str]] = {
    Kind.CONTEXT_WINDOW: "context_length_exceeded",
    Kind.CONTENT_POLICY: "content_filter",
    Kind.AUTHENTICATION: "invalid_api_key",
    Kind.NOT_FOUND: "model_not_found",
    Kind.RATE_LIMIT: "rate_limit_exceeded",
    Kind.QUOTA_EXHAUSTED: "insufficient_quota",
}


def write_error_body(failure: Failure) -> dict[str, Json]:
    """OpenAI's error object, with the provider's own code unless that is just a status."""
    code = failure.code if failure.code and not failure.code.isdecimal() else _CODES.get(failure.kind)
    caller = failure.kind in (
        Kind.BAD_REQUEST,
        Kind.CONTEXT_WINDOW,
        Kind.CONTENT_POLICY,
        Kind.UNSUPPORTED_PARAMS,
        Kind.UNPROCESSABLE,
        Kind.NEVER_FITS,
    )
    kind = "invalid_request_error" if caller else _TYPES.get(failure.kind, "server_error")
    return {"error": {"message": failure.message, "type": kind, "param": failure.param, "code": code}}
