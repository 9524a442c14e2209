"""Clocks for asyncio and for threads. Both read the same monotonic clock, so they can share a limiter."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any


class AsyncWaiter:
    """Waits in its event loop; woken from any thread."""

    __slots__ = ("_future", "_loop", "_thread", "_woken")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._future: asyncio.Future[bool] | None = None
        self._woken = False

    async def wait(self, timeout: float | None) -> bool:
        if self._woken:
            self._woken = False
            return True
        self._future = future = self._loop.create_future()
        timer = None if timeout is None else self._loop.call_later(timeout, _finish, future, False)
        try:
            woken: bool = await future
        finally:
            self._future = None
            if timer is not None:
                timer.cancel()
        return woken

    def wake(self) -> None:
        if threading.get_ident() == self._thread:
            self._wake()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        if self._future is None:
            self._woken = True
        else:
            _finish(self._future, True)


def _finish(future: asyncio.Future[bool], woken: bool) -> None:
    if not future.done():
        future.set_result(woken)


class AsyncClock:
    """A clock that suspends the task."""

    __slots__ = ()

    now = staticmethod(time.monotonic)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def waiter(self) -> AsyncWaiter:
        return AsyncWaiter()


_spawned: set[asyncio.Task[None]] = set()
"""Strong references: the event loop holds its tasks only weakly."""


def spawn(coroutine: Coroutine[Any, Any, None]) -> Callable[[], object]:
    """Start a task in the background: a `ports.Spawn`."""
    loop = asyncio.get_running_loop()
    task = loop.create_task(coroutine)
    _spawned.add(task)
    task.add_done_callback(_spawned.discard)

    def cancel() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(task.cancel)

    return cancel


class BlockingWaiter:
    """Blocks its thread; woken from any other."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = threading.Event()

    async def wait(self, timeout: float | None) -> bool:
        woken = self._event.wait(timeout)
        self._event.clear()
        return woken

    def wake(self) -> None:
        self._event.set()


class BlockingClock:
    """A clock that blocks the thread and never suspends."""

    __slots__ = ()

    now = staticmethod(time.monotonic)

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - this clock is meant to block

    def waiter(self) -> BlockingWaiter:
        return BlockingWaiter()
