"""The protocols that the core awaits. It awaits nothing else, so the ports decide which world it runs in.

Asyncio ports suspend. Blocking ports never do, so that `headrace.bridge` can run the same coroutine to completion in the
caller's thread. Virtual-time ports advance a clock instead of waiting.
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
        """The next bytes of the body as they arrive, content coding removed; b"" at its regular end.

        quiet: the previous bytes were only keep-alives, so the first-byte and between-bytes timeouts continue instead
        of starting anew.

        Raises TransportError if the body ends early (`Fault.CLOSED`), stalls, or violates HTTP. At the regular end, the
        connection has already returned to its pool.
        """
        ...

    def close(self) -> None:
        """Give up the response: closes the connection unless the body was read to its end. Idempotent; never waits."""
        ...


class Transport(Protocol):
    """Carries HTTP. Follows no redirects, and retries only on a stale idle connection on which nothing was received."""

    async def fetch(self, request: HttpRequest, timeouts: Timeouts, *, max_body: int = DEFAULT_MAX_BODY) -> HttpResponse:
        """Send and read the whole response, whatever its status. Raises TransportError."""
        ...

    async def open(self, request: HttpRequest, timeouts: Timeouts) -> HttpStream:
        """Send and return once the response headers have arrived, whatever the status. Raises TransportError."""
        ...


class Waiter(Protocol):
    """One wake-up signal, made by a `Clock`: one waiter at a time, woken from any thread."""

    async def wait(self, timeout: float | None) -> bool:
        """True when woken (also if that happened before the wait), False after `timeout` seconds."""
        ...

    def wake(self) -> None: ...


class Clock(Protocol):
    def now(self) -> float:
        """Seconds on a monotonic clock, comparable only with its own values."""
        ...

    async def sleep(self, seconds: float) -> None: ...

    def waiter(self) -> Waiter: ...


Spawn: TypeAlias = Callable[[Coroutine[Any, Any, None]], Callable[[], object]]
"""Starts a coroutine in the background: a task on an event loop, a thread in the blocking world. The returned function
cancels it from any thread: at once while it waits for the transport, never while it waits for a clock in the
blocking world.
"""


class Ports(Struct, frozen=True):
    """The ports of one world: asyncio, blocking or virtual."""

    transport: Transport
    clock: Clock
    random: Callable[[], float]
    """Numbers from [0, 1), for jitter."""
    blocking: bool = False
    """Whether these ports never suspend; then nothing awaited with them may suspend either."""
    spawn: Spawn | None = None
    """None if nothing can run in the background."""


class Worlds(Protocol):
    """Source of ports: those of the running event loop, or the blocking ones of a plain thread."""

    def suspending(self) -> Ports: ...
    def blocking(self) -> Ports: ...
    def random(self) -> float:
        """From [0, 1): the source of all randomness in a Router."""
        ...
