"""The simulated providers as a transport in virtual time: same decisions, bodies, faults and statistics, without sockets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from headrace.runtime.virtual import VirtualWaiter, World
from headrace.simulator.config import SimulatorConfig
from headrace.simulator.engine import Incoming
from headrace.simulator.exchange import NEVER, Exchange
from headrace.simulator.fleet import Fleet
from headrace.wire import DEFAULT_MAX_BODY, Fault, Headers, HttpRequest, HttpResponse, Timeouts, TransportError

EPOCH: Final = 1_767_225_600.0
"""1 January 2026: the wall time of a world's clock zero in replies."""


class VirtualProviders:
    """A `ports.Transport` to one fleet.

    A request takes `delay()` seconds to its provider and its reply as many back, drawn anew for each direction; by
    default between 0.02 and 0.30. The host in a URL is ignored; the path names the provider, as over HTTP.
    """

    def __init__(self, world: World, config: SimulatorConfig, delay: Callable[[], float] | None = None) -> None:
        self.world = world
        self.fleet = Fleet(config, now=world.now(), epoch=EPOCH)
        self.delay = delay or (lambda: 0.02 + 0.28 * world.random.random())

    def url(self, provider: str) -> str:
        """Base URL of one provider, as an OpenAI client takes it."""
        return f"http://simulator/{provider}/v1"

    def stats(self) -> dict[str, Any]:
        """The statistics of every provider, by name."""
        found: dict[str, Any] = self.fleet.report(self.world.now())["providers"]
        return found

    def reset_stats(self) -> None:
        self.fleet.forget(self.world.now())

    def control(self, **order: Any) -> None:
        """See `Fleet.control`. Raises ConfigurationError."""
        self.fleet.control(order)

    async def fetch(self, request: HttpRequest, timeouts: Timeouts, *, max_body: int = DEFAULT_MAX_BODY) -> HttpResponse:
        stream = await self._start(request, timeouts)
        exchange = stream.exchange
        if exchange.pieces is None:
            if len(exchange.body) > max_body:
                raise TransportError(Fault.TOO_LARGE, f"more than {max_body} bytes", sent=True, received=True)
            return HttpResponse(exchange.status, stream.headers, exchange.body)
        try:
            return HttpResponse(exchange.status, stream.headers, await self._read_all(stream, max_body))
        finally:
            stream.close()

    async def open(self, request: HttpRequest, timeouts: Timeouts) -> VirtualStream:
        return await self._start(request, timeouts)

    async def _read_all(self, stream: VirtualStream, max_body: int) -> bytes:
        parts: list[bytes] = []
        size = 0
        while part := await stream.read():
            parts.append(part)
            size += len(part)
            if size > max_body:
                raise TransportError(Fault.TOO_LARGE, f"more than {max_body} bytes", sent=True, received=True)
        return b"".join(parts)

    async def _start(self, request: HttpRequest, timeouts: Timeouts) -> VirtualStream:
        """Send, wait, and return once the headers have arrived (with the whole body, if it is sent at once)."""
        world = self.world
        limit, fault = _first_limit(timeouts)
        deadline = world.now() + limit
        there, back = self.delay(), self.delay()
        if request.leaving is not None:
            request.leaving()
        if there >= limit:
            self._arrive_unwanted(request, there)
            await world.sleep(limit)
            raise TransportError(fault, sent=True)
        await world.sleep(there)
        exchange = self.fleet.handle(_incoming(request), world.now())
        total = None if timeouts.total is None else deadline - limit + timeouts.total
        try:
            if world.now() + exchange.delay + back > deadline:
                await world.sleep(deadline - world.now())
                raise TransportError(fault, sent=True)
            if exchange.pieces is None:
                await self._await_whole(exchange, back)
                return VirtualStream(world, exchange, back, timeouts.between_bytes, total)
            await world.sleep(exchange.delay)
            stream = VirtualStream(world, exchange, back, timeouts.between_bytes, total)
            await world.sleep(back)
            return stream
        except BaseException:
            exchange.left(world.now())
            raise

    async def _await_whole(self, exchange: Exchange, back: float) -> None:
        """Wait for a reply sent all at once, or for none. Its provider is done with it before it arrives."""
        world = self.world
        if exchange.headless and exchange.ending == "hang":
            await world.sleep(NEVER)
        world.at(world.now() + exchange.delay, lambda: exchange.done(world.now()))
        await world.sleep(exchange.delay + back)
        exchange.done(world.now())  # if both delays are zero, the timer above has not fired yet
        if exchange.headless:
            raise TransportError(Fault.CLOSED, "reset before a response", sent=True)

    def _arrive_unwanted(self, request: HttpRequest, after: float) -> None:
        """The caller gave up while its request was still on its way: it arrives nevertheless, and the reply is dropped."""

        def arrive() -> None:
            now = self.world.now()
            self.fleet.handle(_incoming(request), now).left(now)

        self.world.at(self.world.now() + after, arrive)


