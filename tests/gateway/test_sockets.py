"""A single caller connection, over a transport that records what is written."""

from __future__ import annotations

import asyncio
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from headrace import Router
from headrace.gateway.app import gateway
from headrace.gateway.config import Settings
from headrace.gateway.sockets import Connection

ALIVE = b"GET /health/liveliness HTTP/1.1\r\nhost: here\r\n\r\n"


class Noted(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return False


async def _turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def test_a_first_request_on_a_connection_that_takes_nothing_waits_with_its_answer() -> None:
    async def run() -> None:
        config = uvicorn.Config(gateway(Router([]), Settings()), log_config=None, proxy_headers=False, interface="asgi3")
        config.load()
        connection, transport = Connection(config, ServerState(), {}), Noted()
        connection.connection_made(transport)
        connection.pause_writing()
        connection.data_received(ALIVE)
        await _turns()
        assert transport.written == b""
        connection.resume_writing()
        await _turns()
        assert transport.written.startswith(b"HTTP/1.1 200 OK")
        connection.connection_lost(ConnectionResetError())

    asyncio.run(run())
