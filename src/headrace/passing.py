"""Responses as bytes in the caller's own dialect (`raw=True`): passed through where the provider speaks it, else
re-encoded.

A stream that is passed through is inspected for errors, truncation and usage. It is forwarded in whole events, so that
an error event can always follow; an incomplete event is held back until it is complete.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import msgspec

from headrace.dialects.base import FrameReader, StreamWatcher
from headrace.dialects.familiar import (
    BEGIN,
    BEGUN,
    COUNTS,
    DIGITS,
    ENDED,
    LEADING,
    LEARN,
    LESSONS,
    NEXT_ANSWER,
    PARTS,
    SPACED,
    Likeness,
)
from headrace.framing import BOM, MAX_FRAME, SseReader, event_of, too_large
from headrace.objects import BinaryResponse, JsonObject
from headrace.streams import ChunkReader, Outer
from headrace.wire import Frame

Rewrite: TypeAlias = Callable[[dict[str, Any]], dict[str, Any]]
"""Changes an event before it reaches the caller; returns the same object if nothing changes."""


# ---- objects as bytes --------------------------------------------------------------------------------------------------------------


def _fields(value: Any) -> Any:
    if isinstance(value, JsonObject):
        return value.__dict__
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


encode: Final = msgspec.json.Encoder(enc_hook=_fields).encode
"""A response as JSON, the provider's nulls included."""


def _bare(event: Any) -> bytes:
    return b"data: " + encode(event) + b"\n\n"


def _named(event: Any) -> bytes:
    return b"event: " + str(event.get("type")).encode() + b"\ndata: " + encode(event) + b"\n\n"


def _line(event: Any) -> bytes:
    return encode(event) + b"\n"


def _message(event: Any) -> bytes:
    """An AWS event stream message, from a mapping of the event's name to its payload."""
    from headrace.dialects.bedrock_converse import eventstream  # late: few callers use it

    [(name, said)] = _content(event).items()
    return eventstream.event(name, said)


def _content(event: Any) -> Mapping[str, Any]:
    fields: Mapping[str, Any] = event if isinstance(event, Mapping) else event.model_dump()
    return fields


_EVENTS: Final[Mapping[str, Callable[[Any], bytes]]] = {
    "openai_responses": _named, "anthropic_messages": _named, "openai_events": _named, "cohere": _named, "ollama": _line,
    "bedrock_converse": _message,
}  # fmt: skip
"""Writers of dialects with named events, JSON lines or binary messages."""

ENDS: Final[Mapping[str, bytes]] = {"openai_chat": b"data: [DONE]\n\n"}
"""The terminator of a dialect's streams, for dialects that have one."""


def event_writer(dialect: str) -> Callable[[Any], bytes]:
    """The function that encodes an event, or its fields, for a dialect's streams."""
    return _EVENTS.get(dialect, _bare)


def in_bytes(answer: JsonObject | BinaryResponse) -> BinaryResponse:
    """A complete response as its encoded body."""
    if isinstance(answer, BinaryResponse):
        return answer
    hidden = answer._hidden_params
    return BinaryResponse(encode(answer), hidden.get("additional_headers", {}), hidden)


class Spelled(Outer[bytes]):
    """A stream's chunks as bytes, whether or not a layer turned them into objects."""

    __slots__ = ("_closing", "_owes_end", "_write")

    def __init__(self, chunks: Any, dialect: str) -> None:
        super().__init__(chunks)
        self._write = event_writer(dialect)
        self._closing = ENDS.get(dialect, b"")
        self._owes_end = False

    async def fill(self) -> bool:
        """Wait until a piece is ready. False at the regular end of the stream."""
        if self.ready:
            return True
        chunks = self._chunks
        if chunks.ready or await chunks.fill():
            while chunks.ready:
                self.ready.append(self._spell(chunks.ready.popleft()))
        elif self._owes_end:
            self._owes_end = False
            self.ready.append(self._closing)
        return bool(self.ready)

    def _spell(self, chunk: Any) -> bytes:
        """A chunk as bytes. A stream that is bytes already contains its terminator."""
        made = type(chunk) is not bytes
        self._owes_end = made and bool(self._closing)
        return self._write(chunk) if made else chunk

    def close(self) -> None:
        self._chunks.close()


