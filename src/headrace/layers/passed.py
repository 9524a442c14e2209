"""Guardrails for requests in a provider's own format: JSON bodies, JSON responses and event streams of any dialect.

Rules see texts and events; the provider and the caller see bytes. Anything but JSON (audio, images, forms) is not
inspected.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final, cast

import msgspec

from headrace.calls import Call
from headrace.framing import SseReader, too_large
from headrace.layers.held import ANY, Apply, Held, Spans
from headrace.layers.texts import Change, changed_body
from headrace.objects import JsonObject
from headrace.streams import Outer
from headrace.through import PASSED, ThroughRequest
from headrace.wire import Frame

LARGEST: Final = 64 << 20
"""Largest response in bytes that is buffered whole."""


def is_passed(call: Call) -> bool:
    return call.operation is PASSED


def in_request(call: Call, change: Change) -> Call:
    """The call with `change` applied to every text of its body that a model reads; the same object if nothing changed."""
    request = cast("ThroughRequest", call.body["request"])
    if request.body.lstrip()[:1] not in (b"{", b"["):  # regardless of its content type, because a provider may read it as JSON anyway
        return call
    try:
        body = msgspec.json.decode(request.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return call  # not JSON after all: no model reads it
    said = changed_body(body, change)
    if said == body:
        return call
    request = msgspec.structs.replace(request, body=msgspec.json.encode(said))
    return msgspec.structs.replace(call, body={**call.body, "request": request})


def held(chunks: Any, apply: Apply, spans: Spans, window: int) -> Any:
    """A stream of bytes with `apply` applied to its texts, held back by as much as has to be seen together."""
    return Written(Held(Read(chunks), ANY, apply, spans, window))


class PassedEvent(JsonObject):
    """One event of a stream, or a whole response."""

    __slots__ = ("event", "whole")

    event: str | None
    """The event's name, if it has one."""
    whole: bool


class Read(Outer[Any]):
    """Parses bytes into events and responses; anything else stays bytes."""

    __slots__ = ("_frames", "_parts", "_size")

    def __init__(self, chunks: Any) -> None:
        super().__init__(chunks)
        kind = chunks.hidden["additional_headers"].get("content-type", "")
        self._frames = SseReader() if kind.startswith("text/event-stream") else None
        self._parts: list[bytes] | None = [] if "json" in kind else None
        self._size = 0
        self._take()

    async def fill(self) -> bool:
        """Wait until something is ready. False at the proper end."""
        while not self.ready:
            if not await self._chunks.fill():
                self._end()
                return bool(self.ready)
            self._take()
        return True

    def _take(self) -> None:
        source: deque[bytes] = self._chunks.ready
        while source:
            piece = source.popleft()
            if self._frames is not None:
                self.ready.extend(_of_frame(frame) for frame in self._frames.feed(piece))
            elif self._parts is None:
                self.ready.append(piece)
            else:
                self._parts.append(piece)
                self._size += len(piece)
                if self._size > LARGEST:
                    raise too_large(LARGEST)

    def _end(self) -> None:
        if self._frames is not None:
            self.ready.extend(_of_frame(frame) for frame in self._frames.close())
            self._frames = None
        elif self._parts:
            content, self._parts = b"".join(self._parts), []
            try:
                said = msgspec.json.decode(content)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                self.ready.append(content)
                return
            self.ready.append(_made(said, None, whole=True) if isinstance(said, dict) else _made({"": said}, None, whole=True))


def _of_frame(frame: Frame) -> PassedEvent | bytes:
    try:
        said = msgspec.json.decode(frame.data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        said = None
    if not isinstance(said, dict):
        return _framed(frame.data, frame.event)
    return _made(said, frame.event, whole=False)


def _made(said: dict[str, Any], event: str | None, *, whole: bool) -> PassedEvent:
    made = PassedEvent.wrap(said)
    made.event, made.whole = event, whole
    return made


def _framed(data: bytes, event: str | None) -> bytes:
    named = b"" if event is None else b"event: %b\n" % event.encode()
    return b"%bdata: %b\n\n" % (named, data.replace(b"\n", b"\ndata: "))


class Written(Outer[bytes]):
    """Serializes events and responses back into bytes."""

    __slots__ = ()

    raw = True

    def __init__(self, chunks: Any) -> None:
        super().__init__(chunks)
        self._take()

    async def fill(self) -> bool:
        while not self.ready:
            if not await self._chunks.fill():
                return False
            self._take()
        return True

    def _take(self) -> None:
        source = self._chunks.ready
        while source:
            self.ready.append(_bytes_of(source.popleft()))


def _bytes_of(piece: PassedEvent | bytes) -> bytes:
    if isinstance(piece, bytes):
        return piece
    said = piece.__dict__
    content = msgspec.json.encode(said[""] if set(said) == {""} else said)
    return content if piece.whole else _framed(content, piece.event)
