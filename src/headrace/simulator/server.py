"""The simulated providers over real sockets: hand-written HTTP/1.1, so that resets, stalls and truncation are exact."""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any, Final

import httptools

from headrace.simulator.config import SimulatorConfig
from headrace.simulator.engine import Incoming
from headrace.simulator.exchange import NEVER, Exchange, Piece
from headrace.simulator.fleet import Fleet

MAX_BODY: Final = 64 * 1024 * 1024
MAX_WAITING: Final = 16
"""Pipelined requests per connection from which reading is paused."""
PHRASES: Final = {status.value: status.phrase for status in HTTPStatus} | {529: "Overloaded"}
WRITE_SIZE: Final = 65_536
TICKS: Final = 500
"""Timer resolution per second: replies due within the same two milliseconds are sent in one iteration of the loop, at a
third of the cost."""
LAG: Final = 0.1
"""Maximum seconds that a stream may lag behind its schedule and still catch up."""
SETTLE: Final = 5
"""Iterations of the loop until connections that were just accepted are registered."""
WATCHED: Final = 0.02
"""Seconds between measurements of the simulator's own lateness."""
RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)

Handler = Callable[[Incoming, float], Exchange]


class Connection(asyncio.Protocol):
    """One client connection: requests are parsed as they arrive and answered in order."""

    def __init__(self, handle: Handler, open_connections: set[Connection]) -> None:
        self._handle = handle
        self._open = open_connections
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._waiting: deque[tuple[Incoming, bool, bool]] = deque()
        self._exchange: Exchange | None = None
        self._pieces: Iterator[Piece] | None = None
        self._upcoming: Piece | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._writable = True
        self._keep_alive = True
        self._chunked = False
        self._silent = False
        self._answering = False
        self._clear()

    # Reading

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._open.add(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError:
            raise  # an error of ours, not the client's
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._refuse(b"400 Bad Request")

    def connection_lost(self, exc: Exception | None) -> None:
        self._open.discard(self)
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
        if self._exchange is not None:
            self._exchange.left(self._loop.time())
            self._exchange = self._pieces = None

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self._headers.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > MAX_BODY:
            self._refuse(b"413 Content Too Large")
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        path, _, query = self._url.decode("latin-1").partition("?")
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        incoming = Incoming(self._parser.get_method().decode("latin-1"), path, self._headers, body, query)
        modern = self._parser.get_http_version() == "1.1"
        self._waiting.append((incoming, self._parser.should_keep_alive(), modern))
        self._clear()
        if self._exchange is None:
            self._next()
        elif len(self._waiting) >= MAX_WAITING:
            self._transport.pause_reading()

    def _clear(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = 0

    def _refuse(self, status: bytes) -> None:
        self._transport.write(b"HTTP/1.1 %b\r\nconnection: close\r\ncontent-length: 0\r\n\r\n" % status)
        self._transport.close()

    # Answering

    def _next(self) -> None:
        """Answer queued requests, as far as that takes no time. A loop rather than recursion, however many are pipelined."""
        if self._answering:
            return
        self._answering = True
        while self._waiting and self._exchange is None and not self._transport.is_closing():
            incoming, self._keep_alive, self._chunked = self._waiting.popleft()
            self._silent = incoming.method == "HEAD"
            now = self._loop.time()
            self._exchange = exchange = self._handle(incoming, now)
            self._due = now + exchange.delay
            if exchange.delay <= 0:
                self._begin()
            elif exchange.delay != NEVER:
                self._timer = self._loop.call_at(_tick(self._due), self._begin)
        self._answering = False
        if len(self._waiting) < MAX_WAITING:
            self._transport.resume_reading()

    def _begin(self) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        if exchange.headless:
            self._conclude()
        elif exchange.pieces is None:
            head = self._head(exchange)
            self._finish(exchange)
            self._transport.write(head if self._silent else head + exchange.body)
            self._after_reply()
        else:
            self._pieces = exchange.pieces
            self._pump(self._head(exchange))

    def _head(self, exchange: Exchange) -> bytes:
        lines = [f"HTTP/1.1 {exchange.status} {PHRASES.get(exchange.status, 'Unknown')}"]
        lines += [f"{name}: {value}" for name, value in exchange.headers]
        if exchange.length is not None:
            self._chunked = False
            lines.append(f"content-length: {exchange.length}")
        elif self._chunked:
            lines.append("transfer-encoding: chunked")
        else:
            self._keep_alive = False  # HTTP/1.0: closing the connection ends the body
        if not self._keep_alive:
            lines.append("connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def _pump(self, head: bytes = b"") -> None:
        """Send everything that is due in one write, as long as the client reads fast enough; then wait for the next piece, or end."""
        self._timer = None
        ready = bytearray(head)
        while self._pieces is not None and self._writable and not self._transport.is_closing():
            piece = self._upcoming or next(self._pieces, None)
            if piece is None:
                self._conclude(ready)
                return
            gap, data, tokens = piece
            if gap > 0 and not self._is_due(gap):
                self._upcoming = (0.0, data, tokens)
                self._timer = self._loop.call_at(_tick(self._due), self._pump)
                break
            self._upcoming = None
            self._add(ready, data, tokens)
            if len(ready) > WRITE_SIZE:
                self._transport.write(bytes(ready))
                ready.clear()
        if ready:
            self._transport.write(bytes(ready))

    def _add(self, ready: bytearray, data: bytes, tokens: int) -> None:
        if self._exchange is not None and data:
            self._exchange.produced(self._loop.time(), tokens)
            ready += b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data

    def _is_due(self, gap: float) -> bool:
        """Whether a piece scheduled `gap` after the previous one is due.

        Counted from the previous piece's schedule, not its sending, so that delays do not accumulate; a client that
        paused is not flooded.
        """
        now = self._loop.time()
        self._due = max(self._due + gap, now - LAG)
        return self._due <= now

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        if self._timer is None:
            self._pump()

    def _conclude(self, last: bytes | bytearray = b"") -> None:
        """Send `last` and apply the exchange's ending."""
        exchange = self._exchange
        self._pieces = None
        if exchange is None or exchange.ending == "hang":
            self._transport.write(bytes(last))
            return
        self._finish(exchange)
        if exchange.ending == "proper" and self._chunked:
            last = last + b"0\r\n\r\n"
        self._transport.write(bytes(last))
        if exchange.ending == "reset":
            self._reset()
        elif exchange.ending == "close":
            self._transport.close()
        else:
            self._after_reply()

    def _finish(self, exchange: Exchange) -> None:
        """Release the reply's resources before its last bytes are sent: a client that reads them may send its next request at once."""
        exchange.done(self._loop.time())
        self._exchange = self._timer = None

    def _after_reply(self) -> None:
        if self._keep_alive:
            self._next()
        else:
            self._transport.close()

    def _reset(self) -> None:
        """Close so that the client sees a TCP reset (RST) instead of an end (FIN)."""
        connection = self._transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self._transport.abort()

    def shut(self) -> None:
        self._transport.abort()


def _tick(when: float) -> float:
    return math.ceil(when * TICKS) / TICKS


class Simulator:
    """The listening sockets of one fleet, within a running event loop."""

    def __init__(self, config: SimulatorConfig) -> None:
        self.config = config
        now = asyncio.get_running_loop().time()
        self.fleet = Fleet(config, now=now, epoch=time.time() - now)
        self.base = ""
        """URL of the common port."""
        self.addresses: dict[str, str] = {}
        """Base URL by provider, as an OpenAI client takes it."""
        self._servers: list[asyncio.Server] = []
        self._connections: set[Connection] = set()
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start listening. Raises OSError if a port is taken."""
        try:
            self.base = await self._listen(self.fleet.handle, self.config.port)
            for name, provider in self.fleet.providers.items():
                port = provider.config.port
                own = None if port is None else await self._listen(provider.handle, port)
                self.addresses[name] = f"{own or f'{self.base}/{name}'}/v1"
            self._watching = asyncio.create_task(self._watch())
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close every socket, even during a reply."""
        if self._watching is not None:
            self._watching.cancel()
        # asyncio leaks sockets that it has accepted if the server closes before their connection is set up (seen with
        # CPython 3.11).
        # So stop accepting first, and give those some iterations of the loop.
        for listening in (listening for server in self._servers for listening in server.sockets):
            asyncio.get_running_loop().remove_reader(listening.fileno())
        for _ in range(SETTLE):
            await asyncio.sleep(0)
        for server in self._servers:
            server.close()
        for connection in tuple(self._connections):
            connection.shut()
        await asyncio.sleep(0)
        for server in self._servers:
            await server.wait_closed()
        self._servers.clear()

    async def _watch(self) -> None:
        """Measure the simulator's own lateness: requests that arrive meanwhile are seen together, whenever they were sent."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + WATCHED
            await asyncio.sleep(WATCHED)
            self.fleet.late = max(self.fleet.late, loop.time() - due)

    async def _listen(self, handle: Handler, port: int) -> str:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(handle, self._connections), self.config.host, port, backlog=4096)
        self._servers.append(server)
        host, bound = server.sockets[0].getsockname()[:2]
        return f"http://[{host}]:{bound}" if ":" in host else f"http://{host}:{bound}"


class Running(str):
    """The base URL of a simulator that runs in its own thread, with its controls."""

    simulator: Simulator
    loop: asyncio.AbstractEventLoop

    def url(self, provider: str) -> str:
        """Base URL of one provider, as an OpenAI client takes it."""
        return self.simulator.addresses[provider]

    def stats(self) -> dict[str, Any]:
        """The statistics of every provider, by name."""
        found: dict[str, Any] = self._call(lambda now: self.simulator.fleet.report(now)["providers"])
        return found

    def reset_stats(self) -> None:
        self._call(self.simulator.fleet.forget)

    def control(self, **order: Any) -> None:
        """See `Fleet.control`. Raises ConfigurationError."""
        self._call(lambda now: self.simulator.fleet.control(order))

    def _call(self, action: Callable[[float], Any]) -> Any:
        async def act() -> Any:
            return action(self.loop.time())

        return asyncio.run_coroutine_threadsafe(act(), self.loop).result()


@contextlib.contextmanager
def running(config: SimulatorConfig) -> Iterator[Running]:
    """Run a simulator in a thread for the duration of the block and yield its base URL. Raises OSError if a port is taken."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="headrace-simulator", daemon=True)
    thread.start()
    try:
        simulator = asyncio.run_coroutine_threadsafe(_started(config), loop).result()
        base = Running(simulator.base)
        base.simulator, base.loop = simulator, loop
        try:
            yield base
        finally:
            asyncio.run_coroutine_threadsafe(simulator.stop(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _started(config: SimulatorConfig) -> Simulator:
    simulator = Simulator(config)
    await simulator.start()
    return simulator


def serve(config: SimulatorConfig) -> None:
    """Run until SIGINT or SIGTERM. Prints the addresses. Raises OSError if a port is taken."""
    asyncio.run(_serve(config))


async def _serve(config: SimulatorConfig) -> None:
    simulator = await _started(config)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    sys.stdout.write(describe(simulator))
    sys.stdout.flush()
    try:
        await stop.wait()
    finally:
        await simulator.stop()


def describe(simulator: Simulator) -> str:
    """A summary for the terminal: addresses, models and limits."""
    lines = [f"headrace simulator: {simulator.base}  (statistics /stats, control /control)"]
    for name, address in simulator.addresses.items():
        config = simulator.fleet.providers[name].config
        limits = ", ".join(f"{rule.amount:g} {rule.name}" for rule in config.rules()) or "no limits"
        lines.append(f"  {name}: {address}  models {', '.join(config.models)}; {limits} ({config.enforcer}, {config.accounting})")
    return "\n".join(lines) + "\n"