class VirtualStream:
    """A `ports.HttpStream`, created when its headers leave the provider, which continues on its own schedule, whether
    or not anyone reads."""

    def __init__(self, world: World, exchange: Exchange, back: float, between: float | None, deadline: float | None) -> None:
        self.exchange = exchange
        self.headers = Headers.of(exchange.headers)
        self._world = world
        self._back = back
        self._between = between
        self._deadline = deadline
        self._arrived: list[bytes] = []
        self._end: Fault | bool = False
        """False while there may be more, True at the regular end, else the fault."""
        self._closed = False
        self._since = world.now()
        """When the current wait for bytes began."""
        self._waiter: VirtualWaiter | None = None
        if exchange.pieces is None:
            self._arrived.append(exchange.body)
            self._end = True
        else:
            self._produce(world.now())

    @property
    def status(self) -> int:
        return self.exchange.status

    async def read(self, quiet: bool = False) -> bytes:
        if not quiet:
            self._since = self._world.now()
        while not self._arrived:
            if self._end is True:
                return b""
            if self._end or self._closed:
                reason = self._end or Fault.CLOSED
                raise TransportError(reason, "in the middle of the body", sent=True, received=True)
            await self._wait()
        data = b"".join(self._arrived)
        self._arrived.clear()
        return data

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.exchange.left(self._world.now())
            self._wake()

    async def _wait(self) -> None:
        limit, fault = None if self._between is None else self._since + self._between - self._world.now(), Fault.BETWEEN_BYTES_TIMEOUT
        left = None if self._deadline is None else max(0.0, self._deadline - self._world.now())
        if left is not None and (limit is None or left < limit):
            limit, fault = left, Fault.TOTAL_TIMEOUT
        self._waiter = self._waiter or self._world.waiter()
        if not await self._waiter.wait(limit):
            self._end = fault
            self.close()

    def _wake(self) -> None:
        if self._waiter is not None:
            self._waiter.wake()

    def _produce(self, now: float, due: bytes = b"") -> None:
        """Send `due` and everything due with it, and schedule the next piece."""
        assert self.exchange.pieces is not None
        together = [due]
        for gap, data, tokens in self.exchange.pieces:
            if gap > 0:
                self._world.at(now + gap, lambda: self._leave(data, tokens))  # noqa: B023 - the loop ends here
                self._send(now, together)
                return
            self.exchange.produced(now, tokens)
            together.append(data)
        if self.exchange.ending == "hang":
            self._send(now, together)
            return
        self.exchange.done(now)
        self._send(now, together, True if self.exchange.ending == "proper" else Fault.CLOSED)

    def _leave(self, data: bytes, tokens: int) -> None:
        if not self._closed:
            now = self._world.now()
            self.exchange.produced(now, tokens)
            self._produce(now, data)

    def _send(self, now: float, parts: list[bytes], end: Fault | bool = False) -> None:
        data = b"".join(parts)
        if data or end:
            self._world.at(now + self._back, lambda: self._arrive(data, end))

    def _arrive(self, data: bytes, end: Fault | bool) -> None:
        if not self._closed:
            if data:
                self._arrived.append(data)
            self._end = end
            self._wake()


def _first_limit(timeouts: Timeouts) -> tuple[float, Fault]:
    """Seconds by which a response must have begun, and the fault otherwise."""
    first, total = timeouts.first_byte, timeouts.total
    if first is not None and (total is None or first <= total):
        return first, Fault.FIRST_BYTE_TIMEOUT
    return (NEVER if total is None else total), Fault.TOTAL_TIMEOUT


def _incoming(request: HttpRequest) -> Incoming:
    place, _, query = request.url.partition("?")
    path = place.split("/", 3)
    headers = {name.lower(): value for name, value in request.headers}
    return Incoming(request.method, "/" + path[3] if len(path) > 3 else "/", headers, request.body, query)
