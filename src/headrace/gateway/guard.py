"""Authentication: by the master key or a virtual key; without a master key only programs on this machine may call."""

from __future__ import annotations

import ipaddress
import math
import re
import time
from collections.abc import Mapping, Sequence
from hmac import compare_digest
from typing import Any, Final

from headrace.errors import Kind
from headrace.gateway.callers import Caller, Keys
from headrace.gateway.general import Network, Settings
from headrace.gateway.keys.failures import Failures
from headrace.gateway.requests import IncomingRequest, refusal

_HEADERS: Final = ("x-api-key", "x-goog-api-key", "api-key", "x-litellm-api-key")
"""Where Anthropic's, Google's, Azure's and LiteLLM's clients send a key.

OpenAI's send a bearer token; AWS clients send it as access key id.
"""


def keys_of(asked: IncomingRequest) -> list[str]:
    """Every key in the request."""
    shown = [_bearer(asked.headers.get("authorization", ""))]
    for name in _HEADERS:
        if name in asked.headers:
            shown.append(_bearer(asked.headers[name]) or asked.headers[name])
    if "key" in asked.query:
        shown.append(asked.query["key"])
    return [key for key in shown if key]


_SIGNED: Final = re.compile(r"AWS4-HMAC-SHA256 +Credential=([^/,\s]+)/")
"""The access key id in a request signed by an AWS client. They send a bearer token only over TLS."""


def _bearer(value: str) -> str:
    signed = _SIGNED.match(value)
    if signed is not None:
        return signed[1]
    scheme, _, token = value.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def caller_of(client: Any, headers: Mapping[str, str], settings: Settings) -> Any:
    """The client's address as `(host, port)`: ASGI's `client`, or the address given by a trusted proxy.

    Addresses that the client itself may have put in front of that are ignored.
    """
    said = headers.get("x-forwarded-for", "") if settings.forwarded else ""
    hops = [hop for hop in map(str.strip, said.split(",")) if hop]
    if not settings.proxies:
        near = client is None or ((address := _address(client)) is not None and address.is_private)
        return (_host(hops[-1]), 0) if hops and near else client
    while hops and (client is None or _within(client, settings.proxies)):
        client = (_host(hops.pop()), 0)
    return client


def _host(hop: str) -> str:
    """The host of a hop. Some proxies add a port: `10.0.0.7:4711`, `[2001:db8::7]:4711`."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def may_come(client: Any, networks: Sequence[Network]) -> bool:
    """Whether calls from that address are accepted."""
    return not networks or _within(client, networks)


def _within(client: Any, networks: Sequence[Network]) -> bool:
    address = _address(client)
    return address is not None and any(address in network for network in networks)


def check_network(client: Any, networks: Sequence[Network]) -> None:
    """Raises PermissionDeniedError for an address outside `networks`. client: ASGI's `(host, port)`; None is outside."""
    if not may_come(client, networks):
        raise refusal(403, Kind.PERMISSION, "calls from this address are not allowed (general_settings.allowed_ips)")


def _address(client: Any) -> Any:
    try:
        found = ipaddress.ip_address(client[0] if client else "")
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


async def admit(asked: IncomingRequest, master: str, keys: Keys, client: Any, failures: Failures) -> Caller:
    """The caller. Raises AuthenticationError, PermissionDeniedError or RateLimitError.

    client: ASGI's `(host, port)`, None for a Unix socket. failures: recent wrong keys, by address.
    """
    shown = keys_of(asked)
    for key in shown:
        if (caller := keys.remembered(key)) is not None:
            return caller
    address = client[0] if client else ""
    if not any(map(keys.recognizes, shown)):
        _not_too_often(address, failures)
    caller = await _found(shown, master, keys)
    if caller is not None:
        return caller
    if not master:
        if not _local(asked.headers, client):
            raise refusal(403, Kind.PERMISSION, "without a master key only programs on this machine may call")
        return await keys.find_administrator()
    if not shown:
        raise refusal(401, Kind.AUTHENTICATION, "no API key: send it as `Authorization: Bearer …`, x-api-key, x-goog-api-key or api-key")
    failures.failed(address, time.monotonic())
    raise refusal(401, Kind.AUTHENTICATION, "the API key is unknown")


async def _found(shown: Sequence[str], master: str, keys: Keys) -> Caller | None:
    if master and any(compare_digest(key.encode(), master.encode()) for key in shown):
        return await keys.find_administrator()
    for key in shown:
        if (caller := await keys.find(key)) is not None:
            return caller
    return None


def _not_too_often(address: str, failures: Failures) -> None:
    wait = failures.wait(address, time.monotonic())
    if wait > 0:
        raise refusal(429, Kind.RATE_LIMIT, f"too many wrong API keys from this address: wait {math.ceil(wait)} s")


def _local(headers: Mapping[str, str], client: Any) -> bool:
    """Whether both sides are this machine. The `Host` header is checked too, against DNS rebinding by a web page."""
    host = headers.get("host", "localhost")
    name = host.partition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    return is_loopback(name) and (client is None or is_loopback(client[0])) and _own_page(headers.get("origin"))


def _own_page(origin: str | None) -> bool:
    return origin is None or is_loopback(origin.partition("://")[2].rpartition(":")[0] or origin.partition("://")[2])


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
