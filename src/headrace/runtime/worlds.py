"""The real worlds: the running event loop, and plain threads. Transports are shared by the whole process."""

from __future__ import annotations

import random

from headrace.ports import Ports
from headrace.runtime.clocks import AsyncClock, BlockingClock
from headrace.runtime.http_async import async_transport
from headrace.runtime.http_settings import HttpSettings
from headrace.runtime.http_sync import sync_transport


class RealWorlds:
    """Ports for asyncio and for threads, over transports with the given settings."""

    __slots__ = ("_async_clock", "_blocking_clock", "_settings")

    def __init__(self, settings: HttpSettings | None = None) -> None:
        self._settings = settings
        self._async_clock = AsyncClock()
        self._blocking_clock = BlockingClock()

    def suspending(self) -> Ports:
        """Ports of the running event loop. Raises RuntimeError outside of one."""
        return Ports(async_transport(self._settings), self._async_clock, random.random)

    def blocking(self) -> Ports:
        """Ports that block the calling thread and never suspend; they work inside a running event loop as well (Jupyter)."""
        return Ports(sync_transport(self._settings), self._blocking_clock, random.random)
