"""The asyncio HTTP transport: `Http1` over asyncio protocols, with a connection pool per origin.

The hot path creates one future and one exchange per call, and no task or timer: each connection keeps one lazy timer,
which is rescheduled only when it fires.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, TypeAlias, cast

from msgspec import Raw, Struct

from headrace.errors import again
from headrace.framing import keeps
from headrace.runtime.http1 import Exchange, Http1, Origin, TunnelReply, connect_request, headers_of, public_address, way_of, written
from headrace.runtime.http_settings import HttpSettings, tls_context
from headrace.runtime.proxies import Proxy
from headrace.wire import DEFAULT_MAX_BODY, Fault, Headers, HttpRequest, HttpResponse, Timeouts, TransportError

HIGH_WATER: Final = 256 * 1024
"""Bytes of a stream that may wait to be read before the transport stops reading from the socket."""

STREAM_LIMIT: Final = 1 << 40
"""Maximum bytes of a stream; its frames are limited where they are parsed."""


Data: TypeAlias = bytes | Sequence[bytes | memoryview | Raw]
"""Data to send, in pieces where joining them would cost more."""

Heard: TypeAlias = Callable[[TransportError | None], None]
"""Callback for progress of an exchange: part of a stream (None), its end (None), or its error."""


class _Connection(asyncio.Protocol):
    """One connection: at most one exchange at a time."""

    __slots__ = (
        "_deadline",
        "_fault",
        "_http",
        "_loop",
        "_paused",
        "_phased",
        "_streaming",
        "_timer",
        "_timer_at",
        "_transport",
        "_uploading",
        "_waiter",
        "_writable",
        "before",
        "between",
        "error",
        "exchange",
        "heard",
        "idle",
        "lost",
        "origin",
        "pool",
        "total_at",
    )  # fmt: skip

    def __init__(self, pool: AsyncTransport, origin: Origin, loop: asyncio.AbstractEventLoop) -> None:
        self._http = Http1()
        self._loop = loop
        self._transport: Any = None
        self._waiter: asyncio.Future[None] | None = None
        self._streaming = False
        self._phased = False
        self._paused = False
        self._uploading = False
        self._writable: asyncio.Future[None] | None = None
        """Done once the send buffer of an upload has drained."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._deadline: float | None = None
        self._fault = Fault.TOTAL_TIMEOUT
        self.between: float | None = None
        self.before: tuple[float | None, Fault] | None = None
        """The timeout in force before the latest bytes arrived."""
        self.total_at: float | None = None
        self.error: TransportError | None = None
        self.exchange: Exchange | None = None
        self.heard: Heard | None = None
        """Callback for the exchange's progress, used instead of a waiter."""
        self.idle = False
        self.lost = False
        self.origin = origin
        self.pool = pool

    # callbacks of asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        http = self._http
        try:
            http.feed(data)
        except TransportError as error:
            self._break(error)
            return
        exchange = self.exchange
        if exchange is None or self.idle:
            self.close()  # bytes nobody asked for
        elif exchange.complete:
            self._finish()
        else:
            if self._phased and exchange.size:
                self._next_phase()
            if self._streaming and exchange.begun:
                self._hand_out(exchange)

    def eof_received(self) -> bool:
        self._end()
        return False

    def connection_lost(self, cause: Exception | None) -> None:
        self.lost = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._end(cause)
        self.resume_writing()
        self.pool._lost(self)

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    # one exchange

    def send(self, data: Data, limit: int, timeouts: Timeouts, total_at: float | None, streaming: bool) -> Exchange:
        """Send a request and expect its response."""
        self.exchange = exchange = self._http.expect(limit)
        self._streaming = streaming
        self.error = self.before = None
        self.between = timeouts.between_bytes
        self.total_at = total_at
        self._phased = timeouts.first_byte is not None or timeouts.between_bytes is not None
        if timeouts.first_byte is None:
            self._deadline, self._fault = total_at, Fault.TOTAL_TIMEOUT
            if total_at is not None and (
                self._timer is None or self._timer_at > total_at
            ):  # usually one is running: rescheduled when it fires
                self._watch(total_at, Fault.TOTAL_TIMEOUT)
        else:
            self._watch_sooner(self._loop.time() + timeouts.first_byte, Fault.FIRST_BYTE_TIMEOUT)
        if type(data) is bytes:
            self._transport.write(data)
        else:
            self._transport.writelines(data)
        return exchange

    async def upload(self, pieces: Iterable[bytes], exchange: Exchange, first_byte: float | None) -> None:
        """Send a body as fast as the other side accepts it; stops if that has responded or closed."""
        self._uploading = True
        try:
            for piece in pieces:
                if self.error is not None or self._transport.is_closing() or exchange.begun:
                    return
                self._transport.write(piece)
                if self._writable is not None:
                    await self._writable
                if first_byte is not None:
                    self._watch_sooner(self._loop.time() + first_byte, Fault.FIRST_BYTE_TIMEOUT)
            self._uploading = False
        except BaseException:
            self.close()
            raise

    async def wait(self, exchange: Exchange) -> None:
        """Wait for the end, a failure or, for a stream, progress. Raises the error that broke the connection."""
        if self.error is not None:
            raise again(self.error)
        self._waiter = waiter = self._loop.create_future()
        try:
            await waiter
        except BaseException:
            if self._waiter is waiter:
                self._waiter = None
            # A caller who leaves closes the connection, unless the response is complete: then another caller may already use it.
            if self.error is None and not exchange.complete:
                self.close()
            raise
        if self.error is not None:
            raise again(self.error)

    def _next_phase(self) -> None:
        """Switch to the between-bytes timeout after bytes of the body have arrived."""
        self.before = self.before or (self._deadline, self._fault)
        if self.between is not None:
            self._watch_sooner(self._loop.time() + self.between, Fault.BETWEEN_BYTES_TIMEOUT)
        elif self._fault is Fault.FIRST_BYTE_TIMEOUT:
            self._watch(self.total_at, Fault.TOTAL_TIMEOUT)

    def _hand_out(self, exchange: Exchange) -> None:
        if self.heard is not None:
            self.heard(None)
        self._wake()
        if not self._paused and sum(map(len, exchange.parts)) > HIGH_WATER:
            self._paused = True
            self._transport.pause_reading()

    def hold(self) -> None:
        if not self._paused and not self.lost and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            if not self.lost and not self._transport.is_closing():
                self._transport.resume_reading()

    def _finish(self) -> None:
        """The response is complete: return the connection to the pool before the caller has even looked."""
        if self._paused:
            self.resume()
        self._deadline = None
        heard, self.heard = self.heard, None
        http = self._http
        if http.keep_alive and not http.excess and not self._uploading:
            self.exchange = None
            self.rest()
        else:
            self.close()
        if heard is not None:
            heard(None)
        if self._waiter is not None:
            self._wake()

    def _end(self, cause: Exception | None = None) -> None:
        exchange = self.exchange
        if exchange is None or exchange.complete or self.error is not None:
            self._http.keep_alive = False
            if self.idle:
                self.close()
            return
        try:
            self._http.feed_eof()
        except TransportError as error:
            self._break(_reset(error, cause))
        else:
            self._finish()

    def _break(self, error: TransportError) -> None:
        self.error = again(error)
        self._deadline = None
        self.close()
        heard, self.heard = self.heard, None
        if heard is not None:
            heard(error)
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def close(self) -> None:
        """Close now, even with an exchange in progress."""
        self._deadline = None
        if self._transport is not None and not self.lost:
            self._transport.abort()
        self.pool._gone(self)

    # timeouts

    def _watch_sooner(self, at: float, fault: Fault) -> None:
        if self.total_at is not None and self.total_at < at:
            at, fault = self.total_at, Fault.TOTAL_TIMEOUT
        self._watch(at, fault)

    def _watch(self, at: float | None, fault: Fault) -> None:
        """Fail with `fault` at `at`. The timer is moved only if it would fire too late."""
        self._deadline = at
        self._fault = fault
        if at is not None and (self._timer is None or self._timer_at > at):
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = at
            self._timer = self._loop.call_at(at, self._tick)

    def _tick(self) -> None:
        self._timer = None
        deadline = self._deadline
        if deadline is None:
            return
        if self._loop.time() < deadline:
            self._timer_at = deadline
            self._timer = self._loop.call_at(deadline, self._tick)
        elif self.idle:
            self.close()
        else:
            received = self.exchange is not None and self.exchange.received
            self._break(TransportError(self._fault, sent=True, received=received))

    def rest(self) -> None:
        """Return to the pool, for at most `idle_expiry` seconds."""
        pool, self.idle = self.pool, True
        until = self._loop.time() + pool.settings.idle_expiry
        if self._timer is not None and self._timer_at <= until:
            self._deadline, self._fault = until, Fault.CLOSED
        else:
            self._watch(until, Fault.CLOSED)
        kept = pool._idle.get(self.origin)
        if kept is None:
            pool._idle[self.origin] = [self]
        else:
            kept.append(self)
        if pool._queue:
            pool._next()


