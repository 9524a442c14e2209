"""uvicorn's WebSocket, which lets what is under way end before it closes."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from headrace.gateway.responses_sessions import DRAIN, DRAINS


class Connection(WebSocketsSansIOProtocol):
    """One caller's WebSocket."""

    scope: Any = None

    def shutdown(self) -> None:
        """The server is to end: told to whoever ends by himself, cut for all others."""
        if self.scope is not None and DRAINS in self.scope and not self.close_sent:
            told: Any = {"type": DRAIN}
            self.queue.put_nowait(told)
        else:
            super().shutdown()
