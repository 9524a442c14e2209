"""Runs blocking work without blocking an event loop: in a thread pool for async callers, in the caller's own thread otherwise."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from headrace.ports import Ports

T = TypeVar("T")

_THREADS: Final = 4
_pools: dict[int, ThreadPoolExecutor] = {}
_making = threading.Lock()


async def offload(ports: Ports, work: Callable[[], T], patience: float) -> T:
    """The result of `work`. Raises what it raises, and TimeoutError if it takes more than `patience` seconds."""
    if ports.blocking:
        return work()
    waiter = ports.clock.waiter()
    done: list[tuple[Any, Exception | None]] = []

    def job() -> None:
        try:
            done.append((work(), None))
        except Exception as error:
            done.append((None, error))
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody is waiting
            waiter.wake()

    _pool().submit(job)
    if not await waiter.wait(patience) and not done:
        raise TimeoutError
    result, error = done[0]
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


def _pool() -> ThreadPoolExecutor:
    """The thread pool of this process: threads do not survive a fork."""
    with _making:
        if os.getpid() not in _pools:
            _pools.clear()
            _pools[os.getpid()] = ThreadPoolExecutor(_THREADS, thread_name_prefix="headrace-offload")
        return _pools[os.getpid()]