def _reset(error: TransportError, cause: Exception | None) -> TransportError:
    error.__cause__ = cause
    return error


class _AsyncStream:
    """A response whose body is still arriving."""

    __slots__ = ("__weakref__", "_closed", "_connection", "_exchange", "_limit", "_thread", "headers", "status")

    def __init__(self, connection: _Connection, exchange: Exchange) -> None:
        self._connection = connection
        self._exchange = exchange
        self._closed = False
        self._limit: tuple[float | None, Fault] | None = None
        """The timeout in force before the last read."""
        self._thread = threading.get_ident()
        self.status = exchange.status
        self.headers: Headers = headers_of(exchange)

    async def read(self, quiet: bool = False) -> bytes:
        exchange, connection = self._exchange, self._connection
        if quiet and self._limit is not None and connection.exchange is exchange and connection.error is None:
            connection._watch(*self._limit)
        while not exchange.parts:
            if exchange.complete:
                return b""
            if connection.error is not None and connection.exchange is exchange:
                raise again(connection.error)
            if self._closed:
                raise TransportError(Fault.CLOSED, "it was closed on this side", sent=True, received=True)
            await connection.wait(exchange)
        data = exchange.take()
        if not exchange.complete:
            self._limit, connection.before = connection.before, None
            connection.resume()
        return data

    def close(self) -> None:
        if self._closed or self._exchange.complete:
            return
        self._closed = True
        connection = self._connection
        if threading.get_ident() == self._thread:
            connection.close()
        elif not connection._loop.is_closed():
            connection._loop.call_soon_threadsafe(connection.close)

    def __del__(self) -> None:
        self.close()


