"""`python -m benchmarks.gateway.soak`: memory, file descriptors and the ledger over many calls, some of which fail or are abandoned."""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import math
import signal
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.common import upstream
from benchmarks.common.measure import table
from benchmarks.gateway import load
from benchmarks.gateway.contestants import Contestant, headrace
from benchmarks.gateway.processes import descriptors, resident_mb

CALLERS = 16
SAMPLES = 50
EVERY = 20
"""Of this many calls, one fails and one is abandoned by its caller: 5 % each."""


@dataclass
class Soaked:
    """What was sent and observed."""

    sent: int = 0
    wrong: int = 0
    """Responses with an unexpected status."""
    memory: list[tuple[int, float]] = field(default_factory=list)
    """(calls so far, MB)"""
    files: list[int] = field(default_factory=list)
    """Open file descriptors while no caller is connected."""
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    """Set to stop sending."""


@contextmanager
def turn(lock: Path | None) -> Iterator[None]:
    """Hold an exclusive lock on the file; does nothing without one."""
    if lock is None:
        yield
        return
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


async def soak(one: Contestant, calls: int, seconds: float = math.inf, lock: Path | None = None) -> Soaked:
    """Make `calls` calls, or as many as fit into `seconds` or until Ctrl-C, in at most `SAMPLES` parts; between parts nobody is connected.

    lock: held during each part, for machines shared with other measurements.
    """
    requests = {
        "whole": load.request_of(one.address, load.body_of(load.SMALL), one.headers),
        "broken": load.request_of(one.address, load.body_of(load.SMALL, model="broken"), one.headers),
        "left": load.request_of(one.address, load.body_of(load.SMALL, stream=True, paced=True), one.headers),
    }
    seen, numbers, ends = Soaked(), iter(range(calls)), time.monotonic() + seconds
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, seen.stop.set)
    parts = max(4, min(SAMPLES, calls // 100))
    for part in range(parts):
        if time.monotonic() >= ends or seen.stop.is_set():
            break
        until = calls * (part + 1) // parts
        with turn(lock):
            await asyncio.gather(*(_caller(one.address, requests, numbers, until, seen) for _ in range(CALLERS)))
        await asyncio.sleep(1.0)
        seen.memory.append((seen.sent, resident_mb(one.pid)))
        seen.files.append(descriptors(one.pid))
    return seen


async def _caller(address: str, requests: dict[str, bytes], numbers: Iterator[int], until: int, seen: Soaked) -> None:
    """Make calls one after another on a connection of its own, until `until` calls were sent in all."""
    at = urlsplit(address)
    reader, writer = await asyncio.open_connection(at.hostname, at.port)
    try:
        while seen.sent < until and not seen.stop.is_set() and (number := next(numbers, None)) is not None:
            seen.sent += 1
            kind = {0: "broken", EVERY // 2: "left"}.get(number % EVERY, "whole")
            writer.write(requests[kind])
            if kind == "left":
                await reader.readuntil(b"data: ")
                writer.close()
                reader, writer = await asyncio.open_connection(at.hostname, at.port)
                continue
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]))
            seen.wrong += not head.startswith(b"HTTP/1.1 200" if kind == "whole" else b"HTTP/1.1 5")
    finally:
        writer.close()


def rows_of(folder: Path) -> dict[str, int]:
    """Calls in the ledger by outcome."""
    with sqlite3.connect(folder / "headrace.db") as database:
        return dict(database.execute("SELECT outcome, count(*) FROM calls GROUP BY outcome").fetchall())


def slope(memory: Sequence[tuple[int, float]]) -> float:
    """Bytes of memory growth per call, over the second half."""
    later = memory[len(memory) // 2 :]
    return statistics.linear_regression([float(calls) for calls, _ in later], [mb for _, mb in later]).slope * 1e6


def report(seen: Soaked, rows: dict[str, int]) -> str:
    by_outcome = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(rows.items()))
    first, last = seen.memory[0], seen.memory[-1]
    return table(
        [
            ["soak", ""],
            ["calls", f"{seen.sent:,}"],
            ["unexpected responses", f"{seen.wrong:,}"],
            ["rows in the ledger", f"{sum(rows.values()):,} ({by_outcome})"],
            ["resident MB", f"{first[1]:.1f} after {first[0]:,} calls, {last[1]:.1f} after {last[0]:,}"],
            ["memory growth in bytes per call, second half", f"{slope(seen.memory):,.0f}"],
            ["descriptors", f"{seen.files[0]} after the first part, {seen.files[-1]} at the end"],
        ]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway.soak", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="20,000 calls")
    parser.add_argument("--seconds", type=float, default=math.inf, metavar="S", help="start no further part after so many seconds")
    parser.add_argument("--calls", type=int, default=1_000_000, metavar="N", help="number of calls (default 1,000,000)")
    parser.add_argument("--lock", type=Path, metavar="FILE", help="hold this file's lock during each part")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch, upstream.running() as address:
        folder = Path(scratch)
        with headrace(address, folder) as one:
            seen = asyncio.run(soak(one, 20_000 if chosen.quick else chosen.calls, chosen.seconds, chosen.lock))
        rows = rows_of(folder)  # the gateway has stopped: everything is folded
    print(report(seen, rows))
    return 0 if not seen.wrong and sum(rows.values()) == seen.sent else 1


if __name__ == "__main__":
    sys.exit(main())
