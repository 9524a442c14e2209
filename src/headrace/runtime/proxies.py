"""Proxy selection by the usual environment variables."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from headrace.errors import ConfigurationError
from headrace.wire import Fault, TransportError


class Proxy(Struct, frozen=True):
    """One HTTP proxy."""

    host: str
    port: int
    authorization: str | None = None
    """The value of the Proxy-Authorization header."""

    def __repr__(self) -> str:
        return f"<Proxy {self.host}:{self.port}{' with a password' if self.authorization else ''}>"


class Proxies(Struct, frozen=True):
    """The proxy of each scheme, and the hosts that need none."""

    http: Proxy | None = None
    https: Proxy | None = None
    exceptions: tuple[str, ...] = ()

    def choose(self, scheme: str, host: str, port: int, public: bool = False) -> Proxy | None:
        """The proxy for a request; None for a direct connection.

        Raises TransportError if `public` is set and a proxy applies: the proxy resolves names itself, so the address
        cannot be verified.
        """
        proxy = self.https if scheme == "https" else self.http
        if proxy is None or any(_excepted(exception, host, port) for exception in self.exceptions):
            return None
        if public:
            raise TransportError(Fault.PROXY, f"the address of {host} cannot be verified through a proxy", sent=False)
        return proxy


def read_proxies(environment: Mapping[str, str]) -> Proxies:
    """HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY; lower-case names take precedence, as with curl."""

    def named(name: str) -> str:
        return environment.get(name, "") or environment.get(name.upper(), "")

    everything = named("all_proxy")
    http, https = named("http_proxy") or everything, named("https_proxy") or everything
    exceptions = tuple(part.strip().lower() for part in named("no_proxy").split(",") if part.strip())
    return Proxies(_proxy("HTTP_PROXY", http), _proxy("HTTPS_PROXY", https), exceptions)


def _proxy(name: str, address: str) -> Proxy | None:
    if not address:
        return None
    parts = urlsplit(address if "://" in address else f"http://{address}")
    if parts.scheme.startswith("socks"):
        raise ConfigurationError(
            f"{name} names a SOCKS proxy, which needs headrace.runtime.httpx2_transport (pip install 'headrace[httpx2]')"
        )
    if parts.scheme != "http" or not parts.hostname:
        raise ConfigurationError(
            f"{name} must be http://host:port, got an address of {len(address)} characters with scheme {parts.scheme!r}"
        )
    authorization = None
    if parts.username is not None:
        import base64  # late: few proxies require a password

        secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(secret.encode()).decode()
    return Proxy(parts.hostname, parts.port or 80, authorization)


def _excepted(exception: str, host: str, port: int) -> bool:
    """Whether an entry of NO_PROXY matches a host: `*`, a domain and its subdomains, `name:port`, an IP address, or a network."""
    if exception == "*":
        return True
    if "/" in exception:
        return _within(exception, host)
    name, colon, wanted = exception.rpartition(":")
    if colon and wanted.isdigit() and "]" not in wanted and (":" not in name or name.startswith("[")):
        if int(wanted) != port:
            return False
        exception = name
    exception = exception.strip("[]").lstrip("*").lstrip(".")
    return host == exception or host.endswith(f".{exception}")


def _within(network: str, host: str) -> bool:
    import ipaddress  # late: only a network in NO_PROXY needs it

    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
