"""What goes back to a caller, once: whole, or as a stream; and every failure in the caller's dialect."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Coroutine, Mapping
from typing import Any, Final

from headrace.errors import POLICY, Failure, HeadraceError, Kind
from headrace.gateway.asking import JSON
from headrace.gateway.fronts import Front
from headrace.gateway.logs import access
from headrace.gateway.records import Entry, Outcome
from headrace.gateway.requests import Left, Send
from headrace.streams import AsyncStream

log: Final = logging.getLogger("headrace.gateway")

LEFT: Final = 499
"""The status that a call is recorded with whose caller went away, as nginx logs it."""

Pairs = list[tuple[str, str]]


class Answer:
    """What goes back, once: whole, or as a stream; and every failure in the caller's dialect."""

    def __init__(self, send: Send, front: Front, id: str, path: str = "") -> None:
        self._send = send
        self._front = front
        self.id = id
        self._path = path
        self._came = time.monotonic()
        self.status = 0
        """What was answered; 0 before that."""
        self.entry: Entry | None = None
        """The call that is answered, until it is in the ledger."""
        self._begun = False

    @property
    def entered(self) -> Entry:
        assert self.entry is not None
        return self.entry

    async def guarded(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work`; what fails becomes an answer."""
        try:
            await work
        except HeadraceError as error:
            await self._failed(error.failure)
        except Left:
            raise
        except Exception:
            log.exception("%s: a fault of the gateway's own", self.id)
            await self._failed(Failure(Kind.SERVER, f"the gateway failed; its log tells more of {self.id}", status=500))
        finally:
            self._record(Outcome.LEFT, status=LEFT)  # unless it is in the ledger already
            if access.isEnabledFor(logging.INFO):
                self._log()

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
        await self._start(status, [("content-type", kind), ("content-length", str(len(body))), *(told or ())])
        await self._last(body)

    async def streamed(self, making: Awaitable[AsyncStream[Any]], every: float) -> None:
        """The stream from its first chunk to its end. While it is not there, `every` so many seconds a sign of life."""
        stream = await self._awaited(making, every)
        try:
            self.entered.answered(stream._hidden_params)
            if not self._begun:
                await self._open(told_of(stream._hidden_params, streaming=True))
            async for chunk in stream:
                self.entered.began_to_answer()
                await self._piece(self._front.frame(chunk))
            await self._last(self._front.end)
        finally:
            await stream.aclose()

    async def _awaited(self, making: Awaitable[AsyncStream[Any]], every: float) -> AsyncStream[Any]:
        task = asyncio.ensure_future(making)
        try:
            while not (await asyncio.wait((task,), timeout=every))[0]:
                if not self._begun:
                    await self._open([])
                await self._piece(self._front.alive)
            return await task
        finally:
            if task.cancel():
                await asyncio.gather(task, return_exceptions=True)

    async def _open(self, told: Pairs) -> None:
        await self._start(200, [("content-type", "text/event-stream"), ("cache-control", "no-cache"), ("x-accel-buffering", "no"), *told])

    async def _piece(self, data: bytes) -> None:
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def _failed(self, failure: Failure) -> None:
        written = self._front.error(failure)
        self._record(Outcome.FAILED, failure, written.status)
        if self._begun:
            await self._last(self._front.broken(failure))
            return
        again = failure.retryable if failure.retryable is not None else POLICY[failure.kind].here or POLICY[failure.kind].elsewhere
        told = [*written.headers.items(), ("content-length", str(len(written.body))), ("x-should-retry", "true" if again else "false")]
        if failure.retry_after is not None and "retry-after" not in written.headers:
            told.append(("retry-after", str(max(1, round(failure.retry_after + 0.5)))))
        await self._start(written.status, told)
        await self._last(written.body)

    async def _last(self, body: bytes) -> None:
        """The end of an answer. Whoever has it finds the call in the ledger, whatever becomes of this process."""
        self._record(Outcome.ANSWERED)
        await self._send({"type": "http.response.body", "body": body})

    async def _start(self, status: int, headers: Pairs) -> None:
        self._begun, self.status = True, status
        every = [*headers, ("x-request-id", self.id), ("request-id", self.id)]
        pairs = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in every]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})


def told_of(hidden: Mapping[str, Any], *, streaming: bool = False) -> Pairs:
    """How the answer came about, in headers. A stream's cost is not known when it begins."""
    record = hidden.get("headrace")
    if record is None:
        return []
    cost = None if streaming else hidden.get("response_cost")
    return [
        ("x-headrace-deployment", str(record["deployment"])),
        ("x-headrace-queue-wait-ms", f"{record['waited'] * 1000:.0f}"),
        ("x-headrace-attempts", str(len(record["failed"]) + 1)),
        *([] if cost is None else [("x-headrace-cost", f"{cost:.9f}")]),
    ]
