"""The floor in Python: a protocol on the gateway's event loop that parses requests with httptools and forwards them.

Connections to the upstream are kept alive. No keys, limits or accounting: what is left of a gateway without its features.

`python -m benchmarks.gateway.floor UPSTREAM PORT` serves until it is stopped; UPSTREAM: `host:port`.
"""

from __future__ import annotations

import asyncio
import re
import sys
from typing import Any, Final

import httptools

_LENGTH: Final = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
_END: Final = b"0\r\n\r\n"


class Provider(asyncio.Protocol):
    """A kept-alive connection to the upstream, used by one caller at a time."""

    def __init__(self, idle: list[Provider]) -> None:
        self._idle = idle
        self._caller: asyncio.Transport | None = None
        self._left: int | None = -1
        """Bytes of the response still to come; None for a chunked one; -1 before its headers."""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def ask(self, request: bytes, caller: asyncio.Transport) -> None:
        self._caller, self._left = caller, -1
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        assert self._caller is not None
        self._caller.write(data)
        if self._left == -1:
            found, end = _LENGTH.search(data), data.index(b"\r\n\r\n") + 4
            self._left = int(found[1]) - len(data) + end if found is not None else None
        elif self._left is not None:
            self._left -= len(data)
        if self._left == 0 or (self._left is None and data.endswith(_END)):
            self._idle.append(self)


class Caller(asyncio.Protocol):
    """A caller's connection; its requests are forwarded in order."""

    def __init__(self, upstream: tuple[str, int], idle: list[Provider]) -> None:
        self._upstream = upstream
        self._idle = idle
        self._head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: %b:%d\r\nauthorization: Bearer sk-upstream\r\ncontent-length: " % (
            upstream[0].encode(),
            upstream[1],
        )
        self._parts: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, part: bytes) -> None:
        self._parts.append(part)

    def on_message_complete(self) -> None:
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        request = b"%b%d\r\n\r\n%b" % (self._head, len(body), body)
        if self._idle:
            self._idle.pop().ask(request, self._transport)
        else:
            self._connecting = asyncio.get_running_loop().create_task(self._anew(request))

    async def _anew(self, request: bytes) -> None:
        _, provider = await asyncio.get_running_loop().create_connection(lambda: Provider(self._idle), *self._upstream)
        provider.ask(request, self._transport)


async def serve(upstream: tuple[str, int], port: int) -> None:
    idle: list[Provider] = []
    server = await asyncio.get_running_loop().create_server(lambda: Caller(upstream, idle), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    host, _, at = sys.argv[1].rpartition(":")
    uvloop.run(serve((host, int(at)), int(sys.argv[2])))