class Written:
    """A provider's stream in any dialect, re-encoded in the caller's."""

    __slots__ = ("_closing", "_frames", "_pieces", "_reader", "_rewrite", "_write", "count")

    def __init__(self, frames: FrameReader, reader: ChunkReader, dialect: str, rewrite: Rewrite | None) -> None:
        self._frames = frames
        self._reader = reader
        self._pieces = getattr(reader, "pieces", reader.chunks)
        """The reader's events, some of which may already be encoded."""
        self._rewrite = rewrite
        self._write = event_writer(dialect)
        self._closing = ENDS.get(dialect, b"")
        self.count = 0

    @property
    def usage(self) -> dict[str, Any] | None:
        return self._reader.usage

    def feed(self, data: bytes, ready: deque[Any]) -> None:
        for frame in self._frames.feed(data):
            self._append(self._pieces(frame), ready)

    def close(self, ready: deque[Any]) -> None:
        for frame in self._frames.close():
            self._append(self._pieces(frame, last=True), ready)
        self._append(self._reader.rest(), ready)
        if self._closing:
            ready.append(self._closing)

    def _append(self, chunks: Any, ready: deque[Any]) -> None:
        for chunk in chunks:
            if type(chunk) is not bytes:
                chunk = self._write(chunk if self._rewrite is None else self._rewrite(chunk))
            ready.append(chunk)
            self.count += 1


# ---- bytes passed through ----------------------------------------------------------------------------------------------------------


