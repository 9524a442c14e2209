"""Files of any size as they come: their bytes, or what a form makes of them on the way. One that breaks off in a bucket is gone on with."""

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
    """What a form's `making(target)` gives."""

    def feed(self, data: bytes) -> bytes:
        """What has become whole by `data`. Raises HeadraceError, and what a form's `read` raises for what is none of its answers."""
        ...

    def close(self) -> bytes:
        """The rest."""
        ...


class Download:
    """A file's bytes: `streams.Source`."""

    usage: dict[str, Any] | None = None

    def __init__(self) -> None:
        self.count = 0

    def feed(self, data: bytes, ready: deque[bytes]) -> None:
        if data:
            self.count += 1
            ready.append(data)

    def close(self, ready: deque[bytes]) -> None:
        """Whether all has come the transport knows."""


class Made(Download):
    """The same with what a form makes of them."""

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
    """What hands a file on. formed: of a provider whose files have a form of their own."""
    making = None if formed is None else getattr(formed.form, "making", None)
    return Download() if formed is None or making is None else Made(formed, making(formed.target), headers)


def reads_in_pieces(provider: Provider) -> bool:
    """Whether the files that a provider keeps can be read piece by piece."""
    form = provider.forms.get("files")
    return form is None or in_pieces(form_of("files", form, FILE_CONTENT.form))


# ---- going on ----------------------------------------------------------------------------------------------------------------------

TRIES: Final = 4
"""How often it is tried in a row to go on with a file."""
_ENOUGH: Final = 1 << 20
"""Bytes after which the next break is as good as the first."""
PAUSE: Final = 0.25
"""Seconds before the first of these tries, twice as many before each that follows."""
_BROKEN: Final = frozenset({Fault.CLOSED, Fault.BETWEEN_BYTES_TIMEOUT})
_OVER: Final = frozenset({Fault.TOTAL_TIMEOUT, Fault.PROTOCOL})


class Resumed:
    """An object's bytes, asked for from where they broke off as long as it is the same object: `ports.HttpStream`.

    S3 tells by If-Match (docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html), Cloud Storage by the object's generation
    (cloud.google.com/storage/docs/request-preconditions; that the answer to alt=media names it: google-cloud-storage 3.17.1,
    `_media/_helpers.py`). Read 2026-11-29.
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
        """request: as it was before it was signed."""
        self._ports = ports
        self._http = http
        self._request = _of_the_same(request, http.headers)
        self._timeouts = timeouts
        self._ends = inf if timeouts.total is None else ports.clock.now() + timeouts.total
        self._signed = signed
        self._provider = provider
        self._at = 0
        self._whole = 0
        """How many bytes there are, as far as that was told."""
        self._left = TRIES
        self._since = 0
        """Bytes since it was gone on with."""
        self.status = http.status
        self.headers = http.headers

    async def read(self, quiet: bool = False) -> bytes:
        while True:
            try:
                data = await self._http.read(quiet)
                if not data and self._at < self._whole:
                    raise TransportError(Fault.CLOSED, f"{self._at} of {self._whole} bytes came", sent=True, received=True)
            except TransportError as error:
                if error.fault not in _BROKEN:
                    raise
                await self._go_on(error)
            else:
                self._at += len(data)
                self._since += len(data)
                return data

    async def _go_on(self, broken: TransportError) -> None:
        """Raises what broke it where nothing is to be had any more, and TruncatedStream where something else is there now."""
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
        """Whether the rest comes now; False where it may come later."""
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
        why = "another object has taken its name" if http.status in (404, 412) else f"the rest was answered with status {http.status}"
        message = f"{self._provider}: the file broke off after {self._at} bytes, and {why}"
        raise TruncatedStream.of(Failure(Kind.TRUNCATED, message, provider=self._provider))

    def close(self) -> None:
        self._http.close()


def _of_the_same(request: HttpRequest, headers: Headers) -> HttpRequest:
    """The request, for what it was answered with and nothing else."""
    if generation := headers.get("x-goog-generation"):
        return replace(request, url=f"{request.url}&ifGenerationMatch={generation}")
    return replace(request, headers=(*request.headers, ("if-match", headers["etag"])))


def can_go_on(http: HttpStream) -> bool:
    """Whether an answer names its object, and its bytes are the object's own."""
    named = "x-goog-generation" in http.headers or http.headers.get("etag", "W/")[:2] != "W/"
    return http.status == 200 and named and "content-encoding" not in http.headers
