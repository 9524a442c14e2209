"""Responses obtained by polling: tasks that a provider works on, and their results.

A form defines the next request (`dialects.forms.Next`). This module decides when to send it, for how long, and what
happens to an abandoned task.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from math import inf
from typing import Final

import msgspec
from msgspec import Struct

from headrace.dialects.forms import Formed, Next
from headrace.errors import Failure, HeadraceError, Kind, error_of
from headrace.ports import HttpStream, Ports
from headrace.wire import Headers, HttpRequest, HttpResponse, Timeouts, TransportError

SLOWEST: Final = 5.0
"""Maximum seconds between polls; the pause grows from what the form says to this."""

_GROWTH: Final = 1.3

_DEAF: Final = 4
"""Consecutive failed polls after which polling ends. The task itself goes on regardless."""

_TO_UNDO: Final = Timeouts(connect=5.0, total=10.0)


class Following(Struct, frozen=True, eq=False):
    """The path of one call from its first response to its final one."""

    ports: Ports
    formed: Formed
    timeouts: Timeouts
    ends: float
    """The deadline; inf for none."""
    signed: Callable[[HttpRequest], Awaitable[HttpRequest]]
    failed: Callable[[TransportError], HeadraceError]
    refused: Callable[[HttpResponse, HttpRequest], HeadraceError]

    async def last(self, response: HttpResponse) -> HttpResponse:
        """The final response. Raises HeadraceError; Timeout if the deadline passes first.

        An abandoned task is cancelled if its provider supports that. When the caller leaves, that happens in the
        background.
        """
        asked, step, pause = None, "", 0.0
        parts: list[bytes] = []
        try:
            while (coming := self.formed.then(response, step)) is not None:
                asked, step = coming, coming.step
                if asked.keeps:
                    parts.append(response.body)
                pause = min(SLOWEST, max(asked.after, pause * _GROWTH)) if asked.after else 0.0
                response = await self._answer(asked, pause)
        except _Unanswered as given_up:
            await self._clean(() if asked is None else (*asked.undo, *asked.tidy))
            raise given_up.error from given_up.__cause__
        except Exception:
            await self._clean(() if asked is None else asked.tidy)  # the task has ended, though in failure
            raise
        except BaseException:
            self._clean_aside(() if asked is None else (*asked.undo, *asked.tidy))
            raise
        await self._clean(() if asked is None else asked.tidy)
        if not parts:
            return response
        return HttpResponse(response.status, response.headers, b"[" + b",".join([*parts, response.body]) + b"]")

    async def opened(self, request: HttpRequest) -> HttpStream:
        """The stream that the response to `request` points to. Raises TransportError and HeadraceError."""
        response = await self.ports.transport.fetch(request, self.timeouts)
        if not 200 <= response.status < 300:
            raise self.refused(response, request)
        stream, undo = self.formed.opening(response)
        try:
            return _Opened(await self.ports.transport.open(await self.signed(stream), self.timeouts), lambda: self._clean_aside(undo))
        except BaseException:
            self._clean_aside(undo)
            raise

    async def _answer(self, asked: Next, pause: float) -> HttpResponse:
        again = asked.request if asked.request.method == "GET" else asked.again
        for attempt in range(1, _DEAF + 1):
            left = self.ends - self.ports.clock.now() - pause
            if left <= 0:
                raise _Unanswered(self._over())
            if pause:
                await self.ports.clock.sleep(pause)
            last = attempt == _DEAF or again is None
            request = await self.signed(asked.request if attempt == 1 or again is None else again)
            total = self.timeouts.total if left == inf else left
            try:
                response = await self.ports.transport.fetch(request, msgspec.structs.replace(self.timeouts, total=total))
            except TransportError as error:
                if last:
                    raise _Unanswered(self.failed(error)) from error
            else:
                if 200 <= response.status < 300 or response.status in asked.more:
                    return response
                if last or not (response.status == 429 or response.status >= 500):
                    raise _Unanswered(self.refused(response, request))
            pause = pause or SLOWEST / 2
        raise AssertionError("the last attempt answers or raises")

    def _over(self) -> HeadraceError:
        target = self.formed.target
        text = f"{target.provider}: the task was not done within the call's timeout: pass a longer timeout"
        return error_of(Failure(Kind.TIMEOUT, text, provider=target.provider, model=target.model))

    async def _clean(self, requests: Sequence[HttpRequest]) -> None:
        for request in requests:
            with suppress(TransportError, HeadraceError):  # the provider cleans up what is left behind in time
                await self.ports.transport.fetch(await self.signed(request), _TO_UNDO)

    def _clean_aside(self, requests: Sequence[HttpRequest]) -> None:
        if requests and self.ports.spawn is not None:
            with suppress(RuntimeError):  # an event loop that is closing takes no more tasks
                self.ports.spawn(self._clean(requests))


class _Opened:
    """A stream whose task is cancelled if it is closed before its end: a `ports.HttpStream`."""

    def __init__(self, http: HttpStream, give_up: Callable[[], None]) -> None:
        self._http = http
        self._give_up: Callable[[], None] | None = give_up

    @property
    def status(self) -> int:
        return self._http.status

    @property
    def headers(self) -> Headers:
        return self._http.headers

    async def read(self, quiet: bool = False) -> bytes:
        data = await self._http.read(quiet)
        if not data:
            self._give_up = None
        return data

    def close(self) -> None:
        give_up, self._give_up = self._give_up, None
        self._http.close()
        if give_up is not None:
            give_up()


class _Unanswered(Exception):
    """A failed poll of a task that may still be running."""

    def __init__(self, error: HeadraceError) -> None:
        super().__init__(str(error))
        self.error = error
