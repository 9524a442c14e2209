"""Google's other stream format: `streamGenerateContent` without `alt=sse` is one JSON array, sent element by element."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from headrace.framing import SseReader
from headrace.gateway.requests import IncomingRequest, Send


def wants_array(asked: IncomingRequest) -> bool:
    """Whether a request asks for Google's JSON array stream."""
    return asked.path.endswith(":streamGenerateContent") and asked.query.get("alt") != "sse"


class ArraySend:
    """An ASGI `send` that turns the events of a stream into the elements of an array. Other responses pass through."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._events: SseReader | None = None
        self._before = b"["

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [self._header(*pair) for pair in message["headers"]]}
        elif self._events is not None:
            message = {**message, "body": self._elements(message.get("body", b""), last=not message.get("more_body"))}
        await self._send(message)

    def _header(self, name: bytes, value: bytes) -> tuple[bytes, bytes]:
        if name == b"content-type" and value == b"text/event-stream":
            self._events = SseReader()
            return name, b"application/json; charset=utf-8"
        return name, value

    def _elements(self, piece: bytes, *, last: bool) -> bytes:
        """The next elements. White space between elements, used as keep-alive, passes through."""
        assert self._events is not None
        if not piece.strip() and not last:
            return piece
        said = b""
        for frame in self._events.feed(piece):
            if frame.data:
                said += self._before + frame.data
                self._before = b"\n,\r\n"
        if not last:
            return said
        return said + (b"[]" if self._before == b"[" else b"\n]")