class Passed:
    """Server-sent events passed through byte for byte; each piece holds the whole events of one read.

    The watcher sees every event that may hold more than a piece of text, and raises its errors; the events before it
    are forwarded first. `rewrite` changes the few events whose bytes cannot be forwarded unchanged.
    """

    __slots__ = (
        "_before", "_begin", "_begun", "_behind", "_closing", "_dialect", "_end", "_held", "_lessons", "_rewrite", "_uncounted", "_watcher",
        "_within", "count",
    )  # fmt: skip

    def __init__(self, watcher: Any, dialect: str, rewrite: Rewrite | None = None) -> None:
        self._watcher: Any = watcher
        self._dialect = dialect
        self._rewrite = rewrite
        self._closing = ENDS.get(dialect, b"")
        """The terminator, until the provider has sent it."""
        self._held = bytearray()
        """Bytes after the last empty line."""
        self._before = b""
        """The bytes before the JSON of the last event."""
        self._lessons = LESSONS
        self._uncounted = b""
        """The last event with counts that was forwarded without parsing."""
        self._begin: bytes | tuple[()] = ()  # no data starts with an empty tuple, so the fast path is off until an event has been learnt
        self.count = 0
        """Events so far: about one token each."""

    @property
    def usage(self) -> dict[str, Any] | None:
        usage: dict[str, Any] | None = self._watcher.usage
        return usage

    def feed(self, data: bytes, ready: deque[Any]) -> None:
        """Append the bytes of whole events to `ready`. Raises HeadraceError for errors within the stream, and FrameTooLarge."""
        if (  # fast path: one event like those before. Nearly every read takes it
            not self._held
            and data.startswith(self._begin)
            and data.endswith(self._end)
            and data.find(b"\n", self._begun, self._behind) < 0
            and (not self._within or data.find(self._within, self._begun) > 0)
        ):
            self.count += 1
            ready.append(data)
        else:
            self._read(data, ready)

    def _read(self, data: bytes, ready: deque[Any]) -> None:
        """The slow path."""
        if self._held:
            if events := self._whole(data):
                self._pass_on(events, ready)
        elif data == self._closing:
            self._pass_end(data, ready)
        elif start := self._json_of_one(data):
            if self._watcher.glance(data[start:]):
                self.count += 1
                ready.append(data)
                if self._lessons:
                    self._note(data, start)
            else:
                self._pass_on(data, ready, glanced=True)
        elif data[:1] == b":" and 0 < data.find(b"\n") == len(data) - 2:  # a comment
            ready.append(data)
        elif events := self._whole(data):
            self._pass_on(events, ready)

    def _pass_end(self, data: bytes, ready: deque[Any]) -> None:
        self._closing = b""
        self._watcher.look(Frame(data[6:-2]))
        self.count += 1
        ready.append(data)

    def _note(self, data: bytes, start: int) -> None:
        learn = LEARN.get(self._dialect) if getattr(self._watcher, "said", None) is None else None
        if learn is None:
            self._lessons = 0
        elif (like := learn(data, start)) is not None:
            self._lessons -= 1
            self._is_like(like)

    def _is_like(self, like: Likeness) -> None:
        self._begin, self._within, self._end = like.begin, like.within, like.end
        self._begun, self._behind = len(like.begin), -3 if like.end[-2:] == b"\r\n" else -2

    def _json_of_one(self, data: bytes) -> int:
        """Where the JSON of one whole event of the usual form begins, possibly followed by white space; 0 for anything else."""
        if not (self._before and data.startswith(self._before)):  # usually of the same type as the one before
            self._before = _before_json(data)
        start = len(self._before)
        behind = len(data) - data.find(b"\n", start)  # a search for one byte takes a tenth of one for two
        whole = data[-1] == 10 if behind == 2 else behind == 3 and data[-4:] == b"\r\n\r\n"
        return start if whole else 0

    def close(self, ready: deque[Any]) -> None:
        """End of the bytes. Raises TruncatedStream if the stream was not complete."""
        if self._uncounted:  # its counts are cumulative: the watcher may need those of the last event
            self._watcher.unread, self._uncounted = self._uncounted, b""
        if self._held:
            self._pass_rest(ready)
        self._watcher.close()
        if self._closing:
            ready.append(self._closing)

    def _pass_rest(self, ready: deque[Any]) -> None:
        """Handle an event that no empty line ended: some servers omit the last one."""
        reader = SseReader(framed=self.count > 0)
        for frame in [*reader.feed(bytes(self._held)), *reader.close()]:
            for event in self._watcher.chunks(frame, last=True):
                ready.append(event_writer(self._dialect)(event if self._rewrite is None else self._rewrite(event)))
                self.count += 1

    def _whole(self, data: bytes) -> bytes:
        """The events complete by now, including held bytes; empty if none is."""
        held = self._held
        if not held and data[-2:] == b"\n\n":
            return data
        start = max(0, len(held) - 3)
        held += data
        end = _behind_last_event(held, start)
        if len(held) - end > MAX_FRAME:
            raise too_large(MAX_FRAME)
        whole = bytes(held[:end])
        del held[:end]
        return whole

    def _pass_on(self, whole: bytes, ready: deque[Any], *, glanced: bool = False) -> None:
        """`glanced`: `whole` is one event that is already known to need a full look."""
        text = whole.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in whole else whole
        blocks = text[:-2].split(b"\n\n")
        seen, same = 0, True
        try:
            for block in blocks:
                if glanced or not self._watcher.glance(_data_of(block)):
                    other = self._looked_at(block)
                    if other is not block:
                        blocks[seen], same = other, False
                seen += 1
        finally:
            self.count += seen
            if seen:
                ready.append(whole if same and seen == len(blocks) else b"\n\n".join(blocks[:seen]) + b"\n\n")

    def _looked_at(self, block: bytes) -> bytes:
        """The block to forward for an event that holds more than a piece of text."""
        frame = event_of(block.removeprefix(BOM))
        if frame is None:
            self.count -= 1  # a comment
            return block
        if frame.data[:6] == b"[DONE]":
            self._closing = b""
        if self._rewrite is None:
            self._watcher.look(frame)
        elif (event := self._watcher.feed(frame)) is not None and (other := self._rewrite(event)) is not event:
            return event_writer(self._dialect)(other)[:-2]
        return block


