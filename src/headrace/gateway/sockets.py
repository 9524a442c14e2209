"""uvicorn's HTTP protocol with limits on request heads, slow requests and clients that do not read their response."""

from __future__ import annotations

import asyncio
from typing import Any, Final, cast

from msgspec.json import encode
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from headrace.gateway.answers import Before
from headrace.gateway.app import BEFORE, BEGUN, asked_in
from headrace.gateway.fast_path.call import FastCall
from headrace.gateway.fast_path.heads import LENGTH, MOST_DIGITS, Head
from headrace.gateway.fast_path.pipeline import LARGEST, Pipeline
from headrace.gateway.general import Settings

_LOOKS: Final = 4
"""How often a connection is checked within the time `slow_client`."""

_REASONS: Final = {408: b"Request Timeout", 431: b"Request Header Fields Too Large"}


class Connection(HttpToolsProtocol):
    """One client connection. It is closed if the client stalls in the middle of a request or does not read its response."""

    cycle: Any = None
    flow: Any = None
    timeout_keep_alive_task = None
    _prepared = False
    """Whether uvicorn's part is initialized: that takes longer than everything here, and most first requests do not need it."""
    _heard = _stuck_since = 0.0
    _in_head, _in_body, _stuck = True, False, False
    _head, _begun_at = 0, 0.0
    """Bytes received of a request head, and when the first of them arrived."""
    _refused = False
    _timer: asyncio.TimerHandle | None = None
    _pipeline: Pipeline | None = None
    _known: Head | None = None
    _content = 0
    """The head of the request that is arriving, and the offset of its body."""
    _before = _behind = b""
    _found_by: Settings | None = None
    """The last known head: the bytes around its `content-length` value, and the settings it was found under.

    Clients mostly repeat it.
    """
    _raw = b""
    """The request on the fast path."""
    _call: FastCall | None = None
    """The same request once its limits are reserved; until then it only waits for the end of this turn of the event loop."""
    _missing = 0
    """Bytes of it that have not arrived yet."""
    _last = _fast = _streaming = False

    def __init__(
        self, config: Config, server_state: ServerState, app_state: dict[str, Any], _loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        self._given = config, server_state, app_state
        self.app: Any = config.loaded_app
        self.server_state = server_state
        self.loop = _loop or asyncio.get_running_loop()
        self.timeout_keep_alive = config.timeout_keep_alive
        self._settings: Settings = getattr(self.app, "settings", None) or Settings()
        self._gathered: list[bytes] = []
        """The beginning of a request whose body is still arriving."""
        self._early: list[bytes] = []
        """Data that arrived before the response was complete."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        self.server_state.connections.add(self)
        self._heard = self.loop.time()
        self._timer = self.loop.call_later(self._settings.slow_client / _LOOKS, self._look)
        self._pipeline = getattr(self.app, "pipeline", None)
        if self._pipeline is not None:
            self._pipeline.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._pipeline is not None:
            self._pipeline.connections.discard(self)
        if self._call is not None:
            self._call.left()
        self._release()
        if self._prepared:
            super().connection_lost(exc)
        else:
            self.server_state.connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._heard = self.loop.time()
        if self._raw:
            self._early.append(data)
            self.transport.pause_reading()
        elif self._missing:
            self._gather(data)
        elif self._pipeline is None or not self._match(self._pipeline, data):
            self._slow(data)

    # ---- the fast path -----------------------------------------------------------------------------------------------

    @property
    def _answered_all(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _match(self, pipeline: Pipeline, data: bytes) -> bool:
        """Whether `data` was taken as the beginning of a request that may take the fast path."""
        cycle = self.cycle
        if not self._in_head or self._head or self._stuck or (cycle is not None and not cycle.response_complete):
            return False  # no request can begin here yet
        start = len(self._before)
        stop = data.find(b"\r", start, start + MOST_DIGITS + 1)
        if (
            self._found_by is pipeline.settings
            and data.startswith(self._before)
            and data.startswith(self._behind, stop)
            and data[start:stop].isdigit()
        ):
            head, end = self._known, stop + len(self._behind) - 4
        else:
            end = data.find(b"\r\n\r\n")
            length = LENGTH.search(data, 0, end + 2) if end > 0 else None
            if length is None:
                return False
            start, stop = length.span(1)
            key = data[:start] + data[stop:end]
            head = pipeline.head(key)
            if head is None and not pipeline.knows(key) and end <= self._settings.max_headers:
                before = self.cycle
                self._slow(data)
                if self.cycle is not before and self.cycle.keep_alive and not self.transport.is_closing():
                    pipeline.learn(key, asked_in(cast("Any", self.cycle.scope)))
                return True
        if head is None or end > self._settings.max_headers:
            return False
        missing = end + 4 + int(data[start:stop]) - len(data)
        if missing < 0 or missing > LARGEST:
            return False
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        if head is not self._known:
            if not pipeline.may_come(head, self.transport.get_extra_info("peername")):
                return False  # the slow path refuses it
            self._known, self._found_by = head, pipeline.settings
            self._before, self._behind = data[:start], data[stop : end + 4]
        self._content = end + 4
        if missing:
            self._gathered, self._missing = [data], missing
        else:
            self._begin(data)
        return True

    def _gather(self, data: bytes) -> None:
        self._gathered.append(data)
        self._missing -= len(data)
        if self._missing <= 0:
            whole, self._gathered = b"".join(self._gathered), []
            more, self._missing = self._missing < 0, 0
            if more:
                self._slow(whole)
            else:
                self._begin(whole)

    def _begin(self, data: bytes) -> None:
        assert self._pipeline is not None
        assert self._known is not None
        self._raw = data
        self._pipeline.submit(self._known, data, self._content, self)

    def admitted(self, call: FastCall) -> None:
        """The request was admitted to the fast path."""
        self._call = call

    def _release(self) -> bytes:
        """Take the request off the fast path. Returns its bytes."""
        raw, self._call, self._raw = self._raw, None, b""
        if raw and self._pipeline is not None:
            self._pipeline.under_way -= 1
        return raw

    def answer(self, data: bytes) -> None:
        """Send a complete response, apart from its first lines."""
        assert self._pipeline is not None
        if not self.transport.is_closing():
            self.transport.write(self._pipeline.first_lines(self.server_state.default_headers) + data)
        self._free()

    def opened(self, data: bytes) -> None:
        """Send the head of a stream, apart from its first lines, and its first chunk."""
        assert self._pipeline is not None
        self._streaming = True
        if not self.transport.is_closing():
            self.transport.write(self._pipeline.first_lines(self.server_state.default_headers) + data)

    def piece(self, data: bytes) -> None:
        """Send another chunk."""
        if not self.transport.is_closing():
            self.transport.write(data)

    def answered(self) -> None:
        """The stream is complete."""
        self._free()

    def _free(self) -> None:
        """Make way for the next request."""
        self._release()
        self._streaming, self._fast = False, True
        self.server_state.total_requests += 1
        self._heard = self.loop.time()
        if self.transport.is_closing():
            return
        if self._last:
            self.transport.close()
        elif self._early:
            self._go_on()

    def _go_on(self) -> None:
        early, self._early = b"".join(self._early), []
        self.transport.resume_reading()
        self.data_received(early)

    def slow_path(self, before: Before | None) -> None:
        """Hand the request over to the slow path."""
        raw = self._release()
        begun, self._streaming = self._streaming, False
        if self.transport.is_closing():
            return
        self._slow(raw)
        if begun:  # a keep-alive comment began the response: what follows continues it
            self.cycle.response_started, self.cycle.chunked_encoding = True, True
            self.cycle.scope["state"][BEGUN] = True
        if before is not None:
            self.cycle.scope["state"][BEFORE] = before
        if self._early:
            early, self._early = b"".join(self._early), []
            self.transport.resume_reading()
            self._slow(early)

    def fault(self) -> None:
        """An internal error: close the connection without a response."""
        self._release()
        self.transport.abort()

    def end(self) -> None:
        """The server stops without waiting for the response in flight here. The call is recorded as it stands."""
        call, self._call = self._call, None
        if call is None:
            return
        call.left()
        if not self._streaming and not self.transport.is_closing():
            self.transport.write(call.stopped())
        self.transport.close()

    def shutdown(self) -> None:
        if self._raw:
            self._last = True
        else:
            super().shutdown()

    # ---- the slow path -----------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Initialize uvicorn's part of the connection, with its first request on the slow path."""
        self._prepared, transport = True, self.transport
        super().__init__(*self._given, self.loop)
        super().connection_made(transport)
        if self._stuck:
            super().pause_writing()

    def _slow(self, data: bytes) -> None:
        if not self._prepared:
            self._prepare()
        if self._in_head:
            self._begun_at = self._begun_at if self._head else self.loop.time()
            self._head += len(data)
        super().data_received(data)
        if self._in_head and self._head > self._settings.max_headers:
            self._too_large()

    def on_headers_complete(self) -> None:
        self._in_head, self._in_body, self._head = False, True, 0
        if self._refused:
            return
        # A head that arrived in one piece was complete before its bytes were counted.
        if len(self.url) + sum([len(name) + len(value) + 4 for name, value in self.headers]) > self._settings.max_headers:
            self._too_large()
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_head, self._in_body = True, False
        if not self._refused:
            super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        if self._timer is not None:  # a WebSocket session may be silent for as long as it likes
            self._timer.cancel()
        super().handle_websocket_upgrade()

    def pause_writing(self) -> None:
        self._stuck, self._stuck_since = True, self.loop.time()
        if self._call is not None:
            self._call.hold()
        if self._prepared:
            super().pause_writing()

    def resume_writing(self) -> None:
        self._stuck = False
        if self._call is not None:
            self._call.go_on()
        if self._prepared:
            super().resume_writing()

    def _look(self) -> None:
        """Close the connection if its client is too slow."""
        if self.transport.is_closing():
            return
        oldest = self.loop.time() - self._settings.slow_client
        if self._stuck and self._stuck_since < oldest:
            self.transport.abort()
            return
        idle = self._in_head and not self._head and not self._stuck and self._answered_all
        if self._fast and idle and not self._raw and self._heard < self.loop.time() - self.timeout_keep_alive:
            self.transport.close()
            return
        if self._in_head and self._head and self._begun_at < oldest:
            self._refuse(408, f"the request headers did not arrive within {self._settings.slow_client:g} seconds")
            return
        if self._awaited and self._heard < oldest:
            self._refuse(408, f"the request is incomplete: nothing arrived for {self._settings.slow_client:g} seconds")
            return
        self._timer = self.loop.call_later(self._settings.slow_client / _LOOKS, self._look)

    @property
    def _awaited(self) -> bool:
        """Whether the client is expected to send: the rest of a head that has begun, or of a body that is being read."""
        if self._missing:
            return True
        begins = self._head > 0 or (self.cycle is None and not self._fast and not self._raw)
        return (self._in_head and begins) or (self._in_body and not self.flow.read_paused)

    def _too_large(self) -> None:
        self._refuse(431, f"the request headers exceed the limit of {self._settings.max_headers} bytes")

    def _refuse(self, status: int, message: str) -> None:
        self._refused = True
        if self.transport.is_closing():
            return
        body = encode({"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}})
        head = b"HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        if self._answered_all or not self.cycle.response_started:
            self.transport.write(head % (status, _REASONS[status], len(body)) + body)
        self.transport.close()
