"""Streamed file downloads of any size, converted on the way where a form needs it. Interrupted downloads from storage buckets resume."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from math import inf
from typing import Any, Final, Protocol

from msgspec.structs import replace

from headrace.dialects.forms import Formed, form_of, in_pieces
from headrace.errors import Failure, Kind, TruncatedStream
from headrace.kept import FILE_CONTENT
from headrace.ports import HttpStream, Ports
from headrace.providers.rows import Provider
from headrace.wire import Fault, Headers, HttpRequest, HttpResponse, Timeouts, TransportError


class Making(Protocol):
    """An incremental converter, as a form's `making(target)` returns it."""

    def feed(self, data: bytes) -> bytes:
        """The output that `data` completes. Raises HeadraceError, and whatever a form's `read` raises for an invalid response."""
        ...

    def close(self) -> bytes:
        """The remaining output."""
        ...


class Download:
    """A file's bytes, unchanged: a `streams.Source`."""

    usage: dict[str, Any] | None = None

    def __init__(self) -> None:
        self.count = 0

    def feed(self, data: bytes, ready: deque[bytes]) -> None:
        if data:
            self.count += 1
            ready.append(data)

    def close(self, ready: deque[bytes]) -> None:
        """Nothing to check: the transport knows whether the body is complete."""


class Made(Download):
    """A file's bytes, converted by a form."""

    def __init__(self, formed: Formed, making: Making, headers: Headers) -> None:
        super().__init__()
        self._formed = formed
        self._making = making
        self._headers = headers

    def feed(self, data: bytes, ready: deque[bytes]) -> None:
        super().feed(self._formed.sound(HttpResponse(200, self._headers, data), lambda: self._making.feed(data)), ready)

    def close(self, ready: deque[bytes]) -> None:
        super().feed(self._formed.sound(HttpResponse(200, self._headers, b""), self._making.close), ready)


def download(formed: Formed | None, headers: Headers) -> Download:
    """The source for a file's content. `formed`: set if the provider's files have a form of their own."""
    making = None if formed is None else getattr(formed.form, "making", None)
    return Download() if formed is None or making is None else Made(formed, making(formed.target), headers)


def reads_in_pieces(provider: Provider) -> bool:
    """Whether files stored by the provider can be streamed."""
    form = provider.forms.get("files")
    return form is None or in_pieces(form_of("files", form, FILE_CONTENT.form))


# ---- resuming ----------------------------------------------------------------------------------------------------------------------

TRIES: Final = 4
"""Consecutive attempts to resume a download."""
_ENOUGH: Final = 1 << 20
"""Bytes after which the attempts are counted anew."""
PAUSE: Final = 0.25
"""Seconds before the first attempt to resume; doubles with each that follows."""
_BROKEN: Final = frozenset({Fault.CLOSED, Fault.BETWEEN_BYTES_TIMEOUT})
_OVER: Final = frozenset({Fault.TOTAL_TIMEOUT, Fault.PROTOCOL})


class Resumed:
    """An object's bytes, resumed with a range request after an interruption, as long as the object is unchanged: a
    `ports.HttpStream`.

    S3 verifies that by If-Match (docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html), Cloud Storage by the
    object's generation (cloud.google.com/storage/docs/request-preconditions; that the response to alt=media names it:
    google-cloud-storage 3.17.1, `_media/_helpers.py`). Read 2026-11-29.
    """

    def __init__(
        self,
        ports: Ports,
        http: HttpStream,
        request: HttpRequest,
        timeouts: Timeouts,
        signed: Callable[[HttpRequest], Awaitable[HttpRequest]],
        provider: str,
    ) -> None:
        """`request` must not be signed yet."""
        self._ports = ports
        self._http = http
        self._request = _of_the_same(request, http.headers)
        self._timeouts = timeouts
        self._ends = inf if timeouts.total is None else ports.clock.now() + timeouts.total
        self._signed = signed
        self._provider = provider
        self._at = 0
        self._whole = 0
        """Total bytes of the object; 0 if unknown."""
        self._left = TRIES
        self._since = 0
        """Bytes received since the last resume."""
        self.status = http.status
        self.headers = http.headers

    async def read(self, quiet: bool = False) -> bytes:
        while True:
            try:
                data = await self._http.read(quiet)
                if not data and self._at < self._whole:
                    raise TransportError(Fault.CLOSED, f"received {self._at} of {self._whole} bytes", sent=True, received=True)
            except TransportError as error:
                if error.fault not in _BROKEN:
                    raise
                await self._go_on(error)
            else:
                self._at += len(data)
                self._since += len(data)
                return data

    async def _go_on(self, broken: TransportError) -> None:
        """Resume the download. Raises `broken` when attempts run out, TruncatedStream if the object has changed."""
        self._http.close()
        self._left = TRIES if self._since >= _ENOUGH else self._left
        self._since = 0
        while self._left:
            pause = PAUSE * 2 ** (TRIES - self._left)
            self._left -= 1
            if self._ports.clock.now() + pause >= self._ends:
                break
            await self._ports.clock.sleep(pause)
            try:
                if await self._opened():
                    return
            except TransportError as error:
                if error.fault in _OVER:
                    break
        raise broken

    async def _opened(self) -> bool:
        """Whether the rest is being received; False if a later attempt may succeed."""
        total = None if self._ends == inf else self._ends - self._ports.clock.now()
        asked = replace(self._request, headers=(*self._request.headers, ("range", f"bytes={self._at}-")))
        http = await self._ports.transport.open(await self._signed(asked), replace(self._timeouts, total=total))
        span, _, whole = http.headers.get("content-range", "").partition("/")
        if http.status == 206 and span.startswith(f"bytes {self._at}-"):
            self._http, self._whole = http, int(whole) if whole.isdecimal() else 0
            return True
        http.close()
        if http.status == 429 or http.status >= 500:
            return False
        why = "the object was replaced or deleted" if http.status in (404, 412) else f"the rest was answered with status {http.status}"
        message = f"{self._provider}: the download ended after {self._at} bytes, and {why}"
        raise TruncatedStream.of(Failure(Kind.TRUNCATED, message, provider=self._provider))

    def close(self) -> None:
        self._http.close()


def _of_the_same(request: HttpRequest, headers: Headers) -> HttpRequest:
    """The request, made conditional on the object being the one that `headers` describe."""
    if generation := headers.get("x-goog-generation"):
        return replace(request, url=f"{request.url}&ifGenerationMatch={generation}")
    return replace(request, headers=(*request.headers, ("if-match", headers["etag"])))


def can_go_on(http: HttpStream) -> bool:
    """Whether a response identifies its object and carries its bytes unencoded."""
    named = "x-goog-generation" in http.headers or http.headers.get("etag", "W/")[:2] != "W/"
    return http.status == 200 and named and "content-encoding" not in http.headers
