"""The blocking HTTP transport: `Http1` over blocking sockets. Its coroutines never suspend, so any caller can run them."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterable
from typing import Any, Final

from headrace.runtime.background import errand_here
from headrace.runtime.http1 import Exchange, Http1, Origin, TunnelReply, connect_request, headers_of, public_address, way_of, written
from headrace.runtime.http_settings import HttpSettings, tls_context
from headrace.runtime.proxies import Proxy
from headrace.wire import DEFAULT_MAX_BODY, Fault, Headers, HttpRequest, HttpResponse, Timeouts, TransportError

READ: Final = 64 * 1024
"""Bytes per read."""

STREAM_LIMIT: Final = 1 << 40


class _Deadlines:
    """The deadlines of one call."""

    __slots__ = ("between", "first", "total")

    def __init__(self, timeouts: Timeouts, total: float | None) -> None:
        self.first = timeouts.first_byte
        self.between = timeouts.between_bytes
        self.total = total

    def left(self, begun: bool, since: float) -> tuple[float | None, Fault]:
        """Seconds the next read may take, and the fault if it takes longer. `since`: when the wait began."""
        phase, fault = (self.between, Fault.BETWEEN_BYTES_TIMEOUT) if begun else (self.first, Fault.FIRST_BYTE_TIMEOUT)
        if phase is None and self.total is None:
            return None, fault
        now = time.monotonic()
        at = self.total if phase is None else since + phase
        if phase is not None and self.total is not None and self.total < since + phase:
            at, fault = self.total, Fault.TOTAL_TIMEOUT
        elif phase is None:
            fault = Fault.TOTAL_TIMEOUT
        assert at is not None
        return at - now, fault


class _Connection:
    """One connection: at most one exchange at a time, used by one thread at a time."""

    __slots__ = ("begun", "closed", "http", "idle_until", "origin", "pool", "since", "sock")

    def __init__(self, pool: SyncTransport, origin: Origin, sock: Any) -> None:
        self.pool = pool
        self.origin = origin
        self.sock = sock
        self.http = Http1()
        self.idle_until = 0.0
        self.since = 0.0
        """When the current, limited wait began."""
        self.begun = False
        """Whether that wait is for more of the body rather than its first bytes."""
        self.closed = False

    def exchange(self, data: bytes, request: HttpRequest, limit: int, deadlines: _Deadlines, streaming: bool) -> Exchange:
        """Send, and read until the response is complete, or its headers for a stream. Raises TransportError."""
        exchange = self.send(data, limit, deadlines)
        if request.upload is not None:
            self.upload(request.upload.pieces(), deadlines)
        while not (exchange.begun if streaming else exchange.complete):
            self.receive(exchange, deadlines)
            if exchange.size and not streaming:
                self.goes_on(deadlines)
        return exchange

    def goes_on(self, deadlines: _Deadlines) -> None:
        """Bytes of the body have arrived: from now on, the between-bytes timeout applies."""
        self.begun = True
        if deadlines.between is not None:
            self.since = time.monotonic()

    def send(self, data: bytes, limit: int, deadlines: _Deadlines) -> Exchange:
        exchange = self.http.expect(limit)
        self.begun = False
        self.since = time.monotonic() if deadlines.first is not None else 0.0
        left, fault = deadlines.left(False, self.since)
        try:
            self._limit(left, fault, False)
            self.sock.sendall(data)
        except TimeoutError:
            raise self._broken(TransportError(fault, "while sending", sent=True)) from None
        except OSError as error:
            raise self._broken(TransportError(Fault.CLOSED, str(error), sent=True)) from error
        return exchange

    def upload(self, pieces: Iterable[bytes], deadlines: _Deadlines) -> None:
        """Send a body as fast as the other side accepts it. If that closes, stop sending: it may have sent an error response."""
        for piece in pieces:
            if deadlines.first is not None:
                self.since = time.monotonic()
            left, fault = deadlines.left(False, self.since)
            try:
                self._limit(left, fault, False)
                self.sock.sendall(piece)
            except TimeoutError:
                raise self._broken(TransportError(fault, "while sending", sent=True)) from None
            except OSError:
                self.http.keep_alive = False
                return

    def receive(self, exchange: Exchange, deadlines: _Deadlines) -> None:
        """Read once and parse. Raises TransportError."""
        left, fault = deadlines.left(self.begun, self.since)
        try:
            self._limit(left, fault, exchange.received)
            data = self.sock.recv(READ)
        except TimeoutError:
            raise self._broken(TransportError(fault, sent=True, received=exchange.received)) from None
        except OSError as error:
            raise self._broken(TransportError(Fault.CLOSED, str(error), sent=True, received=exchange.received)) from error
        try:
            if data:
                self.http.feed(data)
            else:
                self.http.feed_eof()
        except TransportError as error:
            raise self._broken(error) from None

    def _limit(self, left: float | None, fault: Fault, received: bool) -> None:
        if left is not None and left <= 0:
            raise self._broken(TransportError(fault, sent=True, received=received))
        self.sock.settimeout(left)

    def _broken(self, error: TransportError) -> TransportError:
        self.close()
        return error

    def end(self) -> None:
        """The response is complete: return the connection to the pool, or close it."""
        if self.http.reusable:
            self.pool._release(self)
        else:
            self.close()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.sock.close()
            self.pool._gone(self)


class _SyncStream:
    """A response whose body is still arriving."""

    __slots__ = ("__weakref__", "_closed", "_connection", "_deadlines", "_ended", "_exchange", "_read", "headers", "status")

    def __init__(self, connection: _Connection, exchange: Exchange, deadlines: _Deadlines) -> None:
        self._connection = connection
        self._exchange = exchange
        self._deadlines = deadlines
        self._closed = False
        self._ended = False
        self._read = False
        """Whether anything was read."""
        self.status = exchange.status
        self.headers: Headers = headers_of(exchange)

    async def read(self, quiet: bool = False) -> bytes:
        exchange, connection = self._exchange, self._connection
        if self._read and not quiet and not exchange.complete:
            connection.goes_on(self._deadlines)
        self._read = True
        errand = errand_here()
        if errand is None:
            self._receive(exchange)
        else:
            with errand.waiting_for(connection.sock):
                self._receive(exchange)
        if exchange.complete and not self._ended:
            self._ended = True
            connection.end()
        return exchange.take()

    def _receive(self, exchange: Exchange) -> None:
        while not exchange.parts and not exchange.complete:
            if self._closed:
                raise TransportError(Fault.CLOSED, "it was closed on this side", sent=True, received=True)
            self._connection.receive(exchange, self._deadlines)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            if not self._ended:
                self._connection.close()

    def __del__(self) -> None:
        self.close()


class SyncTransport:
    """An HTTP transport for any number of threads. `repr` shows its connection counts."""

    def __init__(self, settings: HttpSettings | None = None) -> None:
        self.settings = settings or HttpSettings()
        self._proxies = self.settings.proxies()
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.Condition(threading.Lock())
        self._idle: dict[Origin, list[_Connection]] = {}
        self._open: set[_Connection] = set()
        self._opening = 0
        self._waiting = 0

    async def fetch(self, request: HttpRequest, timeouts: Timeouts, *, max_body: int = DEFAULT_MAX_BODY) -> HttpResponse:
        connection, exchange, _ = self._send(request, timeouts, max_body, False)
        response = HttpResponse(exchange.status, Headers(exchange.headers), exchange.take())
        connection.end()
        return response

    async def open(self, request: HttpRequest, timeouts: Timeouts) -> _SyncStream:
        connection, exchange, deadlines = self._send(request, timeouts, STREAM_LIMIT, True)
        return _SyncStream(connection, exchange, deadlines)

    def _send(self, request: HttpRequest, timeouts: Timeouts, limit: int, streaming: bool) -> tuple[_Connection, Exchange, _Deadlines]:
        """A complete response, or the headers of a stream. Retries once if an idle connection turns out to have been closed."""
        deadlines = _Deadlines(timeouts, None if timeouts.total is None else time.monotonic() + timeouts.total)
        origin = way_of(request)
        proxy = self._proxies.choose(*origin)
        data = written(request, proxy)
        while True:
            connection = self._kept_or_place(origin, deadlines.total)
            fresh = connection is None
            if connection is None:
                connection = self._connect(origin, proxy, timeouts.connect, deadlines.total)
            if request.leaving is not None:
                request.leaving()
            errand = errand_here()
            try:
                if errand is None:
                    exchange = connection.exchange(data, request, limit, deadlines, streaming)
                else:
                    with errand.waiting_for(connection.sock):
                        exchange = connection.exchange(data, request, limit, deadlines, streaming)
            except TransportError as error:
                if fresh or error.received or error.fault is not Fault.CLOSED:
                    raise
                continue
            except BaseException:  # KeyboardInterrupt or CalledBack during a read: the response is half-read
                connection.close()
                raise
            return connection, exchange, deadlines

    # pooling

    def _kept_or_place(self, origin: Origin, total: float | None) -> _Connection | None:
        """An idle connection, or None once another may be opened; an idle one to another origin is closed to make room."""
        while True:
            with self._lock:
                found, surplus = self._pop(origin)
                room = len(self._open) - len(surplus) + self._opening < self.settings.max_connections
                if found is None and room:
                    self._opening += 1
                elif found is None:
                    surplus += [kept[0] for kept in self._idle.values() if kept][:1]
                    if not surplus and not self._wait(total):
                        raise TransportError(Fault.TOTAL_TIMEOUT, "no connection was free", sent=False)
            for connection in surplus:
                connection.close()
            if found is not None or room:
                return found

    def _pop(self, origin: Origin) -> tuple[_Connection | None, list[_Connection]]:
        """A usable idle connection, and those that have expired."""
        now = time.monotonic()
        expired: list[_Connection] = []
        kept = self._idle.get(origin)
        while kept:
            connection = kept.pop()
            if connection.idle_until > now:
                return connection, expired
            expired.append(connection)
        return None, expired

    def _release(self, connection: _Connection) -> None:
        connection.idle_until = time.monotonic() + self.settings.idle_expiry
        with self._lock:
            if connection in self._open:
                self._idle.setdefault(connection.origin, []).append(connection)
                if self._waiting:
                    self._lock.notify()

    def _gone(self, connection: _Connection) -> None:
        with self._lock:
            self._open.discard(connection)
            kept = self._idle.get(connection.origin)
            if kept and connection in kept:
                kept.remove(connection)
            if self._waiting:
                self._lock.notify()

    # connecting

    def _connect(self, origin: Origin, proxy: Proxy | None, connect: float | None, total: float | None) -> _Connection:
        """Open a connection in the slot reserved for it."""
        try:
            until = _sooner(None if connect is None else time.monotonic() + connect, total)
            connection = _Connection(self, origin, self._dial(origin, proxy, until, Fault.TOTAL_TIMEOUT if until == total else None))
        except BaseException:
            with self._lock:
                self._opening -= 1
                self._lock.notify()
            raise
        with self._lock:
            self._opening -= 1
            self._open.add(connection)
        return connection

    def _wait(self, total: float | None) -> bool:
        self._waiting += 1
        try:
            return self._lock.wait(None if total is None else total - time.monotonic())
        finally:
            self._waiting -= 1

    def _dial(self, origin: Origin, proxy: Proxy | None, until: float | None, fault: Fault | None) -> Any:
        host, port = (origin.host, origin.port) if proxy is None else (proxy.host, proxy.port)
        late = fault or Fault.CONNECT_TIMEOUT
        try:
            if origin.public:
                host = public_address(host, socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
            sock = socket.create_connection((host, port), _left(until, late))
        except TimeoutError:
            raise TransportError(late, sent=False) from None
        except OSError as error:
            raise TransportError(Fault.CONNECT if proxy is None else Fault.PROXY, str(error), sent=False) from error
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if origin.scheme == "https":
                if proxy is not None:
                    _tunnel(sock, origin, proxy, until, late)
                return self._secure(sock, origin, until, late)
        except BaseException:
            sock.close()
            raise
        return sock

    def _secure(self, sock: socket.socket, origin: Origin, until: float | None, late: Fault) -> Any:
        try:
            sock.settimeout(_left(until, late))
            return tls_context(self.settings).wrap_socket(sock, server_hostname=origin.host)
        except TimeoutError:
            raise TransportError(late, sent=False) from None
        except OSError as error:
            raise TransportError(Fault.TLS, str(error) or type(error).__name__, sent=False) from error

    # shutdown

    def close(self) -> None:
        """Close every connection, including those in use."""
        for connection in list(self._open):
            connection.close()

    def _after_fork(self) -> None:
        """Drop the parent's connections without sending anything on them, since its sockets are shared."""
        inherited = list(self._open)
        self._forget()
        for connection in inherited:
            connection.closed = True
            connection.sock.close()

    def __repr__(self) -> str:
        idle = sum(map(len, self._idle.values()))
        return f"<SyncTransport {len(self._open)} open, {idle} idle, {self._opening} opening, {self._waiting} waiting>"


