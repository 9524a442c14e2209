"""The transport port over httpx2 or httpx: for HTTP/2, SOCKS proxies, or a program's own client. Extra: `headrace[httpx2]`."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from headrace.errors import ConfigurationError
from headrace.ports import HttpStream
from headrace.wire import DEFAULT_MAX_BODY, Fault, Headers, HttpRequest, HttpResponse, Timeouts, TransportError

if TYPE_CHECKING:
    import httpx2

# httpx2 has timeouts per phase but none for a whole call, so a total only caps those of the phases.
_FAULTS: Final[tuple[tuple[str, Fault, bool, bool], ...]] = (
    #                     fault                        sent   received
    ("ConnectTimeout",      Fault.CONNECT_TIMEOUT,       False, False),
    ("PoolTimeout",         Fault.TOTAL_TIMEOUT,         False, False),
    ("ReadTimeout",         Fault.FIRST_BYTE_TIMEOUT,    True,  False),
    ("WriteTimeout",        Fault.TOTAL_TIMEOUT,         True,  False),
    ("ProxyError",          Fault.PROXY,                 False, False),
    ("ConnectError",        Fault.CONNECT,               False, False),
    ("UnsupportedProtocol", Fault.CONNECT,               False, False),
    ("RemoteProtocolError", Fault.PROTOCOL,              True,  False),
    ("LocalProtocolError",  Fault.PROTOCOL,              False, False),
    ("DecodingError",       Fault.PROTOCOL,              True,  True),
    ("NetworkError",        Fault.CLOSED,                True,  False),
    ("InvalidURL",          Fault.CONNECT,               False, False),
)  # fmt: skip
"""Exceptions of httpx2 and httpx, which have the same names."""


def _library() -> Any:
    try:
        import httpx2  # late: a caller who passes a client has its library
    except ImportError as error:
        raise ImportError("the httpx2 transport needs httpx2: pip install 'headrace[httpx2]'") from error
    return httpx2


def _library_of(client: Any) -> Any:
    """The module, httpx2 or httpx, of a client's class or its bases. Raises ConfigurationError for any other client."""
    roots = [cls.__module__.partition(".")[0] for cls in type(client).__mro__]
    found = next((root for root in roots if root in ("httpx2", "httpx")), None)
    if found is None:
        raise ConfigurationError(f"a client must be an httpx2 or httpx client, got a {type(client).__name__}")
    return sys.modules[found]


@contextmanager
def _faults(library: Any, *, body: bool = False) -> Iterator[None]:
    """Translate the library's exceptions to TransportError. `body`: the response has begun."""
    try:
        yield
    except Exception as error:
        for name, fault, sent, received in _FAULTS:
            if isinstance(error, getattr(library, name)):
                raise TransportError(_refined(fault, error, body), str(error), sent=sent or body, received=received or body) from error
        raise


def _refined(fault: Fault, error: Exception, body: bool) -> Fault:
    text = str(error)
    if fault is Fault.FIRST_BYTE_TIMEOUT and body:
        return Fault.BETWEEN_BYTES_TIMEOUT
    if fault is Fault.CONNECT and ("SSL" in text or "certificate" in text.lower()):
        return Fault.TLS  # httpx2 has no exception of its own for it
    if fault is Fault.PROTOCOL and ("disconnected" in text or "closed" in text or "incomplete" in text):
        return Fault.CLOSED
    return fault


def _ours_only(request: HttpRequest) -> None:
    """Refuse requests restricted to public addresses: the client resolves names itself, so the restriction cannot be enforced."""
    if request.public:
        raise TransportError(Fault.CONNECT, "httpx2 cannot be restricted to the public internet", sent=False)


def _timeout(library: Any, timeouts: Timeouts) -> Any:
    def least(phase: float | None) -> float | None:
        given = [limit for limit in (phase, timeouts.total) if limit is not None]
        return min(given, default=None)

    read = least(timeouts.first_byte if timeouts.first_byte is not None else timeouts.between_bytes)
    return library.Timeout(connect=least(timeouts.connect), read=read, write=timeouts.total, pool=timeouts.total)


def _headers(response: Any) -> Headers:
    return Headers([(name.lower(), value) for name, value in response.headers.raw])