class Begun(Struct, frozen=True, eq=False):
    """A request in progress whose caller is notified by callback."""

    connection: _Connection
    exchange: Exchange

    def take(self) -> bytes:
        """The bytes of a stream's body that have arrived. Mere keep-alives do not count as progress: the previous timeout continues."""
        connection, data = self.connection, self.exchange.take()
        if not self.exchange.complete:
            limit, connection.before = connection.before, None
            if limit is not None and data and keeps(data):
                connection._watch(*limit)
        return data

    def hold(self) -> None:
        """Pause reading."""
        if not self.exchange.complete:
            self.connection.hold()

    def go_on(self) -> None:
        if not self.exchange.complete:
            self.connection.resume()

    def leave(self) -> None:
        """Abandon the request: unless it has ended, its connection is closed, and replaced if the provider had responded."""
        if not self.exchange.complete:
            connection = self.connection
            connection.heard = None
            connection.close()
            if self.exchange.begun:
                connection.pool.replace(connection.origin)


Sent: TypeAlias = Callable[[Begun], None]
"""Callback with a request that has been sent."""


class AsyncTransport:
    """An HTTP transport for one event loop. `repr` shows its connection counts."""

    def __init__(self, settings: HttpSettings | None = None) -> None:
        self.settings = settings or HttpSettings()
        self._proxies = self.settings.proxies()
        self._straight = self._proxies == _NO_PROXIES
        self._idle: dict[Origin, list[_Connection]] = {}
        self._open: set[_Connection] = set()
        self._opening = 0
        self._queue: deque[asyncio.Future[None]] = deque()
        self._replacing: dict[Origin, asyncio.Task[None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._farewell: AsyncGenerator[None, None] | None = None

    async def fetch(self, request: HttpRequest, timeouts: Timeouts, *, max_body: int = DEFAULT_MAX_BODY) -> HttpResponse:
        _, exchange = await self._send(request, timeouts, max_body, False)
        return HttpResponse(exchange.status, Headers(exchange.headers), exchange.take())

    async def open(self, request: HttpRequest, timeouts: Timeouts) -> _AsyncStream:
        connection, exchange = await self._send(request, timeouts, STREAM_LIMIT, True)
        return _AsyncStream(connection, exchange)

    def begin(self, origin: Origin, data: Data, timeouts: Timeouts, total: float | None, heard: Heard, *, streaming: bool) -> Begun | None:
        """Send a request on an idle connection and report progress to `heard`, without a task or future. None if no
        connection is idle.

        total: seconds, used instead of `timeouts.total`. heard: called in the event loop; for a stream, whenever bytes
        have arrived.
        """
        kept = self._idle.get(origin)
        if not kept:
            return None
        connection = kept.pop()
        connection.idle = False
        loop = connection._loop
        total_at = None if total is None else loop.time() + total
        exchange = connection.send(data, STREAM_LIMIT if streaming else DEFAULT_MAX_BODY, timeouts, total_at, streaming)
        connection.heard = heard
        return Begun(connection, exchange)

    def begin_anew(
        self, origin: Origin, data: Data, timeouts: Timeouts, total: float | None, heard: Heard, sent: Sent, *, streaming: bool
    ) -> asyncio.Task[None]:
        """`begin` on a new connection. `sent` is called once the request is sent; if it cannot be, only `heard` is.
        Cancel the task if the caller leaves before.
        """
        loop = asyncio.get_running_loop()
        total_at = None if total is None else loop.time() + total

        async def begin() -> None:
            try:
                connection, _ = await self._connect(loop, origin, None, timeouts, total_at)
            except TransportError as error:
                heard(error)
                return
            exchange = connection.send(data, STREAM_LIMIT if streaming else DEFAULT_MAX_BODY, timeouts, total_at, streaming)
            connection.heard = heard
            sent(Begun(connection, exchange))

        return loop.create_task(begin())

    @property
    def direct(self) -> bool:
        """Whether no proxies are configured."""
        return self._straight

    async def _send(self, request: HttpRequest, timeouts: Timeouts, limit: int, streaming: bool) -> tuple[_Connection, Exchange]:
        """A complete response, or the headers of a stream. Retries once if an idle connection turns out to have been closed."""
        loop = self._loop or asyncio.get_running_loop()
        total_at = None if timeouts.total is None else loop.time() + timeouts.total
        origin, proxy = self._way(request)
        data = written(request, proxy)
        while True:
            kept = self._idle.get(origin)
            if kept:
                connection, fresh = kept.pop(), False
                connection.idle = False
            else:
                connection, fresh = await self._connect(loop, origin, proxy, timeouts, total_at)
            if request.leaving is not None:
                request.leaving()
            exchange = connection.send(data, limit, timeouts, total_at, streaming)
            try:
                if request.upload is not None:
                    await connection.upload(request.upload.pieces(), exchange, timeouts.first_byte)
                while not (exchange.begun if streaming else exchange.complete):
                    await connection.wait(exchange)
            except TransportError as error:
                if fresh or error.received or error.fault is not Fault.CLOSED:
                    raise
                continue
            return connection, exchange

    def _way(self, request: HttpRequest) -> tuple[Origin, Proxy | None]:
        origin = way_of(request)
        return origin, None if self._straight else self._proxies.choose(*origin)

    # connecting

    async def _connect(
        self, loop: asyncio.AbstractEventLoop, origin: Origin, proxy: Proxy | None, timeouts: Timeouts, total_at: float | None
    ) -> tuple[_Connection, bool]:
        """A connection, and whether it is new."""
        await self._begin(loop)
        while len(self._open) + self._opening >= self.settings.max_connections and not self._evict():
            await self._turn(loop, total_at)
            if kept := self._idle.get(origin):
                connection = kept.pop()
                connection.idle = False
                return connection, False
        self._opening += 1
        try:
            connection = await self._in_time(loop, self._dial(loop, origin, proxy), timeouts.connect, total_at)
            self._open.add(connection)
        except BaseException:
            self._next()
            raise
        finally:
            self._opening -= 1
        return connection, True

    async def _in_time(self, loop: asyncio.AbstractEventLoop, dialling: Any, connect: float | None, total_at: float | None) -> _Connection:
        connect_at = None if connect is None else loop.time() + connect
        sooner = total_at is not None and (connect_at is None or total_at < connect_at)
        try:
            async with asyncio.timeout_at(total_at if sooner else connect_at):
                return cast("_Connection", await dialling)
        except TimeoutError:
            raise TransportError(Fault.TOTAL_TIMEOUT if sooner else Fault.CONNECT_TIMEOUT, sent=False) from None

    async def _dial(self, loop: asyncio.AbstractEventLoop, origin: Origin, proxy: Proxy | None) -> _Connection:
        context = tls_context(self.settings) if origin.scheme == "https" else None
        try:
            if proxy is not None and context is not None:
                return await self._tunnel(loop, origin, proxy, context)
            host, port = (origin.host, origin.port) if proxy is None else (proxy.host, proxy.port)
            name = origin.host if context is not None else None
            if origin.public:
                host = public_address(host, await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))
            _, connection = await loop.create_connection(
                lambda: _Connection(self, origin, loop), host, port, ssl=context, server_hostname=name
            )
            return connection
        except OSError as error:
            raise _could_not_connect(error) from error

    async def _tunnel(self, loop: asyncio.AbstractEventLoop, origin: Origin, proxy: Proxy, context: Any) -> _Connection:
        try:
            transport, tunnel = await loop.create_connection(lambda: _Tunnel(loop), proxy.host, proxy.port)
        except OSError as error:
            raise TransportError(Fault.PROXY, f"{proxy.host}:{proxy.port}: {error}", sent=False) from error
        try:
            transport.write(connect_request(origin, proxy))
            await tunnel.stands
            connection = _Connection(self, origin, loop)
            secured = await loop.start_tls(transport, connection, context, server_hostname=origin.host)
            assert secured is not None
            connection.connection_made(secured)
        except BaseException:
            transport.abort()
            raise
        return connection

    # pooling

    def _gone(self, connection: _Connection) -> None:
        """The connection is closing: it must not be handed out, and its slot is free."""
        if connection.idle:
            connection.idle = False
            kept = self._idle.get(connection.origin, [])
            if connection in kept:
                kept.remove(connection)
        if connection in self._open:
            self._open.discard(connection)
            self._next()

    _lost = _gone

    def replace(self, origin: Origin) -> None:
        """Open a connection in place of an abandoned one, so that the next call need not wait for it. Errors are left to that call."""
        full = len(self._open) + self._opening >= self.settings.max_connections
        if self._loop is None or full or origin in self._replacing or self._idle.get(origin):
            return
        task = self._replacing[origin] = self._loop.create_task(self._replace(self._loop, origin))
        task.add_done_callback(lambda _: self._replacing.pop(origin, None))

    async def _replace(self, loop: asyncio.AbstractEventLoop, origin: Origin) -> None:
        with suppress(TransportError):
            connection, _ = await self._connect(loop, origin, None, Timeouts(), None)
            connection.rest()

    def _evict(self) -> bool:
        """Close one idle connection to another origin to make room for a new one."""
        for kept in self._idle.values():
            if kept:
                kept[0].close()
                return True
        return False

    async def _turn(self, loop: asyncio.AbstractEventLoop, total_at: float | None) -> None:
        """Wait for a free connection slot, first come, first served."""
        turn: asyncio.Future[None] = loop.create_future()
        self._queue.append(turn)
        try:
            async with asyncio.timeout_at(total_at):
                await turn
        except BaseException as error:
            if turn in self._queue:
                self._queue.remove(turn)
            else:
                self._next()  # we got the slot just as we left: pass it on
            if isinstance(error, TimeoutError):
                raise TransportError(Fault.TOTAL_TIMEOUT, "no connection was free", sent=False) from None
            raise

    def _next(self) -> None:
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    # start and shutdown

    async def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the loop notify us of its shutdown, when it closes unfinished asynchronous generators."""
        if self._loop is None:
            self._loop = loop
            self._farewell = self._goodbye()
            await anext(self._farewell)

    async def _goodbye(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self.close()
            await asyncio.sleep(0)  # lets the sockets close while the loop still runs

    def close(self) -> None:
        """Close every connection, including those in use."""
        for task in list(self._replacing.values()):
            task.cancel()
        for connection in list(self._open):
            connection.close()
        self._idle.clear()

    def __repr__(self) -> str:
        idle = sum(map(len, self._idle.values()))
        return f"<AsyncTransport {len(self._open)} open, {idle} idle, {self._opening} opening, {len(self._queue)} waiting>"


_NO_PROXIES = HttpSettings(trust_env=False).proxies()


class _Tunnel(asyncio.Protocol):
    """Reads a proxy's response to CONNECT."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.stands: asyncio.Future[None] = loop.create_future()
        self._reply = TunnelReply()

    def data_received(self, data: bytes) -> None:
        try:
            if self._reply.feed(data) and not self.stands.done():
                self.stands.set_result(None)
        except TransportError as error:
            if not self.stands.done():
                self.stands.set_exception(error)

    def connection_lost(self, cause: Exception | None) -> None:
        if not self.stands.done():
            self.stands.set_exception(TransportError(Fault.PROXY, "it closed the connection", sent=False))


def _could_not_connect(error: OSError) -> TransportError:
    """Errors of TLS are OSErrors too, but a different fault."""
    module = type(error).__module__
    return TransportError(Fault.TLS if module == "ssl" else Fault.CONNECT, str(error) or type(error).__name__, sent=False)


_shared: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[HttpSettings, AsyncTransport]] = weakref.WeakKeyDictionary()
_DEFAULT: Final = HttpSettings()


def async_transport(settings: HttpSettings | None = None) -> AsyncTransport:
    """The transport of the running event loop: one per settings, closed with the loop."""
    loop = asyncio.get_running_loop()
    transports = _shared.get(loop)
    if transports is None:
        transports = _shared[loop] = {}
    key = settings or _DEFAULT
    transport = transports.get(key)
    if transport is None:
        transport = transports[key] = AsyncTransport(key)
    return transport
