"""Reads Gemini's streams: every chunk is a partial response, and each candidate's last one has its finish reason."""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from headrace.dialects.base import Target
from headrace.dialects.call_ids import Turn
from headrace.dialects.decoding import decode, strict
from headrace.dialects.failures import read_error_inside
from headrace.dialects.gemini.names import camel
from headrace.dialects.gemini.notes import citations, image, read_logprobs
from headrace.dialects.gemini.parts import ROLE, flat, read_parts, write_part
from headrace.dialects.gemini.pieces import Pieces, in_pieces
from headrace.dialects.gemini.responses import BLOCKED, as_answered, block_reason, created, read_finish, read_usage, text
from headrace.errors import APIResponseValidationError, BadRequestError, Failure, Kind, TruncatedStream, error_of
from headrace.types import (
    Audio,
    AudioDelta,
    Extra,
    File,
    Finished,
    Json,
    Logprobs,
    Noted,
    Part,
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
from headrace.wire import Frame

_NOTHING: Final = (b"", b"[DONE]")

BLOCKS: Final = "content_blocks"
"""The key in a message's `extra` that holds, unchanged, the parts unknown to the hub."""

_CHUNK: Final = frozenset({"candidates", "responseId", "modelVersion", "usageMetadata"})
_CANDIDATE: Final = frozenset({"content", "finishReason", "index", "logprobsResult"})

_CONTENT: Final = frozenset({"parts", "role"})
_PLAIN: Final = frozenset({"text"})
_SIGNED: Final = frozenset({"text", "thoughtSignature"})
_THOUGHT: Final = frozenset({"text", "thought"})
_SAYING: Final = frozenset({"content", "index"})


class Reader:
    """Reads one stream. It is complete when every candidate that began has a finish reason, or the prompt was blocked."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._started = False
        self._id = ""
        self._noted: dict[str, Json] = {}
        self._usage: dict[str, Json] = {}
        self._blocked: str | None = None
        self._candidates: dict[int, _Candidate] = {}
        self._told = False

    def feed(self, frame: Frame, *, last: bool = False) -> list[StreamEvent]:
        """Raises HeadraceError for an error within the stream or an invalid chunk."""
        data = frame.data
        if data[:1] != b"{" and data.strip() in _NOTHING:
            return []
        try:
            chunk = strict(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            chunk = self._forgiven(data, last=last)
            if chunk is None:
                return []
        if type(chunk) is not dict:
            chunk = self._object(chunk)
        if chunk.get("error"):
            raise error_of(read_error_inside(chunk, provider=self._target.provider, model=self._target.model))
        try:
            said = self._said(chunk)
            return self._events(camel(chunk)) if said is None else said
        except (AttributeError, TypeError, ValueError, BadRequestError):
            raise self._bad("a stream chunk is not valid in Gemini's format") from None

    def close(self) -> list[StreamEvent]:
        """The candidates' finish reasons and the usage. Raises TruncatedStream if the stream is incomplete."""
        if self._told:
            return []
        done = all(candidate.word is not None for candidate in self._candidates.values())
        if not done or not (self._candidates or self._blocked):
            message = f"{self._target.provider}: the stream ended before the response was complete"
            raise TruncatedStream.of(Failure(Kind.TRUNCATED, message, provider=self._target.provider, model=self._target.model))
        self._told = True
        return list(self._ending())

    def _forgiven(self, data: bytes, *, last: bool) -> Json:
        """Decodes data that is not strictly JSON; None for data cut off by the end of the connection, which `close` reports."""
        try:
            return decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            if last:
                return None
            raise self._bad("a stream chunk is not JSON") from None

    def _object(self, chunk: Json) -> dict[str, Json]:
        """The only chunk of an array."""
        if isinstance(chunk, list) and len(chunk) == 1 and isinstance(chunk[0], dict):
            return chunk[0]
        raise self._bad("a stream chunk is not a JSON object")

    def _bad(self, what: str) -> APIResponseValidationError:
        failure = Failure(Kind.BAD_RESPONSE, f"{self._target.provider}: {what}", provider=self._target.provider, model=self._target.model)
        return APIResponseValidationError.of(failure)

    def _said(self, chunk: Mapping[str, Json]) -> list[StreamEvent] | None:
        """Fast path: the events of a chunk with only text, a thought or a piece of a call; None for any other chunk.

        Nearly every chunk is such a one.
        """
        candidates = chunk.get("candidates")
        if type(candidates) is not list or len(candidates) != 1 or not self._started:
            return None
        for name in () if chunk.keys() <= _CHUNK else chunk:
            if name not in _CHUNK and self._noted.get(name) != chunk[name]:
                return None
        one = candidates[0]
        candidate = self._candidates.get(one.get("index", 0))
        if candidate is None or not one.keys() <= _SAYING or (content := one.get("content")) is None:
            return None
        if content.get("role", "model") != "model" or not content.keys() <= _CONTENT:
            return None
        parts = content.get("parts")
        event = candidate.piece(parts)
        if event is None and not candidate.calls_on(parts):
            return None
        if type(usage := chunk.get("usageMetadata")) is dict:
            self._usage |= usage
        return [] if event is None else [event]

    def _events(self, chunk: Mapping[str, Json]) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        news = {} if chunk.keys() <= _CHUNK else _news(chunk, _CHUNK, self._noted)
        if not self._started:
            self._started, self._id = True, text(chunk.get("responseId"))
            events.append(Started(id=self._id, model=text(chunk.get("modelVersion")), created=created(chunk.get("createTime")), extra=news))
        elif news:
            events.append(Noted(extra=news))
        if type(usage := chunk.get("usageMetadata")) is dict:
            self._usage |= usage
        if "promptFeedback" in chunk:
            self._blocked = self._blocked or block_reason(chunk)
        for place, candidate in enumerate(chunk.get("candidates") or ()):
            candidate = camel(candidate)
            index = place if candidate.get("index") is None else candidate["index"]
            if not isinstance(index, int):
                raise TypeError("a candidate's index is not a number")
            if index not in self._candidates:
                self._candidates[index] = _Candidate(index, self._id)
            self._candidates[index].tell(candidate, events)
        return events

    def _ending(self) -> Iterator[StreamEvent]:
        for candidate in self._candidates.values():
            yield from candidate.end()
        if not self._candidates and self._blocked:
            yield Finished(finish="content_filter", native_finish=self._blocked, extra=BLOCKED)
        if self._usage:
            yield UsageReported(usage=read_usage(self._usage))


def _news(source: Mapping[str, Json], known: frozenset[str], noted: dict[str, Json]) -> dict[str, Json]:
    """Fields of `source` other than `known` that are new or changed; they are added to `noted`."""
    news = {name: value for name, value in source.items() if name not in known and value is not None and noted.get(name) != value}
    noted |= news
    return news


class _Candidate:
    """Turns one candidate's chunks into events, with the state needed between them."""

    def __init__(self, index: int, response_id: str) -> None:
        self._index = index
        self._turn = Turn(response_id)
        self._calls = 0
        self._pieces = Pieces()
        self._heard = b""
        """Up to two bytes of audio left over, because base64 encodes three at a time."""
        self._voice = AudioDelta()
        self._texts: list[Text] = []
        self._sources: dict[str, Json] = {}
        self._noted: dict[str, Json] = {}
        self._blocks = {"text": -1, "thinking": -1}
        self._open = ""
        """The kind of block that the next piece continues; "" after a signed piece, which completes its block."""
        self.word: Json = None

    def tell(self, candidate: Mapping[str, Json], events: list[StreamEvent]) -> None:
        """Appends the events of a candidate's chunk to `events`."""
        content = candidate.get("content") or {}
        parts = content.get("parts")
        if (piece := self.piece(parts)) is not None:
            events.append(piece)
        else:
            for part in self._parts(parts):
                self._part(part, events)
        beside = {} if content.keys() <= _CONTENT else {n: value for n, value in content.items() if n not in _CONTENT and value is not None}
        if content.get("role", "model") != "model":
            beside[ROLE] = content["role"]
        if beside:
            events.append(Noted(level="message", choice=self._index, extra=beside))
        if (given := candidate.get("logprobsResult")) is not None and (logprobs := read_logprobs(given)):
            events.append(Logprobs(logprobs=logprobs, choice=self._index))
        if not candidate.keys() <= _CANDIDATE and (news := _news(candidate, _CANDIDATE, self._noted)):
            self._sources |= {name: news[name] for name in ("groundingMetadata", "citationMetadata") if name in news}
            events.append(Noted(level="choice", choice=self._index, extra=news))
        self.word = self.word if candidate.get("finishReason") is None else candidate["finishReason"]

    def piece(self, parts: Json) -> TextDelta | ThinkingDelta | None:
        """Fast path: the event for parts that are a single text or thought, as nearly all are; None for any others."""
        if type(parts) is not list or len(parts) != 1:
            return None
        part = parts[0]
        if type(part) is not dict or type(words := part.get("text")) is not str:
            return None
        if part.keys() == _SIGNED and type(signature := part["thoughtSignature"]) is str and signature:
            self._texts.append(Text(text=words, signature=signature))
            return TextDelta(text=words, signature=signature, block=self._block("text", alone=True), choice=self._index)
        if not words:
            return None
        if part.keys() == _PLAIN:
            self._texts.append(Text(text=words))
            block = self._blocks["text"] if self._open == "text" else self._block("text")
            return TextDelta(text=words, block=block, choice=self._index)
        if part.keys() == _THOUGHT and part["thought"] is True:
            return ThinkingDelta(text=words, block=self._block("thinking"), choice=self._index)
        return None

    def calls_on(self, parts: Json) -> bool:
        """Whether the parts only continue the open call, which is emitted once complete."""
        return type(parts) is list and len(parts) == 1 and type(parts[0]) is dict and self._pieces.goes_on(parts[0])

    def _parts(self, given: Json) -> list[Part]:
        whole = [whole for raw in flat(given) for whole in self._whole(raw)]
        return [as_answered(part) for part in read_parts(whole, "parts", self._turn)]

    def _whole(self, raw: Json) -> list[Json]:
        """The part itself, or for a piece of a call nothing until the last one, then the whole call."""
        if not in_pieces(raw):
            return [raw]
        made = self._pieces.add(raw)
        return [] if made is None else [made]

    def _part(self, part: Part, events: list[StreamEvent]) -> None:
        match part:
            case Text():
                self._texts.append(part)
                if part.text or part.signature or part.extra:
                    block = self._block("text", alone=bool(part.signature or part.extra))
                    events.append(
                        TextDelta(text=part.text, signature=part.signature, block=block, choice=self._index, extra=part.extra)
                    )  # fmt: skip
            case Thinking():
                if part.text or part.signature or part.extra:
                    block = self._block("thinking", alone=bool(part.signature or part.extra))
                    events.append(
                        ThinkingDelta(text=part.text, signature=part.signature, block=block, choice=self._index, extra=part.extra)
                    )
            case ToolCall():
                self._open = ""
                events.append(self._call(part))
            case Audio():
                self._open = ""
                events += self._sound(part)
            case _:
                self._open = ""
                events.append(self._other(part))

    def _block(self, kind: str, *, alone: bool = False) -> int:
        """The block's number. A signed text is a block of its own, and a part of another kind ends the block."""
        if alone or self._open != kind:
            self._blocks[kind] += 1
        self._open = "" if alone else kind
        return self._blocks[kind]

    def _call(self, part: ToolCall) -> ToolCallDelta:
        number, self._calls = self._calls, self._calls + 1
        return ToolCallDelta(
            index=number,
            id=part.id,
            name=part.name,
            arguments=part.arguments,
            signature=part.signature,
            choice=self._index,
            extra={name: value for name, value in part.extra.items() if name != "args"},
        )

    def _sound(self, part: Audio) -> Iterator[AudioDelta]:
        """Audio deltas whose base64 can be concatenated, which takes multiples of three bytes."""
        try:
            raw = self._heard + a2b_base64(part.data, strict_mode=True)
        except Base64Error:
            raise ValueError("an audio chunk is not base64") from None
        whole = len(raw) - len(raw) % 3
        self._heard, self._voice = raw[whole:], AudioDelta(format=part.format, choice=self._index, extra=part.extra)
        if whole:
            yield self._spoken(raw[:whole])

    def _spoken(self, raw: bytes) -> AudioDelta:
        return msgspec.structs.replace(self._voice, data=b2a_base64(raw, newline=False).decode())

    def _other(self, part: Part) -> Noted:
        wire = dict(part.extra) if not isinstance(part, File) else write_part(part, "", foreign=False)
        picture = image(wire)
        extra: Extra = {BLOCKS: [wire]} if picture is None else {BLOCKS: [wire], "images": [picture]}
        return Noted(level="message", choice=self._index, extra=extra)

    def end(self) -> Iterator[StreamEvent]:
        if self._heard:
            yield self._spoken(self._heard)
        if self._sources and (notes := citations(self._sources, self._texts)):
            yield Noted(level="message", choice=self._index, extra=notes)
        finish, native, extra = read_finish(self.word, called=self._calls > 0)
        if finish is not None:
            yield Finished(finish=finish, native_finish=native, choice=self._index, extra=extra)
