"""A provider that holds WebSockets, on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Self

from websockets.asyncio.server import ServerConnection, serve


class Speaking:
    """While it is entered it listens at `port`. What it says is its kind's."""

    def __init__(self) -> None:
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._serve()), daemon=True)
        self._over: asyncio.Event | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._over is not None
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)
        self._loop.close()

    async def _serve(self) -> None:
        self._over = asyncio.Event()
        async with serve(self.talk, "127.0.0.1", 0, select_subprotocol=self.chosen) as server:
            self.port = next(iter(server.sockets)).getsockname()[1]
            self._ready.set()
            await self._over.wait()

    def chosen(self, connection: ServerConnection, offered: Sequence[str]) -> str | None:
        """The subprotocol of a session."""
        return None

    async def talk(self, connection: ServerConnection) -> None:
        raise NotImplementedError
