"""The client side of HTTP/1.1 without sockets: encodes requests and parses responses.

The asyncio and the blocking transport share `Http1`, which knows what has arrived, what is missing, and whether the
connection can be reused.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import httptools

from headrace.inflate import CODINGS, Inflate
from headrace.runtime.proxies import Proxy
from headrace.wire import DEFAULT_MAX_BODY, Fault, HeaderPairs, Headers, HttpRequest, TransportError

MAX_HEADERS: Final = 200
MAX_HEADER_BYTES: Final = 64 * 1024
"""Maximum size of response headers: nginx allows its upstreams 32 KiB, Node 16 KiB; Azure's content-security headers reach 8 KiB."""

MAX_HEAD_BYTES: Final = MAX_HEADER_BYTES + 8 * 1024
"""Maximum bytes received before the headers are complete, including the bytes between them."""

MAX_INTERIM: Final = 32
"""Maximum number of 1xx responses before the final one."""


class Origin(NamedTuple):
    """The key of the connection pool."""

    scheme: str
    host: str
    port: int
    public: bool = False
    """Whether it must resolve to a public internet address."""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


_USER_AGENT: Final = "headrace"
_FORBIDDEN: Final = ("host", "content-length", "connection", "transfer-encoding")


@lru_cache(maxsize=1024)
def origin_of(url: str, public: bool = False) -> Origin:
    """The origin of a URL. Raises ValueError if it is not http(s)."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("a URL must begin with http:// or https:// and name a host")
    return Origin(parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80), public)


def way_of(request: HttpRequest) -> Origin:
    """The origin that a request goes to. Raises TransportError for an invalid URL."""
    try:
        return origin_of(request.url, request.public)
    except ValueError as error:
        raise TransportError(Fault.CONNECT, str(error), sent=False) from None


def public_address(host: str, found: Iterable[Any]) -> str:
    """The first of a host's addresses, as `getaddrinfo` returns them, all of which must be on the public internet.

    The caller connects to this very address, so that DNS cannot change between check and use. Raises TransportError.
    """
    addresses = [info[4][0] for info in found]
    if not addresses or not all(map(is_public, addresses)):
        raise TransportError(Fault.CONNECT, f"{host} is not on the public internet", sent=False)
    return str(addresses[0])


_NAT64: Final = "64:ff9b::/96"


def is_public(address: str) -> bool:
    """Whether an IP address, or one embedded in it, is globally reachable."""
    import ipaddress  # late: only URLs from untrusted sources are checked

    found = ipaddress.ip_address(address.partition("%")[0])
    inner = None
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo or (None, None))[1]
        if inner is None and found in ipaddress.ip_network(_NAT64):
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
    return found.is_global and not found.is_multicast if inner is None else inner.is_global and not inner.is_multicast


@lru_cache(maxsize=1024)
def _head(method: str, url: str, headers: HeaderPairs, absolute: bool, authorization: str | None) -> bytes:
    """The request line and headers, up to Content-Length. Raises ValueError for characters that would break out of a header line."""
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if absolute:
        target = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{target}"
    named = {"host": parts.netloc.rpartition("@")[2], "user-agent": _USER_AGENT, "accept": "*/*", "accept-encoding": "gzip, deflate"}
    for name, value in headers:
        if name.lower() in _FORBIDDEN:
            raise ValueError(f"the header {name!r} is set by the transport")
        named[name.lower()] = value
    if authorization is not None:
        named["proxy-authorization"] = authorization
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())]
    for line in lines:
        if any((ord(character) < 32 and character != "\t") or ord(character) == 127 for character in line):
            raise ValueError(f"the header {line.partition(':')[0]!r} holds a control character")
    if " " in target or not target.isascii():
        raise ValueError("a URL must not hold spaces or unescaped characters")
    return "\r\n".join(lines).encode("latin-1")


def written(request: HttpRequest, proxy: Proxy | None = None) -> bytes:
    """The encoded request; for an upload, everything before its body. In absolute form if a plain-HTTP proxy is given."""
    absolute = proxy is not None and request.url.startswith("http://")
    try:
        head = _head(request.method, request.url, request.headers, absolute, proxy.authorization if absolute and proxy else None)
    except (ValueError, UnicodeEncodeError) as error:
        raise TransportError(Fault.PROTOCOL, f"the request cannot be written: {error}", sent=False) from None
    body = request.body
    if request.upload is not None:
        return b"%b\r\ncontent-length: %d\r\n\r\n" % (head, request.upload.size)
    if body or request.method in ("POST", "PUT", "PATCH"):
        return b"%b\r\ncontent-length: %d\r\n\r\n%b" % (head, len(body), body)
    return head + b"\r\n\r\n"


class Exchange:
    """One response as it arrives."""

    __slots__ = ("begun", "complete", "headers", "inflate", "limit", "parts", "received", "size", "status")

    def __init__(self, limit: int) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.parts: list[bytes] = []
        self.size = 0
        """Decoded bytes so far."""
        self.limit = limit
        self.received = False
        """Whether any byte of the response has arrived."""
        self.begun = False
        """Whether its headers are complete."""
        self.complete = False
        self.inflate: Inflate | None = None

    def take(self) -> bytes:
        """The body bytes that arrived since the last call."""
        parts = self.parts
        if len(parts) == 1:
            return parts.pop()
        data = b"".join(parts)
        parts.clear()
        return data


class Http1:
    """The response side of one connection: `expect` a response, `feed` bytes, inspect the exchange."""

    __slots__ = ("_head_bytes", "_headers", "_interim", "_parser", "excess", "exchange", "keep_alive", "until_close")

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.exchange: Exchange | None = None
        self.keep_alive = True
        self.excess = False
        """Whether bytes arrived that no request asked for; the connection must not be reused."""
        self.until_close = False
        self._headers: list[tuple[bytes, bytes]] = []
        """Headers of the expected response; a discarded list if none is expected."""
        self._head_bytes = 0
        """Bytes received before its headers are complete."""
        self._interim = 0

    def expect(self, limit: int = DEFAULT_MAX_BODY) -> Exchange:
        """Start to expect a response of at most `limit` bytes."""
        self.exchange = exchange = Exchange(limit)
        self._headers = exchange.headers
        self._head_bytes = self._interim = 0
        self.until_close = False
        return exchange

    def feed(self, data: bytes) -> None:
        """Parse received bytes. Raises TransportError if they violate HTTP or a limit."""
        exchange = self.exchange
        if exchange is None or exchange.complete:
            self.excess = True
            return
        exchange.received = True
        if not exchange.begun:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            if isinstance(error.__context__, TransportError):
                raise error.__context__ from None
            raise TransportError(Fault.PROTOCOL, "the content coding is broken", sent=True, received=True) from None
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if exchange.complete:
                self.excess = True  # bytes after a complete response: the response is valid, the connection is not reusable
                return
            raise TransportError(Fault.PROTOCOL, str(error), sent=True, received=True) from None
        if self._head_bytes > MAX_HEAD_BYTES and not exchange.begun:
            raise _too_large()

    def feed_eof(self) -> None:
        """The other side has closed. Raises TransportError if a response is missing or truncated."""
        exchange = self.exchange
        self.keep_alive = False
        if exchange is None or exchange.complete:
            return
        if exchange.begun and self.until_close and (exchange.inflate is None or exchange.inflate.whole):
            exchange.complete = True
            return
        where = "in the middle of the body" if exchange.begun else "before a response"
        raise TransportError(Fault.CLOSED, where, sent=True, received=exchange.received)

    @property
    def reusable(self) -> bool:
        return self.keep_alive and not self.excess and (self.exchange is None or self.exchange.complete)

    # callbacks of the parser

    def on_message_begin(self) -> None:
        if self.exchange is None or self.exchange.complete:
            self.excess, self._headers = True, []

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self.excess:
            return
        exchange = self.exchange
        assert exchange is not None
        headers = exchange.headers
        if len(headers) > MAX_HEADERS or (
            self._head_bytes > MAX_HEADER_BYTES and sum([len(name) + len(value) for name, value in headers]) > MAX_HEADER_BYTES
        ):
            raise _too_large()
        exchange.status = status = self._parser.get_status_code()
        if status < 200:
            if status == 101:
                raise TransportError(Fault.PROTOCOL, "the server switched protocols without being asked", sent=True, received=True)
            return
        framed = status in (204, 304)
        for name, value in headers:
            if len(name) not in _FRAMING_LENGTHS or (lowered := name.lower()) not in _FRAMING:
                continue
            if lowered == b"content-length":
                framed = True
                if value.isdigit() and int(value) > exchange.limit:
                    raise TransportError(Fault.TOO_LARGE, f"{int(value)} bytes", sent=True, received=True)
            elif lowered == b"transfer-encoding":
                framed = True
            else:
                exchange.inflate = _coding(value)
        self.until_close = not framed
        exchange.begun = True

    def on_body(self, data: bytes) -> None:
        exchange = self.exchange
        if self.excess or exchange is None:
            return
        if exchange.inflate is not None:
            data = exchange.inflate.feed(data, exchange.limit - exchange.size)
        exchange.size += len(data)
        if exchange.size > exchange.limit:
            raise TransportError(Fault.TOO_LARGE, f"more than {exchange.limit} bytes", sent=True, received=True)
        if data:
            exchange.parts.append(data)

    def on_message_complete(self) -> None:
        exchange = self.exchange
        if self.excess or exchange is None:
            return
        if not exchange.begun:
            self._interim += 1
            if self._interim > MAX_INTERIM:
                raise TransportError(Fault.PROTOCOL, f"more than {MAX_INTERIM} interim responses", sent=True, received=True)
            exchange.headers.clear()
            self._head_bytes = 0
            return
        if exchange.inflate is not None and not exchange.inflate.whole:
            raise TransportError(Fault.CLOSED, "the compressed body ends early", sent=True, received=True)
        self.keep_alive = self._parser.should_keep_alive() and not self.until_close
        exchange.complete = True


_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding", b"content-encoding"})
_FRAMING_LENGTHS: Final = frozenset(map(len, _FRAMING))


def _too_large() -> TransportError:
    return TransportError(Fault.TOO_LARGE, "its headers", sent=True, received=True)


def _coding(value: bytes) -> Inflate | None:
    coding = value.decode("latin-1").strip().lower()
    if coding in CODINGS:
        return Inflate(coding)
    if coding in ("", "identity"):
        return None
    raise TransportError(Fault.PROTOCOL, f"content coding {coding[:20]!r} is not supported", sent=True, received=True)


def connect_request(origin: Origin, proxy: Proxy) -> bytes:
    """The CONNECT request for a tunnel through a proxy."""
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    lines = [f"CONNECT {host}:{origin.port} HTTP/1.1", f"host: {host}:{origin.port}"]
    if proxy.authorization is not None:
        lines.append(f"proxy-authorization: {proxy.authorization}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


class TunnelReply:
    """The headers of a proxy's response to CONNECT; nothing may follow before the tunnel is used."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> bool:
        """True once the tunnel is established. Raises TransportError if the proxy refuses it."""
        self._buffer += data
        if b"\r\n\r\n" not in self._buffer:
            if len(self._buffer) > MAX_HEADER_BYTES:
                raise TransportError(Fault.PROXY, "its response is too long", sent=False)
            return False
        line = self._buffer.split(b"\r\n", 1)[0].decode("latin-1")
        version, _, rest = line.partition(" ")
        if not version.startswith("HTTP/1.") or rest[:1] != "2":
            raise TransportError(Fault.PROXY, f"it responded {rest[:60] or line[:60]!r}", sent=False)
        return True


def headers_of(exchange: Exchange) -> Headers:
    return Headers(exchange.headers)