class Counted(Passed):
    """Gemini's events, each of which repeats cumulative counts, so that the digits of these may differ between similar
    events.

    Finish reason, counts and errors follow the parts, so the search can start at the end.
    """

    __slots__ = ("_least", "_most", "_other", "_until")

    _most: int
    """Offset from the event's end at which the bytes between its parts and its counts may begin, at the earliest."""
    _least: int
    """Offset from the event's end by which they end, at the latest."""
    _other: bytes
    """Bytes that, if found before `_until`, mean that the event holds another candidate or further fields of the first."""
    _until: int

    def feed(self, data: bytes, ready: deque[Any]) -> None:
        if (
            not self._held
            and data.startswith(self._begin)
            and data.endswith(self._end)
            and data.find(b"\n", self._begun, self._behind) < 0
            and data.find(self._other, self._begun, self._until) < 0
        ):
            if within := self._within:
                if data.find(within, self._most, self._least) < 0:
                    self._read(data, ready)
                    return
                self._uncounted = data
            self.count += 1
            ready.append(data)
        else:
            self._read(data, ready)

    def _read(self, data: bytes, ready: deque[Any]) -> None:
        if self._uncounted:
            self._watcher.unread, self._uncounted = self._uncounted, b""
        counts = data.rfind(COUNTS)
        behind = data.rfind(b"}]", 0, counts - len("}],"))
        ended = data.rfind(ENDED)
        if (
            behind < 0
            or self._held
            or 0 < ended < behind
            or not data.startswith(BEGIN)
            or not data.endswith(_BLANK)
            or data.find(b"\n") < len(data) - 3
            or data.find(NEXT_ANSWER, BEGUN, behind) > 0
            or not self._watcher.glance(PARTS + data[behind + 1 :])
        ):
            super()._read(data, ready)
            return
        self.count += 1
        ready.append(data)
        if ended < 0 and self._lessons:
            self._learn(data, counts, behind)

    def _learn(self, data: bytes, counts: int, behind: int) -> None:
        """Learn what similar events look like, from one that holds a piece of text and nothing else.

        `counts`: where these begin. `behind`: where the last part ends.
        """
        end, within = data.rfind(b"},", counts), data[behind:counts]
        if end < 0 or within.translate(None, SPACED) not in LEADING:
            return
        self._lessons -= 1
        self._begin, self._begun, self._behind = data[:BEGUN], BEGUN, -3 if data[-2:] == b"\r\n" else -2
        self._most, self._least = behind - len(data) - DIGITS, counts - len(data) + DIGITS
        # What follows `}]}` may end in the same bytes; what follows `}],"role"` cannot.
        self._other, self._until = (b"}]}", self._most) if within[2] == 125 else (NEXT_ANSWER, self._least)
        counting = data.find(b"Count", counts, end) > 0
        self._within, self._end = (within, data[end:]) if counting else (b"", data[behind:])


_BLANK: Final = (b"\r\n\r\n", b"\n\n")

_PASSED: Final = {"gemini": Counted}


def handed_on(watcher: StreamWatcher, dialect: str, rewrite: Rewrite | None = None) -> Passed:
    """The pass-through of a dialect's server-sent events."""
    return _PASSED.get(dialect, Passed)(watcher, dialect, rewrite)


def _before_json(data: bytes) -> bytes:
    """What precedes the JSON of an event in the usual form; empty for other forms and for errors, which need a full look."""
    named = data[:7] == b"event: " and data[:12] != b"event: error"
    start = data.find(b"\n") + 1 if named else 0
    return data[: start + 6] if data[start : start + 6] == b"data: " else b""


def _behind_last_event(held: bytearray, start: int) -> int:
    """Where the last empty line that ends after `start` ends; 0 if there is none. Line ends are LF, CRLF or CR."""
    found = held.rfind(b"\n\n", start) + 2
    if b"\r" in held:
        found = max(found, held.rfind(b"\n\r\n", start) + 3, held.rfind(b"\r\r", start) + 2)
    return found if found > 2 else 0


def _data_of(block: bytes) -> bytes:
    """The data of an event in one of the two usual forms: alone, or after a name. Empty for any other."""
    if block[:6] == b"data: ":
        return block[6:] if b"\n" not in block else b""
    name, _, line = block.partition(b"\n")
    return line[6:] if name[:7] == b"event: " and name != b"event: error" and line[:6] == b"data: " and b"\n" not in line else b""


def bytes_of(frames: FrameReader, reader: Any, dialect: str, rewrite: Rewrite | None, *, events: bool) -> Passed | Written:
    """A stream's bytes for a caller of `dialect`. `events`: whether the stream is server-sent events."""
    watched = events and hasattr(reader, "glance")
    return handed_on(reader, dialect, rewrite) if watched else Written(frames, reader, dialect, rewrite)
