"""Values that cross the wire: requests, responses, headers, frames, and transport faults.

No sockets here. Transports (layer 3) send and receive them; dialects (layer 1) only read and write them.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from msgspec import Struct

DEFAULT_MAX_BODY: Final = 64 * 1024 * 1024
"""Maximum bytes of a decoded response body before `Fault.TOO_LARGE` (a 3,000-text embedding batch is about 60 MB)."""

HeaderPairs = tuple[tuple[str, str], ...]


class Headers(Mapping[str, str]):
    """Response headers with case-insensitive lookup, decoded from bytes on first access.

    Repeated names are joined with ", " (RFC 9110 §5.3), except Set-Cookie, of which the last wins.
    """

    __slots__ = ("_known", "raw")

    def __init__(self, raw: Sequence[tuple[bytes, bytes]] = ()) -> None:
        self.raw = raw
        self._known: dict[str, str] | None = None

    @classmethod
    def of(cls, pairs: Mapping[str, str] | Iterable[tuple[str, str]]) -> Headers:
        items = pairs.items() if isinstance(pairs, Mapping) else pairs
        return cls([(name.encode("latin-1"), value.encode("latin-1")) for name, value in items])

    @property
    def _decoded(self) -> dict[str, str]:
        if self._known is None:  # not a cached_property, which takes a lock before Python 3.12
            self._known = self._read()
        return self._known

    def _read(self) -> dict[str, str]:
        decoded: dict[str, str] = {}
        for raw_name, raw_value in self.raw:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            known = decoded.get(name)
            decoded[name] = value if known is None or name == "set-cookie" else f"{known}, {value}"
        return decoded

    def __getitem__(self, name: str) -> str:
        return self._decoded[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._decoded)

    def __len__(self) -> int:
        return len(self._decoded)

    def __repr__(self) -> str:
        return f"Headers({list(self._decoded)})"  # names only: a Set-Cookie or an echoed token is a secret


class Upload(Protocol):
    """A body that is read while it is sent."""

    @property
    def size(self) -> int:
        """Total bytes."""
        ...

    def pieces(self) -> Iterator[bytes]:
        """The bytes from the beginning. May be called repeatedly, since a request may be sent again."""
        ...


class HttpRequest(Struct, frozen=True):
    """One complete request. `headers` must not contain Host, Content-Length or Connection, which the transport adds."""

    method: str
    url: str
    headers: HeaderPairs = ()
    body: bytes = b""
    upload: Upload | None = None
    """A body too large to hold in memory, in place of `body`."""
    public: bool = False
    """Only connect to public internet addresses; for URLs that come from untrusted sources."""
    storage: str | None = None
    """Set for a request to a cloud's storage, which has its own credentials: the bucket's region, or empty if none is needed."""
    leaving: Callable[[], object] | None = None
    """Called by the transport when it has a connection and starts sending, which on a busy machine can be much later than the call."""

    def __repr__(self) -> str:
        size = len(self.body) if self.upload is None else self.upload.size
        return f"<HttpRequest {self.method} {self.url.partition('?')[0]} {size} bytes>"


class HttpResponse(Struct, frozen=True):
    """A response read to its end, content coding removed."""

    status: int
    headers: Headers
    body: bytes


class Frame(Struct, frozen=True, gc=False):
    """One server-sent event, JSON line or AWS event-stream message."""

    data: bytes
    event: str | None = None


class Timeouts(Struct, frozen=True):
    """Timeouts in seconds, None for no limit. Each has its own `Fault`."""

    connect: float | None = 10.0
    """DNS lookup, TCP, proxy CONNECT and TLS together."""
    first_byte: float | None = None
    """From sending the request to the first byte of the response body (the status line for an empty body). In a stream,
    comments and pings that only keep the connection alive do not count, here or for `between_bytes`.
    """
    between_bytes: float | None = None
    """Between bytes of a body that has begun."""
    total: float | None = None
    """From the call to the last byte, including the wait for a free connection."""


class Fault(enum.Enum):
    """What can go wrong in transport."""

    CONNECT = "could not connect"
    TLS = "TLS handshake failed"
    PROXY = "the proxy refused"
    CONNECT_TIMEOUT = "connecting took too long"
    FIRST_BYTE_TIMEOUT = "no response in time"
    BETWEEN_BYTES_TIMEOUT = "the response stalled"
    TOTAL_TIMEOUT = "the call took too long"
    CLOSED = "the connection closed before the response was complete"
    PROTOCOL = "HTTP protocol error"
    TOO_LARGE = "the response is larger than allowed"


class TransportError(Exception):
    """A transport could not carry a request or its response.

    sent: whether any byte of the request may have reached the other side; if False, a retry cannot repeat work.
    received: whether any byte of a response arrived.
    """

    def __init__(self, fault: Fault, detail: str = "", *, sent: bool, received: bool = False) -> None:
        super().__init__(f"{fault.value}: {detail}" if detail else fault.value)
        self.fault = fault
        self.sent = sent
        self.received = received

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (self.fault, str(self), self.sent, self.received)


def _rebuild(fault: Fault, text: str, sent: bool, received: bool) -> TransportError:
    return TransportError(fault, text.removeprefix(f"{fault.value}: ") if ": " in text else "", sent=sent, received=received)
