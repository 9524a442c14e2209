"""The response to a request, whole or streamed; failures are sent in the caller's dialect."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from headrace.errors import POLICY, Failure, HeadraceError, Kind
from headrace.gateway.client_apis import ClientApi
from headrace.gateway.context import JSON
from headrace.gateway.logs import access
from headrace.gateway.page.browser_response import BrowserResponse
from headrace.gateway.records import Entry, Outcome
from headrace.gateway.requests import Left, Send
from headrace.routing.events import Event
from headrace.routing.trail import Failed
from headrace.streams import AsyncStream

log: Final = logging.getLogger("headrace.gateway")

LEFT: Final = 499
"""The recorded status of a call whose client disconnected, as in nginx's logs."""

Pairs = list[tuple[str, str]]


class Before(Struct, frozen=True, eq=False):
    """A first attempt on the fast path, which failed; the Router decides what follows."""

    failed: Failed
    event: Event
    """The event that reported it as sent."""
    came: float
    """When the request arrived, in Unix seconds."""
    at: float
    """When the request arrived, by the monotonic clock."""


class Answer:
    """The response to one request, sent once, whole or streamed; failures are sent in the caller's dialect."""

    def __init__(self, send: Send, front: ClientApi, id: str, path: str = "", before: Before | None = None) -> None:
        """before: what was already tried."""
        self.before = before
        self._send = send
        self.front = front
        self.id = id
        self._path = path
        self._came = time.monotonic() if before is None else before.at
        self.status = 0
        """The status sent; 0 before that."""
        self.entry: Entry | None = None
        """The call that is responded to, until it is in the ledger."""
        self._begun = False
        self._exact = False
        """Whether the body is a file: nothing may be added to it."""
        self.over = False
        """Whether the last byte has been sent."""
        self.left: Callable[[], Pairs] = list
        """Returns the rate limit headers for the caller's own limits."""

    def go_on(self) -> None:
        """The head has already been sent: continue its stream."""
        self._begun, self.status = True, 200

    @property
    def entered(self) -> Entry:
        assert self.entry is not None
        return self.entry

    async def guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work`; a failure becomes a response."""
        try:
            await work
        except HeadraceError as error:
            await self._failed(error.failure)
        except Left:
            raise
        except Exception:
            log.exception("%s: internal error in the gateway", self.id)
            await self._failed(Failure(Kind.SERVER, f"internal error in the gateway; its log has details on {self.id}", status=500))
        finally:
            self._record(Outcome.LEFT, status=LEFT)  # does nothing if it was already recorded
            if access.isEnabledFor(logging.INFO):
                self._log()

    async def stopped(self) -> None:
        """The server is stopping and no longer waits for the call."""
        if not self.over:
            await self._failed(STOPPING)

    def _log(self) -> None:
        entry = self.entry
        told = {"path": self._path, "status": self.status or LEFT, "seconds": round(time.monotonic() - self._came, 6)}
        if entry is not None:
            told |= {name: value for name in ("model", "key", "team", "user") if (value := entry.told(name))}
        access.info("%s %s", self._path, told["status"], extra={"fields": told})

    def _record(self, outcome: Outcome, failure: Failure | None = None, status: int = 200) -> None:
        if self.entry is not None:
            self.entry.close(outcome, failure, status)

    async def whole(self, status: int, body: bytes, told: Pairs | None = None, *, kind: str = JSON) -> None:
        """Send a complete response with extra headers `told`."""
        self._said(body, kind)
        await self._start(status, [("content-type", kind), ("content-length", str(len(body))), *(told or ())])
        await self._last(body)

    async def shown(self, shown: BrowserResponse) -> None:
        """Send a response for a browser."""
        await self._start(shown.status, [("content-type", shown.kind), ("content-length", str(len(shown.body))), *shown.headers])
        await self._send({"type": "http.response.body", "body": shown.body})

    async def streamed(
        self, making: Awaitable[AsyncStream[bytes]], every: float, *, counted_last: bool = False, told: Callable[[bytes], bytes] = bytes
    ) -> None:
        """Send the stream in complete events, with a keep-alive comment for every `every` seconds without data.

        counted_last: whether the event with the usage is the last one. told: rewrites each piece.
        """
        pulse = _Pulse(self._alive, every)
        try:
            stream = await making
            try:
                self.entered.answered(stream._hidden_params)
                if not self._begun:
                    await self._open(told_of(stream._hidden_params, streaming=True))
                await self._pieces(stream, pulse, counted_last, told)
            finally:
                await stream.aclose()
        finally:
            pulse.stop()

    async def _pieces(self, stream: AsyncStream[bytes], pulse: _Pulse, counted_last: bool, told: Callable[[bytes], bytes]) -> None:
        entry = self.entered
        async for piece in stream:
            if entry.first is None:
                entry.began_to_answer()
            pulse.felt = True
            self._said(piece, self.front.kind)
            if (counted_last or self.front.ends(piece)) and stream.usage is not None:
                entry.used(stream.usage)
                self._record(Outcome.ANSWERED)  # its client may stop reading here, and disconnect
            await self._piece(told(piece))
        pulse.stop()
        await self._last(b"")

    async def passed(
        self, stream: AsyncStream[bytes], more: Pairs | None = None, see: Callable[[bytes], Awaitable[None]] | None = None
    ) -> None:
        """Forward a provider's own response as it arrives. more: extra headers. see: called with each piece before it is sent."""
        try:
            self.entered.answered(stream._hidden_params)
            kind = stream.response_headers.get("content-type", "application/octet-stream")
            told = told_of(stream._hidden_params, streaming=True)
            await self._start(200, [("content-type", kind), ("x-accel-buffering", "no"), *told, *(more or ())])
            async for piece in stream:
                self.entered.began_to_answer()
                self._said(piece, kind)
                if see is not None:
                    await see(piece)
                await self._piece(piece)
            await self._last(b"")
        finally:
            await stream.aclose()

    async def downloaded(self, making: Awaitable[AsyncStream[bytes]]) -> None:
        """Send a file in pieces."""
        self._exact = True
        await self.passed(await making)

    def _said(self, piece: bytes, kind: str) -> None:
        if self.entry is not None and self.entry.content is not None:
            self.entry.content.hear(piece, kind)

    async def _alive(self) -> None:
        if not self._begun:
            await self._open([])
        await self._piece(self.front.alive)

    async def _open(self, told: Pairs) -> None:
        await self._start(200, [("content-type", self.front.kind), ("cache-control", "no-cache"), ("x-accel-buffering", "no"), *told])

    async def _piece(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def _failed(self, failure: Failure) -> None:
        written = self.front.error(failure)
        self._record(Outcome.FAILED, failure, written.status)
        if self._begun and self._exact:
            return  # without its end: the server cuts the connection, so the client knows that the file is incomplete
        if self._begun:
            await self._last(self.front.broken(failure))
            return
        again = failure.retryable if failure.retryable is not None else POLICY[failure.kind].here or failure.kind in _LATER
        told = [*written.headers.items(), ("content-length", str(len(written.body))), ("x-should-retry", "true" if again else "false")]
        if failure.retry_after is not None:
            again_in = {"retry-after": math.ceil(failure.retry_after), "retry-after-ms": math.ceil(failure.retry_after * 1000)}
            told += [(name, str(max(1, value))) for name, value in again_in.items() if name not in written.headers]
        await self._start(written.status, told)
        await self._last(written.body)

    async def _last(self, body: bytes) -> None:
        """Send the end of the response. The call is in the ledger before that, even if the process then dies."""
        self._record(Outcome.ANSWERED)
        self.over = True
        await self._send({"type": "http.response.body", "body": body})

    async def _start(self, status: int, headers: Pairs) -> None:
        self._begun, self.status = True, status
        every = [*headers, *self.left(), ("x-request-id", self.id), ("request-id", self.id), ("x-litellm-call-id", self.id)]
        pairs = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in every]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})


STOPPING: Final = Failure(Kind.OVERLOADED, "the gateway is shutting down: try again", status=503, retryable=True, retry_after=1.0)


class _Pulse:
    """Runs `beat` in each interval in which `felt` was not set."""

    __slots__ = ("_beat", "_every", "_task", "_timer", "felt")

    def __init__(self, beat: Callable[[], Coroutine[Any, Any, None]], every: float) -> None:
        self._beat = beat
        self._every = every
        self._task: asyncio.Task[None] | None = None
        self.felt = False
        self._timer = asyncio.get_running_loop().call_later(every, self._look)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        if not self.felt and (self._task is None or self._task.done()):
            self._task = loop.create_task(self._beat())
        self.felt = False
        self._timer = loop.call_later(self._every, self._look)

    def stop(self) -> None:
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()


def told_of(hidden: Mapping[str, Any], *, streaming: bool = False) -> Pairs:
    """Headers on how the call was routed and what it cost. The cost of a stream is not known when it begins."""
    record = hidden.get("headrace")
    if record is None:
        return []
    cost, failed, group = None if streaming else hidden.get("response_cost"), len(record["failed"]), str(hidden.get("model_group", ""))
    return [
        ("x-headrace-deployment", str(record["deployment"])),
        ("x-headrace-queue-wait-ms", f"{record['waited'] * 1000:.0f}"),
        ("x-headrace-attempts", str(failed + 1)),
        ("x-litellm-model-id", str(record["deployment"])),
        *([("x-litellm-model-group", group)] if group.isprintable() else []),
        ("x-litellm-attempted-retries", str(failed)),
        *([] if cost is None else [("x-headrace-cost", f"{cost:.9f}"), ("x-litellm-response-cost", f"{cost:.9f}")]),
        *([("x-headrace-left-out", _names(left_out))] if (left_out := hidden.get("left_out")) else []),
    ]


def _names(left_out: Sequence[str]) -> str:
    """Names of parameters that were not sent to the provider, as many as fit a header."""
    told = ", ".join(left_out[:MOST_NAMES]).encode("ascii", "backslashreplace").decode()
    return told if len(left_out) <= MOST_NAMES else f"{told}, and {len(left_out) - MOST_NAMES} more"


MOST_NAMES: Final = 16

_LATER: Final = frozenset({Kind.QUEUE_FULL, Kind.QUEUE_TIMEOUT})
"""Failures that the gateway does not retry but a caller may, once there is room. The gateway has already retried all others."""
