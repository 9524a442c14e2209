"""uvicorn's connection with bounds of our own: on a request's head, on how slowly it arrives, on how slowly an answer is taken."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from msgspec.json import encode
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from headrace.gateway.general import Settings

_LOOKS: Final = 4
"""How often a connection is looked at within the time that it may be slow for."""

_REASONS: Final = {408: b"Request Timeout", 431: b"Request Header Fields Too Large"}


class Connection(HttpToolsProtocol):
    """One caller's connection. Who sends nothing for too long in the middle of a request, or takes nothing of an answer, is let go."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self._settings: Settings = getattr(self.app, "settings", None) or Settings()
        self._heard = self._stuck_since = 0.0
        self._in_head, self._in_body, self._stuck = True, False, False
        self._head = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._heard = self.loop.time()
        self._timer = self.loop.call_later(self._settings.slow_client / _LOOKS, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._heard = self.loop.time()
        if self._in_head:
            self._head += len(data)
        super().data_received(data)
        if self._in_head and self._head > self._settings.max_headers:
            self._refuse(431, f"the request's head is larger than the {self._settings.max_headers} bytes that are taken")

    def on_headers_complete(self) -> None:
        self._in_head, self._in_body, self._head = False, True, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head, self._in_body = True, False
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        if self._timer is not None:  # a session may be silent for as long as it likes
            self._timer.cancel()
        super().handle_websocket_upgrade()

    def pause_writing(self) -> None:
        self._stuck, self._stuck_since = True, self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._stuck = False
        super().resume_writing()

    def _look(self) -> None:
        """Whether the caller is slower than is borne."""
        if self.transport.is_closing():
            return
        oldest = self.loop.time() - self._settings.slow_client
        if self._stuck and self._stuck_since < oldest:
            self.transport.abort()
            return
        if self._awaited and self._heard < oldest:
            self._refuse(408, f"the request did not arrive: nothing came for {self._settings.slow_client:g} seconds")
            return
        self._timer = self.loop.call_later(self._settings.slow_client / _LOOKS, self._look)

    @property
    def _awaited(self) -> bool:
        """Whether it is the caller's turn: at the head of a request that has begun, or in a body that somebody reads."""
        return (self._in_head and (self._head > 0 or self.cycle is None)) or (self._in_body and not self.flow.read_paused)

    def _refuse(self, status: int, message: str) -> None:
        if self.transport.is_closing():
            return
        body = encode({"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}})
        head = b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        if self.cycle is None or not self.cycle.response_started:
            self.transport.write(head % (status, _REASONS[status], len(body)) + body)
        self.transport.close()
