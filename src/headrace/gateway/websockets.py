"""uvicorn's WebSocket protocol, changed to let calls in progress finish before it closes."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from headrace.gateway.responses_sessions import DRAIN, DRAINS


class Connection(WebSocketsSansIOProtocol):
    """One client's WebSocket."""

    scope: Any = None

    def shutdown(self) -> None:
        """On server shutdown, notify a session that ends by itself, and close any other."""
        if self.scope is not None and DRAINS in self.scope and not self.close_sent:
            told: Any = {"type": DRAIN}
            self.queue.put_nowait(told)
        else:
            super().shutdown()
