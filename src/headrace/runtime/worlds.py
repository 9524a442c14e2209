"""Ports for the real worlds: the running event loop, and plain threads. Transports are shared by the whole process."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from headrace.ports import Clock, Ports, Spawn, Transport

if TYPE_CHECKING:
    from headrace.runtime.http_settings import HttpSettings


@cache
def _suspending() -> tuple[Callable[[HttpSettings | None], Transport], Clock, Spawn]:
    # late: asyncio weighs more than all of headrace, and a blocking program never needs it
    from headrace.runtime.clocks import AsyncClock, spawn
    from headrace.runtime.http_async import async_transport  # late: see above

    return async_transport, AsyncClock(), spawn


@cache
def _blocking() -> tuple[Callable[[HttpSettings | None], Transport], Clock, Spawn]:
    # late: importing headrace loads no socket module; calling it does
    from headrace.runtime.background import spawn  # late: see above
    from headrace.runtime.clocks import BlockingClock
    from headrace.runtime.http_sync import sync_transport  # late: see above

    return sync_transport, BlockingClock(), spawn


@cache
def _random() -> Callable[[], float]:
    import random  # late: it loads a dozen math modules

    return random.random


class RealWorlds:
    """Ports for asyncio and for threads, with transports of the given settings."""

    __slots__ = ("_settings",)

    def __init__(self, settings: HttpSettings | None = None) -> None:
        self._settings = settings

    def random(self) -> float:
        return _random()()

    def suspending(self) -> Ports:
        """Ports of the running event loop. Raises RuntimeError outside of one."""
        transport, clock, spawn = _suspending()
        return Ports(transport(self._settings), clock, _random(), spawn=spawn)

    def blocking(self) -> Ports:
        """Ports that block the calling thread and never suspend; they also work inside a running event loop (Jupyter)."""
        transport, clock, spawn = _blocking()
        return Ports(transport(self._settings), clock, _random(), blocking=True, spawn=spawn)
