"""A server that says exactly the bytes a test scripts, and every transport in a form a test can drive."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from headrace.bridge import complete
from headrace.runtime.http_async import AsyncTransport
from headrace.runtime.http_settings import HttpSettings
from headrace.runtime.http_sync import SyncTransport
from headrace.wire import HttpRequest, HttpResponse, Timeouts

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def chunked(*parts: bytes, end: bool = True) -> bytes:
    framed = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + framed + (b"0\r\n\r\n" if end else b"")


Step: TypeAlias = "bytes | threading.Event | str"
"""Bytes to send, an event to wait for, or "close" / "reset" / "read" (wait for the next request)."""


@dataclass
class Server:
    """Answers every connection by a script: a list of steps per connection, the last list for all further ones."""

    scripts: list[list[Step]]
    port: int = 0
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    hung_up: threading.Event = field(default_factory=threading.Event)
    """Set when a client closed while we were sending or waiting."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def serve(self, sock: Any) -> None:
        number, self.connections = self.connections, self.connections + 1
        try:
            with sock:
                for step in self.scripts[min(number, len(self.scripts) - 1)]:
                    if not self._take(sock, step):
                        return
                sock.settimeout(10)
                if sock.recv(1) == b"":
                    self.hung_up.set()
        except OSError:
            self.hung_up.set()

    def _take(self, sock: Any, step: Step) -> bool:
        if isinstance(step, bytes):
            sock.sendall(step)
        elif isinstance(step, threading.Event):
            step.wait(10)
        elif step == "read":
            request = read_request(sock)
            if not request:
                self.hung_up.set()
                return False
            self.requests.append(request)
        elif step == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        return step != "close"


def read_request(sock: Any) -> bytes:
    """One request with its body."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(65536)
        if not more:
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")), 0)
    received = bytearray(body)
    while len(received) < length:
        more = sock.recv(65536)
        if not more:
            return b""
        received += more
    return head + b"\r\n\r\n" + received


@contextmanager
def serving(*scripts: list[Step], tls: ssl.SSLContext | None = None, family: int = socket.AF_INET) -> Iterator[Server]:
    """A server on a loopback port. Without scripts every request is answered with OK, again and again."""
    server = Server(list(scripts) or [["read", OK] * 200])
    listener = socket.create_server(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0), family=family)
    server.port = listener.getsockname()[1]
    threads: list[threading.Thread] = []

    def handle(sock: socket.socket) -> None:
        try:
            server.serve(tls.wrap_socket(sock, server_side=True) if tls is not None else sock)
        except OSError:
            sock.close()

    def accept() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=handle, args=(sock,), daemon=True)
            thread.start()
            threads.append(thread)

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield server
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join(5)
        for thread in threads:
            thread.join(5)


POST = b'{"hello": "world"}'


def post(url: str, body: bytes = POST, **headers: str) -> HttpRequest:
    return HttpRequest("POST", url, tuple(headers.items()), body)


class Driver:
    """One transport, driven to its end. `use` runs a coroutine function that is given the transport."""

    def __init__(self, name: str, make: Callable[[HttpSettings], Any], run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self.name = name
        self._make = make
        self._run = run

    def use(self, body: Callable[[Any], Coroutine[Any, Any, Any]], **settings: Any) -> Any:
        async def main() -> Any:
            transport = self._make(HttpSettings(**settings))
            try:
                return await body(transport)
            finally:
                transport.close()

        return self._run(main())

    def fetch(self, request: HttpRequest, timeouts: Timeouts | None = None, **settings: Any) -> HttpResponse:
        response: HttpResponse = self.use(lambda transport: transport.fetch(request, timeouts or Timeouts(connect=5, total=8)), **settings)
        return response

    def __repr__(self) -> str:
        return self.name


ASYNC = Driver("async", AsyncTransport, asyncio.run)
SYNC = Driver("sync", SyncTransport, complete)
OURS = (ASYNC, SYNC)
