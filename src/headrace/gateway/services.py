"""Services that run for the lifetime of the application: ASGI's lifespan."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Final, Protocol

from headrace.gateway.requests import Receive, Send
from headrace.routing.events import Hook, subscribe

log: Final = logging.getLogger("headrace.gateway")


class Service(Protocol):
    """Runs from the start to the end of the application."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...


class Hearing:
    """Subscribes hooks to the events of Routers while it runs."""

    def __init__(self, *hooks: Hook) -> None:
        self._hooks = hooks
        self._ends: list[Callable[[], None]] = []

    async def start(self) -> None:
        self._ends = [subscribe(hook) for hook in self._hooks]

    async def stop(self) -> None:
        for end in self._ends:
            end()


async def run_lifespan(services: Sequence[Service], receive: Receive, send: Send) -> None:
    """Run the services over an ASGI lifespan. They stop after the last call, as uvicorn ends the lifespan then."""
    async with AsyncExitStack() as stack:
        await receive()
        try:
            for service in services:
                await service.start()
                stack.push_async_callback(service.stop)
        except Exception as error:
            log.exception("the gateway failed to start")
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})
