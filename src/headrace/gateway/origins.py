"""Pages of other sites whose scripts may call: browsers ask first, and are told yes where the configuration names the site (CORS).

Keys are shown in headers, never in cookies, so nothing is allowed here that the page could not have its own server do.
"""

from __future__ import annotations

from collections.abc import Collection, MutableMapping
from typing import Any, Final

from headrace.gateway.requests import Asked, Send

ANY: Final = "*"
_METHODS: Final = b"GET, POST, DELETE, PUT, PATCH, OPTIONS"
_SECONDS: Final = b"600"
"""For which a browser need not ask again."""


def allowed(asked: Asked, origins: Collection[str]) -> bool:
    """Whether a page of one of these sites asks."""
    origin = asked.headers.get("origin")
    return origin is not None and (ANY in origins or origin in origins)


def with_leave(send: Send, asked: Asked) -> Send:
    """Sends the same, with the browser's leave to show it to the page."""
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


async def answer_first(send: Send, asked: Asked) -> None:
    """What a browser asks before it lets a page ask: nothing is done for it, and no key comes with it."""
    wanted = asked.headers.get("access-control-request-headers", "")
    headers = [
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-allow-headers", wanted.encode("latin-1")),
        (b"access-control-max-age", _SECONDS),
    ]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
