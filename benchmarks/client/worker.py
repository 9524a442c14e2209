"""One client with one kind of call and one concurrency, in a process of its own.

`python -m benchmarks.client.worker <async|sync> <client> <kind> <concurrency> <address>`: each line of standard input
is a number of calls to make; the response is a line of JSON with the CPU seconds (user and system, all threads) they
took.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable

from benchmarks.client.clients import CLIENTS, EXPECTED
from benchmarks.common.measure import CLIENT_CORE
from benchmarks.common.upstream import pin

ROUND_AT_MOST = 240
"""Seconds after which a hanging round terminates this process."""


def check(kind: str, got: int) -> None:
    if got != EXPECTED[kind]:
        raise RuntimeError(f"a {kind} call returned {got}, expected {EXPECTED[kind]}: the client does not read the whole answer")


async def many(call: Callable[[], Awaitable[int]], kind: str, calls: int, concurrency: int) -> None:
    """Make `calls` calls, `concurrency` at once, in that many tasks that take the next call when free."""
    numbers = iter(range(calls))

    async def work() -> None:
        for _ in numbers:
            check(kind, await call())

    await asyncio.gather(*(work() for _ in range(min(concurrency, calls))))


def many_threads(call: Callable[[], int], kind: str, calls: int, concurrency: int) -> None:
    """`many` with threads; one of them is the current thread."""
    numbers, errors = itertools.count(), []

    def work() -> None:
        try:
            while next(numbers) < calls:
                check(kind, call())
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(concurrency - 1)]
    for thread in threads:
        thread.start()
    work()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def answer(began: float) -> None:
    os.write(_ANSWERS, (json.dumps({"cpu": time.process_time() - began}) + "\n").encode())


_ANSWERS = os.dup(1)


async def serve_async(name: str, kind: str, concurrency: int, address: str) -> None:
    call = await CLIENTS["async"][name].open(address, kind)
    for line in sys.stdin:
        signal.alarm(ROUND_AT_MOST)
        began = time.process_time()
        await many(call, kind, int(line), concurrency)
        answer(began)
        signal.alarm(0)


def serve_sync(name: str, kind: str, concurrency: int, address: str) -> None:
    call = CLIENTS["sync"][name].open(address, kind)
    for line in sys.stdin:
        signal.alarm(ROUND_AT_MOST)
        began = time.process_time()
        many_threads(call, kind, int(line), concurrency)
        answer(began)
        signal.alarm(0)


def main(mode: str, name: str, kind: str, concurrency: str, address: str) -> None:
    pin(CLIENT_CORE)
    os.dup2(2, 1)  # a peer's own output must not be mistaken for a response
    if mode == "async":
        asyncio.run(serve_async(name, kind, int(concurrency), address))
    else:
        serve_sync(name, kind, int(concurrency), address)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