class _Stream:
    """A response whose body is still arriving."""

    def __init__(self, library: Any, response: Any, pieces: Any, close: Callable[[], None]) -> None:
        self._library = library
        self.status: int = response.status_code
        self.headers = _headers(response)
        self._pieces = pieces
        self._close = close
        self._over = False

    def close(self) -> None:
        if not self._over:
            self._over = True
            self._close()

    def __del__(self) -> None:
        self.close()


class _AsyncStream(_Stream):
    async def read(self, quiet: bool = False) -> bytes:
        pieces: AsyncIterator[bytes] = self._pieces
        with _faults(self._library, body=True):
            async for piece in pieces:
                if piece:
                    return piece
        self._over = True
        return b""


class _SyncStream(_Stream):
    async def read(self, quiet: bool = False) -> bytes:
        pieces: Iterator[bytes] = self._pieces
        with _faults(self._library, body=True):
            for piece in pieces:
                if piece:
                    return piece
        self._over = True
        return b""


async def _read_all(stream: HttpStream, max_body: int) -> HttpResponse:
    parts: list[bytes] = []
    size = 0
    try:
        while piece := await stream.read():
            parts.append(piece)
            size += len(piece)
            if size > max_body:
                raise TransportError(Fault.TOO_LARGE, f"more than {max_body} bytes", sent=True, received=True)
    finally:
        stream.close()
    return HttpResponse(stream.status, stream.headers, b"".join(parts))


def _sent_headers(request: HttpRequest) -> list[tuple[str, str]]:
    sized = () if request.upload is None else (("content-length", str(request.upload.size)),)
    return [*request.headers, *sized]


def _content(request: HttpRequest) -> Any:
    return request.body or None if request.upload is None else request.upload.pieces()


def _async_content(request: HttpRequest) -> Any:
    if request.upload is None:
        return request.body or None
    pieces = request.upload.pieces()

    async def read() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return read()


class AsyncHttpx2Transport:
    """`httpx2.AsyncClient`, or httpx's, behind the port. The caller remains responsible for closing the client."""

    def __init__(self, client: httpx2.AsyncClient | None = None) -> None:
        self.client: Any = _library().AsyncClient() if client is None else client
        self._library = _library_of(self.client)

    async def fetch(self, request: HttpRequest, timeouts: Timeouts, *, max_body: int = DEFAULT_MAX_BODY) -> HttpResponse:
        _ours_only(request)
        return await _read_all(await self.open(request, timeouts), max_body)

    async def open(self, request: HttpRequest, timeouts: Timeouts) -> _AsyncStream:
        _ours_only(request)
        import asyncio  # late: the module is also used without an event loop

        with _faults(self._library):
            built = self.client.build_request(
                request.method,
                request.url,
                headers=_sent_headers(request),
                content=_async_content(request),
                timeout=_timeout(self._library, timeouts),
            )
            if request.leaving is not None:
                request.leaving()
            response = await self.client.send(built, stream=True, follow_redirects=False)
        loop = asyncio.get_running_loop()

        def end() -> None:
            task = loop.create_task(response.aclose())
            _endings.add(task)
            task.add_done_callback(_endings.discard)

        def close() -> None:
            # Closing an httpx2 response suspends, the port's `close` does not: the loop does it in a task.
            if not loop.is_closed():
                loop.call_soon_threadsafe(end)

        return _AsyncStream(self._library, response, response.aiter_bytes(), close)


_endings: set[Any] = set()
"""Strong references to pending closes: an event loop holds its tasks only weakly."""


class SyncHttpx2Transport:
    """`httpx2.Client`, or httpx's, behind the port; its coroutines never suspend."""

    def __init__(self, client: httpx2.Client | None = None) -> None:
        self.client: Any = _library().Client() if client is None else client
        self._library = _library_of(self.client)

    async def fetch(self, request: HttpRequest, timeouts: Timeouts, *, max_body: int = DEFAULT_MAX_BODY) -> HttpResponse:
        _ours_only(request)
        return await _read_all(await self.open(request, timeouts), max_body)

    async def open(self, request: HttpRequest, timeouts: Timeouts) -> _SyncStream:
        _ours_only(request)
        with _faults(self._library):
            built = self.client.build_request(
                request.method,
                request.url,
                headers=_sent_headers(request),
                content=_content(request),
                timeout=_timeout(self._library, timeouts),
            )
            if request.leaving is not None:
                request.leaving()
            response = self.client.send(built, stream=True, follow_redirects=False)
        return _SyncStream(self._library, response, response.iter_bytes(), response.close)
