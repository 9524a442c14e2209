"""What the core awaits. It awaits nothing else, so whoever supplies the ports decides which world it runs in.

Asyncio ports suspend; blocking ports return without ever suspending, so that `runtime.bridge` can drive the same
coroutine to its end in the caller's thread; virtual-time ports move a clock instead of waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeAlias

from msgspec import Struct

from headrace.wire import DEFAULT_MAX_BODY, Headers, HttpRequest, HttpResponse, Timeouts


class HttpStream(Protocol):
    """A response whose body is still arriving."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Headers: ...

    async def read(self, quiet: bool = False) -> bytes:
        """The next bytes of the body as soon as there are any, content coding removed; b"" at its proper end.

        quiet: what was read last said nothing, it only kept the connection: the limits of the first byte and of silence go on from where
        they were before it.

        Raises TransportError when the body ends early (`Fault.CLOSED`), goes silent or breaks HTTP. At the proper end the
        connection has already gone back to its pool.
        """
        ...

    def close(self) -> None:
        """Give the response up: unless it was read to its end the connection is closed now. Idempotent; never waits."""
        ...


class Transport(Protocol):
    """Carries HTTP. Follows no redirects, retries nothing but a stale idle connection on which nothing was received."""

    async def fetch(self, request: HttpRequest, timeouts: Timeouts, *, max_body: int = DEFAULT_MAX_BODY) -> HttpResponse:
        """Send and read the whole response, whatever its status. Raises TransportError."""
        ...

    async def open(self, request: HttpRequest, timeouts: Timeouts) -> HttpStream:
        """Send and return once the response's headers are there, whatever its status. Raises TransportError."""
        ...


class Waiter(Protocol):
    """One place to wait for a wake-up: made by a `Clock`, waited on once at a time, woken from any thread."""

    async def wait(self, timeout: float | None) -> bool:
        """True when woken (also if that happened before the wait), False after `timeout` seconds."""
        ...

    def wake(self) -> None: ...


class Clock(Protocol):
    def now(self) -> float:
        """Seconds on a clock that never goes back; comparable only with itself."""
        ...

    async def sleep(self, seconds: float) -> None: ...

    def waiter(self) -> Waiter: ...


Spawn: TypeAlias = Callable[[Coroutine[Any, Any, None]], Callable[[], object]]
"""Starts a coroutine beside its caller: a task on an event loop, a thread in the blocking world. What it returns cancels it, from any
thread: at once where it waits for the transport, never where it waits for a clock in the blocking world."""


class Ports(Struct, frozen=True):
    """One world: asyncio, blocking or virtual."""

    transport: Transport
    clock: Clock
    random: Callable[[], float]
    """Numbers from [0, 1), for jitter."""
    blocking: bool = False
    """Whether nothing here ever suspends: then nothing else may, either."""
    spawn: Spawn | None = None
    """None where nothing can run beside its caller."""


class Worlds(Protocol):
    """Where ports come from: the ones of the running event loop, or the blocking ones of a plain thread."""

    def suspending(self) -> Ports: ...
    def blocking(self) -> Ports: ...
    def random(self) -> float:
        """From [0, 1): what all chance in a Router is drawn from."""
        ...
