"""Load generators: `wrk` for maximum throughput, and our own sockets for a steady rate and for streams with paced chunks."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.common.upstream import CORE

PATH = "/v1/chat/completions"
SMALL = "Where does the water in a headrace go?"
LARGE = "The water runs in the headrace at the rate the wheel can take. " * 1600
"""About 100 KB."""


def body_of(text: str, *, stream: bool = False, paced: bool = False, model: str = "gpt") -> bytes:
    said = {"model": model, "messages": [{"role": "user", "content": text}], **({"stream": True} if stream else {})}
    return json.dumps({**said, **({"user": "paced"} if paced else {})}, separators=(",", ":")).encode()


def request_of(address: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """A request as sent on the wire."""
    said = {"host": urlsplit(address).netloc, "content-type": "application/json", "content-length": str(len(body)), **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in said.items())
    return f"POST {PATH} HTTP/1.1\r\n{lines}\r\n".encode() + body


# ---- maximum throughput --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Flood:
    """wrk's result."""

    requests: int
    failed: int
    seconds: float


_SCRIPT = """
local file = io.open(%s, "rb")
wrk.method = "POST"
wrk.body = file:read("*a")
file:close()
wrk.headers["content-type"] = "application/json"
%s
function done(summary, latency, requests)
  local e = summary.errors
  local failed = e.connect + e.read + e.write + e.status + e.timeout
  io.write(string.format("\\nfound %%d %%d %%d\\n", summary.requests, failed, summary.duration))
end
"""


def flood(folder: Path, address: str, body: bytes, headers: Mapping[str, str], *, connections: int, seconds: float) -> Flood:
    """Send as many requests as are answered on `connections` connections, from the upstream's core."""
    (folder / "body.json").write_bytes(body)
    said = "\n".join(f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in headers.items())
    (folder / "wrk.lua").write_text(_SCRIPT % (json.dumps(str(folder / "body.json")), said))
    whole = max(1, round(seconds))
    pinned = ["taskset", "-c", str(CORE)] if shutil.which("taskset") else []
    command = [*pinned, "wrk", "-t1", f"-c{connections}", f"-d{whole}s", "--timeout", "60s", "-s", str(folder / "wrk.lua"), address + PATH]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    line = next((line for line in done.stdout.splitlines() if line.startswith("found ")), None)
    if line is None:
        raise RuntimeError(f"wrk failed: {(done.stderr or done.stdout).strip()[-200:]}")
    requests, failed, microseconds = map(int, line.split()[1:])
    return Flood(requests, failed, microseconds / 1e6)


# ---- paced streams -------------------------------------------------------------------------------------------------------------------


async def streams(address: str, request: bytes, at_once: int) -> int:
    """Read `at_once` concurrent streams to their end; returns their number of events."""
    return sum(await asyncio.gather(*(_stream(address, request) for _ in range(at_once))))


async def _stream(address: str, request: bytes) -> int:
    at = urlsplit(address)
    reader, writer = await asyncio.open_connection(at.hostname, at.port)
    writer.write(request)
    events, tail = 0, b""
    try:
        while not tail.endswith(b"0\r\n\r\n"):
            data = await reader.read(1 << 16)
            if not data:
                raise RuntimeError(f"the stream ended early, after {events} events: {tail[-120:]!r}")
            tail = tail[-5:] + data  # overlap, so that a marker split across two reads is counted, and none twice
            events += tail.count(b"data: ")
    finally:
        writer.close()
    return events


# ---- one after another, at a steady rate ---------------------------------------------------------------------------------------------


class Caller:
    """One connection, one request at a time."""

    def __init__(self, address: str) -> None:
        at = urlsplit(address)
        self._to = (at.hostname or "", at.port or 80)
        self._socket: socket.socket | None = None

    def whole(self, request: bytes) -> float:
        """Seconds until the complete response has arrived."""
        began, connection = self._begin(request)
        seen = b""
        while (end := seen.find(b"\r\n\r\n")) < 0 or not _complete(seen, end):
            seen += self._more(connection)
        return time.perf_counter() - began

    def first(self, request: bytes) -> float:
        """Seconds until a stream's first event has arrived; then disconnects."""
        began, connection = self._begin(request)
        seen = b""
        while b"data: " not in seen:
            seen += self._more(connection)
        took = time.perf_counter() - began
        self.close()
        return took

    def _begin(self, request: bytes) -> tuple[float, socket.socket]:
        connection = self._socket = self._socket or socket.create_connection(self._to, timeout=60)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = time.perf_counter()
        connection.sendall(request)
        return began, connection

    def _more(self, connection: socket.socket) -> bytes:
        data = connection.recv(1 << 16)
        if not data:
            raise RuntimeError("the connection ended before the answer")
        return data

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None


def _complete(seen: bytes, end: int) -> bool:
    head = seen[:end].lower()
    if b"chunked" in head:
        return seen.endswith(b"0\r\n\r\n")
    length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
    return len(seen) >= end + 4 + length


def in_turns(callers: Mapping[str, tuple[Caller, bytes]], *, times: int, rate: float, first: bool) -> dict[str, list[float]]:
    """Send each caller's request once per turn, with `rate` turns per second; seconds of each, by name."""
    took: dict[str, list[float]] = {name: [] for name in callers}
    for _ in range(times):
        next_at = time.perf_counter() + 1 / rate
        for name, (caller, request) in callers.items():
            took[name].append(caller.first(request) if first else caller.whole(request))
        time.sleep(max(0.0, next_at - time.perf_counter()))
    return took


def quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
