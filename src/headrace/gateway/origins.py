"""CORS: calls by scripts of other sites' pages, allowed for the origins in the configuration.

Keys are sent in headers, never in cookies, so this allows nothing that the page's own server could not do.
"""

from __future__ import annotations

from collections.abc import Collection, MutableMapping
from typing import Any, Final

from headrace.gateway.requests import IncomingRequest, Send

ANY: Final = "*"
_METHODS: Final = b"GET, POST, DELETE, PUT, PATCH, OPTIONS"
_SECONDS: Final = b"600"
"""For how long a browser may cache the preflight response."""


def allowed(asked: IncomingRequest, origins: Collection[str]) -> bool:
    """Whether the request comes from a page of one of these origins."""
    origin = asked.headers.get("origin")
    return origin is not None and (ANY in origins or origin in origins)


def with_leave(send: Send, asked: IncomingRequest) -> Send:
    """A `send` that adds CORS headers, so that the browser shows the response to the page."""
    leave = [
        (b"access-control-allow-origin", asked.headers["origin"].encode("latin-1")),
        (b"access-control-expose-headers", b"*"),
        (b"vary", b"origin"),
    ]

    async def sent(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *leave]}
        await send(message)

    return sent


async def answer_first(send: Send, asked: IncomingRequest) -> None:
    """Respond to a CORS preflight request, which carries no key and does nothing."""
    wanted = asked.headers.get("access-control-request-headers", "")
    headers = [
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-allow-headers", wanted.encode("latin-1")),
        (b"access-control-max-age", _SECONDS),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