def _sooner(first: float | None, second: float | None) -> float | None:
    given = [at for at in (first, second) if at is not None]
    return min(given, default=None)


def _left(until: float | None, fault: Fault) -> float | None:
    if until is None:
        return None
    left = until - time.monotonic()
    if left <= 0:
        raise TransportError(fault, sent=False)
    return left


def _tunnel(sock: socket.socket, origin: Origin, proxy: Proxy, until: float | None, late: Fault) -> None:
    reply = TunnelReply()
    try:
        sock.sendall(connect_request(origin, proxy))
        while True:
            sock.settimeout(_left(until, late))
            data = sock.recv(READ)
            if not data:
                raise TransportError(Fault.PROXY, "it closed the connection", sent=False)
            if reply.feed(data):
                return
    except TimeoutError:
        raise TransportError(late, sent=False) from None
    except OSError as error:
        raise TransportError(Fault.PROXY, str(error), sent=False) from error


_shared: dict[HttpSettings, SyncTransport] = {}
_shared_lock = threading.Lock()
_DEFAULT: Final = HttpSettings()


def sync_transport(settings: HttpSettings | None = None) -> SyncTransport:
    """The process's transport for threads: one per settings, closed with the process."""
    key = settings or _DEFAULT
    transport = _shared.get(key)
    if transport is None:
        with _shared_lock:
            transport = _shared.setdefault(key, SyncTransport(key))
    return transport


def close_all() -> None:
    """Close all shared transports."""
    for transport in list(_shared.values()):
        transport.close()


def _after_fork() -> None:
    global _shared_lock
    _shared_lock = threading.Lock()
    for transport in _shared.values():
        transport._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
