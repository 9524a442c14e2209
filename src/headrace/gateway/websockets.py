"""uvicorn's WebSocket protocol, changed to let calls in progress finish before it closes, and to log no error for a refusal."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from headrace.gateway.responses_sessions import DRAIN, DRAINS


class Connection(WebSocketsSansIOProtocol):
    """One client's WebSocket."""

    scope: Any = None

    async def send(self, message: Any) -> None:
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True  # refused with a response; uvicorn 0.54 would log that the handshake was not completed

    def shutdown(self) -> None:
        """On server shutdown, notify a session that ends by itself, and close any other."""
        if self.scope is not None and DRAINS in self.scope and not self.close_sent:
            told: Any = {"type": DRAIN}
            self.queue.put_nowait(told)
        else:
            super().shutdown()
