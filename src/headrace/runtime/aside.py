"""Work that blocks, for whoever must not: in a thread of its own when an event loop waits for it, in the caller's own otherwise."""

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


async def aside(ports: Ports, work: Callable[[], T], patience: float) -> T:
    """What `work` returns. Raises what it raises, and TimeoutError when it takes more than `patience` seconds."""
    if ports.blocking:
        return work()
    waiter = ports.clock.waiter()
    done: list[tuple[Any, Exception | None]] = []

    def job() -> None:
        try:
            done.append((work(), None))
        except Exception as error:
            done.append((None, error))
        with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: nobody waits
            waiter.wake()

    _pool().submit(job)
    if not await waiter.wait(patience) and not done:
        raise TimeoutError
    result, error = done[0]
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]


def _pool() -> ThreadPoolExecutor:
    """The process's own: threads do not survive a fork."""
    with _making:
        if os.getpid() not in _pools:
            _pools.clear()
            _pools[os.getpid()] = ThreadPoolExecutor(_THREADS, thread_name_prefix="headrace-aside")
        return _pools[os.getpid()]
