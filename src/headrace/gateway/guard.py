"""Who may call: the master key, or, without one, programs on this machine alone."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from hmac import compare_digest
from typing import Any, Final

from headrace.errors import Kind
from headrace.gateway.requests import Asked, refusal

_HEADERS: Final = ("x-api-key", "x-goog-api-key", "api-key")
"""Where Anthropic's, Google's and Azure's clients put a key; OpenAI's is a bearer."""


def keys_of(asked: Asked) -> list[str]:
    """Every key the request shows."""
    scheme, _, bearer = asked.headers.get("authorization", "").partition(" ")
    shown = [bearer.strip() if scheme.lower() == "bearer" else "", *(asked.headers.get(name, "") for name in _HEADERS)]
    return [key for key in (*shown, asked.query.get("key", "")) if key]


def admit(asked: Asked, key: str, client: Any) -> None:
    """Raises AuthenticationError or PermissionDeniedError for who may not call. client: ASGI's `(host, port)`, None for a unix socket."""
    if not key:
        if not _local(asked.headers, client):
            raise refusal(403, Kind.PERMISSION, "without a master key only programs on this machine may call")
        return
    shown = keys_of(asked)
    if not shown:
        raise refusal(401, Kind.AUTHENTICATION, "no API key: send it as `Authorization: Bearer …`, x-api-key, x-goog-api-key or api-key")
    if not any(compare_digest(one.encode(), key.encode()) for one in shown):
        raise refusal(401, Kind.AUTHENTICATION, "the API key is not known here")


def _local(headers: Mapping[str, str], client: Any) -> bool:
    """Whether both sides are this machine. The host is looked at too: a page of the web can have its own name lead here."""
    host = headers.get("host", "localhost")
    name = host.partition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    return is_loopback(name) and (client is None or is_loopback(client[0])) and _own_page(headers.get("origin"))


def _own_page(origin: str | None) -> bool:
    return origin is None or is_loopback(origin.partition("://")[2].rpartition(":")[0] or origin.partition("://")[2])


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
