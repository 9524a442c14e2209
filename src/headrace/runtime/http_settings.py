"""Network settings: certificates, proxies and connection limits."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from headrace.errors import ConfigurationError
from headrace.runtime.proxies import Proxies, read_proxies

if TYPE_CHECKING:
    import ssl


class HttpSettings(Struct, frozen=True):
    """Settings of a transport. Equal settings share connections."""

    verify: bool | str | ssl.SSLContext = True
    """True: the system's certificates (SSL_CERT_FILE and SSL_CERT_DIR apply). A path: a file or directory of custom CAs."""
    cert: str | tuple[str, str] | None = None
    """A client certificate: one PEM file, or a pair of certificate and key."""
    trust_env: bool = True
    """Whether HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY apply."""
    proxy: str | None = None
    """One proxy for all requests, in place of the environment's."""
    max_connections: int = 1000
    """Maximum open connections over all hosts; further calls wait in order."""
    idle_expiry: float = 55.0
    """Seconds an idle connection is kept: below the 60 s after which common load balancers drop it."""

    def __repr__(self) -> str:
        return f"<HttpSettings verify={self.verify is not False} proxy={self.proxy is not None} max_connections={self.max_connections}>"

    def __post_init__(self) -> None:
        if isinstance(self.max_connections, bool) or not isinstance(self.max_connections, int) or self.max_connections < 1:
            raise ConfigurationError("max_connections must be a whole number of at least 1")
        if self.idle_expiry < 0:
            raise ConfigurationError("idle_expiry must be a number of seconds of at least 0")

    def proxies(self, environment: Mapping[str, str] | None = None) -> Proxies:
        """The proxies in effect. Raises ConfigurationError for an invalid address."""
        if self.proxy is not None:
            return read_proxies({"all_proxy": self.proxy})
        if not self.trust_env:
            return Proxies()
        return read_proxies(os.environ if environment is None else environment)


@lru_cache(maxsize=32)
def tls_context(settings: HttpSettings) -> Any:
    """The TLS context for the settings, cached: reading the system's certificates takes milliseconds."""
    import ssl  # late: plain HTTP to a local server needs none of it

    if isinstance(settings.verify, ssl.SSLContext):
        return settings.verify
    try:
        context = _context(ssl, settings.verify)
        if settings.cert is not None:
            chain = (settings.cert, None) if isinstance(settings.cert, str) else settings.cert
            context.load_cert_chain(*chain)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"verify or cert cannot be used: {error}") from error
    context.set_alpn_protocols(["http/1.1"])
    return context


def _context(ssl: Any, verify: bool | str | ssl.SSLContext) -> Any:
    if isinstance(verify, str):
        folder = os.path.isdir(verify)
        return ssl.create_default_context(cafile=None if folder else verify, capath=verify if folder else None)
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
